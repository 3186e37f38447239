#include "retrain/model/chat_template_value.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/json.h"
#include "retrain/model/tokenizer_unicode.h"

namespace trimtab::model::jinja {
namespace {

void check_depth(int depth) {
  if (depth > kMaxValueDepth) throw JinjaError("values are nested more than 64 deep");
}

// Python's repr of a float: the shortest digits that read back, "1.0" and not "1".
std::string float_text(double d) {
  if (std::isnan(d)) return "nan";
  if (std::isinf(d)) return d > 0 ? "inf" : "-inf";
  std::string text = fmt::format("{}", d);
  const std::size_t e = text.find('e');
  if (e == std::string::npos && text.find('.') == std::string::npos) text += ".0";
  return text;
}

std::string quote_python(std::string_view text) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const bool has_double = text.find('"') != std::string_view::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  std::string out(1, quote);
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    if (c == static_cast<char32_t>(quote) || c == '\\')
      out += {'\\', static_cast<char>(c)};
    else if (c == '\n')
      out += "\\n";
    else if (c == '\r')
      out += "\\r";
    else if (c == '\t')
      out += "\\t";
    else if (c < 0x20 || (c >= 0x7F && c < 0xA1))
      out += fmt::format("\\x{:02x}", static_cast<unsigned>(c));
    else
      append_code_point(out, c);
  }
  return out + quote;
}

}  // namespace

Value Value::list(std::vector<Value> items, bool tuple) {
  if (items.size() > kMaxItems) throw JinjaError("a list grows beyond a million items");
  Value value;
  value.data_ = std::make_shared<ListData>(ListData{std::move(items), tuple, {}});
  return value;
}
Value Value::generator(std::vector<Value> items) {
  if (items.size() > kMaxItems) throw JinjaError("a list grows beyond a million items");
  Value value;
  value.data_ = std::make_shared<GeneratorData>(GeneratorData{std::move(items)});
  return value;
}
Value Value::named_tuple(std::vector<std::pair<std::string, Value>> parts) {
  Value value = list({}, true);
  auto& data = *std::get<std::shared_ptr<ListData>>(value.data_);
  for (auto& [name, item] : parts) {
    data.names.push_back(std::move(name));
    data.items.push_back(std::move(item));
  }
  return value;
}
Value Value::dict() {
  Value value;
  value.data_ = std::make_shared<DictData>();
  return value;
}
Value Value::name_space() {
  Value value = dict();
  std::get<std::shared_ptr<DictData>>(value.data_)->name_space = true;
  return value;
}

Value Value::from_json(const OrderedJson& json, int depth) {
  check_depth(depth);
  switch (json.type()) {
    case OrderedJson::value_t::null: return None{};
    case OrderedJson::value_t::boolean: return json.get<bool>();
    case OrderedJson::value_t::number_integer:
    case OrderedJson::value_t::number_unsigned: return json.get<std::int64_t>();
    case OrderedJson::value_t::number_float: return json.get<double>();
    case OrderedJson::value_t::string: return lossy_utf8(json.get_ref<const std::string&>());
    case OrderedJson::value_t::array: {
      std::vector<Value> items;
      for (const auto& item : json) items.push_back(from_json(item, depth + 1));
      return list(std::move(items));
    }
    case OrderedJson::value_t::object: {
      Value value = dict();
      for (auto it = json.begin(); it != json.end(); ++it) {
        value.fields().emplace_back(it.key(), from_json(*it, depth + 1));
      }
      return value;
    }
    default: throw JinjaError("a value that is no JSON");
  }
}

bool Value::is_dict() const { return is_object() && !is_namespace(); }
bool Value::is_namespace() const {
  return is_object() && std::get<std::shared_ptr<DictData>>(data_)->name_space;
}
std::int64_t Value::integer() const {
  return is_bool() ? static_cast<std::int64_t>(std::get<bool>(data_))
                   : std::get<std::int64_t>(data_);
}
double Value::number() const {
  return is_float() ? std::get<double>(data_) : static_cast<double>(integer());
}
std::vector<Value>& Value::items() const {
  return std::get<std::shared_ptr<ListData>>(data_)->items;
}
bool Value::is_tuple() const {
  return is_list() && std::get<std::shared_ptr<ListData>>(data_)->tuple;
}
const Value* Value::named_item(std::string_view name) const {
  if (!is_list()) return nullptr;
  const ListData& data = *std::get<std::shared_ptr<ListData>>(data_);
  const auto at = std::find(data.names.begin(), data.names.end(), name);
  return at == data.names.end() ? nullptr
                                : &data.items[static_cast<std::size_t>(at - data.names.begin())];
}
std::vector<std::pair<std::string, Value>>& Value::fields() const {
  return std::get<std::shared_ptr<DictData>>(data_)->fields;
}
const Value* Value::field(std::string_view name) const {
  for (const auto& [key, value] : fields()) {
    if (key == name) return &value;
  }
  return nullptr;
}
void Value::set_field(const std::string& name, Value value) const {
  for (auto& [key, old] : fields()) {
    if (key == name) {
      old = std::move(value);
      return;
    }
  }
  if (fields().size() >= kMaxItems) throw JinjaError("an object grows beyond a million fields");
  fields().emplace_back(name, std::move(value));
}

