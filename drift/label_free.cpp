#include "drift/label_free.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/hash.h"
#include "base/json.h"
#include "drift/mean_e.h"

namespace trimtab::drift {
namespace {

constexpr std::uint32_t kTag = make_tag("LBFR");
constexpr std::uint32_t kVersion = 1;
const char kCore[] = "label_free/core";
const char kRing[] = "label_free/ring/";

}  // namespace

IsotonicFit IsotonicFit::fit(std::vector<std::pair<double, double>> pairs) {
  CHECK(!pairs.empty(), "isotonic regression of nothing");
  std::sort(pairs.begin(), pairs.end());
  struct Block {
    double first = 0.0, sum = 0.0, weight = 0.0;
    [[nodiscard]] double height() const { return sum / weight; }
  };
  std::vector<Block> blocks;
  for (const auto& [x, y] : pairs) {
    if (!blocks.empty() && blocks.back().first == x) {
      blocks.back().sum += y;
      blocks.back().weight += 1.0;
    } else {
      blocks.push_back({x, y, 1.0});
    }
    while (blocks.size() > 1 && blocks[blocks.size() - 2].height() >= blocks.back().height()) {
      blocks[blocks.size() - 2].sum += blocks.back().sum;
      blocks[blocks.size() - 2].weight += blocks.back().weight;
      blocks.pop_back();
    }
  }
  IsotonicFit fit;
  for (const Block& block : blocks) {
    if (!fit.heights_.empty()) fit.edges_.push_back(block.first);
    fit.heights_.push_back(std::clamp(block.height(), 0.0, 1.0));
  }
  return fit;
}

IsotonicFit IsotonicFit::of(std::vector<double> edges, std::vector<double> heights) {
  IsotonicFit fit;
  fit.edges_ = std::move(edges);
  fit.heights_ = std::move(heights);
  return fit;
}

double IsotonicFit::value(double x) const {
  const auto at = std::upper_bound(edges_.begin(), edges_.end(), x);
  return heights_[static_cast<std::size_t>(at - edges_.begin())];
}

LabelFree::LabelFree(double tolerance, double alpha)
    : tolerance_(tolerance), alpha_(alpha), confidence_(alpha / 2.0), rectifier_(alpha / 2.0) {}

void LabelFree::observe(std::string_view id, double mean_logprob, std::int64_t ts_ms) {
  if (!std::isfinite(mean_logprob)) return;
  const Waiting entry{stable_hash(id), mean_logprob};
  const std::size_t slot = seen_ % kWaiting;
  if (slot == waiting_.size()) {
    waiting_.push_back(entry);
  } else {
    waiting_.set(slot, entry);
  }
  ++seen_;
  if (!fit_) return;
  if (confidence_.n() == 0) since_ts_ms_ = ts_ms;
  const double f = fit_->value(mean_logprob);
  const Status added = confidence_.update(f);
  CHECK(added.has_value(), "a calibrated confidence lies in [0, 1]");
  sum_f_ += f;
}

void LabelFree::learn(const Pair& pair) {
  pairs_.push_back(pair);
  if (static_cast<std::int64_t>(pairs_.size()) < kLeastLabels) return;
  std::vector<std::pair<double, double>> pairs;
  double right = 0.0;
  for (const Pair& one : pairs_) {
    pairs.emplace_back(one.x, one.y);
    right += one.y;
  }
  learned_ = static_cast<std::int64_t>(pairs_.size());
  reference_ = right / static_cast<double>(learned_);
  constexpr double kReferenceAlpha = 0.05;
  reference_lower_ = 1.0 - upper_mean_bound(1.0 - reference_, learned_, kReferenceAlpha);
  fit_ = IsotonicFit::fit(std::move(pairs));
  pairs_.clear();
  restart();
}

// Newest first. Labels are sparse and records many: looking through the ring at a label is cheaper
// than keeping an index of it at every record.
std::optional<double> LabelFree::find_waiting(std::uint64_t id) const {
  const std::uint64_t kept = waiting_.size();
  for (std::uint64_t back = 1; back <= kept; ++back) {
    const Waiting& entry = waiting_[static_cast<std::size_t>((seen_ - back) % kWaiting)];
    if (entry.id == id) return entry.logprob;
  }
  return std::nullopt;
}

void LabelFree::observe_label(std::string_view id, double right) {
  if (!(right >= 0.0 && right <= 1.0)) return;
  const auto waiting = find_waiting(stable_hash(id));
  if (!waiting) return;  // no confidence was logged, or too long ago
  const double logprob = *waiting;
  if (!fit_) {
    learn({logprob, right});
    return;
  }
  const double gap = right - fit_->value(logprob);
  const Status added = rectifier_.update(0.5 * (1.0 + gap));
  CHECK(added.has_value(), "a rectifier lies in [-1, 1]");
  sum_rectifier_ += gap;
}

void LabelFree::restart() {
  confidence_ = evidence::EmpiricalBernstein(alpha_ / 2.0);
  rectifier_ = evidence::EmpiricalBernstein(alpha_ / 2.0);
  sum_f_ = 0.0;
  sum_rectifier_ = 0.0;
  since_ts_ms_ = 0;
}

void LabelFree::renew() {
  fit_.reset();
  pairs_.clear();
  learned_ = 0;
  waiting_.clear();
  seen_ = 0;
  restart();
}

LabelFreeStatus LabelFree::status() const {
  LabelFreeStatus status;
  status.state = fit_ ? "running" : seen_ > 0 ? "learning" : "off";
  status.learned = fit_ ? learned_ : static_cast<std::int64_t>(pairs_.size());
  status.reference = reference_;
  status.reference_lower = reference_lower_;
  status.records = confidence_.n();
  status.labels = rectifier_.n();
  status.since_ts_ms = since_ts_ms_;
  if (!fit_ || confidence_.n() == 0) return status;
  status.unanchored = sum_f_ / static_cast<double>(confidence_.n());
  if (rectifier_.n() == 0) return status;
  const auto f = confidence_.interval();
  const auto r = rectifier_.interval();
  status.estimate = std::clamp(
      status.unanchored + sum_rectifier_ / static_cast<double>(rectifier_.n()), 0.0, 1.0);
  status.lower = std::clamp(f.lower + 2.0 * r.lower - 1.0, 0.0, 1.0);
  status.upper = std::clamp(f.upper + 2.0 * r.upper - 1.0, 0.0, 1.0);
  status.declined = *status.upper < reference_lower_ - tolerance_;
  return status;
}

bool LabelFree::declined() const { return status().declined; }

void LabelFree::save(SaveMode mode, std::vector<StatePiece>& out) const {
  ByteWriter bytes(kTag, kVersion);
  bytes.put_all(pairs_);
  bytes.put(static_cast<std::uint8_t>(fit_.has_value()));
  bytes.put_all(fit_ ? fit_->edges() : std::vector<double>{});
  bytes.put_all(fit_ ? fit_->heights() : std::vector<double>{});
  bytes.put(learned_);
  bytes.put(reference_);
  bytes.put(reference_lower_);
  bytes.put(since_ts_ms_);
  bytes.put(sum_f_);
  bytes.put(sum_rectifier_);
  bytes.put(seen_);
  bytes.put_text(dump_json(confidence_.save()));
  bytes.put_text(dump_json(rectifier_.save()));
  out.push_back({kCore, bytes.take()});
  waiting_.save(kRing, mode, out);
}

Status LabelFree::restore(const PieceMap& pieces) {
  const auto piece = pieces.find(kCore);
  if (piece == pieces.end()) return {};  // saved before it existed: it learns from now on
  ByteReader in(piece->second, kTag, kVersion, "label-free estimate");
  pairs_ = in.get_all<Pair>();
  const bool fitted = in.get<std::uint8_t>() != 0;
  auto edges = in.get_all<double>();
  auto heights = in.get_all<double>();
  if (fitted && heights.size() != edges.size() + 1) in.reject();
  in.get_into(learned_);
  in.get_into(reference_);
  in.get_into(reference_lower_);
  in.get_into(since_ts_ms_);
  in.get_into(sum_f_);
  in.get_into(sum_rectifier_);
  in.get_into(seen_);
  const std::string confidence = in.get_text();
  const std::string rectifier = in.get_text();
  TRIMTAB_CHECK_OK(in.finish());
  if (fitted) fit_ = IsotonicFit::of(std::move(edges), std::move(heights));
  TRIMTAB_TRY(const Json first, parse_json(confidence));
  TRIMTAB_TRY(confidence_, evidence::EmpiricalBernstein::restore(alpha_ / 2.0, first));
  TRIMTAB_TRY(const Json second, parse_json(rectifier));
  TRIMTAB_TRY(rectifier_, evidence::EmpiricalBernstein::restore(alpha_ / 2.0, second));
  TRIMTAB_CHECK_OK(waiting_.restore(kRing, pieces));
  if (waiting_.size() != std::min<std::uint64_t>(seen_, kWaiting)) {
    return fail(Code::kCorrupt, "label-free estimate: the ring of records does not fit");
  }
  return {};
}

}  // namespace trimtab::drift
