// The table of detectors: a new one is one row here.
#include <array>

#include "drift/adwin.h"
#include "drift/bocd.h"
#include "drift/cusum.h"
#include "drift/ddm.h"
#include "drift/detector.h"
#include "drift/ecdd.h"
#include "drift/eddm.h"
#include "drift/ewma.h"
#include "drift/fhddm.h"
#include "drift/glr_cusum.h"
#include "drift/gma.h"
#include "drift/hddm_a.h"
#include "drift/hddm_w.h"
#include "drift/kswin.h"
#include "drift/mean_e.h"
#include "drift/page_hinkley.h"
#include "drift/rank_e.h"
#include "drift/rddm.h"
#include "drift/stepd.h"

namespace trimtab::drift {
namespace {

using Need = DetectorRow::Reference;

const std::array kTable = {
    DetectorRow{"adwin", "adaptive windowing: a change of the mean, window sized by the data",
                InputKind::kNumber, Need::kNone, Adwin::parameters(), &Adwin::make},
    DetectorRow{"page_hinkley", "cumulated deviation from the running mean", InputKind::kNumber,
                Need::kNone, PageHinkley::parameters(), &PageHinkley::make},
    DetectorRow{"cusum", "cumulative sums in units of the reference's deviation",
                InputKind::kNumber, Need::kNone, Cusum::parameters(), &Cusum::make},
    DetectorRow{"glr_cusum", "generalized likelihood ratio over a window of change points",
                InputKind::kNumber, Need::kNone, GlrCusum::parameters(), &GlrCusum::make},
    DetectorRow{"ewma", "control chart of an exponentially weighted mean", InputKind::kNumber,
                Need::kNone, Ewma::parameters(), &Ewma::make},
    DetectorRow{"ecdd", "EWMA chart for errors with a promised average run length",
                InputKind::kBinary, Need::kNone, Ecdd::parameters(), &Ecdd::make},
    DetectorRow{"gma", "geometric moving average of deviations", InputKind::kNumber, Need::kNone,
                Gma::parameters(), &Gma::make},
    DetectorRow{"kswin", "newest values against a draw of older ones, Kolmogorov-Smirnov",
                InputKind::kNumber, Need::kNone, Kswin::parameters(), &Kswin::make},
    DetectorRow{"ddm", "error rate against its minimum", InputKind::kBinary, Need::kNone,
                Ddm::parameters(), &Ddm::make},
    DetectorRow{"eddm", "distance between errors against its maximum", InputKind::kBinary,
                Need::kNone, Eddm::parameters(), &Eddm::make},
    DetectorRow{"rddm", "DDM that rebuilds its statistics from recent values", InputKind::kBinary,
                Need::kNone, Rddm::parameters(), &Rddm::make},
    DetectorRow{"hddm_a", "Hoeffding bounds on means, for sudden changes", InputKind::kBinary,
                Need::kNone, HddmA::parameters(), &HddmA::make},
    DetectorRow{"hddm_w", "McDiarmid bounds on weighted means, for gradual changes",
                InputKind::kBinary, Need::kNone, HddmW::parameters(), &HddmW::make},
    DetectorRow{"fhddm", "a window's mean against the largest it has had", InputKind::kBinary,
                Need::kNone, Fhddm::parameters(), &Fhddm::make},
    DetectorRow{"stepd", "recent accuracy against the accuracy before (1 = correct)",
                InputKind::kBinary, Need::kNone, Stepd::parameters(), &Stepd::make},
    DetectorRow{"bocd", "Bayesian online changepoint detection, Gaussian mean", InputKind::kNumber,
                Need::kNone, Bocd::parameters(), &Bocd::make},
    DetectorRow{"rank_e", "rank e-detector: any change against a reference, promised false alarms",
                InputKind::kNumber, Need::kRequired, RankE::parameters(), &RankE::make},
    DetectorRow{"mean_e",
                "bounded mean worse than a baseline by a tolerance, promised false alarms",
                InputKind::kNumber, Need::kOptional, MeanE::parameters(), &MeanE::make},
};

}  // namespace

std::span<const DetectorRow> detector_table() { return kTable; }

const DetectorRow* find_detector(std::string_view name) {
  for (const DetectorRow& row : kTable) {
    if (name == row.name) return &row;
  }
  return nullptr;
}

InputKind input_kind(const DetectorRow& row, const Parameters& parameters) {
  for (const auto& value : parameters.values()) {
    if (std::string_view(value.row->name) == "kind" && value.value == "categorical") {
      return InputKind::kCategory;
    }
  }
  return row.input;
}

}  // namespace trimtab::drift
