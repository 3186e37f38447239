// Jinja's filters and tests (jinja2/filters.py, tests.py), those that chat templates use. Each is a
// row in a table; the parser refuses names that are not there.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <map>

#include "retrain/model/chat_template_filters.h"
#include "retrain/model/tokenizer_unicode.h"

namespace trimtab::model::jinja {
namespace {

using Test = bool (*)(Interpreter&, const Value&, const Arguments&);

Value method(Interpreter& run, const char* name, const std::string& text,
             const Arguments& arguments = {}) {
  return run.call(method_of(Value(text), name), arguments);
}

Value length(const Value& value) {
  if (value.is_string()) return static_cast<std::int64_t>(character_count(value.text()));
  if (value.is_undefined()) return std::int64_t{0};
  if (value.is_list()) return static_cast<std::int64_t>(value.items().size());
  if (value.is_dict()) return static_cast<std::int64_t>(value.fields().size());
  throw JinjaError("object of type '" + value.python_type() + "' has no len()");
}

Value filter_default(Interpreter&, const Value& v, const Arguments& a) {
  const Value* fallback = a.find(0, "default_value");
  const bool empty_too = flag_argument(a, 1, "boolean", false);
  if (v.is_undefined() || (empty_too && !v.truth())) return fallback ? *fallback : Value("");
  return v;
}

Value filter_replace(Interpreter& run, const Value& v, const Arguments& a) {
  const Value *from = a.find(0, "old"), *to = a.find(1, "new"), *count = a.find(2, "count");
  if (!from || !to) throw JinjaError("replace takes what and by what");
  Arguments given;
  given.positional = {from->str(), to->str()};
  if (count && !count->is_none()) given.positional.push_back(*count);
  return method(run, "replace", v.str(), given);
}

Value filter_tojson(Interpreter&, const Value& v, const Arguments& a) {
  if (v.is_undefined()) throw JinjaError("Object of type Undefined is not JSON serializable");
  const Value* ascii = a.find(99, "ensure_ascii");
  const Value* sorted = a.find(99, "sort_keys");
  const Value* indent = a.find(99, "indent");
  if (!indent && a.positional.size() > 1) indent = &a.positional[1];
  if (!ascii && !a.positional.empty()) ascii = &a.positional[0];
  JsonStyle style{.sort_keys = sorted && sorted->truth(), .ascii = ascii && ascii->truth()};
  if (indent && !indent->is_none()) {
    if (!indent->is_integral() || indent->integer() > 64)
      throw JinjaError("tojson's indent is no small whole number");
    style.indent = static_cast<int>(std::max<std::int64_t>(indent->integer(), 0));
    style.between = ",";
  }
  const Value* separators = a.find(2, "separators");
  if (separators && !separators->is_none()) {
    const auto two = separators->iterate();
    if (two.size() != 2 || !two[0].is_string() || !two[1].is_string())
      throw JinjaError("tojson's separators are two texts");
    style.between = two[0].text();
    style.colon = two[1].text();
  }
  return v.to_json(style);
}

Value filter_indent(Interpreter&, const Value& v, const Arguments& a) {
  const Value* width = a.find(0, "width");
  const bool first = flag_argument(a, 1, "first", false),
             blank = flag_argument(a, 2, "blank", false);
  const std::string margin = width && width->is_string()
                                 ? width->text()
                                 : std::string(static_cast<std::size_t>(std::clamp<std::int64_t>(
                                                   int_argument(a, 0, "width", 4), 0, 1000)),
                                               ' ');
  if (!v.is_string()) throw JinjaError("indent takes a text, not a " + v.python_type());
  const std::string& text = v.text();
  std::string out;
  std::size_t begin = 0;
  for (bool first_line = true;; first_line = false) {
    const std::size_t end = text.find('\n', begin);
    const std::string line = text.substr(begin, end == std::string::npos ? end : end - begin);
    if (!first_line) out += '\n';
    if (first_line ? first : (blank || !line.empty())) out += margin;
    out += line;
    if (out.size() > kMaxTextBytes) throw JinjaError("a text grows beyond 16 MiB");
    if (end == std::string::npos) return out;
    begin = end + 1;
  }
}

Value filter_int(Interpreter&, const Value& v, const Arguments& a) {
  v.require_defined();
  const std::int64_t fallback = int_argument(a, 0, "default", 0);
  if (v.is_integral()) return v.integer();
  if (v.is_float())
    return std::abs(v.number()) < 9e18 ? static_cast<std::int64_t>(v.number()) : fallback;
  if (!v.is_string()) return fallback;
  const std::string text = strip(v.text(), nullptr, true, true);
  char* end = nullptr;
  errno = 0;
  const long long whole = std::strtoll(text.c_str(), &end, 10);
  if (!text.empty() && *end == '\0' && errno == 0) return static_cast<std::int64_t>(whole);
  const double d = std::strtod(text.c_str(), &end);
  return !text.empty() && *end == '\0' && std::abs(d) < 9e18 ? static_cast<std::int64_t>(d)
                                                             : fallback;
}

Value filter_float(Interpreter&, const Value& v, const Arguments& a) {
  v.require_defined();
  const Value* fallback = a.find(0, "default");
  if (v.is_number()) return v.number();
  if (v.is_string()) {
    const std::string text = strip(v.text(), nullptr, true, true);
    char* end = nullptr;
    const double d = std::strtod(text.c_str(), &end);
    if (!text.empty() && *end == '\0') return d;
  }
  return fallback ? *fallback : Value(0.0);
}

Value filter_round(Interpreter&, const Value& v, const Arguments& a) {
  v.require_defined();
  if (!v.is_number()) throw JinjaError("round takes a number");
  const std::int64_t digits = std::clamp<std::int64_t>(int_argument(a, 0, "precision", 0), -15, 15);
  const Value* how = a.find(1, "method");
  const std::string name = how ? how->str() : "common";
  if (name != "common" && name != "ceil" && name != "floor")
    throw JinjaError("method must be common, ceil or floor");
  if (name == "common" && v.is_integral() && digits >= 0) return v.integer();
  if (name == "common" && digits >= 0) {  // correctly rounded, as Python: not by way of a product
    return std::strtod(fmt::format("{:.{}f}", v.number(), digits).c_str(), nullptr);
  }
  const double scale = std::pow(10.0, static_cast<double>(digits));
  const double scaled = v.number() * scale;
  if (name == "ceil") return std::ceil(scaled) / scale;
  if (name == "floor") return std::floor(scaled) / scale;
  const double rounded = std::nearbyint(scaled) / scale;  // halves to even, as Python
  if (v.is_integral()) return static_cast<std::int64_t>(rounded);
  return rounded;
}

Value filter_abs(Interpreter&, const Value& v, const Arguments&) {
  v.require_defined();
  if (v.is_integral() && v.integer() != INT64_MIN) return std::abs(v.integer());
  if (!v.is_number()) throw JinjaError("abs takes a number");
  return std::abs(v.number());
}
// Jinja's own: a word begins behind "-", white space or an opening bracket.
std::string title(Interpreter& run, const std::string& text) {
  std::string out;
  bool first = true;
  for (const std::string& c : characters(text)) {
    const bool between = c == "-" || c == "(" || c == "{" || c == "[" || c == "<" ||
                         strip(c, nullptr, true, true).empty();
    out += between ? c : method(run, first ? "upper" : "lower", c).text();
    first = between;
  }
  return out;
}

const FilterTable& filter_table() {
  static const FilterTable table = [] {
    FilterTable t;
    t["trim"] = [](Interpreter&, const Value& v, const Arguments& a) -> Value {
      return strip(v.str(), a.find(0, "chars"), true, true);
    };
    t["length"] =
        t["count"] = [](Interpreter&, const Value& v, const Arguments&) { return length(v); };
    t["upper"] = [](Interpreter& r, const Value& v, const Arguments&) {
      return method(r, "upper", v.str());
    };
    t["lower"] = [](Interpreter& r, const Value& v, const Arguments&) {
      return method(r, "lower", v.str());
    };
    t["capitalize"] = [](Interpreter& r, const Value& v, const Arguments&) {
      return method(r, "capitalize", v.str());
    };
    t["title"] = [](Interpreter& r, const Value& v, const Arguments&) -> Value {
      return title(r, v.str());
    };
    t["string"] = [](Interpreter&, const Value& v, const Arguments&) -> Value { return v.str(); };
    t["safe"] = t["string"];
    t["list"] = [](Interpreter&, const Value& v, const Arguments&) {
      return Value::list(v.iterate());
    };
    t["default"] = t["d"] = filter_default;
    t["replace"] = filter_replace;
    t["tojson"] = filter_tojson;
    t["indent"] = filter_indent;
    t["int"] = filter_int;
    t["float"] = filter_float;
    t["round"] = filter_round;
    t["abs"] = filter_abs;
    t["escape"] = t["e"] =
        t["forceescape"] = [](Interpreter&, const Value& v, const Arguments&) -> Value {
      return escape_html(v.str());
    };
    add_list_filters(t);
    add_text_filters(t);
    return t;
  }();
  return table;
}

const Value& operand(const Arguments& a) {
  if (a.positional.empty()) throw JinjaError("the test takes an argument");
  return a.positional[0];
}
// Python's `value % by`, of which the tests of divisibility ask whether it is 0 or 1.
bool remainder_is(const Value& v, const Value& by, double wanted) {
  return binary("%", v, by).equals(Value(wanted));
}

const std::map<std::string, Test, std::less<>>& test_table() {
  static const std::map<std::string, Test, std::less<>> table = [] {
    using I = Interpreter;
    using V = const Value&;
    using A = const Arguments&;
    std::map<std::string, Test, std::less<>> t;
    t["defined"] = [](I&, V v, A) { return !v.is_undefined(); };
    t["undefined"] = [](I&, V v, A) { return v.is_undefined(); };
    t["none"] = [](I&, V v, A) { return v.is_none(); };
    t["true"] = [](I&, V v, A) { return v.is_bool() && v.truth(); };
    t["false"] = [](I&, V v, A) { return v.is_bool() && !v.truth(); };
    t["boolean"] = [](I&, V v, A) { return v.is_bool(); };
    t["string"] = [](I&, V v, A) { return v.is_string(); };
    t["number"] = [](I&, V v, A) { return v.is_number(); };
    t["integer"] = [](I&, V v, A) { return v.is_int(); };
    t["float"] = [](I&, V v, A) { return v.is_float(); };
    t["mapping"] = [](I&, V v, A) { return v.is_dict(); };
    t["sequence"] = [](I&, V v, A) {
      return v.is_list() || v.is_string() || v.is_dict() || v.is_undefined();
    };
    t["iterable"] = [](I&, V v, A) {
      return v.is_list() || v.is_string() || v.is_dict() || v.is_undefined() || v.is_generator();
    };
    t["callable"] = [](I&, V v, A) { return v.is_callable(); };
    t["odd"] = [](I&, V v, A) { return remainder_is(v, std::int64_t{2}, 1); };
    t["even"] = [](I&, V v, A) { return remainder_is(v, std::int64_t{2}, 0); };
    t["divisibleby"] = [](I&, V v, A a) { return remainder_is(v, operand(a), 0); };
    t["equalto"] = t["eq"] = [](I&, V v, A a) { return v.equals(operand(a)); };
    t["ne"] = [](I&, V v, A a) { return !v.equals(operand(a)); };
    t["lt"] = t["lessthan"] = [](I&, V v, A a) { return v.compare(operand(a), "<") < 0; };
    t["le"] = [](I&, V v, A a) { return v.compare(operand(a), "<=") <= 0; };
    t["gt"] = t["greaterthan"] = [](I&, V v, A a) { return v.compare(operand(a), ">") > 0; };
    t["ge"] = [](I&, V v, A a) { return v.compare(operand(a), ">=") >= 0; };
    t["in"] = [](I&, V v, A a) { return contains(operand(a), v); };
    t["sameas"] = [](I&, V v, A a) { return v.same_as(operand(a)); };
    t["escaped"] = [](I&, V, A) { return false; };  // nothing here is Markup
    t["filter"] = [](I&, V v, A) { return v.is_string() && is_filter(v.text()); };
    t["test"] = [](I&, V v, A) { return v.is_string() && is_test(v.text()); };
    t["lower"] = [](I& r, V v, A) { return method(r, "islower", v.str()).truth(); };
    t["upper"] = [](I& r, V v, A) { return method(r, "isupper", v.str()).truth(); };
    return t;
  }();
  return table;
}

}  // namespace

std::int64_t int_argument(const Arguments& a, std::size_t i, const char* name,
                          std::int64_t fallback) {
  const Value* value = a.find(i, name);
  if (value == nullptr || value->is_none()) return fallback;
  if (!value->is_integral()) throw JinjaError(std::string("'") + name + "' is no whole number");
  return value->integer();
}
bool flag_argument(const Arguments& a, std::size_t i, const char* name, bool fallback) {
  const Value* value = a.find(i, name);
  return value ? value->truth() : fallback;
}

std::string escape_html(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '\'': out += "&#39;"; break;
      case '"': out += "&#34;"; break;
      default: out += c;
    }
  }
  return out;
}

bool is_filter(std::string_view name) { return filter_table().contains(name); }
bool is_test(std::string_view name) { return test_table().contains(name); }

Value Interpreter::apply_filter(const std::string& name, const Value& subject,
                                const Arguments& arguments) {
  const auto it = filter_table().find(name);
  if (it == filter_table().end()) throw JinjaError("No filter named '" + name + "'.");
  return it->second(*this, subject, arguments);
}

bool Interpreter::apply_test(const std::string& name, const Value& subject,
                             const Arguments& arguments) {
  static const std::map<std::string, std::string, std::less<>> kSigns = {
      {"==", "eq"}, {"!=", "ne"}, {"<", "lt"}, {"<=", "le"}, {">", "gt"}, {">=", "ge"}};
  const auto sign = kSigns.find(name);
  const auto it = test_table().find(sign == kSigns.end() ? name : sign->second);
  if (it == test_table().end()) throw JinjaError("No test named '" + name + "'.");
  return it->second(*this, subject, arguments);
}

}  // namespace trimtab::model::jinja
