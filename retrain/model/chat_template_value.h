// Values of the chat-template interpreter, with Python's meaning of them: truth, equality, order,
// str(), repr(), json.dumps().
//
// Inside the interpreter errors travel as JinjaError; ChatTemplate turns them into Error. Values
// share their lists and objects by pointer, as Python does. Used by one thread a rendering.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace trimtab::model::jinja {

struct JinjaError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// How json.dumps writes.
struct JsonStyle {
  int indent = -1;  // < 0: one line
  bool sort_keys = false;
  bool ascii = false;
  std::string between = ", ";  // items
  std::string colon = ": ";
};

class Interpreter;
class Value;

struct Undefined {
  std::string why;  // the text of the error when it is used: "'x' is undefined"
};
struct None {};
struct Arguments;
using Function = std::function<Value(Interpreter&, const Arguments&)>;

struct ListData;
struct DictData;
struct GeneratorData;
struct Callable {
  std::shared_ptr<const Function> function;
};

class Value {
 public:
  Value() : data_(Undefined{}) {}
  explicit Value(Undefined undefined) : data_(std::move(undefined)) {}
  Value(None none) : data_(none) {}    // NOLINT: values read like literals
  Value(bool b) : data_(b) {}          // NOLINT
  Value(std::int64_t i) : data_(i) {}  // NOLINT
  Value(double d) : data_(d) {}        // NOLINT
  Value(std::string text)              // NOLINT
      : data_(std::make_shared<const std::string>(std::move(text))) {}
  Value(const char* text) : Value(std::string(text)) {}  // NOLINT
  Value(Function function)                               // NOLINT
      : data_(Callable{std::make_shared<const Function>(std::move(function))}) {}
  static Value list(std::vector<Value> items, bool tuple = false);
  // What Python's generators are to a template: true, without a length, iterated once.
  static Value generator(std::vector<Value> items);
  // A tuple whose items have names too, as Python's named tuples.
  static Value named_tuple(std::vector<std::pair<std::string, Value>> parts);
  static Value dict();
  static Value name_space();  // an object whose attributes `set ns.x = ..` may change
  static Value from_json(const nlohmann::ordered_json& json, int depth = 0);

  [[nodiscard]] bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  [[nodiscard]] bool is_none() const { return std::holds_alternative<None>(data_); }
  [[nodiscard]] bool is_bool() const { return std::holds_alternative<bool>(data_); }
  [[nodiscard]] bool is_int() const { return std::holds_alternative<std::int64_t>(data_); }
  [[nodiscard]] bool is_float() const { return std::holds_alternative<double>(data_); }
  [[nodiscard]] bool is_string() const { return std::holds_alternative<Text>(data_); }
  [[nodiscard]] bool is_list() const {
    return std::holds_alternative<std::shared_ptr<ListData>>(data_);
  }
  [[nodiscard]] bool is_object() const {
    return std::holds_alternative<std::shared_ptr<DictData>>(data_);
  }
  [[nodiscard]] bool is_dict() const;  // an object that is no namespace
  [[nodiscard]] bool is_namespace() const;
  [[nodiscard]] bool is_generator() const {
    return std::holds_alternative<std::shared_ptr<GeneratorData>>(data_);
  }
  [[nodiscard]] bool is_callable() const { return std::holds_alternative<Callable>(data_); }
  [[nodiscard]] bool is_number() const { return is_int() || is_float() || is_bool(); }
  [[nodiscard]] bool is_integral() const { return is_int() || is_bool(); }

  [[nodiscard]] const std::string& text() const { return *std::get<Text>(data_); }
  [[nodiscard]] std::int64_t integer() const;  // of int and bool
  [[nodiscard]] double number() const;
  [[nodiscard]] std::vector<Value>& items() const;
  [[nodiscard]] bool is_tuple() const;
  [[nodiscard]] const Value* named_item(std::string_view name) const;  // of a named tuple
  [[nodiscard]] std::vector<std::pair<std::string, Value>>& fields() const;
  [[nodiscard]] const Value* field(std::string_view name) const;  // nullptr: absent
  void set_field(const std::string& name, Value value) const;
  [[nodiscard]] const Function& function() const { return *std::get<Callable>(data_).function; }
  [[nodiscard]] const std::string& why_undefined() const { return std::get<Undefined>(data_).why; }

  [[nodiscard]] bool same_as(const Value& other) const;  // Python's `is`
  [[nodiscard]] bool truth() const;
  [[nodiscard]] std::string str() const;  // Python's str(); "" when undefined
  [[nodiscard]] std::string repr(int depth = 0) const;
  [[nodiscard]] std::string python_type() const;  // "str", "NoneType", ..
  [[nodiscard]] bool equals(const Value& other, int depth = 0) const;
  // Throws JinjaError when Python could not order them.
  [[nodiscard]] int compare(const Value& other, const char* op) const;
  // What a for loop sees; empties a generator. Throws when not iterable.
  [[nodiscard]] std::vector<Value> iterate() const;
  [[nodiscard]] Value take_first() const;  // the next of an iteration; undefined when there is none
  [[nodiscard]] std::string to_json(const JsonStyle& style, int depth = 0) const;  // json.dumps
  void require_defined() const;  // throws the reason when undefined

 private:
  using Text = std::shared_ptr<const std::string>;
  std::variant<Undefined, None, bool, std::int64_t, double, Text, std::shared_ptr<ListData>,
               std::shared_ptr<DictData>, std::shared_ptr<GeneratorData>, Callable>
      data_;
};

struct ListData {
  std::vector<Value> items;
  bool tuple = false;
  std::vector<std::string> names;  // of a named tuple's items; else empty
};
struct GeneratorData {
  std::vector<Value> rest;  // what was not taken yet
};
struct DictData {
  std::vector<std::pair<std::string, Value>> fields;  // in the order of insertion
  bool name_space = false;
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
  // The positional argument, else the named one, else nullptr.
  [[nodiscard]] const Value* find(std::size_t index, std::string_view name) const;
};

// Text by code points, as Python counts.
[[nodiscard]] std::vector<std::string> characters(std::string_view text);
[[nodiscard]] std::size_t character_count(std::string_view text);
[[nodiscard]] std::string quote_json(std::string_view text, bool ascii);

inline constexpr std::size_t kMaxTextBytes = 16 << 20;  // any one text, and the output
inline constexpr std::size_t kMaxItems = 1'000'000;     // any one list
inline constexpr int kMaxValueDepth = 64;               // nesting of lists and objects

}  // namespace trimtab::model::jinja
