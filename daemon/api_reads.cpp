// What the API shows of trials, jobs, stored records and adapters.
#include <algorithm>

#include "base/json.h"
#include "daemon/api.h"
#include "daemon/promotion_view.h"
#include "shadow/trial.h"

namespace trimtab::daemon {
namespace {

Json text_as_json(const std::string& text) {
  auto parsed = parse_json(text);
  return parsed ? *parsed : Json();
}

}  // namespace

Result<Json> Api::promotions(StateQueries& state, const net::Request& request) {
  TRIMTAB_TRY(const auto limit, query_number(request, "limit", 100, 1, 1'000));
  TRIMTAB_TRY(const std::string target, target_filter(request));
  TRIMTAB_TRY(const auto documents, state.documents("trial", target, {}, limit, true));
  Json rows = Json::array();
  for (const auto& document : documents) {
    TRIMTAB_TRY(Json row, promotion(state, document.id));
    row.erase("trial");
    rows.push_back(std::move(row));
  }
  return Json{{"promotions", rows}};
}

Result<Json> Api::promotion(StateQueries& state, const std::string& id) {
  const auto snapshot = parts_.board.get();
  const auto live = snapshot->promotions.find(id);
  if (live != snapshot->promotions.end()) return parse_json(live->second);
  TRIMTAB_TRY(const auto document, state.document("trial", id));
  TRIMTAB_TRY(const Json data, parse_json(document.data));
  TRIMTAB_TRY(const auto trial, shadow::parse_trial(data));
  return promotion_json(trial, {}, parts_.clock.now_ms());
}

Result<Json> Api::evidence(StateQueries& state, const std::string& id) {
  TRIMTAB_TRY(const Json row, promotion(state, id));
  Json answer = {{"trial", id}, {"state", row.at("state")}, {"waits_for", row.at("waits_for")}};
  const auto snapshot = parts_.board.get();
  if (const auto live = snapshot->evidence.find(id); live != snapshot->evidence.end()) {
    answer["evidence"] = text_as_json(live->second);
  } else {
    TRIMTAB_TRY(
        const auto events,
        state.events({.subject = id, .kind = "transition", .limit = 1, .newest_first = true}));
    answer["evidence"] = events.empty() ? Json() : text_as_json(events.front().evidence);
  }
  TRIMTAB_TRY(const auto rows, state.decisions(id, "series"));
  Json series = Json::array();
  for (const auto& one : rows) series.push_back(text_as_json(one.data));
  answer["series"] = std::move(series);
  TRIMTAB_TRY(answer["pairs"], state.count_decisions(id, "pairs"));
  TRIMTAB_TRY(answer["closed_units"], state.count_decisions(id, "units"));
  return answer;
}

Result<Json> Api::jobs(StateQueries& state, const net::Request& request) {
  TRIMTAB_TRY(const auto limit, query_number(request, "limit", 100, 1, 1'000));
  TRIMTAB_TRY(const std::string target, target_filter(request));
  TRIMTAB_TRY(const auto documents, state.documents("job", target, {}, limit, true));
  Json rows = Json::array();
  for (const auto& document : documents) {
    TRIMTAB_TRY(Json row, job(state, document.id));
    rows.push_back(std::move(row));
  }
  return Json{{"jobs", rows}};
}

Result<Json> Api::job(StateQueries& state, const std::string& id) {
  TRIMTAB_TRY(const auto document, state.document("job", id));
  TRIMTAB_TRY(Json row, parse_json(document.data));
  row["target"] = document.target;
  const auto snapshot = parts_.board.get();
  if (const auto beat = snapshot->heartbeats.find(id); beat != snapshot->heartbeats.end()) {
    row["heartbeat"] = text_as_json(beat->second);
  }
  return row;
}

Result<Json> Api::stored_records(StateQueries& state, const net::Request& request) {
  TRIMTAB_TRY(const auto limit, query_number(request, "sample", 20, 1, 200));
  const std::string target(request.param("target"));
  if (!parts_.board.get()->targets.contains(target)) {
    return tl::unexpected<Error>(unknown_target(target));
  }
  TRIMTAB_TRY(const auto rows,
              state.records({.target = target, .limit = limit, .newest_first = true}));
  Json records = Json::array();
  for (const auto& row : rows) {
    const auto stored = parts_.records.read(row.text);
    Json record = stored ? text_as_json(stored->json) : Json{{"id", row.id}};
    TRIMTAB_TRY(
        const auto labels,
        state.labels(
            {.target = target, .since_ms = row.ts_ms, .until_ms = row.ts_ms + 1, .limit = 100}));
    Json feedback = Json::array();
    for (const auto& label : labels) {
      if (label.record.row != row.row) continue;
      feedback.push_back({{"feedback_id", label.feedback.feedback_id},
                          {"name", label.feedback.name},
                          {"score", label.feedback.score ? Json(*label.feedback.score) : Json()},
                          {"label", label.feedback.label},
                          {"correction", label.feedback.correction},
                          {"selection", label.feedback.selection},
                          {"source", label.feedback.source},
                          {"quarantined", label.feedback.quarantined}});
    }
    record["feedback"] = feedback;
    record["eval"] = row.eval;
    records.push_back(std::move(record));
  }
  return Json{{"records", records}};
}

Result<Json> Api::adapters(StateQueries& state, const std::string& target) {
  const auto snapshot = parts_.board.get();
  const auto it = snapshot->targets.find(target);
  if (it == snapshot->targets.end()) return tl::unexpected<Error>(unknown_target(target));
  TRIMTAB_TRY(const Json view, parse_json(it->second));
  TRIMTAB_TRY(const auto documents, state.documents("adapter", target, {}, 1'000, true));
  Json rows = Json::array();
  for (const auto& document : documents) {
    const Json data = text_as_json(document.data);
    const Json adapter = data.value("adapter", Json::object());
    const Json name = document.id;
    const Json kept = view.at("kept");
    const bool is_kept = std::find(kept.begin(), kept.end(), name) != kept.end();
    rows.push_back({{"name", document.id},
                    {"sha256", adapter.value("sha256", "")},
                    {"uri", adapter.value("uri", "")},
                    {"created", format_rfc3339(document.created_ms)},
                    {"created_ms", document.created_ms},
                    {"job", data.value("job", "")},
                    {"registered_by", data.value("registered_by", "")},
                    {"role", view.at("champion") == name ? "champion"
                             : is_kept                   ? "kept"
                                                         : ""}});
  }
  return Json{{"champion", view.at("champion")},
              {"kept", view.at("kept")},
              {"tombstones", view.at("tombstones")},
              {"adapters", rows}};
}

}  // namespace trimtab::daemon
