#include "base/evidence/srm_chi2.h"

#include <boost/math/special_functions/gamma.hpp>
#include <cmath>

namespace trimtab::evidence {

Result<SrmChi2> srm_chi2(std::span<const std::uint64_t> counts, std::span<const double> weights) {
  if (counts.size() != weights.size() || counts.size() < 2) {
    return fail(Code::kInvalid, "srm_chi2: as many weights as counts, at least two");
  }
  double total = 0.0, whole = 0.0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    if (!(weights[i] > 0.0) || !std::isfinite(weights[i])) {
      return fail(Code::kInvalid, "srm_chi2: weights must be positive numbers");
    }
    total += static_cast<double>(counts[i]);
    whole += weights[i];
  }
  if (total == 0.0) return fail(Code::kInvalid, "srm_chi2: nothing was counted");
  SrmChi2 found;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const double expected = total * weights[i] / whole;
    const double off = static_cast<double>(counts[i]) - expected;
    found.chi2 += off * off / expected;
  }
  const double df = static_cast<double>(counts.size() - 1);
  found.p_value = boost::math::gamma_q(0.5 * df, 0.5 * found.chi2);
  return found;
}

}  // namespace trimtab::evidence