void Value::require_defined() const {
  if (is_undefined()) throw JinjaError(why_undefined());
}

bool Value::same_as(const Value& other) const {
  if (data_.index() != other.data_.index()) return false;
  if (is_list())
    return std::get<std::shared_ptr<ListData>>(data_) ==
           std::get<std::shared_ptr<ListData>>(other.data_);
  if (is_object())
    return std::get<std::shared_ptr<DictData>>(data_) ==
           std::get<std::shared_ptr<DictData>>(other.data_);
  if (is_generator())
    return std::get<std::shared_ptr<GeneratorData>>(data_) ==
           std::get<std::shared_ptr<GeneratorData>>(other.data_);
  return !is_callable() && equals(other);
}

bool Value::truth() const {
  if (is_undefined() || is_none()) return false;
  if (is_number()) return number() != 0;
  if (is_string()) return !text().empty();
  if (is_list()) return !items().empty();
  if (is_dict()) return !fields().empty();
  return true;
}

std::string Value::str() const {
  if (is_undefined()) return {};
  return is_string() ? text() : repr();
}

std::string Value::repr(int depth) const {
  check_depth(depth);
  if (is_undefined()) return "Undefined";
  if (is_none()) return "None";
  if (is_bool()) return integer() != 0 ? "True" : "False";
  if (is_int()) return std::to_string(integer());
  if (is_float()) return float_text(number());
  if (is_string()) return quote_python(text());
  if (is_callable()) return "<function>";
  if (is_generator()) return "<generator object>";
  std::string out;
  if (is_list()) {
    for (const auto& item : items()) out += (out.empty() ? "" : ", ") + item.repr(depth + 1);
    if (is_tuple()) return "(" + out + (items().size() == 1 ? ",)" : ")");
    return "[" + out + "]";
  }
  for (const auto& [key, value] : fields()) {
    out += (out.empty() ? "" : ", ") + quote_python(key) + ": " + value.repr(depth + 1);
  }
  return is_namespace() ? "<Namespace {" + out + "}>" : "{" + out + "}";
}

std::string Value::python_type() const {
  if (is_undefined()) return "Undefined";
  if (is_none()) return "NoneType";
  if (is_bool()) return "bool";
  if (is_int()) return "int";
  if (is_float()) return "float";
  if (is_string()) return "str";
  if (is_list()) return is_tuple() ? "tuple" : "list";
  if (is_callable()) return "function";
  if (is_generator()) return "generator";
  return is_namespace() ? "Namespace" : "dict";
}

bool Value::equals(const Value& other, int depth) const {
  check_depth(depth);
  if (is_number() && other.is_number()) {
    if (is_integral() && other.is_integral()) return integer() == other.integer();
    return number() == other.number();
  }
  if (is_string() && other.is_string()) return text() == other.text();
  if (is_undefined() || other.is_undefined()) return is_undefined() && other.is_undefined();
  if (is_none() || other.is_none()) return is_none() && other.is_none();
  if (is_list() && other.is_list()) {
    const auto &a = items(), &b = other.items();
    return is_tuple() == other.is_tuple() && a.size() == b.size() &&
           std::equal(a.begin(), a.end(), b.begin(),
                      [&](const Value& x, const Value& y) { return x.equals(y, depth + 1); });
  }
  if (is_dict() && other.is_dict()) {
    if (fields().size() != other.fields().size()) return false;
    for (const auto& [key, value] : fields()) {
      const Value* twin = other.field(key);
      if (twin == nullptr || !value.equals(*twin, depth + 1)) return false;
    }
    return true;
  }
  if (is_namespace() && other.is_namespace()) return &fields() == &other.fields();
  return is_generator() && same_as(other);
}

