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

}  // namespace

// ---- JSON ------------------------------------------------------------------------------------

template <typename Each>
bool RecordScanner::members(Each&& each) {
  if (!take('{')) return false;
  if (take('}')) return true;
  do {
    std::string_view key;
    skip_space();
    if (!member_key(key)) return false;
    skip_space();
    if (!each(key)) return false;
  } while (take(','));
  return take('}');
}

template <typename Each>
bool RecordScanner::elements(Each&& each) {
  if (!take('[')) return false;
  if (take(']')) return true;
  do {
    skip_space();
    if (!each()) return false;
  } while (take(','));
  return take(']');
}

// at_ is at the opening quote; afterwards behind the closing one. Inlined, as is record_key(): a
// record is strings for the most part.
[[gnu::always_inline]] inline bool RecordScanner::string(std::string_view& out, bool keep_source) {
  char* const from = at_ + 1;
  char* const end = end_of_plain(from);
  if (*end == '"') {
    out = {from, static_cast<std::size_t>(end - from)};
    at_ = end + 1;
    return true;
  }
  at_ = end;
  return *end == '\\' && unescape(from, out, keep_source);
}

// A string whose first escape is at at_. Unescaped it is never longer than in the source.
bool RecordScanner::unescape(char* from, std::string_view& out, bool keep_source) {
  scratch_.assign(from, static_cast<std::size_t>(at_ - from));
  while (*at_ == '\\') {
    const char* next = at_ + 2;
    switch (at_[1]) {
      case '"': scratch_ += '"'; break;
      case '\\': scratch_ += '\\'; break;
      case '/': scratch_ += '/'; break;
      case 'b': scratch_ += '\b'; break;
      case 'f': scratch_ += '\f'; break;
      case 'n': scratch_ += '\n'; break;
      case 'r': scratch_ += '\r'; break;
      case 't': scratch_ += '\t'; break;
      case 'u':
        if (!unicode_escape(next, scratch_)) return false;
        break;
      default: return false;
    }
    at_ += next - at_;
    char* const end = end_of_plain(at_);
    scratch_.append(at_, static_cast<std::size_t>(end - at_));
    at_ = end;
  }
  if (*at_ != '"') return false;
  ++at_;
  if (keep_source) {
    out = arena_->keep(scratch_);
  } else {
    std::memcpy(from, scratch_.data(), scratch_.size());
    out = {from, scratch_.size()};
  }
  return true;
}

// `from` behind "\u". NUL and half a surrogate pair are left to simdjson.
bool RecordScanner::unicode_escape(const char*& from, std::string& out) const {
  const int first = four_hex(from);
  if (first <= 0 || (first >= 0xDC00 && first < 0xE000)) return false;
  from += 4;
  auto code = static_cast<std::uint32_t>(first);
  if (first >= 0xD800 && first < 0xDC00) {
    if (from[0] != '\\' || from[1] != 'u') return false;
    const int second = four_hex(from + 2);
    if (second < 0xDC00 || second >= 0xE000) return false;
    from += 6;
    code = 0x10000U + ((code - 0xD800U) << 10) + (static_cast<std::uint32_t>(second) - 0xDC00U);
  }
  append_utf8(code, out);
  return true;
}

// Short numbers, which are nearly all: where they end is found first, as that is what the rest of
// the message waits for. Reals of few digits are a whole number over a power of ten, both exact in
// doubles, so that one division rounds as the standard wants it (Clinger 1990).
bool RecordScanner::number(Value& out) {
  const char* const from = at_;
  const NumberBytes bytes = number_bytes(from);
  const std::size_t size = leading(bytes.all);
  if (size == 16 || (from[size] | 0x20) == 'e') return long_number(out);
  at_ += size;
  const bool negative = *from == '-';
  const char* const digits = from + negative;
  const std::size_t whole = leading(bytes.digits >> negative);
  if (whole == 0 || (*digits == '0' && whole > 1)) return false;
  const std::uint64_t value = value_of(digits, whole);
  if (negative + whole == size) {
    if (negative && value == 0) return false;  // -0: simdjson's sign is its own
    out.type = Type::kInteger;
    out.integer = negative ? -static_cast<std::int64_t>(value) : static_cast<std::int64_t>(value);
    out.real = static_cast<double>(out.integer);
    return true;
  }
  const char* const fraction = digits + whole + 1;
  const std::size_t behind = leading(bytes.digits >> (negative + whole + 1));
  if (fraction[-1] != '.' || behind == 0 || fraction + behind != at_) return false;
  const std::uint64_t all = value * kWholeTens[behind] + value_of(fraction, behind);
  const double real = static_cast<double>(static_cast<std::int64_t>(all)) / kTens[behind];
  out.type = Type::kReal;
  out.real = negative ? -real : real;
  return true;
}

