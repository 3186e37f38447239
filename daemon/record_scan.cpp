// Over 400 lines because JSON's grammar and the record's fields are read in one pass.
#include "daemon/record_scan.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/clock.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace trimtab::daemon {
namespace {

constexpr std::int64_t kMostDepth = 8;   // deeper values are left to simdjson
constexpr std::size_t kMostAttributes = 64;
constexpr std::int64_t kYear2000Ms = 946'684'800'000;
constexpr std::int64_t kLatestMs = 10'000'000'000'000'000;
constexpr std::int64_t kMostTokens = 1'000'000'000;

// The length is known when compiled: no call.
template <std::size_t N>
bool is(std::string_view text, const char (&word)[N]) {
  return text.size() == N - 1 && std::memcmp(text.data(), word, N - 1) == 0;
}

// The fields that are a name and nothing else: most of them, so they take the shortest way.
using NameMember = std::string_view InferenceRecord::*;
constexpr std::array<NameMember, kFields + 1> kNames = [] {
  std::array<NameMember, kFields + 1> names{};
  names.fill(nullptr);  // g++ 12 takes {} for the member at 0
  const auto set = [&](Field field, NameMember member) {
    names[static_cast<std::size_t>(field)] = member;
  };
  set(Field::kId, &InferenceRecord::id);
  set(Field::kUserId, &InferenceRecord::user_id);
  set(Field::kSessionId, &InferenceRecord::session_id);
  set(Field::kTraceId, &InferenceRecord::trace_id);
  set(Field::kTenant, &InferenceRecord::tenant);
  set(Field::kRoute, &InferenceRecord::route);
  set(Field::kModelReq, &InferenceRecord::model_req);
  set(Field::kModel, &InferenceRecord::model);
  set(Field::kProvider, &InferenceRecord::provider);
  set(Field::kOp, &InferenceRecord::op);
  set(Field::kArm, &InferenceRecord::arm);
  set(Field::kExperiment, &InferenceRecord::experiment);
  set(Field::kFinish, &InferenceRecord::finish);
  set(Field::kStatus, &InferenceRecord::status);
  return names;
}();

std::uint64_t bit_of(Field field) { return std::uint64_t{1} << static_cast<unsigned>(field); }

bool is_digit(char c) { return c >= '0' && c <= '9'; }

constexpr std::size_t kMostDigits = 15;
constexpr double kTens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                            1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
constexpr std::uint64_t kWholeTens[] = {1,
                                        10,
                                        100,
                                        1'000,
                                        10'000,
                                        100'000,
                                        1'000'000,
                                        10'000'000,
                                        100'000'000,
                                        1'000'000'000,
                                        10'000'000'000,
                                        100'000'000'000,
                                        1'000'000'000'000,
                                        10'000'000'000'000,
                                        100'000'000'000'000,
                                        1'000'000'000'000'000};

// What a number is made of, of the 16 bytes at `at`: bit i for byte i.
struct NumberBytes {
  std::uint32_t digits = 0;
  std::uint32_t all = 0;  // and '-', '.', '/'
};
NumberBytes number_bytes(const char* at) {
#if defined(__SSE2__)
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
  const auto upto_nine = [&](char first) {
    const __m128i off = _mm_sub_epi8(bytes, _mm_set1_epi8(first));
    const __m128i most = _mm_set1_epi8(static_cast<char>('9' - first));
    return static_cast<std::uint32_t>(
        _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(off, most), off)));
  };
  return {upto_nine('0'), upto_nine('-')};
#else
  NumberBytes found;
  for (unsigned i = 0; i < 16; ++i) {
    found.digits |= static_cast<std::uint32_t>(at[i] >= '0' && at[i] <= '9') << i;
    found.all |= static_cast<std::uint32_t>(at[i] >= '-' && at[i] <= '9') << i;
  }
  return found;
#endif
}

// How many bits are set from bit 0 on; of 16.
std::size_t leading(std::uint32_t bits) {
  return static_cast<std::size_t>(std::countr_one(bits & 0xFFFFU));
}

// How many digits stand at `at`, 16 at most.
std::size_t digits_at(const char* at) { return leading(number_bytes(at).digits); }

