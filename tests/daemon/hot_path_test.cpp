// The hot path does not allocate in steady state: from a message's bytes to the verdict over 20
// signals, in segments, with and without the embedding. operator new is counted here.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "drift/label_free.h"
#include "tests/bench/hot_path.h"

namespace {
std::atomic<std::uint64_t> allocations{0};
}  // namespace

void* operator new(std::size_t size) {
  ++allocations;
  void* memory = std::malloc(size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  ++allocations;
  const auto step = static_cast<std::size_t>(alignment);
  void* memory = std::aligned_alloc(step, (size + step - 1) / step * step);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
// Not inlined: else the compiler pairs std::free with operator new and warns.
__attribute__((noinline)) static void release(void* memory) { std::free(memory); }
void operator delete(void* memory) noexcept { release(memory); }
void operator delete(void* memory, std::size_t) noexcept { release(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { release(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { release(memory); }

namespace trimtab::bench {
namespace {

// Allocations over 2,000 records after the path has settled: the rings are full (the longest is
// the label-free estimate's, which grows by pieces until then).
std::uint64_t steady_allocations(const std::string& segment_field, std::size_t segments,
                                 double embedding_rate) {
  constexpr std::size_t kRecords = 2'000;
  HotPath hot(hot_settings(segment_field, embedding_rate));
  std::uint64_t n = hot.warm_up(0, 1024, segments);
  for (const std::uint64_t full = n + drift::LabelFree::kWaiting; n < full; ++n) {
    EXPECT_TRUE(hot.take(record_json(n, 1024)));
    if (n % 100 == 99) hot.end_batch();
  }
  std::vector<std::string> messages;
  for (std::size_t i = 0; i < 2 * kRecords; ++i) messages.push_back(record_json(n++, 1024));
  std::uint64_t before = 0;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    if (i == kRecords) before = allocations;  // the first half settles buffers and rings
    EXPECT_TRUE(hot.take(messages[i]));
    if (i % 100 == 99) hot.end_batch();
  }
  const std::uint64_t seen = allocations - before;  // status() below allocates
  EXPECT_GE(hot.armed(), 18U * (segments + 1)) << "a detector that is not armed costs nothing";
  EXPECT_EQ(hot.alarms(), 0U);
  return seen;
}

TEST(HotPath, DoesNotAllocatePerRecord) { EXPECT_EQ(steady_allocations("", 0, 0.0), 0U); }

TEST(HotPath, NorInSegmentsOrWithTheEmbedding) {
  EXPECT_EQ(steady_allocations("tenant", 16, 0.0), 0U);
  EXPECT_EQ(steady_allocations("route", 4, 0.1), 0U);
}

TEST(HotPath, TheCounterCounts) {
  const std::uint64_t before = allocations;
  const auto some = std::make_unique<std::string>(100, 'x');
  EXPECT_GE(allocations - before, 2U);
}

}  // namespace
}  // namespace trimtab::bench
