#include <cmath>

#include "base/json.h"
#include "shadow/shadow_gate.h"

namespace trimtab::shadow {

PairedStream::PairedStream(std::string metric, const evidence::PairedBettingParams& params)
    : metric_(std::move(metric)), betting_(params), mean_(params.alpha) {}

void PairedStream::add(std::optional<double> d) {
  if (!d || !betting_.update(*d)) {
    missing_ += 1;
    return;
  }
  // betting_ has checked the range; x = (D + 1)/2 lies in [0, 1].
  if (!mean_.update((*d + 1.0) / 2.0)) missing_ += 1;
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
  row.mean_lower = 2.0 * interval.lower - 1.0;
  row.mean_upper = 2.0 * interval.upper - 1.0;
  return row;
}

Json PairedStream::save() const {
  return {{"metric", metric_},
          {"betting", betting_.save()},
          {"mean", mean_.save()},
          {"missing", missing_}};
}

Status PairedStream::restore(const Json& saved) {
  TRIMTAB_TRY(const auto metric, json_get<std::string>(saved, "metric"));
  if (metric != metric_) {
    return fail(Code::kCorrupt, "evidence of '" + metric + "' where '" + metric_ + "' belongs");
  }
  TRIMTAB_TRY(missing_, json_get<std::uint64_t>(saved, "missing"));
  if (!saved.contains("betting") || !saved.contains("mean")) {
    return fail(Code::kCorrupt, "evidence of '" + metric_ + "' is incomplete");
  }
  const auto params = betting_.params();
  TRIMTAB_TRY(betting_, evidence::PairedBetting::restore(params, saved["betting"]));
  TRIMTAB_TRY(mean_, evidence::EmpiricalBernstein::restore(params.alpha, saved["mean"]));
  return {};
}

}  // namespace trimtab::shadow
