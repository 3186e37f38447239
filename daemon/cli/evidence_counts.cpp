// `trimtab evidence`: statistics of counts and summaries.
#include <fmt/format.h>

#include <cmath>
#include <numeric>

#include "base/evidence/bernoulli_ci.h"
#include "base/evidence/best_arm.h"
#include "base/evidence/mixtures.h"
#include "base/evidence/srm_chi2.h"
#include "base/json.h"
#include "daemon/cli/evidence_rows.h"
#include "daemon/cli/value_reader.h"

namespace trimtab::cli {
namespace {

using drift::Parameter;
using drift::Parameters;
using Type = Parameter::Type;

Status require(const Parameters& given, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (!given.has(name)) return fail(Code::kInvalid, fmt::format("--set {}=.. is needed", name));
  }
  return {};
}

evidence::BernoulliParams bernoulli_params(const Parameters& given) {
  return {.alpha = given.number("alpha"),
          .t_opt = given.number("t_opt"),
          .alpha_opt = given.number("alpha_opt")};
}

constexpr Parameter kTopt = number_row("t_opt", "100", kSmallest, kLargest,
                                       "observations of the tightest bound", "confseq");
constexpr Parameter kAlphaOpt =
    number_row("alpha_opt", "0.05", kSmallest, kBelowOne, "level of the tightest bound", "confseq");

constexpr Parameter kBernoulli[] = {
    {"successes", Type::kInteger, "", 0, 1e15, "successes", "COMMANDS.md"},
    {"n", Type::kInteger, "", 1, 1e15, "trials", "COMMANDS.md"},
    alpha_row("Howard et al. 2021"),
    kTopt,
    kAlphaOpt,
};

Result<OrderedJson> bernoulli(const Parameters& given, const OfflineArguments&) {
  TRIMTAB_CHECK_OK(require(given, {"successes", "n"}));
  const auto n = static_cast<std::uint64_t>(given.integer("n"));
  TRIMTAB_TRY(const auto found,
              evidence::bernoulli_ci(static_cast<std::uint64_t>(given.integer("successes")), n,
                                     bernoulli_params(given)));
  return OrderedJson{{"n", n}, {"lower", found.lower}, {"upper", found.upper}};
}

constexpr Parameter kSrm[] = {
    {"counts", Type::kText, "", 0, 0, "units an arm, instead of a 0/1 stream", "COMMANDS.md"},
    {"share", Type::kText, "0.5", 0, 0, "share of the first arm, or of every arm", "COMMANDS.md"},
    alpha_row("Howard et al. 2021"),
    kTopt,
    kAlphaOpt,
};

Result<OrderedJson> srm_answer(const std::vector<std::uint64_t>& counts,
                               const std::vector<double>& shares,
                               const evidence::BernoulliParams& params) {
  TRIMTAB_TRY(const auto found, evidence::srm(counts, shares, params));
  if (found.n == 0) return fail(Code::kInvalid, "srm: nothing was counted");
  OrderedJson json = {
      {"n", found.n}, {"lower", found.lower}, {"upper", found.upper}, {"mismatch", found.mismatch}};
  if (counts.size() > 2) {
    json["arms"] = OrderedJson::array();
    for (const auto& arm : found.bounds) {
      json["arms"].push_back({{"lower", arm.lower}, {"upper", arm.upper}});
    }
  }
  return json;
}

// A stream of 1 (the first arm) and 0: also says when the share was first ruled out.
Result<OrderedJson> srm_stream(double share, const evidence::BernoulliParams& params,
                               const OfflineArguments& arguments) {
  const double spread = share * (1.0 - share);
  const evidence::Tuning tuning{
      .v_opt = params.t_opt * spread, .alpha_opt = params.alpha_opt, .two_sided = true};
  TRIMTAB_TRY(const auto mixture, evidence::Mixture::beta_binomial(tuning, share, 1.0 - share));
  const double threshold = -std::log(params.alpha);
  std::uint64_t n = 0, first = 0;
  OrderedJson crossed_at = nullptr;
  TRIMTAB_CHECK_OK(
      each_item(stream_path(arguments), arguments.column, [&](const Item& item) -> Status {
        TRIMTAB_TRY(const double x, drift::parse_number(item.text));
        if (x != 0.0 && x != 1.0) return fail(Code::kInvalid, "expected 0 or 1");
        first += x == 1.0 ? 1 : 0;
        ++n;
        const double trials = static_cast<double>(n);
        const double log_e =
            mixture.log_e(static_cast<double>(first) - share * trials, spread * trials);
        if (crossed_at.is_null() && log_e >= threshold) crossed_at = n - 1;
        return {};
      }));
  TRIMTAB_TRY(OrderedJson json, srm_answer({first, n - first}, {share, 1.0 - share}, params));
  json["crossed_at"] = crossed_at;
  return json;
}

Result<OrderedJson> srm(const Parameters& given, const OfflineArguments& arguments) {
  TRIMTAB_TRY(auto shares, number_list(given, "share"));
  if (shares.size() == 1) {
    if (!(shares[0] > 0.0 && shares[0] < 1.0)) {
      return fail(Code::kInvalid, "--set share: must be in (0, 1)");
    }
    shares.push_back(1.0 - shares[0]);
  }
  const auto params = bernoulli_params(given);
  if (!given.has("counts")) {
    if (shares.size() != 2) return fail(Code::kInvalid, "a 0/1 stream has two arms");
    const double share = shares[0] / (shares[0] + shares[1]);
    return srm_stream(share, params, arguments);
  }
  if (!arguments.files.empty()) return fail(Code::kInvalid, "srm: counts= or a stream, not both");
  TRIMTAB_TRY(const auto counts, count_list(given, "counts"));
  return srm_answer(counts, shares, params);
}

constexpr Parameter kSrmChi2[] = {
    {"counts", Type::kText, "", 0, 0, "units an arm", "GrowthBook"},
    {"weights", Type::kText, "", 0, 0, "shares they should have", "GrowthBook"},
};

Result<OrderedJson> srm_chi2(const Parameters& given, const OfflineArguments&) {
  TRIMTAB_CHECK_OK(require(given, {"counts", "weights"}));
  TRIMTAB_TRY(const auto counts, count_list(given, "counts"));
  TRIMTAB_TRY(const auto weights, number_list(given, "weights"));
  TRIMTAB_TRY(const auto found, evidence::srm_chi2(counts, weights));
  const auto n = std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
  return OrderedJson{{"n", n}, {"p_value", found.p_value}, {"chi2", found.chi2}};
}

constexpr Parameter kBestArm[] = {
    {"n", Type::kText, "", 0, 0, "observations an arm", "TensorZero"},
    {"mean", Type::kText, "", 0, 0, "mean of each arm", "TensorZero"},
    {"variance", Type::kText, "", 0, 0, "variance of each arm", "TensorZero"},
    number_row("delta", "0.05", kSmallest, kBelowOne, "error probability", "TensorZero"),
    number_row("epsilon", "0", 0, kLargest, "loss tolerated", "TensorZero"),
};

Result<OrderedJson> best_arm(const Parameters& given, const OfflineArguments&) {
  TRIMTAB_CHECK_OK(require(given, {"n", "mean", "variance"}));
  TRIMTAB_TRY(const auto counts, count_list(given, "n"));
  TRIMTAB_TRY(const auto means, number_list(given, "mean"));
  TRIMTAB_TRY(const auto variances, number_list(given, "variance"));
  if (counts.size() != means.size() || counts.size() != variances.size()) {
    return fail(Code::kInvalid, "n, mean and variance must be equally long");
  }
  std::vector<evidence::ArmSummary> arms;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    arms.push_back({.n = counts[i], .mean = means[i], .variance = variances[i]});
  }
  TRIMTAB_TRY(const auto found,
              evidence::glr_best_arm(arms, given.number("delta"), given.number("epsilon")));
  return OrderedJson{{"n", std::accumulate(counts.begin(), counts.end(), std::uint64_t{0})},
                     {"value", number_json(found.value)},
                     {"threshold", found.threshold},
                     {"stop", found.stop},
                     {"arm", found.arm ? OrderedJson(*found.arm) : OrderedJson(nullptr)}};
}

constexpr EvidenceRow kRows[] = {
    {"bernoulli_ci", "confidence sequence of a probability from counts", kBernoulli, &bernoulli, 0},
    {"srm", "sample-ratio mismatch, valid at any look", kSrm, &srm, 1},
    {"srm_chi2", "sample-ratio mismatch, one look", kSrmChi2, &srm_chi2, 0},
    {"glr_best_arm", "may one stop, and which arm is best?", kBestArm, &best_arm, 0},
};

}  // namespace

std::span<const EvidenceRow> count_evidence() { return kRows; }

}  // namespace trimtab::cli
