// The map of a message, at every vector width, against the plain reading of it.
#include "daemon/byte_map.h"

#include <gtest/gtest.h>
#include <simdjson.h>

#include "base/random.h"

namespace trimtab::daemon {
namespace {

std::string some_text(Random& random, std::size_t size) {
  static constexpr std::string_view kPieces[] = {
      "a",    "word ",        "\"",           "\\",           "\n",       "\xC3\xA9",
      "\xDF\xBF", "\xE0\xA0\x80", "\xED\x9F\xBF", "\xEF\xBF\xBF", "\xF0\x90\x80\x80",
      "\xF4\x8F\xBF\xBF", "0123456789012345678901234567890"};
  std::string text;
  while (text.size() < size) text += kPieces[random.below(std::size(kPieces))];
  return text;
}

// The map and the copy of `text` are as they should be, at every width.
void check(const std::string& text) {
  const bool utf8 = simdjson::validate_utf8(text.data(), text.size());
  for (const ByteMap::Way way : ByteMap::ways()) {
    // Of the exact size, so that a sanitizer sees what is read or written beyond.
    std::vector<char> copy(text.size() + ByteMap::kPadding, 'x');
    std::vector<std::uint64_t> special(text.size() / 64 + 1, 0);
    ASSERT_EQ(way(text, copy.data(), special.data()), utf8);
    ASSERT_EQ(std::string_view(copy.data(), text.size()), text);
    for (std::size_t i = 0; i < special.size() * 64; ++i) {
      const char c = i < text.size() ? text[i] : '\0';
      const bool wanted = c == '"' || c == '\\' || static_cast<unsigned char>(c) < 0x20;
      ASSERT_EQ((special[i / 64] >> (i % 64) & 1) != 0, wanted) << i;
    }
  }
}

TEST(ByteMap, AllWidthsSeeTheSame) {
  Random random(5);
  for (int round = 0; round < 4'000; ++round) {
    std::string text = some_text(random, random.below(round % 50 == 0 ? 3'000 : 200));
    check(text);
    for (int damage = 0; damage < 3 && !text.empty(); ++damage) {
      text[random.below(text.size())] = static_cast<char>(random.below(256));
      check(text);
    }
    if (!text.empty()) check(text.substr(0, random.below(text.size())));
  }
}

// Every two bytes, at every place that a block's edge may cut.
TEST(ByteMap, EveryPairOfBytes) {
  for (int first = 0x7F; first < 256; ++first) {
    for (int second = 0; second < 256; second += second < 0x7F ? 0x7F : 1) {
      const std::string pair{static_cast<char>(first), static_cast<char>(second)};
      for (const std::size_t at : {0U, 62U, 63U}) {
        check(std::string(at, 'a') + pair + "\x80");
        check(std::string(at, 'a') + pair + "\x80\x80zz");
      }
    }
  }
}

TEST(ByteMap, FindsTheEnds) {
  Random random(9);
  ByteMap map;
  for (int round = 0; round < 300; ++round) {
    const std::string text = some_text(random, random.below(1'500));
    std::vector<char> copy(text.size() + ByteMap::kPadding);
    ASSERT_TRUE(map.read(text, copy.data()));
    std::size_t end = text.size();
    for (std::size_t at = text.size() + 1; at-- > 0;) {
      const auto c = static_cast<unsigned char>(copy[at]);
      if (c == '"' || c == '\\' || c < 0x20) end = at;
      ASSERT_EQ(map.end_of_plain(at), end);
    }
  }
}

}  // namespace
}  // namespace trimtab::daemon