// Any number; what has more digits than a double goes to from_chars.
bool RecordScanner::long_number(Value& out) {
  const char* const from = at_;
  const char* at = from + (*from == '-' ? 1 : 0);
  const std::size_t whole_digits = digits_at(at);
  if (whole_digits == 0 || is_digit(at[whole_digits]) || (*at == '0' && whole_digits > 1)) {
    return false;
  }
  std::uint64_t all = value_of(at, whole_digits);
  at += whole_digits;
  out.type = Type::kInteger;
  std::size_t behind = 0;
  bool exact = true;
  if (*at == '.') {
    behind = digits_at(++at);
    if (behind == 0) return false;
    exact = whole_digits + behind <= kMostDigits;
    if (exact) all = all * kWholeTens[behind] + value_of(at, behind);
    at += behind;
    while (behind > kMostDigits && is_digit(*at)) ++at;
    out.type = Type::kReal;
  }
  if (*at == 'e' || *at == 'E') {
    ++at;
    if (*at == '+' || *at == '-') ++at;
    if (!is_digit(*at)) return false;
    while (is_digit(*at)) ++at;
    if (all == 0) return false;  // -0e1: simdjson's sign is its own
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
    if (*from == '-' && whole == 0) return false;  // -0
  } else {
    const auto [end, error] = std::from_chars(from, at, out.real);
    if (error != std::errc() || end != at || !std::isfinite(out.real)) return false;
  }
  at_ += at - from;
  return true;
}

template <std::size_t N>
bool RecordScanner::literal(const char (&word)[N]) {
  if (std::memcmp(at_, word, N - 1) != 0) return false;
  at_ += N - 1;
  return true;
}

// Any value; nested ones are only read through.
bool RecordScanner::value(Value& out, int depth, bool keep_source) {
  switch (*at_) {
    case '"': out.type = Type::kText; return string(out.text, keep_source);
    case 'n': out.type = Type::kNull; return literal("null");
    case 't': out.type = Type::kTrue; return literal("true");
    case 'f': out.type = Type::kFalse; return literal("false");
    case '{':
    case '[': {
      out.type = Type::kNested;
      if (depth + 1 >= std::min(kMostDepth, settings_.max_depth)) return false;
      Value inner;
      const auto each = [&] { return value(inner, depth + 1, keep_source); };
      return *at_ == '[' ? elements(each) : members([&](std::string_view) { return each(); });
    }
    default: return number(out);
  }
}

// ---- fields ----------------------------------------------------------------------------------

// True, and at_ behind its colon, when the key here is the expected one: one comparison, and where
// the value begins depends on no search.
[[gnu::always_inline]] inline bool RecordScanner::take_expected(const ExpectedKey& expected) {
  std::array<std::uint64_t, 3> words;
  std::memcpy(words.data(), at_, sizeof words);  // the padding is as long
  const std::uint64_t other = ((words[0] ^ expected.text[0]) & expected.mask[0]) |
                              ((words[1] ^ expected.text[1]) & expected.mask[1]) |
                              ((words[2] ^ expected.text[2]) & expected.mask[2]);
  if (other != 0 || expected.size == 0) return false;
  at_ += expected.size;
  return true;
}

