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
// Where strings end is known beforehand (byte_map.h). Which field follows which is remembered from
// the records before: the records of one producer are alike, and a key that is as expected is one
// comparison.
// One object a codec, one thread.
#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/byte_map.h"
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

  // A key as it is written, with its quotes and the colon: what came behind some field last time.
  struct ExpectedKey {
    static constexpr std::size_t kMost = 24;
    std::array<std::uint64_t, kMost / 8> text{}, mask{};  // mask 0 everywhere: none
    std::size_t size = 0;
    Field field = Field::kNone;
  };
  static constexpr std::size_t kFirstKey = kFields + 1;  // behind the opening brace
  static constexpr std::size_t kMembers = 32;

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
  // The key of a member of the record, which follows that of `before`.
  [[nodiscard]] bool record_key(std::size_t before, Field& out);
  [[nodiscard]] bool member_key(std::string_view& key);
  [[nodiscard]] bool take_expected(const ExpectedKey& expected);
  [[nodiscard]] bool other_key(ExpectedKey& expected, std::string_view& key);
  [[nodiscard]] char* end_of_plain(char* from) const {
    return message_ + map_.end_of_plain(static_cast<std::size_t>(from - message_));
  }
  // A string; unescaped in place where `keep_source` is false.
  [[nodiscard]] bool string(std::string_view& out, bool keep_source = false);
  [[nodiscard]] bool unescape(char* from, std::string_view& out, bool keep_source);
  [[nodiscard]] bool unicode_escape(const char*& from, std::string& out) const;
  [[nodiscard]] bool number(Value& out);
  [[nodiscard]] bool long_number(Value& out);
  [[nodiscard]] bool value(Value& out, int depth, bool keep_source);
  template <std::size_t N>
  [[nodiscard]] bool literal(const char (&word)[N]);
  [[nodiscard]] bool fields(Found& found, InferenceRecord& record, TextArena& arena);
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
  ByteMap map_;
  std::array<ExpectedKey, kFirstKey + 1> expected_{};
  std::array<ExpectedKey, kMembers> expected_members_{};  // of the record's n-th nested key
  std::size_t members_ = 0;                               // nested keys of this record
  char* message_ = nullptr;
  char* at_ = nullptr;
  TextArena* arena_ = nullptr;
  std::vector<Turn> turns_;
  std::vector<float> floats_;
  std::vector<Attribute> attributes_;
  std::vector<drift::PointerValue> values_;
  std::string scratch_;
};

}  // namespace trimtab::daemon
