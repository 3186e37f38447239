// Plans: overrides are strict (REST answers 422), the hash is the experiment's identity.
#include "shadow/plan.h"

#include <gtest/gtest.h>

#include "base/json.h"

namespace trimtab::shadow {
namespace {

TEST(Plan, DefaultsAreValidAndRoundTrip) {
  EXPECT_TRUE(validate_plan({}));
  const auto again = parse_plan(Plan{}, *parse_json(dump_json(to_json(Plan{}))));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(config_hash({}), config_hash(*again));
}

TEST(Plan, EveryFieldChangesTheHash) {
  const Json defaults = to_json(Plan{});
  for (const auto& [key, value] : defaults.items()) {
    Json other = defaults;
    if (value.is_boolean())
      other[key] = !value.get<bool>();
    else if (value.is_number_float())
      other[key] = value.get<double>() * 0.999;
    else if (value.is_number_integer())
      other[key] = value.get<std::int64_t>() + 1;
    else if (key == "ship")
      other[key] = "non_inferior";
    else if (key == "score")
      other[key] = "judge";
    else if (key == "live_metric")
      other[key] = "accuracy";
    else if (key == "guardrails")
      other[key] = {"error"};
    else if (key == "ladder")
      other[key] = {0.2};
    else if (key == "max_dwell")
      other[key]["ab_ms"] = value["ab_ms"].get<std::int64_t>() + 1;
    else
      FAIL() << "how does one change " << key;
    const auto plan = parse_plan(Plan{}, other);
    ASSERT_TRUE(plan) << key << ": " << plan.error().message;
    EXPECT_NE(config_hash({}), config_hash(*plan)) << key;
  }
}

TEST(Plan, RefusesBadOverridesNamingThem) {
  for (const char* text : {R"({"colour":1})",
                           R"({"alpha":0})",
                           R"({"alpha":"x"})",
                           R"({"alpha_harm":1})",
                           R"({"margin":-0.1})",
                           R"({"margin_live":0.9})",
                           R"({"ship":"anyhow"})",
                           R"({"ladder":[]})",
                           R"({"ladder":[0.5,0.1]})",
                           R"({"ladder":[0.6]})",
                           R"({"ladder":["a"]})",
                           R"({"guardrails":["latency"]})",
                           R"({"guardrails":["error","error"]})",
                           R"({"holdback":0.5})",
                           R"({"canary_min_units":0})",
                           R"({"max_dwell":{"ab_ms":0}})",
                           R"({"max_dwell":{"x":1}})",
                           R"({"max_dwell":3})",
                           R"({"seed":-1})",
                           R"({"ab_min_dwell_ms":99999999999})",
                           R"({"shadow_max_pairs":99999999999})",
                           R"([])"}) {
    const auto plan = parse_plan(Plan{}, *parse_json(text));
    ASSERT_FALSE(plan) << text;
    EXPECT_EQ(Code::kInvalid, plan.error().code) << text;
  }
}

TEST(Plan, LadderStepsBeforeTheAb) {
  Plan plan;
  EXPECT_EQ(4, canary_steps(plan));
  EXPECT_EQ(0.25, ladder_share(plan, 3));
  plan.ladder = {0.5};
  EXPECT_EQ(1, canary_steps(plan));
  EXPECT_EQ(0.5, ladder_share(plan, 0));
}

}  // namespace
}  // namespace trimtab::shadow
