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
    static constexpr std::uint64_t kNothing = ~std::uint64_t{0};  // what no UTF-8 begins with
    std::array<std::uint64_t, kMost / 8> text{kNothing}, mask{kNothing};
    std::size_t size = 0;
    Field field = Field::kNone;
  };
  static constexpr std::size_t kFirstKey = kFields + 1;  // behind the opening brace
  static constexpr std::size_t kMembers = 32;

  // All that reads takes where it begins (never at a space) and answers the place behind it, or
  // null for what this way does not take.
  template <typename Char>
  [[nodiscard]] static Char* skip_space(Char* at) {
    while (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t') ++at;
    return at;
  }
  // Calls each(at) for what stands between `open` and `close`, parted by commas.
  template <typename Each>
  [[nodiscard]] static char* listed(char* at, char open, char close, Each&& each);
  template <typename Each>
  [[nodiscard]] static char* elements(char* at, Each&& each);
  // Calls each(at, key) for the members' values. Without duplicates' check.
  template <typename Each>
  [[nodiscard]] char* members(char* at, Each&& each);
  [[nodiscard]] char* record_key(char* at, std::size_t& field);
  [[nodiscard]] char* member_key(char* at, std::string_view& key);
  [[nodiscard]] static char* take_expected(char* at, const ExpectedKey& expected);
  [[nodiscard]] char* other_key(char* from, ExpectedKey& expected, std::string_view& key);
  [[nodiscard]] char* end_of_plain(char* from) const {
    return message_ + map_.end_of_plain(static_cast<std::size_t>(from - message_));
  }
  // A string; unescaped in place where `keep_source` is false.
  [[nodiscard]] char* string(char* at, std::string_view& out, bool keep_source = false);
  [[nodiscard]] char* unescape(char* from, char* at, std::string_view& out, bool keep_source);
  [[nodiscard]] static char* unicode_escape(char* at, std::string& out);
  [[nodiscard]] static char* number(char* from, Value& out);
  [[nodiscard]] static char* long_number(char* from, Value& out);
  [[nodiscard]] char* value(char* at, Value& out, int depth, bool keep_source);
  [[nodiscard]] char* fields(char* at, Found& found, InferenceRecord& record);
  [[nodiscard]] char* field(char* at, Field field, Found& found, InferenceRecord& record);
  [[nodiscard]] char* name(char* at, std::string_view& out);
  [[nodiscard]] char* plain_text(char* at, std::string_view& out);
  [[nodiscard]] static char* real(char* at, std::optional<double>& out);
  [[nodiscard]] char* floats(char* at, std::span<const float>& out);
  [[nodiscard]] char* tokens(char* at, Tokens& out);
  [[nodiscard]] char* turn(char* at, Turn& out);
  [[nodiscard]] char* input(char* at, std::span<const Turn>& out);
  [[nodiscard]] char* attributes(char* from, std::string_view& out);
  [[nodiscard]] bool times(Found& found, RecordBuilder::Times times, InferenceRecord& record);
  void point(const std::vector<std::string>& keys, InferenceRecord& record, TextArena& arena);

  const config::IngestSettings& settings_;
  ByteMap map_;
  std::array<ExpectedKey, kFirstKey + 1> expected_{};
  std::array<ExpectedKey, kMembers> expected_members_{};  // of the record's n-th nested key
  std::size_t members_ = 0;                               // nested keys of this record
  char* message_ = nullptr;
  TextArena* arena_ = nullptr;
  std::vector<Turn> turns_;
  std::vector<float> floats_;
  std::vector<Attribute> attributes_;
  std::vector<drift::PointerValue> values_;
  std::string scratch_;
};

}  // namespace trimtab::daemon
