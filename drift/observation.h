// Observation: one record as drift sees it. Fixed size and trivially copyable, so that it travels
// from the ingest threads to control through a bounded queue without allocating.
//
// Whether the event counts for drift (the first of its session in the window) is the Monitor's
// decision, not the extractor's: it needs state.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>

namespace trimtab::drift {

inline constexpr std::size_t kMaxSignals = 32;
inline constexpr std::size_t kMaxSegmentFields = 4;
inline constexpr std::size_t kMaxWords = 24;
inline constexpr std::size_t kEmbeddingSize = 256;

// A few bytes without a call: two overlapping words of the largest width that fits.
inline void copy_short(const char* from, std::size_t size, char* to) {
  const auto two = [&](auto word) {
    constexpr std::size_t kWidth = sizeof word;
    std::memcpy(&word, from + size - kWidth, kWidth);
    decltype(word) first;
    std::memcpy(&first, from, kWidth);
    std::memcpy(to, &first, kWidth);
    std::memcpy(to + size - kWidth, &word, kWidth);
  };
  if (size > 16) {
    std::memcpy(to, from, size);
  } else if (size >= 8) {
    two(std::uint64_t{});
  } else if (size >= 4) {
    two(std::uint32_t{});
  } else if (size >= 2) {
    two(std::uint16_t{});
  } else if (size == 1) {
    *to = *from;
  }
}

// A short text held in place, cut at a UTF-8 boundary.
template <std::size_t N>
struct ShortText {
  std::array<char, N> data{};  // zero-padded

  void assign(std::string_view text) {
    std::size_t size = text.size() < N ? text.size() : N;
    if (size < text.size()) {
      while (size > 0 && (static_cast<unsigned char>(text[size]) & 0xC0) == 0x80) --size;
    }
    data.fill('\0');
    copy_short(text.data(), size, data.data());
  }
  [[nodiscard]] std::string_view view() const {
    std::size_t size = 0;
    while (size < N && data[size] != '\0') ++size;
    return {data.data(), size};
  }
  bool operator==(const ShortText&) const = default;
};

using RecordId = ShortText<48>;
using Label = ShortText<24>;
using Word = ShortText<16>;

struct Observation {
  std::int64_t ts_ms = 0;
  std::uint64_t offset = 0;        // the daemon's running number of the record
  std::uint64_t session_hash = 0;  // 0: no session, the record stands for itself
  RecordId id;                     // cut to 48 bytes

  // Signal i of the table: a number (NaN = missing), or for categorical signals the hash of the
  // category (0 = missing), in the same order as SignalExtractor::signals().
  std::array<double, kMaxSignals> numbers{};
  std::array<std::uint64_t, kMaxSignals> categories{};
  std::array<Label, kMaxSignals> labels{};  // the category's name, for people

  std::array<Label, kMaxSegmentFields> segments{};  // value a configured segment field

  // x_i = embedding_scale * embedding[i]; has_embedding false: not logged, no text, or not sampled.
  std::array<std::int8_t, kEmbeddingSize> embedding{};
  float embedding_scale = 0.0F;

  std::array<Word, kMaxWords> words{};  // distinct words of the input, lower case
  std::uint8_t word_count = 0;
  std::uint8_t signal_count = 0;
  std::uint8_t segment_count = 0;
  bool has_embedding = false;
  bool candidate =
      false;  // served by a trial's candidate: says nothing about the champion's output
};
static_assert(std::is_trivially_copyable_v<Observation>);

}  // namespace trimtab::drift
