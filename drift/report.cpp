#include "drift/report.h"

#include "base/clock.h"
#include "base/json.h"

namespace trimtab::drift {
namespace {

Json words_json(const std::vector<WordChange>& words) {
  Json list = Json::array();
  for (const WordChange& word : words) {
    list.push_back({{"word", word.word},
                    {"reference", word.reference},
                    {"current", word.current},
                    {"record_ids", word.record_ids}});
  }
  return list;
}

std::vector<WordChange> words_from(const Json& list) {
  std::vector<WordChange> words;
  if (!list.is_array()) return words;
  for (const Json& item : list) {
    words.push_back({json_or<std::string>(item, "word", ""), json_or(item, "reference", 0.0),
                     json_or(item, "current", 0.0),
                     json_or(item, "record_ids", std::vector<std::string>{})});
  }
  return words;
}

// One sentence more: what to do.
const char* advice(const Alarm& alarm) {
  if (alarm.kind == AlarmKind::kHarm) {
    return "answers got worse: retrain on the corrections since the onset, or roll back the last "
           "promotion if it began there";
  }
  return "look at the examples; if the new traffic is here to stay collect labels and retrain, "
         "if not take a new reference";
}

Json optional_json(const std::optional<double>& value) { return value ? Json(*value) : Json(); }

Json bins_json(const std::vector<BinShare>& bins) {
  Json list = Json::array();
  for (const BinShare& bin : bins) {
    list.push_back({{"label", bin.label},
                    {"reference", bin.reference},
                    {"current", bin.current},
                    {"log_wealth", bin.log_wealth}});
  }
  return list;
}

Json history_json(std::uint64_t every, const std::vector<float>& history) {
  return {{"events_per_point", every}, {"log10_ratio", history}};
}

Json embedding_json(const std::optional<EmbeddingShift>& shift) {
  if (!shift) return {};
  return {{"reference", shift->reference}, {"current", shift->current},
          {"mmd2", shift->mmd2},           {"mmd_p_value", shift->p_value},
          {"sigma", shift->sigma},         {"domain_classifier_auc", optional_json(shift->auc)}};
}

void add_drift(const Alarm& alarm, Json& out) {
  out["provisional_reference"] = alarm.provisional_reference;
  out["psi"] = alarm.psi;
  out["js"] = alarm.js;
  out["ks"] = alarm.ks;
  out["wasserstein"] = optional_json(alarm.wasserstein);
  out["bet"] = alarm.bet;
  out["season"] = alarm.season;
  out["window"] = alarm.window;
  out["driven_by"] = alarm.driven_by.empty() ? Json() : Json(alarm.driven_by);
  out["bins"] = bins_json(alarm.bins);
  out["words_gained"] = words_json(alarm.words_gained);
  out["words_lost"] = words_json(alarm.words_lost);
  out["embedding"] = embedding_json(alarm.embedding);
  out["evidence_over_time"] = history_json(alarm.history_every, alarm.history);
  out["signals"] = Json::array();
  for (const SignalEvidence& signal : alarm.signals) {
    out["signals"].push_back({{"signal", signal.signal},
                              {"segment", signal.segment},
                              {"log10_ratio", signal.log10_ratio},
                              {"together", signal.together}});
  }
}

template <typename T>
const Json& member(const Json& object, const T& key) {
  static const Json kNothing;
  const auto at = object.find(key);
  return at == object.end() ? kNothing : *at;
}

std::optional<EmbeddingShift> embedding_from(const Json& object) {
  if (!object.is_object()) return std::nullopt;
  EmbeddingShift shift;
  shift.reference = json_or<std::size_t>(object, "reference", 0);
  shift.current = json_or<std::size_t>(object, "current", 0);
  shift.mmd2 = json_or(object, "mmd2", 0.0);
  shift.p_value = json_or(object, "mmd_p_value", 1.0);
  shift.sigma = json_or(object, "sigma", 0.0);
  if (const auto auc = json_get<double>(object, "domain_classifier_auc")) shift.auc = *auc;
  return shift;
}

}  // namespace

Json to_json(const SignalReport& report) {
  return {{"name", report.name},
          {"segment", report.segment},
          {"window", report.window},
          {"reference_size", report.reference_size},
          {"log10_ratio", report.log10_ratio},
          {"bet", report.bet},
          {"season", report.season},
          {"channel", report.channel < 0 ? Json() : Json(report.channel)},
          {"psi", report.psi},
          {"js", report.js},
          {"ks", report.ks},
          {"wasserstein", optional_json(report.wasserstein)},
          {"bins", bins_json(report.bins)},
          {"evidence_over_time", history_json(report.history_every, report.history)}};
}

Json to_json(const Alarm& alarm) {
  Json out = {{"seq", alarm.seq},
              {"kind", alarm_kind_name(alarm.kind)},
              {"signal", alarm.signal},
              {"segment", alarm.segment},
              {"ts", format_rfc3339(alarm.ts_ms)},
              {"ts_ms", alarm.ts_ms},
              {"offset", alarm.offset},
              {"onset",
               {{"ts", format_rfc3339(alarm.onset_ts_ms)},
                {"ts_ms", alarm.onset_ts_ms},
                {"offset", alarm.onset_offset}}},
              {"delay_events", alarm.delay_events},
              {"evidence", alarm.evidence},
              {"threshold", alarm.threshold},
              {"promise_ms", alarm.promise_ms},
              {"summary", alarm.summary},
              {"advice", advice(alarm)},
              {"sentence", alarm.summary + "; " + advice(alarm)}};
  if (alarm.kind == AlarmKind::kHarm) {
    out["harm"] = {
        {"baseline", alarm.baseline}, {"tolerance", alarm.tolerance}, {"rate", alarm.rate}};
  } else {
    add_drift(alarm, out);
  }
  out["example_ids"] = alarm.example_ids;
  return out;
}

Result<Alarm> alarm_from_json(const Json& document) {
  Alarm alarm;
  TRIMTAB_TRY(const std::string kind, json_get<std::string>(document, "kind"));
  if (kind != "drift" && kind != "harm") {
    return fail(Code::kInvalid, "alarm: kind '" + kind + "' is neither drift nor harm");
  }
  alarm.kind = kind == "drift" ? AlarmKind::kDrift : AlarmKind::kHarm;
  TRIMTAB_TRY(alarm.seq, json_get<std::uint64_t>(document, "seq"));
  TRIMTAB_TRY(alarm.signal, json_get<std::string>(document, "signal"));
  TRIMTAB_TRY(alarm.segment, json_get<std::string>(document, "segment"));
  TRIMTAB_TRY(alarm.ts_ms, json_get<std::int64_t>(document, "ts_ms"));
  TRIMTAB_TRY(alarm.offset, json_get<std::uint64_t>(document, "offset"));
  const Json& onset = member(document, "onset");
  TRIMTAB_TRY(alarm.onset_ts_ms, json_get<std::int64_t>(onset, "ts_ms"));
  TRIMTAB_TRY(alarm.onset_offset, json_get<std::uint64_t>(onset, "offset"));
  alarm.delay_events = json_or<std::uint64_t>(document, "delay_events", 0);
  TRIMTAB_TRY(alarm.evidence, json_get<double>(document, "evidence"));
  TRIMTAB_TRY(alarm.threshold, json_get<double>(document, "threshold"));
  alarm.summary = json_or<std::string>(document, "summary", "");
  alarm.provisional_reference = json_or(document, "provisional_reference", false);
  alarm.psi = json_or(document, "psi", 0.0);
  alarm.js = json_or(document, "js", 0.0);
  alarm.ks = json_or(document, "ks", 0.0);
  if (const auto area = json_get<double>(document, "wasserstein")) alarm.wasserstein = *area;
  alarm.bet = json_or<std::string>(document, "bet", "");
  alarm.season = json_or<std::string>(document, "season", "");
  alarm.window = json_or<std::uint64_t>(document, "window", 0);
  alarm.driven_by = json_or<std::string>(document, "driven_by", "");
  alarm.promise_ms = json_or(document, "promise_ms", 0.0);
  const Json& over_time = member(document, "evidence_over_time");
  alarm.history_every = json_or<std::uint64_t>(over_time, "events_per_point", 0);
  alarm.history = json_or(over_time, "log10_ratio", std::vector<float>{});
  alarm.embedding = embedding_from(member(document, "embedding"));
  const Json& harm = member(document, "harm");
  alarm.baseline = json_or(harm, "baseline", 0.0);
  alarm.tolerance = json_or(harm, "tolerance", 0.0);
  alarm.rate = json_or(harm, "rate", 0.0);
  for (const Json& bin : member(document, "bins")) {
    alarm.bins.push_back({json_or<std::string>(bin, "label", ""), json_or(bin, "reference", 0.0),
                          json_or(bin, "current", 0.0), json_or(bin, "log_wealth", 0.0)});
  }
  alarm.words_gained = words_from(member(document, "words_gained"));
  alarm.words_lost = words_from(member(document, "words_lost"));
  for (const Json& signal : member(document, "signals")) {
    alarm.signals.push_back(
        {json_or<std::string>(signal, "signal", ""), json_or<std::string>(signal, "segment", ""),
         json_or(signal, "log10_ratio", 0.0), json_or(signal, "together", false)});
  }
  alarm.example_ids = json_or(document, "example_ids", std::vector<std::string>{});
  return alarm;
}

namespace {

Json accuracy_json(const AccuracyStatus& a) {
  return {{"state", a.state},
          {"learned", a.learned},
          {"reference", a.reference},
          {"reference_lower", a.reference_lower},
          {"records", a.records},
          {"labels", a.labels},
          {"unanchored", a.unanchored},
          {"estimate", optional_json(a.estimate)},
          {"lower", optional_json(a.lower)},
          {"upper", optional_json(a.upper)},
          {"declined", a.declined},
          {"since_ts_ms", a.since_ts_ms}};
}

}  // namespace

Json to_json(const MonitorStatus& status) {
  Json out = {{"state", monitor_state_name(status.state)},
              {"provisional", status.provisional},
              {"collected", status.collected},
              {"reference_size", status.reference_size},
              {"armed_in_s", status.armed_in_s ? Json(*status.armed_in_s) : Json()},
              {"reason", status.reason},
              {"since_ts_ms", status.since_ts_ms},
              {"seen", status.seen},
              {"counted", status.counted},
              {"alarms", status.alarms},
              {"signals", Json::array()},
              {"harm", Json::array()},
              {"accuracy", accuracy_json(status.accuracy)}};
  for (const SignalStatus& s : status.signals) {
    out["signals"].push_back({{"name", s.name},
                              {"segment", s.segment},
                              {"state", s.state},
                              {"reason", s.reason},
                              {"evidence", s.evidence},
                              {"threshold", s.threshold},
                              {"theta", s.theta},
                              {"thin", s.thin},
                              {"reference_size", s.reference_size},
                              {"reference_ts_ms", s.reference_ts_ms},
                              {"events", s.events},
                              {"history", s.history}});
  }
  for (const HarmStatus& h : status.harm) {
    out["harm"].push_back({{"metric", h.metric},
                           {"state", h.state},
                           {"reference_size", h.reference_size},
                           {"reference_rate", h.reference_rate},
                           {"baseline", h.baseline},
                           {"tolerance", h.tolerance},
                           {"evidence", h.evidence},
                           {"threshold", h.threshold},
                           {"recent_rate", h.recent_rate},
                           {"outcomes", h.outcomes},
                           {"refused", h.refused}});
  }
  return out;
}

}  // namespace trimtab::drift
