// The ground everything stands on: times, files, hashes, JSON, queue, random stream, metrics.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <limits>
#include <set>
#include <thread>

#include "base/base_digest.h"
#include "base/clock.h"
#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/queue.h"
#include "base/random.h"

namespace trimtab {
namespace {

TEST(Time, RoundTripsAndKnowsOffsets) {
  EXPECT_EQ(format_rfc3339(0), "1970-01-01T00:00:00.000Z");
  EXPECT_EQ(parse_rfc3339("1970-01-01T00:00:00Z").value(), 0);
  EXPECT_EQ(parse_rfc3339("2026-11-23T02:00:00.5+02:00").value(),
            parse_rfc3339("2026-11-23 00:00:00.500000001Z").value());
  EXPECT_EQ(parse_rfc3339("1969-12-31T23:59:59.999Z").value(), -1);
  Random random(11);
  for (int i = 0; i < 1000; ++i) {
    const auto ms = static_cast<std::int64_t>(random.below(4'000'000'000'000));
    EXPECT_EQ(parse_rfc3339(format_rfc3339(ms)).value(), ms);
  }
}

TEST(Time, RefusesWhatIsNoTime) {
  for (const char* bad :
       {"", "2026-11-23", "2026-02-30T00:00:00Z", "2026-11-23T24:00:00Z", "2026-11-23T00:00:00",
        "2026-11-23T00:00:00.Z", "2026-11-23T00:00:00+2:00", "2026-1a-23T00:00:00Z",
        "-026-11-23T00:00:00Z"}) {
    EXPECT_FALSE(parse_rfc3339(bad)) << bad;
  }
}

TEST(Time, ManualClockWakesSleepers) {
  ManualClock clock;
  std::atomic<bool> woke = false;
  std::jthread sleeper([&](std::stop_token stop) { woke = clock.sleep_ms(1000, stop); });
  clock.advance_ms(999);
  clock.advance_ms(1);
  while (!woke) clock.advance_ms(1);
  sleeper.join();
  EXPECT_TRUE(woke);
}

TEST(Files, TwoFoldersChangePlacesInOneStep) {
  const TempFolder folder;
  const auto one = folder.path() / "one", other = folder.path() / "other";
  ASSERT_TRUE(make_folders(one));
  ASSERT_TRUE(make_folders(other));
  ASSERT_TRUE(write_atomic(one / "file", "1"));
  EXPECT_TRUE(exchange_durable(one, other));
  EXPECT_EQ(read_file(other / "file").value_or(""), "1");
  EXPECT_FALSE(std::filesystem::exists(one / "file"));
  const Status nothing = exchange_durable(folder.path() / "absent", other);
  ASSERT_FALSE(nothing);
  EXPECT_NE(nothing.error().message.find("exchange"), std::string::npos);
  EXPECT_EQ(read_file(other / "file").value_or(""), "1");
}

TEST(Files, AtomicWriteReplacesAndNamesThePath) {
  TempFolder folder;
  const auto path = folder.path() / "x.json";
  ASSERT_TRUE(write_atomic(path, "one"));
  ASSERT_TRUE(write_atomic(path, std::string(200'000, 'b')));
  EXPECT_EQ(read_file(path)->size(), 200'000u);
  const auto missing = read_file(folder.path() / "none");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, Code::kNotFound);
  EXPECT_NE(missing.error().message.find("none"), std::string::npos);
  EXPECT_EQ(read_file(path, 10).error().code, Code::kExhausted);
  EXPECT_EQ(read_file(folder.path()).error().code, Code::kInvalid);
  // No temporary file stays behind.
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

// As `--out /dev/stdout` or a link to the real file has it: neither is replaced by a file.
TEST(Files, AtomicWriteFollowsLinksAndWritesThroughPipes) {
  TempFolder folder;
  const auto path = folder.path() / "x.json", link = folder.path() / "link";
  std::filesystem::create_symlink(path, link);
  ASSERT_TRUE(write_atomic(path, "one"));
  ASSERT_TRUE(write_atomic(link, "two"));
  EXPECT_EQ(read_file(path).value(), "two");
  EXPECT_TRUE(std::filesystem::is_symlink(link));
  const auto pipe = folder.path() / "pipe";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  std::string got(16, '\0');
  std::thread reader([&] {
    const int file = open(pipe.c_str(), O_RDONLY);
    got.resize(static_cast<std::size_t>(std::max<ssize_t>(0, read(file, got.data(), got.size()))));
    close(file);
  });
  EXPECT_TRUE(write_atomic(pipe, "through"));
  reader.join();
  EXPECT_EQ(got, "through");
  EXPECT_TRUE(std::filesystem::is_fifo(pipe));
}

TEST(Files, LockIsExclusiveAndReleased) {
  TempFolder folder;
  {
    auto held = FileLock::acquire(folder.path() / "lock");
    ASSERT_TRUE(held);
    EXPECT_EQ(FileLock::acquire(folder.path() / "lock").error().code, Code::kConflict);
  }
  EXPECT_TRUE(FileLock::acquire(folder.path() / "lock"));
}

TEST(Hash, KnownAnswers) {
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  TempFolder folder;
  ASSERT_TRUE(write_atomic(folder.path() / "f", "abc"));
  EXPECT_EQ(sha256_file_hex(folder.path() / "f").value(), sha256_hex("abc"));
  // Stored in state and on the wire: a change of value would be a change of schema.
  EXPECT_EQ(stable_hash(""), stable_hash("", 0));
  EXPECT_NE(stable_hash("a", 1), stable_hash("a", 2));
}

TEST(Hash, AssignmentIsUniformAndBelowOne) {
  int low = 0;
  for (int i = 0; i < 10'000; ++i) {
    const double u = assignment_fraction("seed", "unit-" + std::to_string(i));
    ASSERT_GE(u, 0.0);
    ASSERT_LT(u, 1.0);
    low += u < 0.1;
  }
  EXPECT_NEAR(low, 1000, 150);
}

TEST(Digest, ChangesWithAnyByteOfTheBase) {
  TempFolder folder;
  ASSERT_FALSE(base_digest(folder.path()));
  ASSERT_TRUE(write_atomic(folder.path() / "config.json", "{}"));
  ASSERT_TRUE(write_atomic(folder.path() / "model.safetensors", "1"));
  const auto before = base_digest(folder.path()).value();
  ASSERT_TRUE(write_atomic(folder.path() / "README.md", "not part of the maths"));
  EXPECT_EQ(base_digest(folder.path()).value(), before);
  ASSERT_TRUE(write_atomic(folder.path() / "model.safetensors", "2"));
  EXPECT_NE(base_digest(folder.path()).value(), before);
}

TEST(JsonText, RefusesWithAPlaceAndABound) {
  EXPECT_TRUE(parse_json("{\"a\": [1, 2]}"));
  EXPECT_EQ(parse_json("{\"a\": ").error().code, Code::kInvalid);
  EXPECT_FALSE(parse_json(std::string(1000, '[') + std::string(1000, ']')));
  EXPECT_FALSE(parse_json(""));
  const Json object = parse_json("{\"n\": 3}").value();
  EXPECT_EQ(json_get<int>(object, "n").value(), 3);
  EXPECT_NE(json_get<std::string>(object, "n").error().message.find("'n'"), std::string::npos);
  EXPECT_FALSE(json_get<int>(object, "m"));
  EXPECT_EQ(dump_json(Json(std::string("\xff"))), "\"\xEF\xBF\xBD\"");
}

TEST(Queue, BoundsAndCloses) {
  BoundedQueue<int> queue(2);
  EXPECT_TRUE(queue.try_push(1));
  EXPECT_TRUE(queue.try_push(2));
  EXPECT_FALSE(queue.try_push(3));
  EXPECT_EQ(queue.try_pop(), 1);
  queue.close();
  EXPECT_FALSE(queue.try_push(4));
  EXPECT_EQ(queue.pop(std::chrono::milliseconds(0)), 2);
  EXPECT_EQ(queue.pop(std::chrono::hours(1)), std::nullopt);
}

TEST(Queue, HandsOverEverythingBetweenThreads) {
  BoundedQueue<int> queue(3);
  constexpr int kItems = 5000;
  std::jthread producer([&] {
    for (int i = 0; i < kItems; ++i) ASSERT_TRUE(queue.push(int(i)));
    queue.close();
  });
  int expected = 0;
  while (auto item = queue.pop(std::chrono::seconds(5))) EXPECT_EQ(*item, expected++);
  EXPECT_EQ(expected, kItems);
}

TEST(RandomStream, IsPinnedAndUnbiased) {
  Random a(42);
  Random b(42);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(a.next(), b.next());
  Random copy(0);
  copy.restore(a.state());
  EXPECT_EQ(copy.next(), a.next());
  std::array<int, 3> counts{};
  double sum = 0;
  double squares = 0;
  for (int i = 0; i < 30'000; ++i) {
    ++counts[a.below(3)];
    const double z = a.normal();
    sum += z;
    squares += z * z;
  }
  for (const int count : counts) EXPECT_NEAR(count, 10'000, 400);
  EXPECT_NEAR(sum / 30'000, 0.0, 0.03);
  EXPECT_NEAR(squares / 30'000, 1.0, 0.05);
}

TEST(MetricsText, BoundsSeriesAndExposes) {
  Metrics metrics;
  auto& family = metrics.counter("trimtab_test_total", "Test.", {"kind"}, 2);
  family.with({"a"}).add();
  family.with({"b"}).add(2);
  family.with({"c"}).add(3);
  family.with({"d"}).add(4);
  const std::string text = metrics.expose();
  EXPECT_NE(text.find("trimtab_test_total{kind=\"a\"} 1"), std::string::npos);
  EXPECT_NE(text.find("trimtab_test_total{kind=\"overflow\"} 7"), std::string::npos) << text;
  EXPECT_EQ(text.find("kind=\"d\""), std::string::npos);
}

TEST(LogLimit, CountsWhatItHoldsBack) {
  log::RateLimit limit(2);
  std::uint64_t held = 99;
  EXPECT_TRUE(limit.allow(0, held));
  EXPECT_TRUE(limit.allow(1, held));
  EXPECT_FALSE(limit.allow(2, held));
  EXPECT_FALSE(limit.allow(3, held));
  EXPECT_TRUE(limit.allow(60'001, held));
  EXPECT_EQ(held, 2u);
  EXPECT_FALSE(log::parse_level("loud"));
}

}  // namespace
}  // namespace trimtab
