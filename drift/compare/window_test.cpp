#include "drift/compare/window_test.h"

#include <algorithm>
#include <cmath>

#include "drift/compare/distance_tests.h"
#include "drift/compare/divergences.h"
#include "drift/compare/domain_classifier.h"
#include "drift/compare/ecdf_tests.h"
#include "drift/compare/epps_singleton.h"
#include "drift/compare/kernel_tests.h"
#include "drift/compare/mean_tests.h"
#include "drift/compare/pca_reconstruction.h"
#include "drift/compare/rank_tests.h"
#include "drift/compare/table_tests.h"

namespace trimtab::drift {

std::span<const WindowTest> window_test_table() {
  static const std::vector<WindowTest> kTable = [] {
    std::vector<WindowTest> all;
    for (const auto family :
         {divergences(), ecdf_tests(), rank_tests(), epps_singleton_tests(), mean_tests(),
          table_tests(), distance_tests(), kernel_tests(), pca_tests(), classifier_tests()}) {
      all.insert(all.end(), family.begin(), family.end());
    }
    return all;
  }();
  return kTable;
}

const WindowTest* find_window_test(std::string_view name) {
  for (const WindowTest& test : window_test_table()) {
    if (name == test.name) return &test;
  }
  return nullptr;
}

namespace {

bool in_table(const WindowTest& test, std::string_view name) {
  return std::any_of(test.parameters.begin(), test.parameters.end(),
                     [&](const Parameter& row) { return name == row.name; });
}

Status check_samples(const WindowTest& test, const Samples& samples) {
  if (samples.reference.size() == 0) return fail(Code::kInvalid, "the reference is empty");
  if (samples.current.size() == 0) return fail(Code::kInvalid, "the current sample is empty");
  if (test.kind == SampleKind::kNumbers && !samples.numeric()) {
    return fail(Code::kInvalid, std::string(test.name) + " compares numbers, not text");
  }
  if (test.kind != SampleKind::kVectors) return {};
  const std::size_t width = samples.reference.vectors.front().size();
  for (const Sample* side : {&samples.reference, &samples.current}) {
    for (const auto& row : side->vectors) {
      if (row.size() == width) continue;
      return fail(Code::kInvalid, "vectors of length " + std::to_string(row.size()) +
                                      " and of length " + std::to_string(width));
    }
  }
  return {};
}

}  // namespace

Result<TestResult> compare_windows(const WindowTest& test, const Samples& samples,
                                   const Parameters& parameters) {
  TRIMTAB_CHECK_OK(check_samples(test, samples));
  TRIMTAB_TRY(TestResult result, test.run(samples, parameters));
  if (result.p_value && std::isnan(*result.p_value)) {
    return fail(Code::kInvalid, std::string(test.name) + " is undefined for these samples");
  }
  if (result.p_value) {
    result.drift = *result.p_value <= parameters.number("alpha");
  } else if (!std::isfinite(result.statistic)) {
    return fail(Code::kInvalid, std::string(test.name) + " is undefined for these samples");
  } else if (in_table(test, "threshold") && parameters.has("threshold")) {
    const bool either_side = std::string_view(test.name) == "cohens_d";
    const double value = either_side ? std::abs(result.statistic) : result.statistic;
    result.drift = value >= parameters.number("threshold");
  }
  return result;
}

Alternative alternative_of(const Parameters& parameters) {
  const std::string& text = parameters.text("alternative");
  if (text == "less") return Alternative::kLess;
  return text == "greater" ? Alternative::kGreater : Alternative::kTwoSided;
}

Method method_of(const Parameters& parameters) {
  const std::string& text = parameters.text("method");
  if (text == "exact") return Method::kExact;
  return text == "asymptotic" ? Method::kAsymptotic : Method::kAuto;
}

}  // namespace trimtab::drift
