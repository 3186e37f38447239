// Window against reference: every test that compares two samples behind one interface, by name.
//
// A test is a pure function of two samples and its parameters; window_test_table() lists all of
// them, compare_windows() runs one and decides `drift`: p_value <= alpha where there is a p-value,
// else statistic >= threshold (|statistic| for cohens_d), never without either.
// What is undefined (too few values, zero spread where a spread is needed) is an error, never "no
// drift". Variants are pinned to SciPy, Evidently, NannyML and astropy; each family's header says
// which. Values are finite: the reader's duty. Not thread-bound: no state anywhere.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "drift/compare/ties.h"
#include "drift/parameters.h"

namespace trimtab::drift {

struct Counts;  // drift/compare/counts.h

enum class SampleKind : std::uint8_t {
  kNumbers,  // `numbers`; with the parameter weights=true also `weights`
  kValues,   // `numbers` when both sides are numbers, else `categories`
  kVectors,  // `vectors`, all of one length
};

struct Sample {
  std::vector<double> numbers;
  std::vector<double> weights;
  std::vector<std::string> categories;
  std::vector<std::vector<double>> vectors;
  std::size_t counted = 0;  // categories that are only in Samples::counts

  [[nodiscard]] std::size_t size() const {
    return numbers.size() + categories.size() + vectors.size() + counted;
  }
};

struct Samples {
  Sample reference;
  Sample current;
  // Optional, for who runs many tests on one pair. `ties` (put_in_order): the numbers of both sides
  // are ascending and these are their distinct values. `counts`: categories that were counted while
  // they were read: `categories` is empty then, `counted` says how many.
  std::shared_ptr<const std::vector<Tie>> ties;
  std::shared_ptr<const Counts> counts;

  // True when both sides are numbers; the categorical tests then count the distinct values.
  [[nodiscard]] bool numeric() const {
    return !reference.numbers.empty() && !current.numbers.empty();
  }
};

struct TestResult {
  double statistic = 0.0;  // infinite or NaN: it does not exist (an odds ratio)
  std::optional<double> p_value;
  std::optional<double> df;
  std::optional<double> reference;         // the statistic of the reference itself
  std::optional<std::int64_t> components;  // principal components kept
  bool drift = false;
};

struct WindowTest {
  const char* name;
  const char* doc;
  SampleKind kind;
  std::span<const Parameter> parameters;
  Result<TestResult> (*run)(const Samples& samples, const Parameters& parameters);
};

[[nodiscard]] std::span<const WindowTest> window_test_table();
// Null: no such test.
[[nodiscard]] const WindowTest* find_window_test(std::string_view name);
// kInvalid: an empty side, vectors of different length, or undefined for these samples.
[[nodiscard]] Result<TestResult> compare_windows(const WindowTest& test, const Samples& samples,
                                                 const Parameters& parameters);

// --- for the families: parameter rows that many tests share
enum class Alternative : std::uint8_t { kTwoSided, kLess, kGreater };
enum class Method : std::uint8_t { kAuto, kExact, kAsymptotic };
[[nodiscard]] Alternative alternative_of(const Parameters& parameters);
[[nodiscard]] Method method_of(const Parameters& parameters);

inline constexpr Parameter kAlpha = {"alpha", Parameter::Type::kNumber,      "0.05",       0,
                                     1,       "drift when p_value <= alpha", "COMMANDS.md"};
inline constexpr Parameter kAlternative = {
    "alternative",
    Parameter::Type::kText,
    "two-sided",
    0,
    0,
    "side of the reference against current; one of: two-sided|less|greater",
    "SciPy"};
inline constexpr Parameter kMethod = {"method",
                                      Parameter::Type::kText,
                                      "auto",
                                      0,
                                      0,
                                      "distribution of the statistic; one of: "
                                      "auto|exact|asymptotic",
                                      "SciPy"};
inline constexpr Parameter threshold_row(const char* fallback) {
  return {"threshold",  Parameter::Type::kNumber,
          fallback,     -1e300,
          1e300,        "drift when the statistic is at least this",
          "COMMANDS.md"};
}

}  // namespace trimtab::drift
