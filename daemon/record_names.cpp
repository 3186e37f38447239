// The stable names of the record's enums and the table of field names.
#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "daemon/record_fields.h"

namespace trimtab::daemon {
namespace {

constexpr std::array<std::string_view, kFields> kFieldNames = {
    "kind",        "schema",      "id",          "ts",        "ts_end",    "target",
    "user_id",     "session_id",  "trace_id",    "tenant",    "route",     "model_req",
    "model",       "provider",    "op",          "adapter",   "arm",       "generation",
    "experiment",  "input",       "output",      "tok",       "tok.in",    "tok.out",
    "tok.cache_r", "tok.cache_w", "tok.reason",  "latency_s", "ttft_s",    "mean_logprob",
    "logprobs",    "embedding",   "finish",      "status",    "error",     "attributes",
    "system",      "tool_calls",  "feedback_id", "name",      "score",     "label",
    "correction",  "source",      "source_id",   "selection", "propensity"};

constexpr std::array<std::string_view, kDeadReasons> kReasonNames = {
    "not_json",       "not_utf8",     "too_large", "too_deep", "missing_id",
    "unknown_target", "unknown_kind", "bad_type",  "bad_time", "non_finite",
    "out_of_range",   "newer_schema", "empty"};

// Open addressing over a power of two; filled once, before main.
constexpr std::size_t kSlots = 256;

constexpr std::size_t slot_of(std::string_view name) {
  std::size_t hash = name.size() * 31;
  hash += static_cast<unsigned char>(name.front()) * 7U;
  hash += static_cast<unsigned char>(name.back()) * 13U;
  hash += static_cast<unsigned char>(name[name.size() / 2]) * 3U;
  return hash & (kSlots - 1);
}

constexpr std::array<std::uint8_t, kSlots> make_slots() {
  std::array<std::uint8_t, kSlots> slots{};
  slots.fill(static_cast<std::uint8_t>(kFields));
  for (std::size_t field = 0; field < kFields; ++field) {
    std::size_t at = slot_of(kFieldNames[field]);
    while (slots[at] != kFields) at = (at + 1) & (kSlots - 1);
    slots[at] = static_cast<std::uint8_t>(field);
  }
  return slots;
}
constexpr auto kSlotTable = make_slots();

}  // namespace

namespace {

// A name of at most 16 bytes as two words, zero-padded: compared without a call.
struct Words {
  std::uint64_t low = 0, high = 0;
  constexpr bool operator==(const Words&) const = default;
};

constexpr std::array<Words, kFields> kFieldWords = [] {
  std::array<Words, kFields> all{};
  for (std::size_t field = 0; field < kFields; ++field) {
    for (std::size_t i = 0; i < kFieldNames[field].size(); ++i) {
      const auto byte = static_cast<std::uint64_t>(
          static_cast<unsigned char>(kFieldNames[field].at(i)));
      (i < 8 ? all[field].low : all[field].high) |= byte << (i % 8 * 8);
    }
  }
  return all;
}();
static_assert(std::endian::native == std::endian::little);
static_assert(std::all_of(kFieldNames.begin(), kFieldNames.end(),
                          [](std::string_view name) { return name.size() <= 16; }));

}  // namespace

namespace {

template <typename Word>
std::uint64_t word_at(const char* from) {
  Word word;
  std::memcpy(&word, from, sizeof word);
  return word;
}

// In registers, by overlapping loads: a copy in memory would have to be waited for.
Words words_of(std::string_view name) {
  const char* const from = name.data();
  const std::size_t size = name.size();
  if (size > 8) {
    return {word_at<std::uint64_t>(from),
            word_at<std::uint64_t>(from + size - 8) >> (8 * (16 - size))};
  }
  if (size >= 4) {
    return {word_at<std::uint32_t>(from) |
                word_at<std::uint32_t>(from + size - 4) << (8 * (size - 4)),
            0};
  }
  if (size == 1) return {word_at<std::uint8_t>(from), 0};
  return {word_at<std::uint16_t>(from) |
              word_at<std::uint16_t>(from + size - 2) << (8 * (size - 2)),
          0};
}

}  // namespace

Field field_by_name(std::string_view name) {
  if (name.empty() || name.size() > 16) return Field::kNone;
  const Words words = words_of(name);
  for (std::size_t at = slot_of(name);; at = (at + 1) & (kSlots - 1)) {
    const std::size_t field = kSlotTable[at];
    if (field == kFields) return Field::kNone;
    if (kFieldWords[field] == words) return static_cast<Field>(field);
  }
}

std::string_view field_name(Field field) {
  return field == Field::kNone ? "record" : kFieldNames[static_cast<std::size_t>(field)];
}

std::string_view dead_reason_name(DeadReason reason) {
  return kReasonNames[static_cast<std::size_t>(reason)];
}

std::string_view label_source_name(LabelSource source) {
  switch (source) {
    case LabelSource::kHuman: return "human";
    case LabelSource::kJudge: return "judge";
    case LabelSource::kRule: return "rule";
  }
  return "";
}

std::string_view selection_name(Selection selection) {
  switch (selection) {
    case Selection::kUser: return "user";
    case Selection::kRandom: return "random";
    case Selection::kJudge: return "judge";
  }
  return "";
}

std::optional<double> unit_score(const Feedback& feedback) {
  if (!feedback.score) return std::nullopt;
  return std::max(*feedback.score, 0.0);
}

}  // namespace trimtab::daemon