// Of at most eight digits, without a loop: pairs, fours, eights (Lemire 2022).
std::uint64_t value_of_eight(const char* at, std::size_t count) {
  std::uint64_t digits;
  std::memcpy(&digits, at, sizeof digits);
  digits = (digits - 0x3030303030303030ULL) << (64 - 8 * count);  // leading zeros come in
  digits = digits * 10 + (digits >> 8);
  return ((digits & 0x000000FF000000FFULL) * 0x000F424000000064ULL +
          ((digits >> 16) & 0x000000FF000000FFULL) * 0x0000271000000001ULL) >>
         32;
}

// REQUIRES: 0 < count <= 16 digits.
[[gnu::always_inline]] inline std::uint64_t value_of(const char* at, std::size_t count) {
  if (count <= 8) return value_of_eight(at, count);
  return value_of_eight(at, count - 8) * 100'000'000ULL + value_of_eight(at + count - 8, 8);
}

int hex_digit(char c) {
  if (is_digit(c)) return c - '0';
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

int four_hex(const char* at) {
  int code = 0;
  for (int i = 0; i < 4; ++i) {
    const int digit = hex_digit(at[i]);
    if (digit < 0) return -1;
    code = code * 16 + digit;
  }
  return code;
}

void append_utf8(std::uint32_t code, std::string& out) {
  if (code < 0x80) {
    out += static_cast<char>(code);
    return;
  }
  if (code < 0x800) {
    out += static_cast<char>(0xC0 | code >> 6);
  } else {
    if (code < 0x10000) {
      out += static_cast<char>(0xE0 | code >> 12);
    } else {
      out += static_cast<char>(0xF0 | code >> 18);
      out += static_cast<char>(0x80 | (code >> 12 & 0x3F));
    }
    out += static_cast<char>(0x80 | (code >> 6 & 0x3F));
  }
  out += static_cast<char>(0x80 | (code & 0x3F));
}

// ---- JSON ------------------------------------------------------------------------------------

// Behind the word when it stands here.
template <std::size_t N>
char* literal(char* at, const char (&word)[N]) {
  return std::memcmp(at, word, N - 1) == 0 ? at + (N - 1) : nullptr;
}

}  // namespace

template <typename Each>
char* RecordScanner::listed(char* at, char open, char close, Each&& each) {
  if (*at != open) return nullptr;
  at = skip_space(at + 1);
  if (*at == close) return at + 1;
  for (;; ++at) {
    at = each(skip_space(at));
    if (at == nullptr) return nullptr;
    at = skip_space(at);
    if (*at != ',') return *at == close ? at + 1 : nullptr;
  }
}

template <typename Each>
char* RecordScanner::elements(char* at, Each&& each) {
  return listed(at, '[', ']', each);
}

template <typename Each>
char* RecordScanner::members(char* at, Each&& each) {
  return listed(at, '{', '}', [&](char* from) -> char* {
    std::string_view key;
    char* const behind = member_key(from, key);
    return behind != nullptr ? each(skip_space(behind), key) : nullptr;
  });
}

// `at`: its opening quote. Inlined, as is record_key(): a record is strings for the most part.
[[gnu::always_inline]] inline char* RecordScanner::string(char* at, std::string_view& out,
                                                          bool keep_source) {
  char* const from = at + 1;
  char* const end = end_of_plain(from);
  if (*end != '"') return *end == '\\' ? unescape(from, end, out, keep_source) : nullptr;
  out = {from, static_cast<std::size_t>(end - from)};
  return end + 1;
}

// A string from `from` on whose first escape is at `at`. Unescaped it is never longer than in the
// source.
char* RecordScanner::unescape(char* from, char* at, std::string_view& out, bool keep_source) {
  scratch_.assign(from, static_cast<std::size_t>(at - from));
  while (*at == '\\') {
    const char kind = at[1];
    at += 2;
    switch (kind) {
      case '"': scratch_ += '"'; break;
      case '\\': scratch_ += '\\'; break;
      case '/': scratch_ += '/'; break;
      case 'b': scratch_ += '\b'; break;
      case 'f': scratch_ += '\f'; break;
      case 'n': scratch_ += '\n'; break;
      case 'r': scratch_ += '\r'; break;
      case 't': scratch_ += '\t'; break;
      case 'u':
        at = unicode_escape(at, scratch_);
        if (at == nullptr) return nullptr;
        break;
      default: return nullptr;
    }
    char* const end = end_of_plain(at);
    scratch_.append(at, static_cast<std::size_t>(end - at));
    at = end;
  }
  if (*at != '"') return nullptr;
  if (keep_source) {
    out = arena_->keep(scratch_);
  } else {
    std::memcpy(from, scratch_.data(), scratch_.size());
    out = {from, scratch_.size()};
  }
  return at + 1;
}

