// Jinja's filters and tests (jinja2/filters.py, tests.py), those that chat templates use. Each is a
// row in a table; the parser refuses names that are not there.
// Over 400 lines because it is one table of about sixty rows, a few lines each.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>

#include "retrain/model/chat_template_interpreter.h"
#include "retrain/model/tokenizer_unicode.h"

namespace trimtab::model::jinja {
namespace {

using Filter = Value (*)(Interpreter&, const Value&, const Arguments&);
using Test = bool (*)(Interpreter&, const Value&, const Arguments&);

Value method(Interpreter& run, const char* name, const std::string& text,
             const Arguments& arguments = {}) {
  return run.call(method_of(Value(text), name), arguments);
}

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

// "a.b.0" of an item, as Jinja's attribute= argument.
Value path(Interpreter& run, const Value& subject, const Value& attribute) {
  if (!attribute.is_string()) return run.item(subject, attribute);
  Value at = subject;
  std::string_view rest = attribute.text();
  while (true) {
    const std::size_t dot = rest.find('.');
    const std::string part(rest.substr(0, dot));
    const bool number = !part.empty() && std::all_of(part.begin(), part.end(),
                                                     [](char c) { return c >= '0' && c <= '9'; });
    at =
        run.item(at, number && part.size() < 10 ? Value(static_cast<std::int64_t>(std::stoll(part)))
                                                : Value(part));
    if (dot == std::string_view::npos) return at;
    rest.remove_prefix(dot + 1);
  }
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

Value filter_join(Interpreter& run, const Value& v, const Arguments& a) {
  const Value* separator = a.find(0, "d");
  const Value* attribute = a.find(1, "attribute");
  std::string out;
  bool first = true;
  for (const auto& item : v.iterate()) {
    if (!first && separator) out += separator->str();
    first = false;
    out += (attribute && !attribute->is_none() ? path(run, item, *attribute) : item).str();
    if (out.size() > kMaxTextBytes) throw JinjaError("a text grows beyond 16 MiB");
  }
  return out;
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
  const std::string text = v.str();
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

// sort, unique, min and max compare texts without regard to case unless told otherwise.
Value sort_key(Interpreter& run, const Value& item, const Value* attribute, bool case_sensitive) {
  Value key = attribute && !attribute->is_none() ? path(run, item, *attribute) : item;
  if (!case_sensitive && key.is_string()) key = Value(lowercase(key.text()));
  return key;
}

Value filter_sort(Interpreter& run, const Value& v, const Arguments& a) {
  const bool reverse = flag_argument(a, 0, "reverse", false),
             sensitive = flag_argument(a, 1, "case_sensitive", false);
  std::vector<std::pair<Value, Value>> keyed;
  for (auto& item : v.iterate())
    keyed.emplace_back(sort_key(run, item, a.find(2, "attribute"), sensitive), item);
  // A merge by hand would be stable too; std::stable_sort may be given an order that throws.
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& x, const auto& y) {
    return reverse ? y.first.compare(x.first, "<") < 0 : x.first.compare(y.first, "<") < 0;
  });
  std::vector<Value> out;
  for (auto& [key, item] : keyed) out.push_back(std::move(item));
  return Value::list(std::move(out));
}

Value filter_unique(Interpreter& run, const Value& v, const Arguments& a) {
  const bool sensitive = flag_argument(a, 0, "case_sensitive", false);
  std::vector<Value> keys, out;
  for (const auto& item : v.iterate()) {
    const Value key = sort_key(run, item, a.find(1, "attribute"), sensitive);
    run.step();
    if (std::any_of(keys.begin(), keys.end(), [&](const Value& k) { return k.equals(key); }))
      continue;
    keys.push_back(key);
    if (keys.size() > 10'000) throw JinjaError("unique takes at most 10,000 items");
    out.push_back(item);
  }
  return Value::list(std::move(out));
}

Value extreme(Interpreter& run, const Value& v, const Arguments& a, int wanted) {
  const auto items = v.iterate();
  if (items.empty()) return Value(Undefined{"No aggregated item, sequence was empty."});
  const bool sensitive = flag_argument(a, 0, "case_sensitive", false);
  const auto key = [&](const Value& item) {
    return sort_key(run, item, a.find(1, "attribute"), sensitive);
  };
  const Value* best = &items[0];
  for (const auto& item : items) {
    if (key(item).compare(key(*best), "<") * wanted > 0) best = &item;
  }
  return *best;
}

Value filter_sum(Interpreter& run, const Value& v, const Arguments& a) {
  const Value *attribute = a.find(0, "attribute"), *start = a.find(1, "start");
  double total = start ? start->number() : 0;
  bool whole = !start || start->is_integral();
  for (const auto& item : v.iterate()) {
    const Value one = attribute && !attribute->is_none() ? path(run, item, *attribute) : item;
    one.require_defined();
    if (!one.is_number()) throw JinjaError("sum over a value that is no number");
    whole = whole && one.is_integral();
    total += one.number();
  }
  if (whole && std::abs(total) < 9e15) return static_cast<std::int64_t>(total);
  return total;
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
  const double scale = std::pow(10.0, static_cast<double>(digits));
  const double scaled = v.number() * scale;
  if (name == "ceil") return std::ceil(scaled) / scale;
  if (name == "floor") return std::floor(scaled) / scale;
  return std::nearbyint(scaled) / scale;  // halves to even, as Python
}

Value filter_map(Interpreter& run, const Value& v, const Arguments& a) {
  std::vector<Value> out;
  const Value* attribute = a.find(99, "attribute");
  for (const auto& item : v.iterate()) {
    run.step();
    if (attribute) {
      Value got = path(run, item, *attribute);
      const Value* fallback = a.find(99, "default");
      out.push_back(got.is_undefined() && fallback ? *fallback : got);
      continue;
    }
    if (a.positional.empty() || !a.positional[0].is_string())
      throw JinjaError("map requires a filter argument");
    Arguments rest;
    rest.positional.assign(a.positional.begin() + 1, a.positional.end());
    rest.named = a.named;
    out.push_back(run.apply_filter(a.positional[0].text(), item, rest));
  }
  return Value::list(std::move(out));
}

// select, reject, selectattr, rejectattr.
Value choose(Interpreter& run, const Value& v, const Arguments& a, bool by_attribute, bool keep) {
  std::vector<Value> out;
  const std::size_t skip = by_attribute ? 1 : 0;
  if (by_attribute && a.positional.empty()) throw JinjaError("selectattr takes an attribute");
  for (const auto& item : v.iterate()) {
    run.step();
    const Value subject = by_attribute ? path(run, item, a.positional[0]) : item;
    bool holds = subject.truth();
    if (a.positional.size() > skip) {
      Arguments rest;
      rest.positional.assign(a.positional.begin() + static_cast<std::ptrdiff_t>(skip) + 1,
                             a.positional.end());
      holds = run.apply_test(a.positional[skip].str(), subject, rest);
    }
    if (holds == keep) out.push_back(item);
  }
  return Value::list(std::move(out));
}

Value pair_list(const std::vector<std::pair<std::string, Value>>& fields) {
  std::vector<Value> out;
  for (const auto& [key, value] : fields) out.push_back(Value::list({Value(key), value}, true));
  return Value::list(std::move(out));
}

Value filter_items(Interpreter&, const Value& v, const Arguments&) {
  if (v.is_undefined()) return Value::list({});
  if (!v.is_dict()) throw JinjaError("Can only get item pairs from a mapping.");
  return pair_list(v.fields());
}

Value filter_dictsort(Interpreter& run, const Value& v, const Arguments& a) {
  if (!v.is_dict()) throw JinjaError("dictsort takes an object");
  const bool sensitive = flag_argument(a, 0, "case_sensitive", false),
             reverse = flag_argument(a, 2, "reverse", false);
  const Value* by = a.find(1, "by");
  const bool by_value = by && by->str() == "value";
  auto fields = v.fields();
  std::stable_sort(fields.begin(), fields.end(), [&](const auto& x, const auto& y) {
    const Value kx = sort_key(run, by_value ? x.second : Value(x.first), nullptr, sensitive);
    const Value ky = sort_key(run, by_value ? y.second : Value(y.first), nullptr, sensitive);
    return (reverse ? ky.compare(kx, "<") : kx.compare(ky, "<")) < 0;
  });
  return pair_list(fields);
}

Value filter_first(Interpreter&, const Value& v, const Arguments&) {
  const auto items = v.iterate();
  return items.empty() ? Value(Undefined{"No first item, sequence was empty."}) : items.front();
}
Value filter_last(Interpreter&, const Value& v, const Arguments&) {
  const auto items = v.iterate();
  return items.empty() ? Value(Undefined{"No last item, sequence was empty."}) : items.back();
}
Value filter_reverse(Interpreter&, const Value& v, const Arguments&) {
  auto items = v.iterate();
  std::reverse(items.begin(), items.end());
  if (!v.is_string()) return Value::list(std::move(items));
  std::string out;
  for (const auto& c : items) out += c.text();
  return out;
}
Value filter_abs(Interpreter&, const Value& v, const Arguments&) {
  v.require_defined();
  if (v.is_integral() && v.integer() != INT64_MIN) return std::abs(v.integer());
  if (!v.is_number()) throw JinjaError("abs takes a number");
  return std::abs(v.number());
}
Value filter_escape(Interpreter&, const Value& v, const Arguments&) {
  std::string out;
  for (const char c : v.str()) {
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

const std::map<std::string, Filter, std::less<>>& filter_table() {
  static const std::map<std::string, Filter, std::less<>> table = [] {
    std::map<std::string, Filter, std::less<>> t;
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
    t["title"] = [](Interpreter& r, const Value& v, const Arguments&) {
      return method(r, "title", v.str());
    };
    t["string"] = [](Interpreter&, const Value& v, const Arguments&) -> Value { return v.str(); };
    t["safe"] = t["string"];
    t["list"] = [](Interpreter&, const Value& v, const Arguments&) {
      return Value::list(v.iterate());
    };
    t["select"] = [](Interpreter& r, const Value& v, const Arguments& a) {
      return choose(r, v, a, false, true);
    };
    t["reject"] = [](Interpreter& r, const Value& v, const Arguments& a) {
      return choose(r, v, a, false, false);
    };
    t["selectattr"] = [](Interpreter& r, const Value& v, const Arguments& a) {
      return choose(r, v, a, true, true);
    };
    t["rejectattr"] = [](Interpreter& r, const Value& v, const Arguments& a) {
      return choose(r, v, a, true, false);
    };
    t["min"] = [](Interpreter& r, const Value& v, const Arguments& a) {
      return extreme(r, v, a, -1);
    };
    t["max"] = [](Interpreter& r, const Value& v, const Arguments& a) {
      return extreme(r, v, a, 1);
    };
    t["default"] = t["d"] = filter_default;
    t["join"] = filter_join;
    t["replace"] = filter_replace;
    t["tojson"] = filter_tojson;
    t["indent"] = filter_indent;
    t["sort"] = filter_sort;
    t["unique"] = filter_unique;
    t["sum"] = filter_sum;
    t["int"] = filter_int;
    t["float"] = filter_float;
    t["round"] = filter_round;
    t["map"] = filter_map;
    t["items"] = filter_items;
    t["dictsort"] = filter_dictsort;
    t["first"] = filter_first;
    t["last"] = filter_last;
    t["reverse"] = filter_reverse;
    t["abs"] = filter_abs;
    t["escape"] = t["e"] = filter_escape;
    return t;
  }();
  return table;
}

const Value& operand(const Arguments& a) {
  if (a.positional.empty()) throw JinjaError("the test takes an argument");
  return a.positional[0];
}
bool divisible(const Value& v, std::int64_t by) {
  if (!v.is_integral() || by == 0) throw JinjaError("a test of divisibility takes whole numbers");
  return v.integer() % by == 0;
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
    t["iterable"] = t["sequence"];
    t["callable"] = [](I&, V v, A) { return v.is_callable(); };
    t["odd"] = [](I&, V v, A) { return !divisible(v, 2); };
    t["even"] = [](I&, V v, A) { return divisible(v, 2); };
    t["divisibleby"] = [](I&, V v, A a) {
      if (!operand(a).is_integral()) throw JinjaError("divisibleby takes a whole number");
      return divisible(v, operand(a).integer());
    };
    t["equalto"] = t["eq"] = [](I&, V v, A a) { return v.equals(operand(a)); };
    t["ne"] = [](I&, V v, A a) { return !v.equals(operand(a)); };
    t["lt"] = t["lessthan"] = [](I&, V v, A a) { return v.compare(operand(a), "<") < 0; };
    t["le"] = [](I&, V v, A a) { return v.compare(operand(a), "<=") <= 0; };
    t["gt"] = t["greaterthan"] = [](I&, V v, A a) { return v.compare(operand(a), ">") > 0; };
    t["ge"] = [](I&, V v, A a) { return v.compare(operand(a), ">=") >= 0; };
    t["in"] = [](I&, V v, A a) { return contains(operand(a), v); };
    t["lower"] = [](I& r, V v, A) { return method(r, "islower", v.str()).truth(); };
    t["upper"] = [](I& r, V v, A) { return method(r, "isupper", v.str()).truth(); };
    return t;
  }();
  return table;
}

}  // namespace

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
