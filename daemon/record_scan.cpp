#include "daemon/record_scan.h"

#include <algorithm>
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
constexpr std::size_t kPadding = 64;     // zeros behind the message: every scan ends there
constexpr std::int64_t kYear2000Ms = 946'684'800'000;
constexpr std::int64_t kLatestMs = 10'000'000'000'000'000;
constexpr std::int64_t kMostTokens = 1'000'000'000;

// The length is known when compiled: no call.
template <std::size_t N>
bool is(std::string_view text, const char (&word)[N]) {
  return text.size() == N - 1 && std::memcmp(text.data(), word, N - 1) == 0;
}

std::uint64_t bit_of(Field field) { return std::uint64_t{1} << static_cast<unsigned>(field); }

// The first byte from `at` on that is a quote, a backslash or a control character.
char* end_of_plain(char* at) {
#if defined(__SSE2__)
  for (;; at += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
    const __m128i special =
        _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')),
                                  _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'))),
                     _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1F)), bytes));
    const int mask = _mm_movemask_epi8(special);
    if (mask != 0) return at + __builtin_ctz(static_cast<unsigned>(mask));
  }
#else
  while (*at != '"' && *at != '\\' && static_cast<unsigned char>(*at) >= 0x20) ++at;
  return at;
#endif
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// All of a message that is not ASCII must be UTF-8.
bool is_utf8(std::string_view text) {
  std::uint64_t high = 0;
  std::size_t at = 0;
  for (; at + 8 <= text.size(); at += 8) {
    std::uint64_t word;
    std::memcpy(&word, text.data() + at, 8);
    high |= word;
  }
  for (; at < text.size(); ++at) high |= static_cast<std::uint64_t>(text[at] & 0x80);
  return (high & 0x8080808080808080ULL) == 0 ||
         simdjson::validate_utf8(text.data(), text.size());
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
    if (*at_ != '"' || !string(key, true) || !take(':')) return false;
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

// at_ is at the opening quote; afterwards behind the closing one.
bool RecordScanner::string(std::string_view& out, bool keep_source) {
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

// Reals of few digits are a whole number over a power of ten, both exact in doubles, so that one
// division rounds as the standard wants it (Clinger 1990); the others go to from_chars.
constexpr double kTens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                            1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15};

bool RecordScanner::number(Value& out) {
  const char* const from = at_;
  const char* at = from + (*from == '-' ? 1 : 0);
  if (!is_digit(*at) || (*at == '0' && is_digit(at[1]))) return false;
  std::int64_t whole = 0;
  const char* const digits = at;
  for (; is_digit(*at) && at - digits < 18; ++at) whole = whole * 10 + (*at - '0');
  if (is_digit(*at)) return false;  // beyond 18 digits
  out.type = Type::kInteger;
  std::int64_t all = whole;  // the digits without the point
  std::ptrdiff_t behind = 0;
  bool exact = true;
  if (*at == '.') {
    if (!is_digit(*++at)) return false;
    const char* const first = at;
    const std::ptrdiff_t room = 15 - (first - 1 - digits);
    for (; is_digit(*at); ++at) {
      if (at - first < room) all = all * 10 + (*at - '0');
    }
    behind = at - first;
    exact = behind <= room;
    out.type = Type::kReal;
  }
  if (*at == 'e' || *at == 'E') {
    ++at;
    if (*at == '+' || *at == '-') ++at;
    if (!is_digit(*at)) return false;
    while (is_digit(*at)) ++at;
    out.type = Type::kReal;
    exact = false;
  }
  if (out.type == Type::kReal && exact) {
    out.real = static_cast<double>(all) / kTens[behind];
    if (*from == '-') out.real = -out.real;
  } else if (out.type == Type::kInteger) {
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

// A string of the record; JSON's null is an absent one.
bool RecordScanner::plain_text(std::string_view& out) {
  if (*at_ == '"') return string(out);
  return literal("null");
}

bool RecordScanner::name(std::string_view& out) {
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
    case Field::kId: return name(record.id);
    case Field::kTarget: return name(found.target);
    case Field::kUserId: return name(record.user_id);
    case Field::kSessionId: return name(record.session_id);
    case Field::kTraceId: return name(record.trace_id);
    case Field::kTenant: return name(record.tenant);
    case Field::kRoute: return name(record.route);
    case Field::kModelReq: return name(record.model_req);
    case Field::kModel: return name(record.model);
    case Field::kProvider: return name(record.provider);
    case Field::kOp: return name(record.op);
    case Field::kArm: return name(record.arm);
    case Field::kExperiment: return name(record.experiment);
    case Field::kFinish: return name(record.finish);
    case Field::kStatus: return name(record.status);
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

bool RecordScanner::scan(std::string_view message, const TargetRules& targets,
                         const PointerKeys& keys, RecordBuilder::Times now, TextArena& arena,
                         InferenceRecord& record) {
  if (message.size() > kMostBytes || message.size() > static_cast<std::size_t>(
                                                          settings_.max_record_bytes) ||
      !is_utf8(message)) {
    return false;
  }
  arena_ = &arena;
  at_ = arena.room(message.size() + kPadding);
  const char* const end = at_ + message.size();
  std::memcpy(at_, message.data(), message.size());
  std::memset(at_ + message.size(), 0, kPadding);
  attributes_.clear();
  Found found;
  const bool read = members([&](std::string_view key) {
    const Field known = field_by_name(key);
    if (known != Field::kNone) {
      if ((found.seen & bit_of(known)) != 0) return false;
      found.seen |= bit_of(known);
    }
    return field(known, found, record, arena);
  });
  if (!read) return false;
  skip_space();
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
