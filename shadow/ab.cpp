// Over 400 lines because a unit, its closing and the metrics it feeds are one protocol.
#include "shadow/ab.h"

#include <fmt/format.h>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "base/check.h"
#include "base/evidence/bernoulli_ci.h"
#include "base/hash.h"
#include "base/json.h"

namespace trimtab::shadow {
namespace {

constexpr std::size_t kControl = 0, kCandidate = 1;
// Unpaired values a metric and arm: far above any imbalance that SRM would let pass.
constexpr std::size_t kMaxWaiting = 20'000;
// Of saved pieces: values of a chunk, and digits of a chunk of `seen` (512 units).
constexpr std::uint64_t kChunk = 256;
constexpr std::size_t kSeenChunk = 16 * 512;
// Served mismatches: a stray record is a race of a router, a share of them is a wrong fleet.
constexpr std::uint64_t kRecentWindow = 512;
constexpr std::uint64_t kStrayRecords = 3;
constexpr double kMismatchShare = 0.01;

// Hard SLO, see ab.h.
constexpr std::uint64_t kSloWindow = 64, kSloRequests = 20;
constexpr double kSloErrorShare = 0.5, kSloTimesControl = 2.0;

std::optional<double> as_bad(const std::optional<bool>& flag) {
  if (!flag) return std::nullopt;
  return *flag ? 1.0 : 0.0;
}

std::optional<double> above(const std::optional<double>& value, const std::optional<double>& p95,
                            double factor) {
  if (!value || !p95 || !std::isfinite(*value) || !std::isfinite(*p95)) return std::nullopt;
  return *value > factor * *p95 ? 1.0 : 0.0;
}

evidence::PairedBettingParams metric_params(const Plan& plan, std::size_t metrics) {
  evidence::PairedBettingParams params;
  params.alpha = plan.alpha;
  params.alpha_harm = plan.alpha_harm / static_cast<double>(metrics);
  params.margin = plan.margin_live;
  return params;
}

Json optional_json(const std::optional<double>& value) {
  return value ? Json(*value) : Json(nullptr);
}
std::optional<double> optional_number(const Json& json) {
  if (json.is_null()) return std::nullopt;
  return json.get<double>();
}

}  // namespace

LiveAb::LiveAb(Params params) : params_(std::move(params)) {
  CHECK(params_.label_wait_ms > 0, "W must be resolved before units open");
  const std::string other = params_.primary == "complaint" ? "accuracy" : "complaint";
  std::vector<std::string> names = {params_.primary, other};
  names.insert(names.end(), params_.plan.guardrails.begin(), params_.plan.guardrails.end());
  for (const auto& name : names) {
    metrics_.push_back({PairedStream(name, metric_params(params_.plan, names.size())), {}});
  }
}

std::int64_t LiveAb::close_ms(const OpenUnit& open) const {
  return open.ts_ms + params_.label_wait_ms;
}

LiveAb::Eligibility LiveAb::eligible(const LiveRecord& record,
                                     const RoutingHistory& routing) const {
  if (record.probe || record.unit.empty()) return Eligibility::kOther;
  if (!record.attested) return Eligibility::kUnattested;
  if (record.experiment != params_.experiment) return Eligibility::kOther;
  const Routing* document = routing.find(record.generation);
  if (document == nullptr) return Eligibility::kOther;  // forgotten, or not ours
  if (document->experiment != params_.experiment) return Eligibility::kMismatch;
  const Arm* arm = document->arm(record.arm);
  if (arm == nullptr || arm->adapter.name != record.adapter ||
      !arm->contains(document->fraction(record.unit))) {
    return Eligibility::kMismatch;
  }
  if (record.arm == kArmCandidate) return Eligibility::kCandidate;
  if (record.arm == params_.control_role) return Eligibility::kControl;
  return Eligibility::kOther;
}

std::vector<std::optional<double>> LiveAb::guard_values(const LiveRecord& record) const {
  const Plan& plan = params_.plan;
  std::vector<std::optional<double>> values;
  for (const auto& name : plan.guardrails) {
    if (name == "error") {
      values.push_back(as_bad(record.error));
    } else if (name == "refusal") {
      values.push_back(as_bad(record.refusal));
    } else if (name == "slow") {
      values.push_back(above(record.latency_s, params_.p95.latency_s, plan.slow_factor));
    } else if (name == "long") {
      values.push_back(above(record.tokens_out, params_.p95.tokens_out, plan.length_factor));
    } else {
      values.push_back(above(record.tokens_all, params_.p95.tokens_all, plan.length_factor));
    }
  }
  return values;
}

void LiveAb::count_served(bool matched) {
  if (!matched) mismatched_ += 1;
  (matched ? recent_matched_ : recent_mismatched_) += 1;
  if (recent_matched_ + recent_mismatched_ < kRecentWindow) return;
  recent_matched_ /= 2;
  recent_mismatched_ /= 2;
}

void LiveAb::count_error(bool candidate, const std::optional<bool>& error) {
  if (!error) return;
  const std::size_t arm = candidate ? kCandidate : kControl;
  recent_requests_[arm] += 1;
  recent_errors_[arm] += *error ? 1 : 0;
  if (recent_requests_[arm] < kSloWindow) return;
  recent_requests_[arm] /= 2;
  recent_errors_[arm] /= 2;
}

std::string LiveAb::slo_breach() const {
  const auto share = [&](std::size_t arm) {
    return static_cast<double>(recent_errors_[arm]) /
           static_cast<double>(std::max<std::uint64_t>(recent_requests_[arm], 1));
  };
  const double candidate = share(kCandidate), control = share(kControl);
  if (recent_requests_[kCandidate] < kSloRequests || candidate < kSloErrorShare ||
      candidate < kSloTimesControl * control) {
    return {};
  }
  return fmt::format("{:.0f} % errors in its last {} requests, control {:.0f} %", 100.0 * candidate,
                     recent_requests_[kCandidate], 100.0 * control);
}

void LiveAb::on_record(const LiveRecord& record, const RoutingHistory& routing) {
  const Eligibility found = eligible(record, routing);
  if (found == Eligibility::kUnattested) unattested_ += 1;
  if (found == Eligibility::kMismatch) count_served(false);
  if (found != Eligibility::kControl && found != Eligibility::kCandidate) return;
  count_served(true);
  count_error(found == Eligibility::kCandidate, record.error);
  last_unit_ms_ = std::max(last_unit_ms_, record.ts_ms);
  const std::uint64_t hash = stable_hash(record.unit);
  if (seen_.count(hash) != 0) return;
  if (open_.size() >= static_cast<std::size_t>(params_.plan.max_open_units)) {
    overflowed_ += 1;
    return;
  }
  remember(hash);
  OpenUnit open;
  open.record_id = std::string(record.id);
  open.candidate = found == Eligibility::kCandidate;
  open.ts_ms = record.ts_ms;
  open.guard = guard_values(record);
  exposed_[open.candidate ? kCandidate : kControl] += 1;
  std::string unit(record.unit);
  closing_.emplace(close_ms(open), unit);
  by_record_.emplace(open.record_id, unit);
  touch(unit);
  open_.emplace(std::move(unit), std::move(open));
}

void LiveAb::remember(std::uint64_t hash) {
  seen_.insert(hash);
  constexpr char kDigits[] = "0123456789abcdef";
  for (int shift = 60; shift >= 0; shift -= 4) seen_text_ += kDigits[(hash >> shift) & 0xF];
}

void LiveAb::on_feedback(const LiveFeedback& feedback) {
  const auto found = by_record_.find(std::string(feedback.record_id));
  if (found == by_record_.end()) return;
  OpenUnit& open = open_.at(found->second);
  touch(found->second);
  if (feedback.ts_ms > close_ms(open)) {
    late_feedback_ += 1;
    return;
  }
  open.complaint = open.complaint || feedback.complaint;
  if (feedback.label && *feedback.label >= 0.0 && *feedback.label <= 1.0) {
    open.label = feedback.label;
  }
}

void LiveAb::on_time(std::int64_t watermark_ms) {
  watermark_ms_ = std::max(watermark_ms_, watermark_ms);
  while (!closing_.empty() && closing_.begin()->first <= watermark_ms_) {
    const std::string unit = closing_.begin()->second;
    closing_.erase(closing_.begin());
    auto node = open_.extract(unit);
    by_record_.erase(node.mapped().record_id);
    touch(unit);
    close(unit, node.mapped());
  }
}

void LiveAb::close(const std::string& unit, const OpenUnit& open) {
  const std::size_t arm = open.candidate ? kCandidate : kControl;
  closed_[arm] += 1;
  if (open.label) labelled_[arm] += 1;
  ClosedUnit row{unit,
                 open.record_id,
                 open.candidate ? std::string(kArmCandidate) : params_.control_role,
                 open.ts_ms,
                 close_ms(open),
                 {}};
  for (std::size_t i = 0; i < metrics_.size(); ++i) {
    std::optional<double> bad;
    const std::string& name = metrics_[i].stream.metric();
    if (name == "complaint") {
      bad = open.complaint ? 1.0 : 0.0;
    } else if (name == "accuracy") {
      if (open.label) bad = 1.0 - *open.label;
    } else {
      bad = open.guard[i - 2];
    }
    row.values.emplace_back(name, bad);
    pair(metrics_[i], open.candidate, bad);
  }
  journal_.push_back(std::move(row));
}

void LiveAb::Waiting::push(double value) {
  dirty.insert((first + values.size()) / kChunk);
  values.push_back(value);
}

double LiveAb::Waiting::pop() {
  const double value = values.front();
  values.pop_front();
  dirty.insert(first / kChunk);
  ++first;
  return value;
}

void LiveAb::pair(Metric& metric, bool candidate, std::optional<double> bad) {
  if (!bad) return;  // missing: this unit says nothing about this metric
  auto& mine = metric.waiting[candidate ? kCandidate : kControl];
  auto& others = metric.waiting[candidate ? kControl : kCandidate];
  if (others.values.empty()) {
    if (mine.values.size() >= kMaxWaiting) {
      overflowed_ += 1;
      return;
    }
    mine.push(*bad);
    return;
  }
  const double other = others.pop();
  // Bad counts 1: D > 0 means fewer bad outcomes under the candidate.
  metric.stream.add(candidate ? other - *bad : *bad - other);
}

SrmRow LiveAb::srm_row(const std::uint64_t (&counts)[2]) const {
  SrmRow row;
  row.candidate = counts[kCandidate];
  row.control = counts[kControl];
  const std::uint64_t both[2] = {row.candidate, row.control};
  const double shares[2] = {0.5, 0.5};
  evidence::BernoulliParams params;
  params.alpha = params_.plan.alpha_srm;
  // Tightest at some hundred units: early enough to stop a broken router soon.
  params.t_opt = 1'000;
  const auto found = evidence::srm(both, shares, params);
  CHECK(found, "two arms with equal shares are valid input");
  row.lower = found->lower;
  row.upper = found->upper;
  row.mismatch = found->mismatch;
  return row;
}

bool LiveAb::is_ship(const LiveVerdict& verdict) const {
  const EvidenceRow& primary = verdict.metrics[0];
  const bool primary_ok =
      params_.plan.ship == config::Ship::kImprove ? primary.superior : primary.non_inferior;
  const bool guards_ok = std::all_of(verdict.metrics.begin() + 2, verdict.metrics.end(),
                                     [](const EvidenceRow& row) { return row.non_inferior; });
  const bool clean =
      !verdict.exposed.mismatch && !verdict.labelled.mismatch && !verdict.mismatch_hold;
  return primary_ok && guards_ok && clean && !verdict.harm && verdict.slo_breach.empty();
}

std::string LiveAb::missing_for_ship(const LiveVerdict& verdict) const {
  const bool improve = params_.plan.ship == config::Ship::kImprove;
  const EvidenceRow& primary = verdict.metrics[0];
  std::string text = fmt::format(
      "{}: {} blocks, mean {:+.3f}, {} e^{:.1f} of e^{:.1f}", primary.metric, primary.pairs,
      primary.mean_d, improve ? "superior" : "non-inferior",
      improve ? primary.log_e_superior : primary.log_e_non_inferior, primary.log_threshold);
  for (std::size_t i = 2; i < verdict.metrics.size(); ++i) {
    const EvidenceRow& row = verdict.metrics[i];
    if (row.non_inferior) continue;
    text += row.pairs == 0
                ? fmt::format(
                      "; guardrail {}: no data in the records (log it, or take it out of "
                      "plan.guardrails)",
                      row.metric)
                : fmt::format("; guardrail {}: {} blocks, non-inferior e^{:.1f} of e^{:.1f}",
                              row.metric, row.pairs, row.log_e_non_inferior, row.log_threshold);
  }
  return text;
}

LiveVerdict LiveAb::verdict() const {
  LiveVerdict verdict;
  verdict.experiment = params_.experiment;
  verdict.primary = params_.primary;
  for (const auto& metric : metrics_) {
    verdict.metrics.push_back(metric.stream.row());
    if (verdict.metrics.back().harm && !verdict.harm) {
      verdict.harm = true;
      verdict.harm_on = verdict.metrics.back().metric;
    }
  }
  verdict.closed_candidate = closed_[kCandidate];
  verdict.closed_control = closed_[kControl];
  verdict.open_units = open_.size();
  verdict.mismatched = mismatched_;
  verdict.unattested = unattested_;
  verdict.overflowed = overflowed_;
  verdict.late_feedback = late_feedback_;
  verdict.last_unit_ms = last_unit_ms_;
  verdict.exposed = srm_row(exposed_);
  verdict.labelled = srm_row(labelled_);
  const double recent = static_cast<double>(recent_matched_ + recent_mismatched_);
  verdict.mismatch_hold = recent_mismatched_ >= kStrayRecords &&
                          static_cast<double>(recent_mismatched_) > kMismatchShare * recent;
  verdict.slo_breach = slo_breach();
  verdict.ship = is_ship(verdict);
  verdict.message = missing_for_ship(verdict);
  return verdict;
}

void LiveAb::add_closed(const ClosedUnit& unit) {
  const bool candidate = unit.arm == kArmCandidate;
  const std::size_t arm = candidate ? kCandidate : kControl;
  exposed_[arm] += 1;
  closed_[arm] += 1;
  last_unit_ms_ = std::max(last_unit_ms_, unit.ts_ms);
  for (auto& metric : metrics_) {
    const auto found = std::find_if(unit.values.begin(), unit.values.end(), [&](const auto& value) {
      return value.first == metric.stream.metric();
    });
    if (found == unit.values.end()) continue;
    if (found->first == "accuracy" && found->second) labelled_[arm] += 1;
    pair(metric, candidate, found->second);
  }
}

std::vector<LiveAb::ClosedUnit> LiveAb::take_closed() { return std::exchange(journal_, {}); }

Json LiveAb::core() const {
  Json metrics = Json::array();
  for (const auto& metric : metrics_) {
    Json queues = Json::array();
    for (const auto& queue : metric.waiting) queues.push_back({queue.first, queue.values.size()});
    metrics.push_back({{"stream", metric.stream.save()}, {"queues", std::move(queues)}});
  }
  return {{"experiment", params_.experiment},
          {"plan_hash", config_hash(params_.plan)},
          {"label_wait_ms", params_.label_wait_ms},
          {"open", open_.size()},
          {"metrics", std::move(metrics)},
          {"seen", seen_.size()},
          {"closed", closed_},
          {"exposed", exposed_},
          {"labelled", labelled_},
          {"recent_requests", recent_requests_},
          {"recent_errors", recent_errors_},
          {"counters",
           {mismatched_, unattested_, overflowed_, late_feedback_, recent_matched_,
            recent_mismatched_}},
          {"watermark_ms", watermark_ms_},
          {"last_unit_ms", last_unit_ms_}};
}

void LiveAb::save_waiting(std::vector<Piece>& pieces) {
  for (std::size_t m = 0; m < metrics_.size(); ++m) {
    for (std::size_t arm = 0; arm < 2; ++arm) {
      auto& waiting = metrics_[m].waiting[arm];
      const std::uint64_t end = waiting.first + waiting.values.size();
      for (const std::uint64_t chunk : std::exchange(waiting.dirty, {})) {
        const std::uint64_t from = std::max(waiting.first, chunk * kChunk);
        const std::uint64_t to = std::min(end, (chunk + 1) * kChunk);
        Piece piece{fmt::format("wait/{}/{}/{:012}", m, arm, chunk), {}};
        if (from < to) {
          Json values = {from};
          for (std::uint64_t n = from; n < to; ++n) {
            values.push_back(waiting.values[static_cast<std::size_t>(n - waiting.first)]);
          }
          piece.bytes = dump_json(values);
        }
        pieces.push_back(std::move(piece));
      }
    }
  }
}

std::vector<LiveAb::Piece> LiveAb::save_changed() {
  std::vector<Piece> pieces;
  for (const auto& unit : std::exchange(dirty_units_, {})) {
    Piece piece{fmt::format("unit/{:016x}", stable_hash(unit)), {}};
    if (const auto found = open_.find(unit); found != open_.end()) {
      const OpenUnit& open = found->second;
      Json guard = Json::array();
      for (const auto& value : open.guard) guard.push_back(optional_json(value));
      piece.bytes = dump_json(Json{unit, open.record_id, open.candidate, open.complaint,
                                   optional_json(open.label), open.ts_ms, std::move(guard)});
    }
    pieces.push_back(std::move(piece));
  }
  save_waiting(pieces);
  for (std::size_t at = seen_saved_ / kSeenChunk * kSeenChunk; at < seen_text_.size();
       at += kSeenChunk) {
    if (seen_saved_ == seen_text_.size()) break;
    pieces.push_back(
        {fmt::format("seen/{:08}", at / kSeenChunk), seen_text_.substr(at, kSeenChunk)});
  }
  seen_saved_ = seen_text_.size();
  std::string text = dump_json(core());
  if (text != saved_core_) {
    saved_core_ = text;
    pieces.push_back({"core", std::move(text)});
  }
  return pieces;
}

Status LiveAb::restore_core(const Json& saved) {
  if (saved.at("experiment") != params_.experiment ||
      saved.at("plan_hash") != config_hash(params_.plan) ||
      saved.at("label_wait_ms") != params_.label_wait_ms) {
    return fail(Code::kCorrupt, "live A/B: saved under another experiment, plan or W");
  }
  const Json& metrics = saved.at("metrics");
  if (metrics.size() != metrics_.size()) {
    return fail(Code::kCorrupt, "live A/B: another number of metrics");
  }
  for (std::size_t i = 0; i < metrics_.size(); ++i) {
    TRIMTAB_CHECK_OK(metrics_[i].stream.restore(metrics[i].at("stream")));
    for (std::size_t arm = 0; arm < 2; ++arm) {
      metrics_[i].waiting[arm].first = metrics[i].at("queues").at(arm).at(0).get<std::uint64_t>();
    }
  }
  const auto two = [&](const char* key, std::uint64_t(&into)[2]) {
    for (std::size_t i = 0; i < 2; ++i) into[i] = saved.at(key).at(i).get<std::uint64_t>();
  };
  two("closed", closed_);
  two("exposed", exposed_);
  two("labelled", labelled_);
  two("recent_requests", recent_requests_);
  two("recent_errors", recent_errors_);
  std::uint64_t* counters[] = {&mismatched_,    &unattested_,     &overflowed_,
                               &late_feedback_, &recent_matched_, &recent_mismatched_};
  for (std::size_t i = 0; i < std::size(counters); ++i) {
    *counters[i] = saved.at("counters").at(i).get<std::uint64_t>();
  }
  watermark_ms_ = saved.at("watermark_ms").get<std::int64_t>();
  last_unit_ms_ = saved.at("last_unit_ms").get<std::int64_t>();
  return {};
}

void LiveAb::restore_unit(const Json& row) {
  OpenUnit open;
  const auto unit = row.at(0).get<std::string>();
  open.record_id = row.at(1).get<std::string>();
  open.candidate = row.at(2).get<bool>();
  open.complaint = row.at(3).get<bool>();
  open.label = optional_number(row.at(4));
  open.ts_ms = row.at(5).get<std::int64_t>();
  for (const auto& value : row.at(6)) open.guard.push_back(optional_number(value));
  closing_.emplace(close_ms(open), unit);
  by_record_.emplace(open.record_id, unit);
  open_.emplace(unit, std::move(open));
}

Status LiveAb::restore_seen(const std::string& digits) {
  for (std::size_t i = 0; i + 16 <= digits.size(); i += 16) {
    std::uint64_t hash = 0;
    const auto parsed = std::from_chars(&digits[i], &digits[i] + 16, hash, 16);
    if (parsed.ptr != &digits[i] + 16) return fail(Code::kCorrupt, "live A/B: 'seen' is not hex");
    remember(hash);
  }
  return {};
}

Status LiveAb::restore_waiting(const std::string& name, const std::string& bytes) {
  std::size_t metric = 0, arm = 0;
  const bool named = std::sscanf(name.c_str(), "wait/%zu/%zu/", &metric, &arm) == 2;
  if (!named || metric >= metrics_.size() || arm > 1) {
    return fail(Code::kCorrupt, "live A/B: no such queue: " + name);
  }
  TRIMTAB_TRY(const Json values, parse_json(bytes));
  Waiting& waiting = metrics_[metric].waiting[arm];
  if (values.at(0) != waiting.first + waiting.values.size()) {
    return fail(Code::kCorrupt, "live A/B: a queue has a hole before " + name);
  }
  for (std::size_t i = 1; i < values.size(); ++i) {
    waiting.values.push_back(values[i].get<double>());
  }
  return {};
}

Result<LiveAb> LiveAb::restore(Params params, const std::vector<Piece>& pieces) {
  LiveAb ab(std::move(params));
  std::map<std::string, const std::string*> by_name;  // chunks in their order
  for (const auto& piece : pieces) by_name[piece.name] = &piece.bytes;
  const auto core = by_name.find("core");
  if (core == by_name.end()) return fail(Code::kCorrupt, "live A/B: its core was not saved");
  try {
    TRIMTAB_TRY(const Json saved, parse_json(*core->second));
    TRIMTAB_CHECK_OK(ab.restore_core(saved));
    for (const auto& [name, bytes] : by_name) {
      if (name.starts_with("seen/")) TRIMTAB_CHECK_OK(ab.restore_seen(*bytes));
      if (name.starts_with("unit/")) {
        TRIMTAB_TRY(const Json row, parse_json(*bytes));
        ab.restore_unit(row);
      }
      if (name.starts_with("wait/")) TRIMTAB_CHECK_OK(ab.restore_waiting(name, *bytes));
    }
    bool whole = ab.open_.size() == saved.at("open") && ab.seen_.size() == saved.at("seen");
    for (std::size_t i = 0; i < ab.metrics_.size(); ++i) {
      for (std::size_t arm = 0; arm < 2; ++arm) {
        const auto count = saved.at("metrics").at(i).at("queues").at(arm).at(1);
        whole = whole && ab.metrics_[i].waiting[arm].values.size() == count;
      }
    }
    if (!whole) return fail(Code::kCorrupt, "live A/B: pieces of what was saved are missing");
  } catch (const nlohmann::json::exception& error) {
    return fail(Code::kCorrupt, std::string("live A/B: ") + error.what());
  }
  ab.seen_saved_ = ab.seen_text_.size();
  ab.saved_core_ = *core->second;
  return ab;
}

}  // namespace trimtab::shadow
