// Jinja's filters over texts (jinja2/filters.py) beyond the plain methods of str.
#include <fmt/format.h>

#include <array>
#include <cmath>
#include <cstdlib>

#include "retrain/model/chat_template_filters.h"
#include "retrain/model/tokenizer_unicode.h"

namespace trimtab::model::jinja {
namespace {

// The attribute alone, never the item of that name.
Value filter_attr(Interpreter& run, const Value& v, const Arguments& a) {
  const Value* name = a.find(0, "name");
  if (name == nullptr || !name->is_string()) throw JinjaError("attr takes a name");
  if (v.is_dict()) {
    Value method = method_of(v, name->text());
    return method.is_undefined() ? missing(v, *name) : method;
  }
  return run.attribute(v, name->text());
}

Value filter_center(Interpreter&, const Value& v, const Arguments& a) {
  return centered(v.str(), int_argument(a, 0, "width", 80), " ");
}

// Runs of \w, as Python's re counts them.
Value filter_wordcount(Interpreter&, const Value& v, const Arguments&) {
  const std::string text = v.str();
  std::int64_t words = 0;
  bool inside = false;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    const bool word = c == U'_' || is_numeric(c) || is_alphabetic(c);
    if (word && !inside) ++words;
    inside = word;
  }
  return words;
}

Value filter_truncate(Interpreter&, const Value& v, const Arguments& a) {
  const std::int64_t length = int_argument(a, 0, "length", 255);
  const bool kill_words = flag_argument(a, 1, "killwords", false);
  const Value* given = a.find(2, "end");
  const std::string end = given != nullptr ? given->str() : "...";
  const std::int64_t leeway = int_argument(a, 3, "leeway", 5);
  const auto end_length = static_cast<std::int64_t>(character_count(end));
  if (length < end_length)
    throw JinjaError(fmt::format("expected length >= {}, got {}", end_length, length));
  if (leeway < 0) throw JinjaError(fmt::format("expected leeway >= 0, got {}", leeway));
  if (v.is_list() && static_cast<std::int64_t>(v.items().size()) <= length + leeway) return v;
  if (v.is_undefined()) return v;  // of length 0
  if (!v.is_string()) throw JinjaError("truncate takes a text, not a " + v.python_type());
  const std::string& text = v.text();
  if (static_cast<std::int64_t>(character_count(text)) <= length + leeway) return text;
  std::size_t at = 0;
  for (std::int64_t i = 0; i < length - end_length; ++i) next_code_point(text, at);
  std::string kept = text.substr(0, at);
  if (!kill_words) kept = kept.substr(0, kept.rfind(' '));
  return kept + end;
}

Value filter_format(Interpreter&, const Value& v, const Arguments& a) {
  if (!a.positional.empty() && !a.named.empty())
    throw JinjaError("can't handle positional and keyword arguments at the same time");
  if (a.named.empty()) return percent_format(v.str(), Value::list(a.positional, true));
  Value names = Value::dict();
  for (const auto& [key, value] : a.named) names.set_field(key, value);
  return percent_format(v.str(), names);
}

Value filter_filesizeformat(Interpreter&, const Value& v, const Arguments& a) {
  const bool binary_units = flag_argument(a, 0, "binary", false);
  double bytes = 0;
  if (v.is_number()) {
    bytes = v.number();
  } else {
    const std::string text = strip(v.str(), nullptr, true, true);
    char* end = nullptr;
    bytes = std::strtod(text.c_str(), &end);
    if (text.empty() || *end != '\0')
      throw JinjaError("could not convert string to float: " + Value(text).repr());
  }
  static constexpr std::array<const char*, 8> kDecimal = {"kB", "MB", "GB", "TB",
                                                          "PB", "EB", "ZB", "YB"};
  static constexpr std::array<const char*, 8> kBinary = {"KiB", "MiB", "GiB", "TiB",
                                                         "PiB", "EiB", "ZiB", "YiB"};
  const double base = binary_units ? 1024 : 1000;
  if (bytes == 1) return "1 Byte";
  if (bytes < base) return fmt::format("{:.0f} Bytes", std::trunc(bytes));
  double unit = base;
  std::size_t i = 0;
  while (i + 1 < kDecimal.size() && bytes >= unit * base) unit *= base, ++i;
  return fmt::format("{:.1f} {}", bytes / unit, binary_units ? kBinary[i] : kDecimal[i]);
}

std::string url_quoted(const std::string& text, bool query) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '_' || c == '.' || c == '-' || c == '~' || (c == '/' && !query);
    if (plain)
      out += c;
    else if (c == ' ' && query)
      out += '+';
    else
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

Value filter_urlencode(Interpreter&, const Value& v, const Arguments&) {
  if (!v.is_dict() && !v.is_list()) return url_quoted(v.str(), false);
  std::string out;
  const auto add = [&](const Value& key, const Value& value) {
    out += (out.empty() ? "" : "&") + url_quoted(key.str(), true) + "=" +
           url_quoted(value.str(), true);
  };
  if (v.is_dict()) {
    for (const auto& [key, value] : v.fields()) add(Value(key), value);
    return out;
  }
  for (const auto& pair : v.items()) {
    const auto two = pair.iterate();
    if (two.size() != 2) throw JinjaError("urlencode takes pairs");
    add(two[0], two[1]);
  }
  return out;
}

Value filter_xmlattr(Interpreter&, const Value& v, const Arguments& a) {
  if (!v.is_dict()) throw JinjaError("xmlattr takes an object");
  std::string out;
  for (const auto& [key, value] : v.fields()) {
    if (value.is_none() || value.is_undefined()) continue;
    if (key.find_first_of(" \t\n\r\f\v/>=") != std::string::npos)
      throw JinjaError("Invalid character in attribute name: " + Value(key).repr());
    out += (out.empty() ? "" : " ") + escape_html(key) + "=\"" + escape_html(value.str()) + "\"";
  }
  return !out.empty() && flag_argument(a, 0, "autospace", true) ? " " + out : out;
}

}  // namespace

void add_text_filters(FilterTable& t) {
  t["attr"] = filter_attr;
  t["center"] = filter_center;
  t["wordcount"] = filter_wordcount;
  t["truncate"] = filter_truncate;
  t["format"] = filter_format;
  t["filesizeformat"] = filter_filesizeformat;
  t["urlencode"] = filter_urlencode;
  t["xmlattr"] = filter_xmlattr;
}

}  // namespace trimtab::model::jinja
