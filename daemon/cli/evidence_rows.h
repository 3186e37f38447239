// One statistic of `trimtab evidence`: its name, parameters and the function that answers. The
// rows are in three files by what they read: a stream, counts and summaries, two samples or none.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <span>

#include "base/result.h"
#include "daemon/cli/offline.h"
#include "drift/parameters.h"

namespace trimtab::cli {

// Answers "n" and the statistic's own members; the caller adds name and parameters.
using EvidenceFunction = Result<nlohmann::ordered_json> (*)(const drift::Parameters& parameters,
                                                            const OfflineArguments& arguments);
struct EvidenceRow {
  const char* name;
  const char* doc;
  std::span<const drift::Parameter> parameters;
  EvidenceFunction run;
  std::size_t files;  // files it reads; 1 may be absent: standard input
};

[[nodiscard]] std::span<const EvidenceRow> stream_evidence();   // evidence_streams.cpp
[[nodiscard]] std::span<const EvidenceRow> count_evidence();    // evidence_counts.cpp
[[nodiscard]] std::span<const EvidenceRow> formula_evidence();  // evidence_formulas.cpp

// --- rows that several tables share
inline constexpr double kSmallest = 1e-300;         // "greater than 0" in a parameter's range
inline constexpr double kBelowOne = 1.0 - 0x1p-53;  // "less than 1"
inline constexpr double kLargest = 1e300;
constexpr drift::Parameter number_row(const char* name, const char* fallback, double low,
                                      double high, const char* doc, const char* source) {
  return {name, drift::Parameter::Type::kNumber, fallback, low, high, doc, source};
}
constexpr drift::Parameter alpha_row(const char* source) {
  return number_row("alpha", "0.05", kSmallest, kBelowOne, "error probability", source);
}
// The path a stream comes from: the file given, else standard input.
[[nodiscard]] std::string stream_path(const OfflineArguments& arguments);
// "1,2,3" -> numbers. kInvalid naming the parameter.
[[nodiscard]] Result<std::vector<double>> number_list(const drift::Parameters& parameters,
                                                      const char* name);
// The same, each a whole number >= 0.
[[nodiscard]] Result<std::vector<std::uint64_t>> count_list(const drift::Parameters& parameters,
                                                            const char* name);

}  // namespace trimtab::cli
