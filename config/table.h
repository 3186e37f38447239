// The table that knows the configuration: one row a field, and from it come the strict loader, the
// JSON Schema, the reference in docs/, the canonical dump and its hash. A field that is not in a
// table cannot be set; a test compares the tables with what the example file shows.
//
// A Table<T> is built once by the functions of config/tables.h and is immutable and shared by all
// threads afterwards. Rows reach members through type-erased accessors, so that the walkers are not
// templates.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "config/units.h"

namespace trimtab::config {

enum class Kind {
  kBool,
  kInteger,
  kNumber,
  kString,
  kPath,      // relative ones are taken from the folder of the configuration file
  kDuration,  // milliseconds
  kSize,      // bytes
  kRate,
  kChoice,     // one of Row::choices
  kStrings,    // list; of Row::choices where that is not empty
  kNumbers,    // list
  kStringMap,  // free keys
  kNumberMap,  // free keys, in the file's order
  kSection,
  kSections,  // list of sections
};

// Keys in the order of the file: of two patterns that fit, the first counts.
using NumberMap = std::vector<std::pair<std::string, double>>;

using Value = std::variant<bool, std::int64_t, double, std::string, Rate, std::vector<std::string>,
                           std::vector<double>, std::map<std::string, std::string>, NumberMap>;

struct Section;

struct Row {
  std::string key;
  Kind kind = Kind::kString;
  std::string doc;
  bool required = false;
  // Inclusive bounds of an integer, number, duration (ms), size (bytes), list entry, or a list's
  // and string's length where `bounds_length`.
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  std::vector<std::string> choices;
  bool single = false;  // kStrings: one text stands for a list of one
  // Beyond the range: empty when the text is fine, else what is wrong and what to write.
  std::function<std::string(const std::string&)> check;

  // Scalars, lists of scalars, maps. `store` REQUIRES a Value of the kind's alternative.
  std::function<void(void* owner, const Value&)> store;
  std::function<Value(const void* owner)> fetch;
  // kSection and kSections.
  std::shared_ptr<const Section> section;
  std::function<void*(void* owner)> child;                                   // kSection
  std::function<void*(void* owner)> append;                                  // kSections
  std::function<std::size_t(const void* owner)> count;                       // kSections
  std::function<const void*(const void* owner, std::size_t index)> element;  // both (index 0)
};

struct Section {
  std::vector<Row> rows;
  // A default-constructed owner, for the defaults that docs and schema print.
  std::function<std::shared_ptr<void>()> make_default;
  [[nodiscard]] const Row* find(const std::string& key) const {
    for (const Row& row : rows) {
      if (row.key == key) return &row;
    }
    return nullptr;
  }
};

inline constexpr double kUnbounded = std::numeric_limits<double>::infinity();

template <typename T>
class Table {
 public:
  Table() {
    section_.make_default = [] { return std::static_pointer_cast<void>(std::make_shared<T>()); };
  }

