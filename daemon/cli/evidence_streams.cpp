// `trimtab evidence`: statistics that read one stream.
#include <algorithm>
#include <cmath>
#include <optional>

#include "base/evidence/asymptotic_cs.h"
#include "base/evidence/cuped.h"
#include "base/evidence/empirical_bernstein_cs.h"
#include "base/evidence/hedged_cs.h"
#include "base/evidence/msprt.h"
#include "base/evidence/paired_betting.h"
#include "base/evidence/two_proportions.h"
#include "base/json.h"
#include "daemon/cli/evidence_rows.h"
#include "daemon/cli/value_reader.h"

namespace trimtab::cli {
namespace {

using drift::Parameter;
using drift::Parameters;
using Type = Parameter::Type;

OrderedJson index_json(const std::optional<std::uint64_t>& index) {
  return index ? OrderedJson(*index) : OrderedJson(nullptr);
}

OrderedJson bound_json(const std::optional<double>& bound) {
  return bound ? number_json(*bound) : OrderedJson(nullptr);
}

// Two comma-separated numbers.
Result<std::pair<double, double>> parse_pair(std::string_view text) {
  const auto comma = text.find(',');
  if (comma == std::string_view::npos || text.find(',', comma + 1) != std::string_view::npos) {
    return fail(Code::kInvalid, "expected two numbers, x,y");
  }
  TRIMTAB_TRY(const double x, drift::parse_number(text.substr(0, comma)));
  TRIMTAB_TRY(const double y, drift::parse_number(text.substr(comma + 1)));
  return std::pair{x, y};
}

constexpr Parameter kPairedBetting[] = {
    alpha_row("STATISTICS.md"),
    number_row("alpha_harm", "0.05", kSmallest, kBelowOne, "error probability of harm",
               "STATISTICS.md"),
    number_row("margin", "0.02", 0, kBelowOne, "loss tolerated", "STATISTICS.md"),
    {"bets", Type::kText, "grid", 0, 0, "how to bet; one of: grid|predmix", "PARAMETERS.md"},
    number_row("c", "0.5", kSmallest, kBelowOne, "predmix: truncation", "confseq"),
};

Result<OrderedJson> paired_betting(const Parameters& given, const OfflineArguments& arguments) {
  TRIMTAB_TRY(const auto bets, evidence::parse_bets(given.text("bets")));
  const evidence::PairedBettingParams params{.alpha = given.number("alpha"),
                                             .alpha_harm = given.number("alpha_harm"),
                                             .margin = given.number("margin"),
                                             .bets = bets,
                                             .c = given.number("c")};
  TRIMTAB_CHECK_OK(evidence::validate(params));
  evidence::PairedBetting game(params);
  TRIMTAB_CHECK_OK(
      each_item(stream_path(arguments), arguments.column, [&](const Item& item) -> Status {
        TRIMTAB_TRY(const double d, drift::parse_number(item.text));
        return game.update(d);
      }));
  OrderedJson json = {{"n", game.n()}};
  json["log_e"] = {{"non_inferior", number_json(game.non_inferior().log_e)},
                   {"harm", number_json(game.harm().log_e)},
                   {"superior", number_json(game.superior().log_e)}};
  json["crossed_at"] = {{"non_inferior", index_json(game.non_inferior().crossed_at)},
                        {"harm", index_json(game.harm().crossed_at)},
                        {"superior", index_json(game.superior().crossed_at)}};
  json["decision"] = game.decision();
  return json;
}

constexpr Parameter kHedged[] = {
    alpha_row("Waudby-Smith and Ramdas 2023"),
    number_row("theta", "0.5", kSmallest, kBelowOne, "weight of the upper game", "confseq"),
    number_row("c", "0.5", kSmallest, kBelowOne, "truncation of the bets", "confseq"),
};

Result<OrderedJson> hedged(const Parameters& given, const OfflineArguments& arguments) {
  std::vector<double> values;
  TRIMTAB_CHECK_OK(
      each_item(stream_path(arguments), arguments.column, [&](const Item& item) -> Status {
        TRIMTAB_TRY(const double x, drift::parse_number(item.text));
        if (x < 0.0 || x > 1.0) return fail(Code::kInvalid, "a value must be in [0, 1]");
        values.push_back(x);
        return {};
      }));
  TRIMTAB_TRY(const auto found, evidence::hedged_cs(values, {.alpha = given.number("alpha"),
                                                             .theta = given.number("theta"),
                                                             .c = given.number("c")}));
  return OrderedJson{{"n", values.size()}, {"lower", found.lower}, {"upper", found.upper}};
}

constexpr Parameter kBernstein[] = {alpha_row("Howard et al. 2021")};

Result<OrderedJson> bernstein(const Parameters& given, const OfflineArguments& arguments) {
  evidence::EmpiricalBernstein sequence(given.number("alpha"));
  TRIMTAB_CHECK_OK(
      each_item(stream_path(arguments), arguments.column, [&](const Item& item) -> Status {
        TRIMTAB_TRY(const double x, drift::parse_number(item.text));
        return sequence.update(x);
      }));
  const auto found = sequence.interval();
  return OrderedJson{{"n", sequence.n()}, {"lower", found.lower}, {"upper", found.upper}};
}

constexpr Parameter kAsymptotic[] = {
    alpha_row("Waudby-Smith et al. 2021"),
    number_row("n_opt", "5000", kSmallest, kLargest, "sample size of the tightest bound",
               "GrowthBook"),
    {"effect", Type::kText, "mean", 0, 0,
     "mean: of one stream; b - a; (b - a)/a; one of: mean|absolute|relative", "PARAMETERS.md"},
    {"side", Type::kText, "two", 0, 0, "which bounds; one of: two|lower|upper", "PARAMETERS.md"},
    {"metric", Type::kText, "mean", 0, 0, "proportion: variance m (1 - m); one of: mean|proportion",
     "GrowthBook"},
    number_row("n_a", "", 1, 1e15, "observations of a, instead of a stream", "COMMANDS.md"),
    number_row("sum_a", "", -kLargest, kLargest, "sum of a", "COMMANDS.md"),
    number_row("sum_sq_a", "", 0, kLargest, "sum of squares of a", "COMMANDS.md"),
    number_row("n_b", "", 1, 1e15, "observations of b", "COMMANDS.md"),
    number_row("sum_b", "", -kLargest, kLargest, "sum of b", "COMMANDS.md"),
    number_row("sum_sq_b", "", 0, kLargest, "sum of squares of b", "COMMANDS.md"),
};

Result<evidence::Moments> moments(const Parameters& given, const std::string& arm) {
  if (!given.has("n_" + arm) || !given.has("sum_" + arm)) {
    return fail(Code::kInvalid, "two samples need n_a, sum_a, n_b and sum_b");
  }
  if (given.number("n_" + arm) != std::floor(given.number("n_" + arm))) {
    return fail(Code::kInvalid, "--set n_" + arm + ": must be a whole number");
  }
  evidence::Moments found{
      .n = given.number("n_" + arm), .sum = given.number("sum_" + arm), .sum_squares = {}};
  if (given.text("metric") == "proportion") {
    if (!given.has("sum_sq_" + arm)) return found;
    return fail(Code::kInvalid, "metric=proportion has no sum_sq_" + arm);
  }
  if (!given.has("sum_sq_" + arm)) {
    return fail(Code::kInvalid, "metric=mean needs sum_sq_a and sum_sq_b");
  }
  found.sum_squares = given.number("sum_sq_" + arm);
  return found;
}

// A stream of zeros and ones: its variance is m (1 - m), as that of two samples.
Result<evidence::AsymptoticResult> of_proportion(const std::vector<double>& values,
                                                 const evidence::AsymptoticParams& params) {
  evidence::Moments all{.n = static_cast<double>(values.size()), .sum = 0.0, .sum_squares = {}};
  for (const double value : values) {
    if (value != 0.0 && value != 1.0)
      return fail(Code::kInvalid, "metric=proportion reads zeros and ones");
    all.sum += value;
  }
  return evidence::asymptotic_cs(all, {}, evidence::Effect::kMean, params);
}

evidence::Side side_of(const Parameters& given) {
  const std::string& side = given.text("side");
  return side == "two"     ? evidence::Side::kTwo
         : side == "lower" ? evidence::Side::kLower
                           : evidence::Side::kUpper;
}

Result<OrderedJson> asymptotic(const Parameters& given, const OfflineArguments& arguments) {
  const evidence::AsymptoticParams params{
      .alpha = given.number("alpha"), .n_opt = given.number("n_opt"), .side = side_of(given)};
  const std::string& effect = given.text("effect");
  OrderedJson json;
  evidence::AsymptoticResult found;
  if (effect == "mean") {
    for (const char* name : {"n_a", "n_b", "sum_a", "sum_b", "sum_sq_a", "sum_sq_b"}) {
      if (!given.has(name)) continue;
      return fail(Code::kInvalid, "two samples need effect=absolute or effect=relative");
    }
    TRIMTAB_TRY(const auto values, read_numbers(stream_path(arguments), arguments.column));
    if (given.text("metric") == "proportion") {
      TRIMTAB_TRY(found, of_proportion(values, params));
    } else {
      TRIMTAB_TRY(found, evidence::asymptotic_cs(values, params));
    }
    json["n"] = values.size();
  } else {
    if (!arguments.files.empty()) {
      return fail(Code::kInvalid, "effect=" + effect + " reads n_a, sum_a, .. and no file");
    }
    TRIMTAB_TRY(const auto a, moments(given, "a"));
    TRIMTAB_TRY(const auto b, moments(given, "b"));
    using evidence::Effect;
    TRIMTAB_TRY(found,
                evidence::asymptotic_cs(
                    a, b, effect == "absolute" ? Effect::kAbsolute : Effect::kRelative, params));
    json["n"] = {a.n, b.n};
  }
  json["estimate"] = number_json(found.estimate);
  json["se"] = number_json(found.se);
  json["lower"] = bound_json(found.lower);
  json["upper"] = bound_json(found.upper);
  json["log_e"] = number_json(found.log_e);
  json["p_value"] = number_json(found.p_value);
  return json;
}

constexpr Parameter kCuped[] = {
    alpha_row("Waudby-Smith et al. 2021"),
    number_row("n_opt", "5000", kSmallest, kLargest, "units of the tightest bound", "GrowthBook"),
    {"side", Type::kText, "two", 0, 0, "bounds given; one of: two|lower|upper", "GrowthBook"},
    {"effect", Type::kText, "absolute", 0, 0, "b - a, or (b - a)/a; one of: absolute|relative",
     "GrowthBook"},
    {"slope", Type::kText, "joint", 0, 0,
     "slope of both arms together, or within the arms (least squares); one of: joint|within",
     "GrowthBook"},
};

// A unit a line, "value,value before", a file an arm.
Result<OrderedJson> cuped(const Parameters& given, const OfflineArguments& arguments) {
  evidence::CupedArm arms[2];
  for (std::size_t i = 0; i < 2; ++i) {
    TRIMTAB_CHECK_OK(
        each_item(arguments.files[i], arguments.column, [&](const Item& item) -> Status {
          TRIMTAB_TRY(const auto pair, parse_pair(item.text));
          return arms[i].add(pair.first, pair.second);
        }));
  }
  const evidence::AsymptoticParams params{
      .alpha = given.number("alpha"), .n_opt = given.number("n_opt"), .side = side_of(given)};
  const auto effect = given.text("effect") == "absolute" ? evidence::Effect::kAbsolute
                                                         : evidence::Effect::kRelative;
  const auto slope =
      given.text("slope") == "joint" ? evidence::Slope::kJoint : evidence::Slope::kWithin;
  TRIMTAB_TRY(const auto found, evidence::cuped(arms[0], arms[1], effect, slope, params));
  return OrderedJson{{"n", {arms[0].n(), arms[1].n()}},
                     {"theta", number_json(found.theta)},
                     {"estimate", number_json(found.adjusted.estimate)},
                     {"se", number_json(found.adjusted.se)},
                     {"lower", bound_json(found.adjusted.lower)},
                     {"upper", bound_json(found.adjusted.upper)},
                     {"log_e", number_json(found.adjusted.log_e)},
                     {"p_value", number_json(found.adjusted.p_value)},
                     {"plain_estimate", number_json(found.plain_estimate)},
                     {"plain_se", number_json(found.plain_se)},
                     {"variance_reduction", number_json(found.variance_reduction)}};
}

constexpr Parameter kMsprt[] = {
    alpha_row("Johari et al. 2017"),
    number_row("sigma", "1", kSmallest, kLargest, "standard deviation of a value", "Johari et al."),
    number_row("tau", "", kSmallest, kLargest, "deviation of the mixed effects", "COMMANDS.md"),
    number_row("tune", "", kSmallest, kLargest, "pairs to tune tau for, instead of tau",
               "COMMANDS.md"),
};

Result<OrderedJson> msprt(const Parameters& given, const OfflineArguments& arguments) {
  if (given.has("tau") == given.has("tune")) {
    return fail(Code::kInvalid, "msprt needs either --set tau=.. or --set tune=N");
  }
  const double sigma = given.number("sigma"), alpha = given.number("alpha");
  double tau = 0.0;
  if (given.has("tau")) {
    tau = given.number("tau");
  } else {
    TRIMTAB_TRY(tau, evidence::msprt_tuned_tau(sigma, alpha, given.number("tune")));
  }
  TRIMTAB_TRY(auto test, evidence::Msprt::make(sigma, tau, alpha));
  TRIMTAB_CHECK_OK(
      each_item(stream_path(arguments), arguments.column, [&](const Item& item) -> Status {
        TRIMTAB_TRY(const auto pair, parse_pair(item.text));
        return test.update(pair.first, pair.second);
      }));
  return OrderedJson{{"n", test.n()},
                     {"tau", tau},
                     {"log_e", number_json(test.log_e())},
                     {"p_value", test.p_value()},
                     {"crossed_at", index_json(test.crossed_at())}};
}

constexpr Parameter kTwoProportions[] = {
    alpha_row("Turner, Ly, Gruenwald 2021"),
    {"block_a", Type::kInteger, "1", 1, 1e9, "units of a in a block", "safestats"},
    {"block_b", Type::kInteger, "1", 1, 1e9, "units of b in a block", "safestats"},
    number_row("prior", "0.18", kSmallest, kLargest, "pseudo-counts", "safestats"),
};

Result<OrderedJson> two_proportions(const Parameters& given, const OfflineArguments& arguments) {
  TRIMTAB_TRY(auto test, evidence::TwoProportions::make({.block_a = given.integer("block_a"),
                                                         .block_b = given.integer("block_b"),
                                                         .prior = given.number("prior"),
                                                         .alpha = given.number("alpha")}));
  TRIMTAB_CHECK_OK(
      each_item(stream_path(arguments), arguments.column, [&](const Item& item) -> Status {
        TRIMTAB_TRY(const auto pair, parse_pair(item.text));
        const auto a = static_cast<std::int64_t>(std::min(pair.first, 1e15));
        const auto b = static_cast<std::int64_t>(std::min(pair.second, 1e15));
        if (pair.first < 0.0 || pair.second < 0.0 || static_cast<double>(a) != pair.first ||
            static_cast<double>(b) != pair.second) {
          return fail(Code::kInvalid, "expected two counts, successes_a,successes_b");
        }
        return test.update(a, b);
      }));
  return OrderedJson{{"n", test.n()},
                     {"log_e", number_json(test.log_e())},
                     {"crossed_at", index_json(test.crossed_at())}};
}

constexpr EvidenceRow kRows[] = {
    {"paired_betting", "paired differences in [-1, 1]: better, not worse, or harm?", kPairedBetting,
     &paired_betting, 1},
    {"hedged_cs", "confidence sequence of a mean of values in [0, 1], by betting", kHedged, &hedged,
     1},
    {"empirical_bernstein_cs", "the same from the empirical Bernstein bound", kBernstein,
     &bernstein, 1},
    {"asymptotic_cs", "confidence sequence of a mean or of a difference, large samples",
     kAsymptotic, &asymptotic, 1},
    {"cuped", "difference of two arms' means, adjusted for what units did before: files A B",
     kCuped, &cuped, 2},
    {"msprt", "do the means of normal pairs x,y differ?", kMsprt, &msprt, 1},
    {"two_proportions", "do two probabilities differ? blocks of successes_a,successes_b",
     kTwoProportions, &two_proportions, 1},
};

}  // namespace

std::span<const EvidenceRow> stream_evidence() { return kRows; }

}  // namespace trimtab::cli