int Value::compare(const Value& other, const char* op) const {
  require_defined();
  other.require_defined();
  if (is_number() && other.is_number()) {
    if (is_integral() && other.is_integral()) {
      return integer() < other.integer() ? -1 : integer() > other.integer() ? 1 : 0;
    }
    return number() < other.number() ? -1 : number() > other.number() ? 1 : 0;
  }
  if (is_string() && other.is_string())
    return text().compare(other.text()) < 0 ? -1 : text() == other.text() ? 0 : 1;
  if (is_list() && other.is_list()) {
    for (std::size_t i = 0; i < std::min(items().size(), other.items().size()); ++i) {
      if (!items()[i].equals(other.items()[i])) return items()[i].compare(other.items()[i], op);
    }
    const auto a = items().size(), b = other.items().size();
    return a < b ? -1 : a > b ? 1 : 0;
  }
  throw JinjaError(fmt::format("'{}' not supported between instances of '{}' and '{}'", op,
                               python_type(), other.python_type()));
}

std::vector<Value> Value::iterate() const {
  std::vector<Value> out;
  if (is_undefined()) return out;
  if (is_list()) return items();
  if (is_generator())
    return std::exchange(std::get<std::shared_ptr<GeneratorData>>(data_)->rest, {});
  if (is_string()) {
    for (auto& c : characters(text())) out.emplace_back(std::move(c));
    return out;
  }
  if (is_dict()) {
    for (const auto& [key, value] : fields()) out.emplace_back(key);
    return out;
  }
  throw JinjaError("'" + python_type() + "' object is not iterable");
}

Value Value::take_first() const {
  if (!is_generator()) {
    const auto all = iterate();
    return all.empty() ? Value() : all.front();
  }
  auto& rest = std::get<std::shared_ptr<GeneratorData>>(data_)->rest;
  if (rest.empty()) return Value();
  Value first = std::move(rest.front());
  rest.erase(rest.begin());
  return first;
}

std::string quote_json(std::string_view text, bool ascii) {
  if (ascii) return Json(std::string(text)).dump(-1, ' ', true, Json::error_handler_t::replace);
  std::string out = "\"";
  for (const char c : text) {
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      case '\b': out += "\\b"; break;
      case '\f': out += "\\f"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20)
          out += fmt::format("\\u{:04x}", c);
        else
          out += c;
    }
  }
  return out + '"';
}

std::string Value::to_json(const JsonStyle& style, int depth) const {
  check_depth(depth);
  if (is_none()) return "null";
  if (is_bool()) return integer() != 0 ? "true" : "false";
  if (is_int()) return std::to_string(integer());
  if (is_float()) {
    if (std::isnan(number())) return "NaN";
    if (std::isinf(number())) return number() > 0 ? "Infinity" : "-Infinity";
    return float_text(number());
  }
  if (is_string()) return quote_json(text(), style.ascii);
  if (!is_list() && !is_dict()) {
    throw JinjaError("Object of type " + python_type() + " is not JSON serializable");
  }
  std::vector<std::string> parts;
  if (is_list()) {
    for (const auto& item : items()) parts.push_back(item.to_json(style, depth + 1));
  } else {
    auto entries = fields();
    if (style.sort_keys) {
      std::sort(entries.begin(), entries.end(),
                [](const auto& a, const auto& b) { return a.first < b.first; });
    }
    for (const auto& [key, value] : entries) {
      parts.push_back(quote_json(key, style.ascii) + style.colon + value.to_json(style, depth + 1));
    }
  }
  const char open = is_list() ? '[' : '{', close = is_list() ? ']' : '}';
  if (parts.empty()) return {open, close};
  const auto margin = [&](int level) {
    return style.indent < 0
               ? std::string()
               : "\n" + std::string(static_cast<std::size_t>(style.indent * level), ' ');
  };
  std::string out(1, open);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    if (i > 0) out += style.between;
    out += margin(depth + 1) + parts[i];
  }
  return out + margin(depth) + close;
}

const Value* Arguments::find(std::size_t index, std::string_view name) const {
  if (index < positional.size()) return &positional[index];
  for (const auto& [key, value] : named) {
    if (key == name) return &value;
  }
  return nullptr;
}

std::vector<std::string> characters(std::string_view text) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    next_code_point(text, at);
    out.emplace_back(text.substr(begin, at - begin));
  }
  if (out.size() > kMaxItems)
    throw JinjaError("a text is split into more than a million characters");
  return out;
}

std::size_t character_count(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

}  // namespace trimtab::model::jinja
