// The evidence functions against golden cases of the reference libraries (../shared/vectors).
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/evidence/asymptotic_cs.h"
#include "base/evidence/bernoulli_ci.h"
#include "base/evidence/empirical_bernstein_cs.h"
#include "base/evidence/hedged_cs.h"
#include "base/evidence/paired_betting.h"
#include "base/files.h"
#include "base/json.h"
#include "tests/paths.h"

namespace trimtab::evidence {
namespace {

using Settings = std::map<std::string, std::string>;

Settings settings_of(const Json& test) {
  Settings found;
  for (const auto& argument : test["command"]) {
    const auto text = argument.get<std::string>();
    const auto equals = text.find('=');
    if (equals != std::string::npos) found[text.substr(0, equals)] = text.substr(equals + 1);
  }
  return found;
}

double number(const Settings& settings, const std::string& key, double fallback) {
  const auto it = settings.find(key);
  return it == settings.end() ? fallback : std::stod(it->second);
}

class Golden : public ::testing::Test {
 protected:
  // Calls `check` for every case of the file; skips when the folder is not beside the checkout.
  template <typename Check>
  void each(const std::string& name, const Check& check) {
    const auto path =
        tests::shared_dir() / "vectors/decisions" / (name + ".json");
    if (!std::filesystem::exists(path)) GTEST_SKIP() << "no golden vectors at " << path;
    const auto text = read_file(path);
    ASSERT_TRUE(text) << text.error().message;
    const auto cases = parse_json(*text);
    ASSERT_TRUE(cases);
    ASSERT_FALSE(cases->empty());
    for (const auto& test : *cases) {
      SCOPED_TRACE(test["id"].get<std::string>());
      tolerance_abs_ = test.value("abs_tol", 1e-9);
      tolerance_rel_ = test.value("rel_tol", 1e-9);
      check(test, settings_of(test), test["expect"]);
    }
  }
  void expect_number(const Json& want, double got) const {
    const double value = want.get<double>();
    EXPECT_NEAR(got, value, tolerance_abs_ + tolerance_rel_ * std::abs(value));
  }
  double tolerance_abs_ = 0, tolerance_rel_ = 0;
};

TEST_F(Golden, PairedBetting) {
  each("paired_betting", [&](const Json& test, const Settings& settings, const Json& expect) {
    PairedBettingParams params;
    params.bets = Bets::kPredmix;
    params.alpha = number(settings, "alpha", 0.05);
    params.alpha_harm = number(settings, "alpha_harm", 0.05);
    params.margin = number(settings, "margin", 0.02);
    params.c = number(settings, "c", 0.5);
    PairedBetting betting(params);
    for (const double d : test["stdin"].get<std::vector<double>>()) {
      ASSERT_TRUE(betting.update(d));
    }
    const std::map<std::string, Capital> capitals = {{"non_inferior", betting.non_inferior()},
                                                     {"superior", betting.superior()},
                                                     {"harm", betting.harm()}};
    for (const auto& [name, capital] : capitals) {
      SCOPED_TRACE(name);
      expect_number(expect["log_e"][name], capital.log_e);
      const Json& crossed = expect["crossed_at"][name];
      EXPECT_EQ(crossed.is_null(), !capital.crossed_at.has_value());
      if (!crossed.is_null() && capital.crossed_at) {
        EXPECT_EQ(crossed.get<std::uint64_t>(), *capital.crossed_at);
      }
    }
  });
}

TEST_F(Golden, HedgedCs) {
  each("hedged_cs", [&](const Json& test, const Settings& settings, const Json& expect) {
    HedgedParams params;
    params.alpha = number(settings, "alpha", 0.05);
    const auto found = hedged_cs(test["stdin"].get<std::vector<double>>(), params);
    ASSERT_TRUE(found);
    expect_number(expect["lower"], found->lower);
    expect_number(expect["upper"], found->upper);
  });
}

TEST_F(Golden, EmpiricalBernstein) {
  each("empirical_bernstein_cs",
       [&](const Json& test, const Settings& settings, const Json& expect) {
         EmpiricalBernstein sequence(number(settings, "alpha", 0.05));
         for (const double x : test["stdin"].get<std::vector<double>>()) {
           ASSERT_TRUE(sequence.update(x));
         }
         expect_number(expect["lower"], sequence.interval().lower);
         expect_number(expect["upper"], sequence.interval().upper);
       });
}

BernoulliParams bernoulli_params(const Settings& settings) {
  return {number(settings, "alpha", 0.05), number(settings, "t_opt", 100),
          number(settings, "alpha_opt", 0.05)};
}

TEST_F(Golden, BernoulliCi) {
  each("bernoulli_ci", [&](const Json&, const Settings& settings, const Json& expect) {
    const auto found = bernoulli_ci(static_cast<std::uint64_t>(number(settings, "successes", 0)),
                                    static_cast<std::uint64_t>(number(settings, "n", 0)),
                                    bernoulli_params(settings));
    ASSERT_TRUE(found) << found.error().message;
    expect_number(expect["lower"], found->lower);
    expect_number(expect["upper"], found->upper);
  });
}

TEST_F(Golden, Srm) {
  each("srm", [&](const Json& test, const Settings& settings, const Json& expect) {
    const double share = number(settings, "share", 0.5);
    const std::vector<double> shares = {share, 1.0 - share};
    std::vector<std::uint64_t> counts = {0, 0};
    Json crossed_at = nullptr;
    Result<Srm> found = Srm{};
    if (test.contains("stdin")) {
      std::uint64_t index = 0;
      for (const int first : test["stdin"].get<std::vector<int>>()) {
        counts[first == 1 ? 0 : 1] += 1;
        found = srm(counts, shares, bernoulli_params(settings));
        ASSERT_TRUE(found);
        if (found->mismatch && crossed_at.is_null()) crossed_at = index;
        index += 1;
      }
      EXPECT_EQ(expect["crossed_at"], crossed_at);
    } else {
      const std::string text = settings.at("counts");
      counts = {std::stoull(text), std::stoull(text.substr(text.find(',') + 1))};
      found = srm(counts, shares, bernoulli_params(settings));
      ASSERT_TRUE(found) << found.error().message;
      EXPECT_EQ(expect["mismatch"].get<bool>(), found->mismatch);
    }
    EXPECT_EQ(expect["n"].get<std::uint64_t>(), found->n);
    expect_number(expect["lower"], found->lower);
    expect_number(expect["upper"], found->upper);
  });
}

AsymptoticResult run_asymptotic(const Json& test, const Settings& settings) {
  AsymptoticParams params;
  params.alpha = number(settings, "alpha", 0.05);
  params.n_opt = number(settings, "n_opt", 5000);
  const auto side = settings.count("side") ? settings.at("side") : "two";
  params.side = side == "two" ? Side::kTwo : side == "lower" ? Side::kLower : Side::kUpper;
  if (test.contains("stdin")) {
    return asymptotic_cs(test["stdin"].get<std::vector<double>>(), params).value();
  }
  Moments a{number(settings, "n_a", 0), number(settings, "sum_a", 0), {}};
  Moments b{number(settings, "n_b", 0), number(settings, "sum_b", 0), {}};
  if (settings.at("metric") == "mean") {
    a.sum_squares = number(settings, "sum_sq_a", 0);
    b.sum_squares = number(settings, "sum_sq_b", 0);
  }
  const Effect effect = settings.at("effect") == "relative" ? Effect::kRelative : Effect::kAbsolute;
  return asymptotic_cs(a, b, effect, params).value();
}

TEST_F(Golden, AsymptoticCs) {
  each("asymptotic_cs", [&](const Json& test, const Settings& settings, const Json& expect) {
    const AsymptoticResult found = run_asymptotic(test, settings);
    const auto optional = [&](const char* key, const std::optional<double>& got) {
      if (!expect.contains(key)) return;
      ASSERT_EQ(expect[key].is_null(), !got.has_value()) << key;
      if (got) expect_number(expect[key], *got);
    };
    expect_number(expect["estimate"], found.estimate);
    optional("lower", found.lower);
    optional("upper", found.upper);
    if (expect.contains("se")) expect_number(expect["se"], found.se);
    if (expect.contains("log_e")) expect_number(expect["log_e"], found.log_e);
    if (expect.contains("p_value")) {
      EXPECT_NEAR(expect["p_value"].get<double>(), found.p_value, 1e-7);
    }
  });
}

}  // namespace
}  // namespace trimtab::evidence
