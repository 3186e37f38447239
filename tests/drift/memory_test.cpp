// The monitor's memory: linear in signals x segments, at most 1 KB a signal and segment besides its
// reference (20 signals share their segment's marks), and flat however long the stream is. Live
// bytes of operator new are counted and printed. 10^8 observations: ./dev bench monitor_memory.
#include <gtest/gtest.h>

#include <cstdio>

#include "tests/bench/live_bytes.h"
#include "tests/bench/synthetic.h"

namespace trimtab::bench {
namespace {

// What one frozen reference with its bets takes.
double reference_bytes() {
  Random random(5);
  std::vector<double> values(1'000);
  for (double& x : values) x = random.uniform();
  const std::int64_t before = live_bytes;
  const auto bets = std::make_shared<const drift::RankBets>(drift::Reference::from_numbers(values),
                                                            drift::RankOptions{});
  return static_cast<double>(live_bytes - before);
}

// Live bytes of an armed monitor.
double armed_bytes(std::size_t segments, bool embedding) {
  const std::int64_t before = live_bytes;
  auto monitor = *drift::Monitor::create(synthetic_settings(segments > 0, embedding));
  Synthetic source(segments, embedding, 11);
  arm(monitor, source, segments);
  for (int i = 0; i < 40'000; ++i) static_cast<void>(monitor.observe(source.next()));
  std::size_t armed = 0;
  for (const auto& signal : monitor.status().signals) armed += signal.state == "armed" ? 1 : 0;
  EXPECT_EQ(armed, kSyntheticSignals * (segments + 1) + (embedding ? 1 : 0));
  return static_cast<double>(live_bytes - before);
}

TEST(Memory, IsLinearAndBoundedASignalAndSegment) {
  const double reference = reference_bytes();
  const double one = armed_bytes(0, false);
  const double five = armed_bytes(4, false);
  const double seventeen = armed_bytes(16, false);
  const double a_segment = (five - one) / 4.0;
  const double a_later_segment = (seventeen - five) / 12.0;
  const double a_detector = a_later_segment / kSyntheticSignals - reference;
  std::printf(
      "reference with its bets %.0f B; a segment of 20 signals %.0f B; a signal and segment "
      "besides its reference %.0f B; everything else %.0f B\n",
      reference, a_later_segment, a_detector, one - a_segment);
  EXPECT_NEAR(a_later_segment / a_segment, 1.0, 0.1);
  EXPECT_LE(a_detector, 1024.0);
  const double embedding = armed_bytes(0, true) - one - 32.0 * reference;
  std::printf("an embedding besides its 32 references %.0f B\n", embedding);
  // Counts as 32, besides its directions and the reference's kept vectors.
  EXPECT_LE(embedding, 32.0 * 1024.0 + 32.0 * 256.0 * sizeof(float) + 1024.0 * 512.0);
}

TEST(Memory, IsFlatOverAMillionObservations) {
  auto monitor = *drift::Monitor::create(synthetic_settings(true, false));
  Synthetic source(4, false, 3);
  arm(monitor, source, 4);
  for (int i = 0; i < 100'000; ++i) static_cast<void>(monitor.observe(source.next()));
  const std::int64_t early = live_bytes;
  for (int i = 0; i < 900'000; ++i) {
    static_cast<void>(monitor.observe(source.next()));
    if (i % 2'500 == 0) static_cast<void>(monitor.save_changed());
  }
  std::printf("live bytes after 10^5 and 10^6 observations: %lld, %lld\n",
              static_cast<long long>(early), static_cast<long long>(live_bytes));
  EXPECT_NEAR(static_cast<double>(live_bytes) / static_cast<double>(early), 1.0, 0.01);
}

}  // namespace
}  // namespace trimtab::bench