// Any key; as written it is expected here from now on.
bool RecordScanner::other_key(ExpectedKey& expected, std::string_view& key) {
  const char* const from = at_;
  if (*at_ != '"' || !string(key, true)) return false;
  const bool plain = at_ - from == static_cast<std::ptrdiff_t>(key.size() + 2) && *at_ == ':';
  if (!take(':')) return false;
  expected = {};
  if (!plain || key.size() + 3 > ExpectedKey::kMost) return true;
  expected.size = key.size() + 3;
  std::memcpy(expected.text.data(), from, expected.size);
  std::memset(expected.mask.data(), 0xFF, expected.size);
  return true;
}

[[gnu::always_inline]] inline bool RecordScanner::record_key(std::size_t before, Field& out) {
  skip_space();
  ExpectedKey& expected = expected_[before];
  if (!take_expected(expected)) {
    std::string_view key;
    if (!other_key(expected, key)) return false;
    expected.field = field_by_name(key);
    if (expected.field == Field::kNone) expected.size = 0;  // looked up each time
    out = expected.field;
    return true;
  }
  out = expected.field;
  return true;
}

// The key of a value's member, which is often that of the record before at the same place.
[[gnu::always_inline]] inline bool RecordScanner::member_key(std::string_view& key) {
  ExpectedKey& expected = expected_members_[members_++ % kMembers];
  const char* const from = at_;
  if (!take_expected(expected)) return other_key(expected, key);
  key = {from + 1, expected.size - 3};
  return true;
}

// A string of the record; JSON's null is an absent one.
[[gnu::always_inline]] inline bool RecordScanner::plain_text(std::string_view& out) {
  if (*at_ == '"') return string(out);
  return literal("null");
}

[[gnu::always_inline]] inline bool RecordScanner::name(std::string_view& out) {
  return plain_text(out) && out.size() <= kMaxNameBytes;
}

bool RecordScanner::real(std::optional<double>& out) {
  Value found;
  if (*at_ == 'n') return literal("null");
  if (*at_ == '"' || !value(found, 0, false)) return false;
  out = found.real;
  return found.type == Type::kInteger || found.type == Type::kReal;
}

bool RecordScanner::floats(std::span<const float>& out, TextArena& arena) {
  if (*at_ == 'n') return literal("null");
  floats_.clear();
  const bool read = elements([this] {
    Value found;
    if (!number(found)) return false;
    floats_.push_back(static_cast<float>(found.real));
    return std::isfinite(floats_.back());
  });
  out = arena.keep(std::span<const float>(floats_));
  return read;
}

bool RecordScanner::tokens(Tokens& out) {
  if (*at_ == 'n') return literal("null");
  return *at_ == '{' && members([&](std::string_view key) {
    std::optional<std::int64_t>* const part = is(key, "in")        ? &out.in
                                              : is(key, "out")     ? &out.out
                                              : is(key, "cache_r") ? &out.cache_r
                                              : is(key, "cache_w") ? &out.cache_w
                                              : is(key, "reason")  ? &out.reason
                                                                 : nullptr;
    Value found;
    if (!value(found, 1, false)) return false;
    if (part == nullptr || (found.type == Type::kNull && !*part)) return true;
    if (*part || found.type != Type::kInteger) return false;
    *part = found.integer;
    return found.integer >= 0 && found.integer <= kMostTokens;
  });
}

bool RecordScanner::input(InferenceRecord& record, TextArena& arena) {
  turns_.clear();
  if (*at_ == 'n') return literal("null");
  if (*at_ == '"') {
    Turn turn{"user", {}};
    if (!string(turn.content)) return false;
    turns_.push_back(turn);
  } else if (*at_ == '[') {
    const bool read = elements([this] {
      Turn turn{"user", {}};
      bool role = false, content = false;
      const bool whole = *at_ == '{' && members([&](std::string_view key) {
        if (is(key, "role")) {
          if (std::exchange(role, true) || *at_ != '"') return false;
          return string(turn.role) && turn.role.size() <= kMaxNameBytes;
        }
        if (is(key, "content")) return !std::exchange(content, true) && plain_text(turn.content);
        Value other;
        return !is(key, "parts") && value(other, 2, false);
      });
      turns_.push_back(turn);
      return whole;
    });
    if (!read) return false;
  } else {
    return false;
  }
  record.input = arena.keep(std::span<const Turn>(turns_));
  return true;
}

