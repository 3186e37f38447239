// What is written once for every vector width gives the same at every width.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/random.h"
#include "drift/rank_e.h"
#include "drift/text_stats.h"

namespace trimtab::drift {
namespace {

RankBets some_bets(bool ordered, double min_effect, Random& random) {
  RankOptions options;
  options.min_effect = min_effect;
  options.half_life_events = 400.0;
  if (!ordered) {
    std::vector<CategoryCount> counts;
    for (std::uint64_t c = 1; c < 9; ++c) {
      counts.push_back({c << 59, std::to_string(c), static_cast<std::int64_t>(1'000 / c)});
    }
    return RankBets(Reference::from_categories(std::move(counts), 5), options);
  }
  std::vector<double> values(2'000);
  for (double& x : values) x = random.normal();
  return RankBets(Reference::from_numbers(std::move(values)), options);
}

TEST(Ways, TheBetsStepToTheSameBits) {
  const auto ways = RankBets::ways();
  ASSERT_FALSE(ways.empty());
  Random random(3);
  const RankBets bets[] = {some_bets(true, 0.0, random), some_bets(true, 0.1, random),
                           some_bets(false, 0.0, random)};
  std::vector<std::array<RankState, 3>> states(ways.size());
  std::array<RankState, 3> singly;
  for (int round = 0; round < 1'000; ++round) {
    const std::size_t count = 1 + random.below(round % 3 == 0 ? 5 : kMostOfRun);
    std::array<float, kMostOfRun> dts;
    std::array<std::uint16_t, kMostOfRun> steps;
    for (float& dt : dts) dt = static_cast<float>(random.below(1'000));
    for (std::uint16_t& step : steps) {
      step = static_cast<std::uint16_t>(1 + random.below(random.chance(0.001) ? kMostAge : 3));
    }
    for (std::size_t i = 0; i < 3; ++i) {
      std::array<std::uint8_t, kMostOfRun> bins;
      for (std::uint8_t& bin : bins) {
        bin = static_cast<std::uint8_t>(random.below(bets[i].reference().bins()));
      }
      std::array<double, kMostOfRun> expected, evidence;
      for (std::size_t e = 0; e < count; ++e) {
        expected[e] = bets[i].update(singly[i], bins[e], dts[e], steps[e]);
      }
      for (std::size_t way = 0; way < ways.size(); ++way) {
        const float most = ways[way](bets[i], states[way][i],
                                     {bins.data(), dts.data(), steps.data(), count,
                                      evidence.data()});
        ASSERT_EQ(std::memcmp(&singly[i], &states[way][i], sizeof singly[i]), 0) << way;
        ASSERT_TRUE(std::equal(expected.begin(), expected.begin() + count, evidence.begin()));
        ASSERT_EQ(most, *std::max_element(expected.begin(), expected.begin() + count));
      }
    }
  }
}

// NaN, infinities and the edges themselves among them.
TEST(Ways, ManyBinsAreFoundAsOneIs) {
  Random random(12);
  for (const int distinct : {2, 9, 1'000'000}) {
    std::vector<double> values(2'000);
    for (double& x : values) x = static_cast<double>(random.below(distinct));
    const Reference reference = Reference::from_numbers(values);
    for (std::size_t count = 0; count < 70; ++count) {
      std::vector<double> some(count);
      for (double& x : some) {
        x = random.chance(0.05)   ? std::nan("")
            : random.chance(0.05) ? -HUGE_VAL
            : random.chance(0.05) ? HUGE_VAL
                                  : values[random.below(values.size())];
      }
      std::vector<std::uint8_t> bins(count);
      reference.bins_of(some, bins.data());
      for (std::size_t i = 0; i < count; ++i) ASSERT_EQ(bins[i], reference.bin_of(some[i]));
    }
  }
}

// Against the recursion as rank_e.h writes it, in doubles.
TEST(Ways, TheOnsetIsWhereTheProductIsLargest) {
  Random random(8);
  const RankBets bets = some_bets(true, 0.0, random);
  RankState state;
  const RankState fresh;
  std::array<double, kFixedBets> wealth{}, lead{};
  std::array<int, kFixedBets> age{};
  int other_ages = 0;
  for (int event = 0; event < 5'000; ++event) {
    const auto bin = bets.reference().bin_of(event < 4'900 ? random.normal() : 1 + random.normal());
    bets.update(state, bin, 1.0F);
    for (std::size_t k = 0; k < kFixedBets; ++k) {
      const double log_e = bets.log_ratio(fresh, k, bin);
      wealth[k] = std::exp(log_e) * (wealth[k] + 1.0);
      age[k] = lead[k] > 0.0 ? age[k] + 1 : 1;
      lead[k] = std::max(lead[k], 0.0) + std::lround(256.0 * log_e);
      ASSERT_NEAR(static_cast<double>(state.wealth[k]) / wealth[k], 1.0, 1e-3) << k;
      // ln e is rounded from a double there, here from its float.
      other_ages += state.age[k] == age[k] ? 0 : 1;
    }
  }
  EXPECT_LE(other_ages, 5'000 * 16 / 100);
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
