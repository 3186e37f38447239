// The table of detectors: a new one is one row here.
#include <array>

#include "drift/adwin.h"
#include "drift/detector.h"
#include "drift/mean_e.h"
#include "drift/page_hinkley.h"
#include "drift/rank_e.h"

namespace trimtab::drift {
namespace {

using Need = DetectorRow::Reference;

const std::array kTable = {
    DetectorRow{"adwin", "adaptive windowing: a change of the mean, window sized by the data",
                InputKind::kNumber, Need::kNone, Adwin::parameters(), &Adwin::make},
    DetectorRow{"page_hinkley", "cumulated deviation from the running mean", InputKind::kNumber,
                Need::kNone, PageHinkley::parameters(), &PageHinkley::make},
    DetectorRow{"rank_e", "rank e-detector: any change against a reference, promised false alarms",
                InputKind::kNumber, Need::kRequired, RankE::parameters(), &RankE::make},
    DetectorRow{"mean_e", "bounded mean worse than a baseline by a tolerance, promised false alarms",
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