// `at` behind "\u". NUL and half a surrogate pair are left to simdjson.
char* RecordScanner::unicode_escape(char* at, std::string& out) {
  const int first = four_hex(at);
  if (first <= 0 || (first >= 0xDC00 && first < 0xE000)) return nullptr;
  at += 4;
  auto code = static_cast<std::uint32_t>(first);
  if (first >= 0xD800 && first < 0xDC00) {
    if (at[0] != '\\' || at[1] != 'u') return nullptr;
    const int second = four_hex(at + 2);
    if (second < 0xDC00 || second >= 0xE000) return nullptr;
    at += 6;
    code = 0x10000U + ((code - 0xD800U) << 10) + (static_cast<std::uint32_t>(second) - 0xDC00U);
  }
  append_utf8(code, out);
  return at;
}

// Short numbers, which are nearly all: where they end is found first, as that is what the rest of
// the message waits for. Reals of few digits are a whole number over a power of ten, both exact in
// doubles, so that one division rounds as the standard wants it (Clinger 1990).
char* RecordScanner::number(char* from, Value& out) {
  const NumberBytes bytes = number_bytes(from);
  const std::size_t size = leading(bytes.all);
  if (size == 16 || (from[size] | 0x20) == 'e') return long_number(from, out);
  char* const end = from + size;
  const bool negative = *from == '-';
  const char* const digits = from + negative;
  const std::size_t whole = leading(bytes.digits >> negative);
  if (whole == 0 || (*digits == '0' && whole > 1)) return nullptr;
  const std::uint64_t value = value_of(digits, whole);
  if (negative + whole == size) {
    if (negative && value == 0) return nullptr;  // -0: simdjson's sign is its own
    out.type = Type::kInteger;
    out.integer = negative ? -static_cast<std::int64_t>(value) : static_cast<std::int64_t>(value);
    out.real = static_cast<double>(out.integer);
    return end;
  }
  const char* const fraction = digits + whole + 1;
  const std::size_t behind = leading(bytes.digits >> (negative + whole + 1));
  if (fraction[-1] != '.' || behind == 0 || fraction + behind != end) return nullptr;
  const std::uint64_t all = value * kWholeTens[behind] + value_of(fraction, behind);
  const double real = static_cast<double>(static_cast<std::int64_t>(all)) / kTens[behind];
  out.type = Type::kReal;
  out.real = negative ? -real : real;
  return end;
}

// Any number; what has more digits than a double goes to from_chars.
char* RecordScanner::long_number(char* from, Value& out) {
  char* at = from + (*from == '-' ? 1 : 0);
  const std::size_t whole_digits = digits_at(at);
  if (whole_digits == 0 || is_digit(at[whole_digits]) || (*at == '0' && whole_digits > 1)) {
    return nullptr;
  }
  std::uint64_t all = value_of(at, whole_digits);
  at += whole_digits;
  out.type = Type::kInteger;
  std::size_t behind = 0;
  bool exact = true;
  if (*at == '.') {
    behind = digits_at(++at);
    if (behind == 0) return nullptr;
    exact = whole_digits + behind <= kMostDigits;
    if (exact) all = all * kWholeTens[behind] + value_of(at, behind);
    at += behind;
    while (behind > kMostDigits && is_digit(*at)) ++at;
    out.type = Type::kReal;
  }
  if (*at == 'e' || *at == 'E') {
    ++at;
    if (*at == '+' || *at == '-') ++at;
    if (!is_digit(*at)) return nullptr;
    while (is_digit(*at)) ++at;
    if (all == 0) return nullptr;  // -0e1: simdjson's sign is its own
    out.type = Type::kReal;
    exact = false;
  }
  if (out.type == Type::kReal && exact) {
    out.real = static_cast<double>(static_cast<std::int64_t>(all)) / kTens[behind];
    if (*from == '-') out.real = -out.real;
  } else if (out.type == Type::kInteger) {
    const auto whole = static_cast<std::int64_t>(all);
    out.integer = *from == '-' ? -whole : whole;
    out.real = static_cast<double>(out.integer);
    if (*from == '-' && whole == 0) return nullptr;  // -0
  } else {
    const auto [end, error] = std::from_chars(from, at, out.real);
    if (error != std::errc() || end != at || !std::isfinite(out.real)) return nullptr;
  }
  return at;
}