  Table& boolean(const char* key, bool T::*member, const char* doc) {
    scalar<bool>(key, Kind::kBool, member, doc);
    return *this;
  }
  template <typename Integer>
  Table& integer(const char* key, Integer T::*member, double low, double high, const char* doc) {
    static_assert(std::is_integral_v<Integer>);
    scalar<std::int64_t>(key, Kind::kInteger, member, doc).range(low, high);
    return *this;
  }
  Table& number(const char* key, double T::*member, double low, double high, const char* doc) {
    scalar<double>(key, Kind::kNumber, member, doc).range(low, high);
    return *this;
  }
  Table& text(const char* key, std::string T::*member, const char* doc) {
    scalar<std::string>(key, Kind::kString, member, doc);
    return *this;
  }
  Table& path(const char* key, std::string T::*member, const char* doc) {
    scalar<std::string>(key, Kind::kPath, member, doc);
    return *this;
  }
  Table& duration(const char* key, std::int64_t T::*member, double low_ms, double high_ms,
                  const char* doc) {
    scalar<std::int64_t>(key, Kind::kDuration, member, doc).range(low_ms, high_ms);
    return *this;
  }
  Table& size(const char* key, std::int64_t T::*member, double low, double high, const char* doc) {
    scalar<std::int64_t>(key, Kind::kSize, member, doc).range(low, high);
    return *this;
  }
  Table& rate(const char* key, double T::*count, std::int64_t T::*per_ms, const char* doc) {
    Row& row = add(key, Kind::kRate, doc);
    row.store = [=](void* owner, const Value& value) {
      static_cast<T*>(owner)->*count = std::get<Rate>(value).count;
      static_cast<T*>(owner)->*per_ms = std::get<Rate>(value).per_ms;
    };
    row.fetch = [=](const void* owner) -> Value {
      return Rate{static_cast<const T*>(owner)->*count, static_cast<const T*>(owner)->*per_ms};
    };
    return *this;
  }
  // An enum whose enumerators 0, 1, .. are `choices` in this order, or a string holding the word.
  template <typename Member>
  Table& choice(const char* key, Member T::*member, std::vector<std::string> choices,
                const char* doc) {
    Row& row = add(key, Kind::kChoice, doc);
    row.choices = choices;
    row.store = [member, choices](void* owner, const Value& value) {
      static_cast<T*>(owner)->*member = from_word<Member>(std::get<std::string>(value), choices);
    };
    row.fetch = [member, choices](const void* owner) -> Value {
      return to_word(static_cast<const T*>(owner)->*member, choices);
    };
    return *this;
  }
  template <typename Element>
  Table& choices(const char* key, std::vector<Element> T::*member, std::vector<std::string> choices,
                 const char* doc) {
    Row& row = add(key, Kind::kStrings, doc);
    row.choices = choices;
    row.store = [member, choices](void* owner, const Value& value) {
      auto& list = static_cast<T*>(owner)->*member;
      list.clear();
      for (const auto& word : std::get<std::vector<std::string>>(value)) {
        list.push_back(from_word<Element>(word, choices));
      }
    };
    row.fetch = [member, choices](const void* owner) -> Value {
      std::vector<std::string> words;
      for (const auto& item : static_cast<const T*>(owner)->*member) {
        words.push_back(to_word(item, choices));
      }
      return words;
    };
    return *this;
  }
  Table& strings(const char* key, std::vector<std::string> T::*member, const char* doc) {
    scalar<std::vector<std::string>>(key, Kind::kStrings, member, doc);
    return *this;
  }
  Table& numbers(const char* key, std::vector<double> T::*member, double low, double high,
                 const char* doc) {
    scalar<std::vector<double>>(key, Kind::kNumbers, member, doc).range(low, high);
    return *this;
  }
  Table& string_map(const char* key, std::map<std::string, std::string> T::*member,
                    const char* doc) {
    scalar<std::map<std::string, std::string>>(key, Kind::kStringMap, member, doc);
    return *this;
  }
  Table& number_map(const char* key, NumberMap T::*member, double low, double high,
                    const char* doc) {
    scalar<NumberMap>(key, Kind::kNumberMap, member, doc).range(low, high);
    return *this;
  }
  template <typename Child>
  Table& section(const char* key, Child T::*member, const Table<Child>& table, const char* doc) {
    Row& row = add(key, Kind::kSection, doc);
    row.section = table.shared();
    row.child = [member](void* owner) -> void* { return &(static_cast<T*>(owner)->*member); };
    row.element = [member](const void* owner, std::size_t) -> const void* {
      return &(static_cast<const T*>(owner)->*member);
    };
    return *this;
  }
  template <typename Child>
  Table& sections(const char* key, std::vector<Child> T::*member, const Table<Child>& table,
                  const char* doc) {
    Row& row = add(key, Kind::kSections, doc);
    row.section = table.shared();
    row.append = [member](void* owner) -> void* {
      return &(static_cast<T*>(owner)->*member).emplace_back();
    };
    row.count = [member](const void* owner) {
      return (static_cast<const T*>(owner)->*member).size();
    };
    row.element = [member](const void* owner, std::size_t index) -> const void* {
      return &(static_cast<const T*>(owner)->*member)[index];
    };
    return *this;
  }
  // The rows of a member's table, at this level: `brokers` under `kafka:`.
  template <typename Child>
  Table& inlined(Child T::*member, const Table<Child>& table) {
    const auto inner_section = table.shared();
    for (Row row : inner_section->rows) {
      if (row.store) {
        row.store = [member, inner = row.store](void* owner, const Value& value) {
          inner(&(static_cast<T*>(owner)->*member), value);
        };
        row.fetch = [member, inner = row.fetch](const void* owner) {
          return inner(&(static_cast<const T*>(owner)->*member));
        };
      }
      section_.rows.push_back(std::move(row));
    }
    return *this;
  }
  // Modifiers of the row added last.
  Table& required() {
    section_.rows.back().required = true;
    return *this;
  }
  Table& or_single() {
    section_.rows.back().single = true;
    return *this;
  }
  Table& check(std::function<std::string(const std::string&)> check) {
    section_.rows.back().check = std::move(check);
    return *this;
  }

  [[nodiscard]] std::shared_ptr<const Section> shared() const {
    return std::make_shared<const Section>(section_);
  }

 private:
  struct Added {
    Row& row;
    void range(double low, double high) {
      row.low = low;
      row.high = high;
    }
  };
  Row& add(const char* key, Kind kind, const char* doc) {
    Row row;
    row.key = key;
    row.kind = kind;
    row.doc = doc;
    section_.rows.push_back(std::move(row));
    return section_.rows.back();
  }
  template <typename Alternative, typename Member>
  Added scalar(const char* key, Kind kind, Member T::*member, const char* doc) {
    Row& row = add(key, kind, doc);
    row.store = [member](void* owner, const Value& value) {
      static_cast<T*>(owner)->*member = static_cast<Member>(std::get<Alternative>(value));
    };
    row.fetch = [member](const void* owner) -> Value {
      return static_cast<Alternative>(static_cast<const T*>(owner)->*member);
    };
    return {row};
  }
  template <typename Member>
  static Member from_word(const std::string& word, const std::vector<std::string>& choices) {
    if constexpr (std::is_enum_v<Member>) {
      std::size_t index = 0;
      while (index < choices.size() && choices[index] != word) ++index;
      return static_cast<Member>(index);
    } else {
      return word;
    }
  }
  template <typename Member>
  static std::string to_word(const Member& member, const std::vector<std::string>& choices) {
    if constexpr (std::is_enum_v<Member>) {
      return choices.at(static_cast<std::size_t>(member));
    } else {
      return member;
    }
  }

  Section section_;
};

}  // namespace trimtab::config
