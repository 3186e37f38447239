// Numbers to shares of cells, for the divergences. Cells are [e_i, e_i+1), the last one closed, as
// numpy.histogram's. Rules (`binning=`):
//   auto      the reference has <= 20 distinct values: each distinct value is a cell; else sturges
//             (Evidently's rule)
//   sturges   numpy's on both samples pooled: ceil(log2(n) + 1) equal cells from min to max
//   width     `bins` equal cells over the pooled range
//   quantile  inner edges at the reference's i/bins quantiles (linear interpolation), duplicates
//             removed, outer cells open
//   doane     numpy's Doane rule on the reference; what lies outside its range shares one more cell
//             (NannyML)
// Text is always counted by category; a rule other than auto is an error there.
#pragma once

#include "base/result.h"
#include "drift/compare/counts.h"

namespace trimtab::drift {

// Shares of both sides, each summing to 1.
[[nodiscard]] Result<Counts> shares_of_cells(const Samples& samples, const Parameters& parameters);

// Linear-interpolated quantile of sorted values (numpy's default), q in [0, 1].
[[nodiscard]] double sorted_quantile(const std::vector<double>& sorted, double q);
// The same of both samples pooled, from their ties. REQUIRES: not empty.
[[nodiscard]] double pooled_quantile(const std::vector<Tie>& ties, double q);

}  // namespace trimtab::drift
