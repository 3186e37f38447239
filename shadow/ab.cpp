// A unit from its first request to its closing, and the metrics it feeds. Saving: ab_state.cpp.
#include "shadow/ab.h"

#include <fmt/format.h>
#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/evidence/bernoulli_ci.h"
#include "base/hash.h"

namespace trimtab::shadow {
namespace {

constexpr std::size_t kControl = 0, kCandidate = 1;
// Unpaired values a metric and arm: far above any imbalance that SRM would let pass.
constexpr std::size_t kMaxWaiting = 20'000;
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

// Metrics that UnitHistory keeps.
bool has_history(std::string_view metric) {
  return metric == "complaint" || metric == "accuracy" || metric == "error" || metric == "refusal";
}

evidence::PairedBettingParams metric_params(const Plan& plan, const std::string& metric,
                                            std::size_t metrics) {
  evidence::PairedBettingParams params;
  params.alpha = plan.alpha;
  params.alpha_harm = plan.alpha_harm / static_cast<double>(metrics);
  params.margin = plan.margin_live;
  params.reach = plan.cuped && has_history(metric) ? 2.0 : 1.0;
  return params;
}

}  // namespace

LiveAb::LiveAb(Params params) : params_(std::move(params)) {
  CHECK(params_.label_wait_ms > 0, "W must be resolved before units open");
  const std::string other = params_.primary == "complaint" ? "accuracy" : "complaint";
  std::vector<std::string> names = {params_.primary, other};
  names.insert(names.end(), params_.plan.guardrails.begin(), params_.plan.guardrails.end());
  for (const auto& name : names) {
    metrics_.push_back({PairedStream(name, metric_params(params_.plan, name, names.size())), {}});
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
  if (params_.plan.cuped) open.past = record.past;
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
    const std::optional<double> before = open.past.of(name);
    row.values.emplace_back(name, bad);
    if (before) row.values.emplace_back("before:" + name, before);
    // Missing: this unit says nothing about this metric.
    if (bad) pair(metrics_[i], open.candidate, {*bad, before});
  }
  journal_.push_back(std::move(row));
}

void LiveAb::pair(Metric& metric, bool candidate, const Value& value) {
  auto& mine = metric.waiting[candidate ? kCandidate : kControl];
  auto& others = metric.waiting[candidate ? kControl : kCandidate];
  if (others.values.empty()) {
    if (mine.values.size() >= kMaxWaiting) {
      overflowed_ += 1;
      return;
    }
    mine.push(value);
    return;
  }
  const Value other = others.pop();
  // Bad counts 1: D > 0 means fewer bad outcomes under the candidate.
  const double sign = candidate ? 1.0 : -1.0;
  std::optional<double> before;
  if (value.before && other.before) before = sign * (*other.before - *value.before);
  metric.stream.add(sign * (other.bad - value.bad), before);
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
    if (found == unit.values.end() || !found->second) continue;
    if (found->first == "accuracy") labelled_[arm] += 1;
    const auto past = std::find_if(unit.values.begin(), unit.values.end(), [&](const auto& value) {
      return value.first == "before:" + metric.stream.metric();
    });
    pair(metric, candidate,
         {*found->second, past == unit.values.end() ? std::nullopt : past->second});
  }
}

std::vector<LiveAb::ClosedUnit> LiveAb::take_closed() { return std::exchange(journal_, {}); }

}  // namespace trimtab::shadow
