// Routing documents: strictness, equal arms, and the property that matters most: widening a ramp
// never moves anybody who is already in an arm.
#include "shadow/routing.h"

#include <gtest/gtest.h>

#include <map>
#include <string>

#include "base/hash.h"
#include "base/json.h"

namespace trimtab::shadow {
namespace {

AdapterRef adapter(const std::string& name) {
  return {name, "sha-" + name, "/adapters/" + name, "base-digest", "tokenizer-digest"};
}

Routing document(std::vector<Arm> arms, std::uint64_t generation = 1) {
  Routing routing;
  routing.target = "support-bot";
  routing.generation = generation;
  routing.expected_previous = generation - 1;
  routing.experiment = "trial-1";
  routing.seed = "trial-1";
  routing.arms = std::move(arms);
  routing.reason = "test";
  routing.actor = "trimtab";
  routing.expires_at_ms = 1'700'000'000'123;
  return routing;
}

std::string unit(int i) { return "user-" + std::to_string(i); }

TEST(Routing, WideningNeverMovesAnybodyAndArmsStayEqual) {
  const double ladder[] = {0.01, 0.05, 0.10, 0.25, 0.37, 0.50};
  std::map<std::string, std::string> arm_of;
  for (const double share : ladder) {
    const Routing routing = document(ramp_arms(adapter("old"), adapter("new"), share, 0));
    ASSERT_TRUE(validate(routing));
    std::map<std::string, int> sizes;
    for (int i = 0; i < 20'000; ++i) {
      const std::string& role = routing.assign(unit(i)).role;
      sizes[role] += 1;
      auto [it, first] = arm_of.emplace(unit(i), role);
      if (!first && it->second != "champion") {
        ASSERT_EQ(it->second, role) << unit(i) << " at " << share;
      }
      it->second = role;
    }
    EXPECT_NEAR(20'000 * share, sizes["candidate"], 4 * std::sqrt(20'000 * share));
    EXPECT_NEAR(20'000 * share, sizes["control"], 4 * std::sqrt(20'000 * share));
    EXPECT_NEAR(routing.arm("candidate")->share(), routing.arm("control")->share(), 1e-12);
  }
}

TEST(Routing, BakingKeepsTheCandidateAndHoldsBackFromTheControlOnly) {
  const Routing ab = document(ramp_arms(adapter("old"), adapter("new"), 0.5, 0));
  const Routing bake = document(baking_arms(adapter("new"), adapter("old"), 0.05));
  ASSERT_TRUE(validate(bake));
  int held_back = 0;
  for (int i = 0; i < 10'000; ++i) {
    const Arm& before = ab.assign(unit(i));
    const Arm& after = bake.assign(unit(i));
    if (before.role == "candidate") {
      EXPECT_EQ("new", after.adapter.name);
    }
    if (after.role == "holdback") {
      held_back += 1;
      EXPECT_EQ("control", before.role);
      EXPECT_EQ("old", after.adapter.name);
    }
  }
  EXPECT_NEAR(500, held_back, 100);
}

TEST(Routing, AssignmentIsTheContractsHash) {
  const Routing routing = document(ramp_arms(adapter("old"), adapter("new"), 0.1, 0));
  for (int i = 0; i < 100; ++i) {
    const double u = assignment_fraction("trial-1", unit(i));
    EXPECT_EQ(u, routing.fraction(unit(i)));
    const std::string expected = u < 0.1               ? "candidate"
                                 : u >= 0.5 && u < 0.6 ? "control"
                                                       : "champion";
    EXPECT_EQ(expected, routing.assign(unit(i)).role);
  }
}

TEST(Routing, ExpiredMeansChampionOnly) {
  const Routing routing = document(ramp_arms(adapter("old"), adapter("new"), 0.5, 0));
  for (int i = 0; i < 200; ++i) {
    EXPECT_EQ("champion", routing.assign(unit(i), routing.expires_at_ms).role);
    EXPECT_NE("champion", routing.assign(unit(i), routing.expires_at_ms - 1).role);
  }
}

TEST(Routing, RoundTripsThroughItsText) {
  for (const auto& arms :
       {champion_only_arms({}), champion_only_arms(adapter("a")),
        ramp_arms({}, adapter("a"), 0.3, 1000), baking_arms(adapter("a"), {}, 0.05)}) {
    const Routing routing = document(arms, 7);
    const auto again = parse_routing(std::string_view(dump_json(to_json(routing))));
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(routing, *again);
  }
  EXPECT_TRUE(to_json(document(champion_only_arms({})))["arms"][0]["adapter"].is_null());
}

TEST(Routing, RefusesWhatItDoesNotKnowOrWhatIsUnsafe) {
  const Json good = to_json(document(ramp_arms({}, adapter("a"), 0.25, 0), 3));
  ASSERT_TRUE(parse_routing(good));
  const auto broken = [&](const char* pointer, const Json& value) {
    Json bad = good;
    bad[Json::json_pointer(pointer)] = value;
    return parse_routing(bad);
  };
  EXPECT_FALSE(broken("/schema", 2));
  EXPECT_FALSE(broken("/extra", 1));
  EXPECT_FALSE(broken("/generation", -1));
  EXPECT_FALSE(broken("/generation", 0));
  EXPECT_FALSE(broken("/expected_previous", 3));
  EXPECT_FALSE(broken("/hash/algorithm", "md5"));
  EXPECT_FALSE(broken("/hash/unit_key", "colour"));
  EXPECT_FALSE(broken("/arms/0/role", "guest"));
  EXPECT_FALSE(broken("/arms/1/role", "candidate"));      // twice
  EXPECT_FALSE(broken("/arms/0/ranges", Json::array()));  // a gap
  EXPECT_FALSE(broken("/arms/0/ranges/0/1", 0.3));        // an overlap
  EXPECT_FALSE(broken("/arms/0/ranges/0", Json::array({0, 1, 2})));
  EXPECT_FALSE(broken("/arms/0/mirror_ppm", 1'000'001));
  EXPECT_FALSE(broken("/arms/0/adapter", 5));
  EXPECT_FALSE(broken("/expires_at", "tomorrow"));
  EXPECT_FALSE(parse_routing(std::string_view("{")));
  Json no_champion = good;
  no_champion["arms"].erase(2);
  EXPECT_FALSE(parse_routing(no_champion));
  // Unequal compared arms.
  Routing unequal = document(ramp_arms({}, adapter("a"), 0.25, 0));
  unequal.arms[1].ranges = {{0.5, 0.6}};
  unequal.arms[2].ranges = {{0.25, 0.5}, {0.6, 1.0}};
  EXPECT_FALSE(validate(unequal));
}

TEST(RoutingHistory, KeepsTheLastDocumentsAndOnlyGrows) {
  RoutingHistory history(3);
  EXPECT_EQ(nullptr, history.latest());
  for (std::uint64_t generation = 1; generation <= 5; ++generation) {
    ASSERT_TRUE(history.add(document(champion_only_arms({}), generation)));
  }
  EXPECT_EQ(nullptr, history.find(2));  // forgotten
  EXPECT_EQ(3u, history.find(3)->generation);
  EXPECT_EQ(5u, history.latest()->generation);
  EXPECT_FALSE(history.add(document(champion_only_arms({}), 5)));
  const auto again = RoutingHistory::restore(history.save(), 3);
  ASSERT_TRUE(again);
  EXPECT_EQ(dump_json(history.save()), dump_json(again->save()));
  EXPECT_FALSE(RoutingHistory::restore(Json::object()));
}

}  // namespace
}  // namespace trimtab::shadow