// Any value; nested ones are only read through.
char* RecordScanner::value(char* at, Value& out, int depth, bool keep_source) {
  switch (*at) {
    case '"': out.type = Type::kText; return string(at, out.text, keep_source);
    case 'n': out.type = Type::kNull; return literal(at, "null");
    case 't': out.type = Type::kTrue; return literal(at, "true");
    case 'f': out.type = Type::kFalse; return literal(at, "false");
    case '{':
    case '[': {
      out.type = Type::kNested;
      if (depth + 1 >= std::min(kMostDepth, settings_.max_depth)) return nullptr;
      Value inner;
      const auto each = [&](char* from) { return value(from, inner, depth + 1, keep_source); };
      return *at == '[' ? elements(at, each)
                        : members(at, [&](char* from, std::string_view) { return each(from); });
    }
    default: return number(at, out);
  }
}

// ---- fields ----------------------------------------------------------------------------------

// Behind its colon, when the key here is the expected one: one comparison, and where the value
// begins depends on no search.
[[gnu::always_inline]] inline char* RecordScanner::take_expected(char* at,
                                                                 const ExpectedKey& expected) {
  std::uint64_t other = 0;
#pragma GCC unroll 3
  for (std::size_t i = 0; i < ExpectedKey::kMost / 8; ++i) {
    std::uint64_t word;
    std::memcpy(&word, at + 8 * i, sizeof word);  // the padding is as long
    other |= (word ^ expected.text[i]) & expected.mask[i];
  }
  return other == 0 ? at + expected.size : nullptr;
}

// Any key; as written it is expected here from now on.
char* RecordScanner::other_key(char* from, ExpectedKey& expected, std::string_view& key) {
  char* at = *from == '"' ? string(from, key, true) : nullptr;
  if (at == nullptr) return nullptr;
  const bool plain = at - from == static_cast<std::ptrdiff_t>(key.size() + 2) && *at == ':';
  at = skip_space(at);
  if (*at != ':') return nullptr;
  expected = {};
  if (plain && key.size() + 3 <= ExpectedKey::kMost) {
    expected.size = key.size() + 3;
    expected.text = expected.mask = {};
    std::memcpy(expected.text.data(), from, expected.size);
    std::memset(expected.mask.data(), 0xFF, expected.size);
  }
  return at + 1;
}

// `field`: the one before, then this one.
[[gnu::always_inline]] inline char* RecordScanner::record_key(char* at, std::size_t& field) {
  ExpectedKey& expected = expected_[field];
  char* behind = take_expected(at, expected);
  if (behind == nullptr) {
    std::string_view key;
    behind = other_key(at, expected, key);
    if (behind == nullptr) return nullptr;
    expected.field = field_by_name(key);
    if (expected.field == Field::kNone) expected = {};  // looked up each time
  }
  field = static_cast<std::size_t>(expected.field);
  return behind;
}

// The key of a value's member, which is often that of the record before at the same place.
[[gnu::always_inline]] inline char* RecordScanner::member_key(char* at, std::string_view& key) {
  ExpectedKey& expected = expected_members_[members_++ % kMembers];
  char* const behind = take_expected(at, expected);
  if (behind == nullptr) return other_key(at, expected, key);
  key = {at + 1, expected.size - 3};
  return behind;
}

// A string of the record; JSON's null is an absent one.
[[gnu::always_inline]] inline char* RecordScanner::plain_text(char* at, std::string_view& out) {
  return *at == '"' ? string(at, out) : literal(at, "null");
}

[[gnu::always_inline]] inline char* RecordScanner::name(char* at, std::string_view& out) {
  char* const behind = plain_text(at, out);
  return out.size() <= kMaxNameBytes ? behind : nullptr;
}

char* RecordScanner::real(char* at, std::optional<double>& out) {
  if (*at == 'n') return literal(at, "null");
  Value found;
  char* const behind = number(at, found);
  out = found.real;
  return behind;
}

char* RecordScanner::floats(char* at, std::span<const float>& out) {
  if (*at == 'n') return literal(at, "null");
  floats_.clear();
  char* const behind = elements(at, [this](char* from) {
    Value found;
    char* const next = number(from, found);
    floats_.push_back(static_cast<float>(found.real));
    return std::isfinite(floats_.back()) ? next : nullptr;
  });
  out = arena_->keep(std::span<const float>(floats_));
  return behind;
}

