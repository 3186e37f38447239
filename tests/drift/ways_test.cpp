// What is written once for every vector width gives the same at every width.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "base/random.h"
#include "drift/rank_step.h"
#include "drift/text_stats.h"

namespace trimtab::drift {
namespace {

TEST(Ways, TheFixedBetsStepToTheSameBits) {
  const auto ways = step_bets_ways();
  ASSERT_FALSE(ways.empty());
  Random random(3);
  std::vector<BetRow> rows(32);
  for (BetRow& row : rows) {
    for (std::size_t k = 0; k < kFixedBets; ++k) {
      const double e = std::exp(0.5 * random.normal());
      row.e[k] = static_cast<float>(e);
      row.log_e[k] = static_cast<std::int16_t>(std::lround(256.0 * std::log(e)));
    }
  }
  std::array<float, kFixedBets> weights;
  for (float& weight : weights) weight = static_cast<float>(random.uniform() / 16.0);
  std::vector<RankState> states(ways.size());
  for (int event = 0; event < 20'000; ++event) {
    const BetRow& row = rows[random.below(rows.size())];
    const auto dt = static_cast<float>(random.below(1'000));
    const auto step = static_cast<std::int16_t>(1 + random.below(event % 1'000 == 0 ? 32'767 : 3));
    const float first = ways[0](row, weights.data(), states[0], dt, step);
    for (std::size_t way = 1; way < ways.size(); ++way) {
      const float same = ways[way](row, weights.data(), states[way], dt, step);
      ASSERT_EQ(std::memcmp(&first, &same, sizeof first), 0) << way << " at " << event;
    }
    for (std::size_t k = 0; k < kFixedBets; ++k) {
      ASSERT_GE(states[0].age[k], 1);
      ASSERT_LE(states[0].lead[k], kLeadCap + row.log_e[k]);
    }
  }
  for (std::size_t way = 1; way < ways.size(); ++way) {
    EXPECT_EQ(std::memcmp(&states[0], &states[way], sizeof(RankState)), 0) << way;
  }
}

TEST(Ways, TheOnsetIsWhereTheProductIsLargest) {
  Random random(8);
  BetRow up, down;
  up.e.fill(1.3F);
  up.log_e.fill(67);
  down.e.fill(0.8F);
  down.log_e.fill(-57);
  std::array<float, kFixedBets> weights{};
  RankState state;
  double log_s = 0.0;
  int age = 0;
  for (int event = 0; event < 5'000; ++event) {
    const bool rises = random.chance(0.45);
    age = log_s > 0.0 ? age + 1 : 1;
    log_s = std::max(log_s, 0.0) + (rises ? 67.0 : -57.0);
    step_bets_ways()[0](rises ? up : down, weights.data(), state, 1.0F, 1);
    ASSERT_EQ(state.age[5], age);
    ASSERT_EQ(state.lead[5], static_cast<std::int16_t>(std::min(log_s, 30'000.0)));
  }
}

TextStats plainly(std::string_view text) {
  TextStats stats;
  bool within = false;
  for (const char raw : text) {
    const auto c = static_cast<unsigned char>(raw);
    const bool digit = c >= '0' && c <= '9', capital = c >= 'A' && c <= 'Z';
    const bool word = digit || capital || (c >= 'a' && c <= 'z') || c >= 0x80;
    const bool follows = c >= 0x80 && c < 0xC0;
    stats.chars += follows ? 0 : 1;
    stats.words += word && !within ? 1 : 0;
    stats.word_chars += word && !follows ? 1 : 0;
    stats.digits += digit ? 1 : 0;
    stats.upper += capital ? 1 : 0;
    stats.punctuation += c > ' ' && c < 0x7F && !word ? 1 : 0;
    stats.non_ascii += c >= 0x80 && !follows ? 1 : 0;
    within = word;
  }
  return stats;
}

TEST(Ways, TextsAreCountedAlike) {
  Random random(21);
  for (int round = 0; round < 3'000; ++round) {
    std::string text;
    const std::size_t size = random.below(round % 100 == 0 ? 9'000 : 300);
    for (std::size_t i = 0; i < size; ++i) {
      text += random.chance(0.2)   ? ' '
              : random.chance(0.6) ? static_cast<char>('a' + random.below(26))
                                   : static_cast<char>(random.below(256));
    }
    const TextStats expected = plainly(text);
    for (const TextStatsWay way : text_stats_ways()) {
      const TextStats got = way(text);
      for (const auto member :
           {&TextStats::chars, &TextStats::words, &TextStats::word_chars, &TextStats::digits,
            &TextStats::upper, &TextStats::punctuation, &TextStats::non_ascii}) {
        ASSERT_EQ(got.*member, expected.*member) << round;
      }
    }
  }
}

}  // namespace
}  // namespace trimtab::drift
