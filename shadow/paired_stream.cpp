#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/json.h"
#include "shadow/shadow_gate.h"

namespace trimtab::shadow {

PairedStream::PairedStream(std::string metric, const evidence::PairedBettingParams& params)
    : metric_(std::move(metric)), betting_(params), mean_(params.alpha) {}

// Drawn towards 0 while there are few pairs: a slope of noise only adds noise.
double PairedStream::slope() const {
  constexpr double kPseudoPairs = 20.0;
  if (sum_squares_ <= 0.0) return 0.0;
  const double n = static_cast<double>(adjusted_);
  return std::clamp(sum_products_ / sum_squares_ * n / (n + kPseudoPairs), 0.0, 1.0);
}

void PairedStream::add(std::optional<double> d, std::optional<double> before) {
  if (!d || !(*d >= -1.0 && *d <= 1.0)) {
    missing_ += 1;
    return;
  }
  const bool adjusts = before && betting_.params().reach >= 2.0 && std::abs(*before) <= 1.0;
  const double x = adjusts ? *before : 0.0;
  const double bet_on = *d - slope() * x;
  const double reach = betting_.params().reach;
  // |bet_on| <= 1 + slope <= reach, so neither can fail.
  CHECK(betting_.update(bet_on) && mean_.update((bet_on / reach + 1.0) / 2.0),
        "an adjusted difference within reach");
  if (!adjusts) return;
  adjusted_ += 1;
  sum_products_ += *d * x;
  sum_squares_ += x * x;
}

EvidenceRow PairedStream::row() const {
  EvidenceRow row;
  row.metric = metric_;
  row.pairs = betting_.n();
  row.mean_d = betting_.mean_d();
  row.log_e_non_inferior = betting_.non_inferior().log_e;
  row.log_e_superior = betting_.superior().log_e;
  row.log_e_harm = betting_.harm().log_e;
  row.log_threshold = -std::log(betting_.params().alpha);
  row.log_threshold_harm = -std::log(betting_.params().alpha_harm);
  row.non_inferior = betting_.non_inferior().crossed_at.has_value();
  row.superior = betting_.superior().crossed_at.has_value();
  row.harm = betting_.harm().crossed_at.has_value();
  const evidence::Interval interval = mean_.interval();
  const double reach = betting_.params().reach;
  row.mean_lower = reach * (2.0 * interval.lower - 1.0);
  row.mean_upper = reach * (2.0 * interval.upper - 1.0);
  row.adjusted = adjusted_;
  row.slope = slope();
  return row;
}

Json PairedStream::save() const {
  return {{"metric", metric_},
          {"betting", betting_.save()},
          {"mean", mean_.save()},
          {"missing", missing_},
          {"adjusted", adjusted_},
          {"sum_products", sum_products_},
          {"sum_squares", sum_squares_}};
}

Status PairedStream::restore(const Json& saved) {
  TRIMTAB_TRY(const auto metric, json_get<std::string>(saved, "metric"));
  if (metric != metric_) {
    return fail(Code::kCorrupt, "evidence of '" + metric + "' where '" + metric_ + "' belongs");
  }
  TRIMTAB_TRY(missing_, json_get<std::uint64_t>(saved, "missing"));
  TRIMTAB_TRY(adjusted_, json_get<std::uint64_t>(saved, "adjusted"));
  TRIMTAB_TRY(sum_products_, json_get<double>(saved, "sum_products"));
  TRIMTAB_TRY(sum_squares_, json_get<double>(saved, "sum_squares"));
  if (!saved.contains("betting") || !saved.contains("mean")) {
    return fail(Code::kCorrupt, "evidence of '" + metric_ + "' is incomplete");
  }
  const auto params = betting_.params();
  TRIMTAB_TRY(betting_, evidence::PairedBetting::restore(params, saved["betting"]));
  TRIMTAB_TRY(mean_, evidence::EmpiricalBernstein::restore(params.alpha, saved["mean"]));
  return {};
}

}  // namespace trimtab::shadow