char* RecordScanner::tokens(char* at, Tokens& out) {
  if (*at == 'n') return literal(at, "null");
  return members(at, [&](char* from, std::string_view key) -> char* {
    std::optional<std::int64_t>* const part = is(key, "in")        ? &out.in
                                              : is(key, "out")     ? &out.out
                                              : is(key, "cache_r") ? &out.cache_r
                                              : is(key, "cache_w") ? &out.cache_w
                                              : is(key, "reason")  ? &out.reason
                                                                   : nullptr;
    Value found;
    char* const behind = value(from, found, 1, false);
    if (part == nullptr || (found.type == Type::kNull && !*part)) return behind;
    if (*part || found.type != Type::kInteger) return nullptr;
    *part = found.integer;
    return found.integer >= 0 && found.integer <= kMostTokens ? behind : nullptr;
  });
}

char* RecordScanner::turn(char* at, Turn& out) {
  bool role = false, content = false;
  return members(at, [&](char* from, std::string_view key) -> char* {
    if (is(key, "role")) {
      if (std::exchange(role, true) || *from != '"') return nullptr;
      return name(from, out.role);
    }
    if (is(key, "content")) {
      return std::exchange(content, true) ? nullptr : plain_text(from, out.content);
    }
    Value other;
    return is(key, "parts") ? nullptr : value(from, other, 2, false);
  });
}

char* RecordScanner::input(char* at, std::span<const Turn>& out) {
  turns_.clear();
  if (*at == 'n') return literal(at, "null");
  if (*at == '"') {
    at = string(at, turns_.emplace_back(Turn{"user", {}}).content);
  } else {
    at = elements(at, [this](char* from) {
      return turn(from, turns_.emplace_back(Turn{"user", {}}));
    });
  }
  out = arena_->keep(std::span<const Turn>(turns_));
  return at;
}

char* RecordScanner::attributes(char* from, std::string_view& out) {
  if (*from == 'n') return literal(from, "null");
  char* const behind = members(from, [this](char* at, std::string_view key) -> char* {
    if (attributes_.size() == kMostAttributes) return nullptr;
    attributes_.push_back({key, {}});
    return value(at, attributes_.back().value, 2, true);
  });
  if (behind != nullptr) out = {from, static_cast<std::size_t>(behind - from)};
  return behind;
}

// One field of the record that is no name.
char* RecordScanner::field(char* at, Field field, Found& found, InferenceRecord& record) {
  Value other;
  switch (field) {
    case Field::kKind: {
      std::string_view kind;
      at = *at == '"' ? string(at, kind) : nullptr;
      return is(kind, "inference") ? at : nullptr;
    }
    case Field::kSchema:
      at = number(at, other);
      return other.type == Type::kInteger && other.integer <= kRecordSchema ? at : nullptr;
    case Field::kTarget: return name(at, found.target);
    case Field::kError: return plain_text(at, record.error);
    case Field::kOutput: return plain_text(at, record.output);
    case Field::kAdapter:
      found.adapter_null = *at == 'n';
      at = name(at, record.adapter);
      return found.adapter_null == record.adapter.empty() ? at : nullptr;
    case Field::kGeneration:
      if (*at == 'n') return literal(at, "null");
      at = number(at, other);
      if (other.type != Type::kInteger || other.integer < 0) return nullptr;
      record.generation = other.integer;
      return at;
    case Field::kTs: return value(at, found.ts, 0, false);
    case Field::kTsEnd: return value(at, found.ts_end, 0, false);
    case Field::kLatency: return real(at, record.latency_s);
    case Field::kTtft: return real(at, record.ttft_s);
    case Field::kMeanLogprob: return real(at, record.mean_logprob);
    case Field::kLogprobs: return floats(at, record.logprobs);
    case Field::kEmbedding: return floats(at, record.embedding);
    case Field::kTok: return tokens(at, record.tok);
    case Field::kInput: return input(at, record.input);
    case Field::kAttributes: return attributes(at, record.attributes);
    case Field::kTokIn:
    case Field::kTokOut:
    case Field::kTokCacheR:
    case Field::kTokCacheW:
    case Field::kTokReason:
    case Field::kSystem:
    case Field::kToolCalls: return nullptr;
    default: return value(at, other, 1, false);  // a feedback's field, or nobody's
  }
}

