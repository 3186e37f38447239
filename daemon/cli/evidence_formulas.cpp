// `trimtab evidence`: boundaries from parameters, two samples, assignment hashes.
#include <cmath>
#include <filesystem>
#include <system_error>

#include "base/evidence/assignment_hash.h"
#include "base/evidence/mann_whitney_judge.h"
#include "base/evidence/mixtures.h"
#include "base/evidence/quantile_ab.h"
#include "base/hash.h"
#include "base/json.h"
#include "daemon/cli/evidence_rows.h"
#include "daemon/cli/value_reader.h"

namespace trimtab::cli {
namespace {

using drift::Parameter;
using drift::Parameters;
using Type = Parameter::Type;

constexpr Parameter kV =
    number_row("v", "", kSmallest, kLargest, "intrinsic time", "Howard et al. 2021");
constexpr Parameter kVopt = number_row("v_opt", "100", kSmallest, kLargest,
                                       "intrinsic time of the tightest bound", "confseq");
constexpr Parameter kAlphaOpt =
    number_row("alpha_opt", "0.05", kSmallest, kBelowOne, "level of the tightest bound", "confseq");
constexpr Parameter kS =
    number_row("s", "", -kLargest, kLargest, "a sum to tell the evidence of", "confseq");
constexpr Parameter kSides = {"sides", Type::kInteger, "1", 1, 2, "1 or 2 sides", "confseq"};

evidence::Tuning tuning(const Parameters& given, bool two_sided) {
  return {.v_opt = given.number("v_opt"),
          .alpha_opt = given.number("alpha_opt"),
          .two_sided = two_sided};
}

Result<OrderedJson> bound_answer(const evidence::Mixture& mixture, const Parameters& given) {
  if (!given.has("v")) return fail(Code::kInvalid, "--set v=.. is needed");
  const double v = given.number("v");
  TRIMTAB_TRY(const double bound, mixture.bound(v, given.number("alpha")));
  OrderedJson json = {{"n", nullptr}, {"bound", bound}, {"rho", mixture.rho()}};
  if (given.has("s")) {
    const double log_e = mixture.log_e(given.number("s"), v);
    if (std::isnan(log_e))
      return fail(Code::kInvalid, "--set s: no such sum is possible at this v");
    json["log_e"] = number_json(log_e);
  }
  return json;
}

constexpr Parameter kNormal[] = {kV, alpha_row("confseq"), kVopt, kAlphaOpt, kSides, kS};

Result<OrderedJson> normal(const Parameters& given, const OfflineArguments&) {
  TRIMTAB_TRY(const auto mixture,
              evidence::Mixture::normal(tuning(given, given.integer("sides") == 2)));
  return bound_answer(mixture, given);
}

constexpr Parameter kGamma[] = {
    kV,
    alpha_row("confseq"),
    kVopt,
    kAlphaOpt,
    number_row("c", "", kSmallest, kLargest, "sub-exponential scale", "confseq"),
    kS};

Result<OrderedJson> gamma_exponential(const Parameters& given, const OfflineArguments&) {
  if (!given.has("c")) return fail(Code::kInvalid, "--set c=.. is needed");
  TRIMTAB_TRY(const auto mixture,
              evidence::Mixture::gamma_exponential(tuning(given, false), given.number("c")));
  return bound_answer(mixture, given);
}

constexpr Parameter kBetaBinomial[] = {
    kV,
    alpha_row("confseq"),
    kVopt,
    kAlphaOpt,
    number_row("g", "", kSmallest, kLargest, "how far an increment can fall", "confseq"),
    number_row("h", "", kSmallest, kLargest, "how far an increment can rise", "confseq"),
    kSides,
    kS};

Result<OrderedJson> beta_binomial(const Parameters& given, const OfflineArguments&) {
  if (!given.has("g") || !given.has("h")) {
    return fail(Code::kInvalid, "--set g=.. --set h=.. are needed");
  }
  TRIMTAB_TRY(const auto mixture,
              evidence::Mixture::beta_binomial(tuning(given, given.integer("sides") == 2),
                                               given.number("g"), given.number("h")));
  return bound_answer(mixture, given);
}

constexpr Parameter kQuantile[] = {
    number_row("quantile", "0.5", kSmallest, kBelowOne, "which quantile", "confseq"),
    number_row("t_opt", "100", kSmallest, kLargest, "observations of the tightest bound",
               "confseq"),
    kAlphaOpt,
};

Result<OrderedJson> quantile_ab(const Parameters& given, const OfflineArguments& arguments) {
  TRIMTAB_TRY(const auto a, read_numbers(arguments.files[0], arguments.column));
  TRIMTAB_TRY(const auto b, read_numbers(arguments.files[1], arguments.column));
  TRIMTAB_TRY(const double p_value,
              evidence::quantile_ab_p_value(a, b,
                                            {.quantile = given.number("quantile"),
                                             .t_opt = given.number("t_opt"),
                                             .alpha_opt = given.number("alpha_opt")}));
  return OrderedJson{{"n", {a.size(), b.size()}}, {"p_value", number_json(p_value)}};
}

constexpr Parameter kJudge[] = {
    number_row("tolerance", "0.25", 0, kLargest, "share of the estimate tolerated", "Kayenta"),
    number_row("confidence", "0.98", kSmallest, kBelowOne, "of the interval", "Kayenta"),
    number_row("effect_low", "1", 0, kLargest, "Low only at or below this ratio", "Kayenta"),
    number_row("effect_high", "1", 0, kLargest, "High only at or above this ratio", "Kayenta"),
};

// An empty sample is an answer here (Nodata), not an error.
Result<std::vector<double>> read_sample(const std::string& path, const std::string& column) {
  std::error_code failed;  // a missing file is read_numbers' error
  const auto size = std::filesystem::file_size(path, failed);
  if (!failed && size == 0) return std::vector<double>{};
  return read_numbers(path, column);
}

Result<OrderedJson> judge(const Parameters& given, const OfflineArguments& arguments) {
  TRIMTAB_TRY(const auto experiment, read_sample(arguments.files[0], arguments.column));
  TRIMTAB_TRY(const auto control, read_sample(arguments.files[1], arguments.column));
  TRIMTAB_TRY(const auto found,
              evidence::mann_whitney_judge(experiment, control,
                                           {.tolerance = given.number("tolerance"),
                                            .confidence = given.number("confidence"),
                                            .effect_low = given.number("effect_low"),
                                            .effect_high = given.number("effect_high")}));
  const bool none = found.classification == "Nodata";
  const auto number = [&](double x) { return none ? OrderedJson(nullptr) : number_json(x); };
  return OrderedJson{{"n", {experiment.size(), control.size()}},
                     {"lower", number(found.lower)},
                     {"upper", number(found.upper)},
                     {"estimate", number(found.estimate)},
                     {"classification", found.classification}};
}

constexpr Parameter kHash[] = {
    {"algorithm", Type::kText, "trimtab", 0, 0,
     "whose assignment; one of: growthbook_v1|growthbook_v2|trimtab", "RECORDS.md"},
    {"seed", Type::kText, "", 0, 0, "the experiment's seed", "RECORDS.md"},
    {"unit", Type::kText, "", 0, 0, "the unit assigned", "RECORDS.md"},
};

Result<OrderedJson> assignment_hash(const Parameters& given, const OfflineArguments&) {
  const std::string &algorithm = given.text("algorithm"), &seed = given.text("seed"),
                    &unit = given.text("unit");
  if (!given.has("unit")) return fail(Code::kInvalid, "assignment_hash: --set unit=.. is needed");
  double value = 0.0;
  if (algorithm == "growthbook_v1") {
    TRIMTAB_TRY(value, evidence::growthbook_v1(seed, unit));
  } else if (algorithm == "growthbook_v2") {
    TRIMTAB_TRY(value, evidence::growthbook_v2(seed, unit));
  } else {
    value = assignment_fraction(seed, unit);
  }
  return OrderedJson{{"n", nullptr}, {"value", value}};
}

constexpr EvidenceRow kRows[] = {
    {"normal_mixture_bound", "uniform boundary of sub-Gaussian sums", kNormal, &normal, 0},
    {"gamma_exponential_bound", "uniform boundary of sub-exponential sums", kGamma,
     &gamma_exponential, 0},
    {"beta_binomial_bound", "uniform boundary of bounded sums", kBetaBinomial, &beta_binomial, 0},
    {"quantile_ab", "do two samples have the same quantile? files A B", kQuantile, &quantile_ab, 2},
    {"mann_whitney_judge", "Kayenta's canary judge: files EXPERIMENT CONTROL; advisory", kJudge,
     &judge, 2},
    {"assignment_hash", "the number in [0, 1) that assigns a unit to an arm", kHash,
     &assignment_hash, 0},
};

}  // namespace

std::span<const EvidenceRow> formula_evidence() { return kRows; }

}  // namespace trimtab::cli