bool RecordScanner::attributes(InferenceRecord& record) {
  if (*at_ == 'n') return literal("null");
  const char* const from = at_;
  const bool read = *at_ == '{' && members([this](std::string_view key) {
    if (attributes_.size() == kMostAttributes) return false;
    attributes_.push_back({key, {}});
    return value(attributes_.back().value, 2, true);
  });
  record.attributes = {from, static_cast<std::size_t>(at_ - from)};
  return read;
}

// One field of the record. False for what this way does not take.
bool RecordScanner::field(Field field, Found& found, InferenceRecord& record, TextArena& arena) {
  Value other;
  switch (field) {
    case Field::kKind: {
      std::string_view kind;
      return *at_ == '"' && string(kind) && is(kind, "inference");
    }
    case Field::kSchema:
      return value(other, 0, false) && other.type == Type::kInteger &&
             other.integer <= kRecordSchema;
    case Field::kTarget: return name(found.target);
    case Field::kError: return plain_text(record.error);
    case Field::kOutput: return plain_text(record.output);
    case Field::kAdapter:
      found.adapter_null = *at_ == 'n';
      return name(record.adapter) && found.adapter_null == record.adapter.empty();
    case Field::kGeneration:
      if (*at_ == 'n') return literal("null");
      if (!value(other, 0, false) || other.type != Type::kInteger) return false;
      record.generation = other.integer;
      return other.integer >= 0;
    case Field::kTs: return value(found.ts, 0, false);
    case Field::kTsEnd: return value(found.ts_end, 0, false);
    case Field::kLatency: return real(record.latency_s);
    case Field::kTtft: return real(record.ttft_s);
    case Field::kMeanLogprob: return real(record.mean_logprob);
    case Field::kLogprobs: return floats(record.logprobs, arena);
    case Field::kEmbedding: return floats(record.embedding, arena);
    case Field::kTok: return tokens(record.tok);
    case Field::kInput: return input(record, arena);
    case Field::kAttributes: return attributes(record);
    case Field::kTokIn:
    case Field::kTokOut:
    case Field::kTokCacheR:
    case Field::kTokCacheW:
    case Field::kTokReason:
    case Field::kSystem:
    case Field::kToolCalls: return false;
    default: return value(other, 1, false);  // a feedback's field, or nobody's
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

bool RecordScanner::fields(Found& found, InferenceRecord& record, TextArena& arena) {
  if (!take('{')) return false;
  std::size_t before = kFirstKey;
  do {
    Field known = Field::kNone;
    if (!record_key(before, known)) return false;
    if (known != Field::kNone) {
      if ((found.seen & bit_of(known)) != 0) return false;
      found.seen |= bit_of(known);
    }
    skip_space();
    const NameMember member = kNames[static_cast<std::size_t>(known)];
    if (!(member != nullptr ? name(record.*member) : field(known, found, record, arena))) {
      return false;
    }
    before = static_cast<std::size_t>(known);
  } while (take(','));
  return take('}');
}

bool RecordScanner::scan(std::string_view message, const TargetRules& targets,
                         const PointerKeys& keys, RecordBuilder::Times now, TextArena& arena,
                         InferenceRecord& record) {
  if (message.size() > kMostBytes ||
      message.size() > static_cast<std::size_t>(settings_.max_record_bytes)) {
    return false;
  }
  arena_ = &arena;
  message_ = at_ = arena.room(message.size() + ByteMap::kPadding);
  if (!map_.read(message, message_)) return false;
  attributes_.clear();
  members_ = 0;
  Found found;
  if (!fields(found, record, arena)) return false;
  skip_space();
  const char* const end = message_ + message.size();
  record.target = targets.known(found.target);
  if (at_ != end || record.id.empty() || record.target.empty() ||
      !times(found, now, record)) {
    return false;
  }
  if ((found.seen & bit_of(Field::kAdapter)) != 0) {
    record.served = found.adapter_null ? Served::kBase : Served::kAdapter;
  }
  if (const auto wanted = keys.find(record.target); wanted != keys.end()) {
    point(wanted->second, record, arena);
  }
  return true;
}

}  // namespace trimtab::daemon