bool RecordScanner::times(Found& found, RecordBuilder::Times now, InferenceRecord& record) {
  const auto is_time = [](Value& value) {
    if (value.type == Type::kText) {
      const auto parsed = parse_rfc3339(value.text);
      if (!parsed) return false;
      value.real = static_cast<double>(*parsed);
    } else if (value.type != Type::kInteger && value.type != Type::kReal) {
      return false;
    }
    return value.real >= static_cast<double>(kYear2000Ms) &&
           value.real <= static_cast<double>(kLatestMs);
  };
  if (!is_time(found.ts)) return false;
  record.ts_ms = static_cast<std::int64_t>(found.ts.real);
  if (record.ts_ms > now.now_ms + settings_.future_tolerance_ms) return false;
  record.time_source = TimeSource::kRecord;
  if ((record.latency_s && *record.latency_s < 0.0) || (record.ttft_s && *record.ttft_s < 0.0)) {
    return false;
  }
  if (found.ts_end.type == Type::kNull) return true;
  if (!is_time(found.ts_end)) return false;
  const std::int64_t took = static_cast<std::int64_t>(found.ts_end.real) - record.ts_ms;
  if (took < 0) return true;
  record.ts_end_ms = record.ts_ms + took;
  if (!record.latency_s) record.latency_s = static_cast<double>(took) / 1000.0;
  return true;
}

void RecordScanner::point(const std::vector<std::string>& keys, InferenceRecord& record,
                          TextArena& arena) {
  values_.assign(keys.size(), {});
  for (std::size_t i = 0; i < keys.size(); ++i) {
    for (const Attribute& attribute : attributes_) {
      if (attribute.key != keys[i]) continue;
      const Value& from = attribute.value;
      drift::PointerValue& to = values_[i];
      if (from.type == Type::kInteger || from.type == Type::kReal) {
        to.type = drift::PointerValue::Type::kNumber;
        to.number = from.real;
      } else if (from.type == Type::kText) {
        to.type = drift::PointerValue::Type::kText;
        to.text = from.text;
      } else if (from.type == Type::kTrue || from.type == Type::kFalse) {
        to.type = drift::PointerValue::Type::kText;
        to.text = from.type == Type::kTrue ? "true" : "false";
      }
      break;
    }
  }
  record.pointers = arena.keep(std::span<const drift::PointerValue>(values_));
}

// The place is kept in a variable, not in a member: all that follows a field waits for it.
char* RecordScanner::fields(char* at, Found& found, InferenceRecord& record) {
  if (*at != '{') return nullptr;
  std::size_t known = kFirstKey;
  std::uint64_t seen = 0;
  do {
    at = record_key(skip_space(at + 1), known);
    if (at == nullptr) return nullptr;
    if (known != static_cast<std::size_t>(Field::kNone)) {
      const std::uint64_t bit = std::uint64_t{1} << known;
      if ((seen & bit) != 0) return nullptr;
      seen |= bit;
    }
    at = skip_space(at);
    const NameMember member = kNames[known];
    at = member != nullptr ? name(at, record.*member)
                           : field(at, static_cast<Field>(known), found, record);
    if (at == nullptr) return nullptr;
    at = skip_space(at);
  } while (*at == ',');
  found.seen = seen;
  return *at == '}' ? at + 1 : nullptr;
}

bool RecordScanner::scan(std::string_view message, const TargetRules& targets,
                         const PointerKeys& keys, RecordBuilder::Times now, TextArena& arena,
                         InferenceRecord& record) {
  if (message.size() > kMostBytes ||
      message.size() > static_cast<std::size_t>(settings_.max_record_bytes)) {
    return false;
  }
  arena_ = &arena;
  message_ = arena.room(message.size() + ByteMap::kPadding);
  if (!map_.read(message, message_)) return false;
  attributes_.clear();
  members_ = 0;
  Found found;
  const char* const behind = fields(skip_space(message_), found, record);
  if (behind == nullptr || skip_space(behind) != message_ + message.size()) return false;
  record.target = targets.known(found.target);
  if (record.id.empty() || record.target.empty() || !times(found, now, record)) return false;
  if ((found.seen & bit_of(Field::kAdapter)) != 0) {
    record.served = found.adapter_null ? Served::kBase : Served::kAdapter;
  }
  if (const auto wanted = keys.find(record.target); wanted != keys.end()) {
    point(wanted->second, record, arena);
  }
  return true;
}

}  // namespace trimtab::daemon
