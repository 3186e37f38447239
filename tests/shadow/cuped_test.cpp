// What units did before, kept and taken off: the history itself, and the betting on adjusted pairs.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "base/random.h"
#include "shadow/shadow_gate.h"
#include "shadow/unit_history.h"

namespace trimtab::shadow {
namespace {

TEST(UnitHistory, SharesAreDrawnTowardsAll) {
  UnitHistory history;
  EXPECT_FALSE(history.past(7).complaint);
  for (std::uint64_t unit = 1; unit <= 100; ++unit) history.on_request(unit, unit == 1, false);
  for (std::uint64_t unit = 1; unit <= 20; ++unit) history.on_complaint(unit);
  history.on_complaint(1);     // of one request, one
  history.on_complaint(1000);  // not there
  history.on_label(3, 0.0);
  history.on_label(3, std::nan(""));
  const double all = 20.0 / 100.0;
  EXPECT_DOUBLE_EQ(*history.past(1).complaint, (1.0 + 5.0 * all) / 6.0);
  EXPECT_DOUBLE_EQ(*history.past(99).complaint, 5.0 * all / 6.0);
  EXPECT_DOUBLE_EQ(*history.past(1).of("error"), (1.0 + 0.05) / 6.0);
  EXPECT_DOUBLE_EQ(*history.past(3).of("accuracy"), 1.0);
  EXPECT_FALSE(history.past(4).of("accuracy"));
  EXPECT_FALSE(history.past(1).of("slow"));
}

TEST(UnitHistory, ForgetsAUnit) {
  UnitHistory history;
  history.on_request(5, true, false);
  history.on_request(6, true, false);
  (void)history.save_changed();
  history.forget(5);
  history.forget(7);
  EXPECT_FALSE(history.past(5).error);
  EXPECT_TRUE(history.past(6).error);
  EXPECT_EQ(history.save_changed().size(), 2U) << "its chunk and the totals";
}

TEST(UnitHistory, IsBoundedAndKeepsWhoWasSeenLast) {
  UnitHistory history;
  Random random(5);
  for (std::uint64_t i = 0; i < 300'000; ++i) {
    history.on_request(1 + random.below(1'000'000'000'000), false, false);
    if (i % 50 == 0) history.on_request(42, true, false);
  }
  EXPECT_GT(*history.past(42).error, 0.9);
  std::size_t bytes = 0;
  for (const auto& piece : history.save_changed()) bytes += piece.bytes.size();
  EXPECT_LE(bytes, 32U * UnitHistory::kMaxUnits + 100U);
}

TEST(UnitHistory, ComesBackAsItWasSavedPieceByPiece) {
  UnitHistory history;
  std::map<std::string, std::string> stored;
  const auto save = [&] {
    std::size_t count = 0;
    for (auto& piece : history.save_changed()) {
      stored[piece.name] = std::move(piece.bytes);
      ++count;
    }
    return count;
  };
  Random random(9);
  for (int i = 0; i < 5'000; ++i) history.on_request(1 + random.below(700), random.chance(.1), 0);
  save();
  EXPECT_EQ(save(), 0U);
  history.on_request(3, true, true);
  history.on_complaint(3);
  EXPECT_EQ(save(), 2U) << "one chunk and the totals";
  std::vector<UnitHistory::Piece> pieces;
  for (const auto& [name, bytes] : stored) pieces.push_back({name, bytes});
  UnitHistory back;
  ASSERT_TRUE(back.restore(pieces));
  for (std::uint64_t unit = 1; unit <= 700; ++unit) {
    for (const char* metric : {"complaint", "error", "refusal", "accuracy"}) {
      EXPECT_EQ(back.past(unit).of(metric), history.past(unit).of(metric));
    }
  }
  pieces[0].bytes.pop_back();
  EXPECT_FALSE(back.restore(pieces));
  EXPECT_TRUE(back.past(3).complaint) << "a failure changes nothing";
  pieces.erase(pieces.begin(), pieces.end() - 1);
  pieces[0].name = "9999";
  EXPECT_FALSE(back.restore(pieces));
}

evidence::PairedBettingParams live_params(bool cuped) {
  return {.margin = 0.02, .reach = cuped ? 2.0 : 1.0};
}

// Units whose rate of bad outcomes differs from person to person; x is their past rate.
struct People {
  explicit People(std::uint64_t seed) : random(seed) {}
  struct Unit {
    double bad, before;
  };
  Unit draw(double effect) {
    const double rate = random.chance(0.25) ? 0.8 : 0.05;
    int before = 0;
    for (int i = 0; i < 20; ++i) before += random.chance(rate) ? 1 : 0;
    return {random.chance(std::clamp(rate + effect, 0.0, 1.0)) ? 1.0 : 0.0, before / 20.0};
  }
  Random random;
};

// Pairs until superior, or `most`.
std::size_t pairs_to_superior(bool cuped, double effect, std::size_t most, std::uint64_t seed,
                              bool* harm = nullptr) {
  PairedStream stream("complaint", live_params(cuped));
  People people(seed);
  for (std::size_t i = 1; i <= most; ++i) {
    const auto control = people.draw(0.0), candidate = people.draw(effect);
    const std::optional<double> before =
        cuped ? std::optional(control.before - candidate.before) : std::nullopt;
    stream.add(control.bad - candidate.bad, before);
    const EvidenceRow row = stream.row();
    if (harm != nullptr && row.harm) *harm = true;
    if (row.superior) return i;
  }
  return most + 1;
}

TEST(CupedLive, DecidesSoonerWhereThePastTells) {
  std::vector<std::size_t> plain, adjusted;
  for (std::uint64_t seed = 0; seed < 61; ++seed) {
    plain.push_back(pairs_to_superior(false, -0.05, 6'000, 100 + seed));
    adjusted.push_back(pairs_to_superior(true, -0.05, 6'000, 100 + seed));
  }
  std::sort(plain.begin(), plain.end());
  std::sort(adjusted.begin(), adjusted.end());
  std::printf("median pairs to superior: %zu plain, %zu adjusted\n", plain[30], adjusted[30]);
  EXPECT_LT(static_cast<double>(adjusted[30]), 0.7 * static_cast<double>(plain[30]));
}

TEST(CupedLive, KeepsItsErrorRateLookingAfterEveryPair) {
  constexpr int kRuns = 400;
  int superior = 0, harm = 0;
  for (int run = 0; run < kRuns; ++run) {
    bool harmed = false;
    superior += pairs_to_superior(true, 0.0, 1'500, 9'000 + static_cast<std::uint64_t>(run),
                                  &harmed) <= 1'500
                    ? 1
                    : 0;
    harm += harmed ? 1 : 0;
  }
  std::printf("at no difference: superior %d, harm %d of %d\n", superior, harm, kRuns);
  // alpha .05: at most 20 expected; 31 has probability < 1 % at a true .05.
  EXPECT_LE(superior, 31);
  EXPECT_LE(harm, 31);
}

TEST(CupedLive, ASlopeIsUsedAndSaved) {
  PairedStream stream("complaint", live_params(true));
  People people(4);
  for (int i = 0; i < 500; ++i) {
    const auto a = people.draw(0.0), b = people.draw(0.0);
    stream.add(a.bad - b.bad, i % 5 == 0 ? std::nullopt : std::optional(a.before - b.before));
  }
  const EvidenceRow row = stream.row();
  EXPECT_EQ(row.pairs, 500U);
  EXPECT_EQ(row.adjusted, 400U);
  EXPECT_NEAR(row.slope, 0.93, 0.1);
  PairedStream back("complaint", live_params(true));
  ASSERT_TRUE(back.restore(stream.save()));
  EXPECT_EQ(back.row(), row);
  stream.add(0.0, 0.5);
  back.add(0.0, 0.5);
  EXPECT_EQ(back.row(), stream.row());
  PairedStream other("complaint", live_params(false));
  EXPECT_FALSE(other.restore(stream.save())) << "another reach is another experiment";
}

}  // namespace
}  // namespace trimtab::shadow
