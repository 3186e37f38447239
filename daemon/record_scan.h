// RecordScanner: the short way from bytes to an InferenceRecord, for the form that nearly every
// record has: the canonical mapping, `kind: inference`, plain types. One pass; no tree is built and
// no string is copied but once, with the message.
//
// It only says yes to what it is sure of: a message that is JSON throughout (strings with any
// escapes, numbers, nested values, UTF-8), holds no key twice, and breaks none of RECORDS.md's
// rules. Anything else (feedback, another mapping, dead letters, content in parts, a target by
// route) is answered `false` and read by simdjson, which alone knows the reasons. So
// what is accepted equals what RecordBuilder would have made of it, `attributes` excepted: here it
// is the very text of the message, not written anew (record_codec_test and the fuzz target
// `records` compare the two).
// One object a codec, one thread.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/record.h"
#include "daemon/record_fields.h"
#include "daemon/text_arena.h"

namespace trimtab::daemon {

class RecordScanner {
 public:
  // Longer messages are left to simdjson.
  static constexpr std::size_t kMostBytes = 64 * 1024;

  explicit RecordScanner(const config::IngestSettings& settings) : settings_(settings) {}

  // `keys`: of the signals' pointers "/attributes/KEY", whose values are wanted, for each target.
  using PointerKeys = std::map<std::string, std::vector<std::string>, std::less<>>;
  // False: not for this way; `record` is then of no use. Views live in the arena.
  [[nodiscard]] bool scan(std::string_view message, const TargetRules& targets,
                          const PointerKeys& keys, RecordBuilder::Times times, TextArena& arena,
                          InferenceRecord& record);

 private:
  enum class Type : std::uint8_t { kNull, kTrue, kFalse, kInteger, kReal, kText, kNested };
  struct Value {
    Type type = Type::kNull;
    std::int64_t integer = 0;
    double real = 0.0;
    std::string_view text;
  };
  struct Attribute {
    std::string_view key;
    Value value;
  };
  // What has to wait until all fields are read.
  struct Found {
    std::uint64_t seen = 0;
    bool adapter_null = false;
    std::string_view target;
    Value ts, ts_end;
  };

  void skip_space() {
    while (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t') ++at_;
  }
  [[nodiscard]] bool take(char c) {
    skip_space();
    if (*at_ != c) return false;
    ++at_;
    return true;
  }
  // Calls each(key) with at_ before the member's value; each must read it. Without duplicates'
  // check.
  template <typename Each>
  [[nodiscard]] bool members(Each&& each);
  template <typename Each>
  [[nodiscard]] bool elements(Each&& each);
  // A string; unescaped in place where `keep_source` is false.
  [[nodiscard]] bool string(std::string_view& out, bool keep_source = false);
  [[nodiscard]] bool unescape(char* from, std::string_view& out, bool keep_source);
  [[nodiscard]] bool unicode_escape(const char*& from, std::string& out) const;
  [[nodiscard]] bool number(Value& out);
  [[nodiscard]] bool value(Value& out, int depth, bool keep_source);
  template <std::size_t N>
  [[nodiscard]] bool literal(const char (&word)[N]);
  [[nodiscard]] bool field(Field field, Found& found, InferenceRecord& record, TextArena& arena);
  [[nodiscard]] bool name(std::string_view& out);
  [[nodiscard]] bool plain_text(std::string_view& out);
  [[nodiscard]] bool real(std::optional<double>& out);
  [[nodiscard]] bool floats(std::span<const float>& out, TextArena& arena);
  [[nodiscard]] bool tokens(Tokens& out);
  [[nodiscard]] bool input(InferenceRecord& record, TextArena& arena);
  [[nodiscard]] bool attributes(InferenceRecord& record);
  [[nodiscard]] bool times(Found& found, RecordBuilder::Times times, InferenceRecord& record);
  void point(const std::vector<std::string>& keys, InferenceRecord& record, TextArena& arena);

  const config::IngestSettings& settings_;
  char* at_ = nullptr;
  TextArena* arena_ = nullptr;
  std::vector<Turn> turns_;
  std::vector<float> floats_;
  std::vector<Attribute> attributes_;
  std::vector<drift::PointerValue> values_;
  std::string scratch_;
};

}  // namespace trimtab::daemon
