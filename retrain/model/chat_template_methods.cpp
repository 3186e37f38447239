// Methods of Python's texts that chat templates call.
#include <utf8proc.h>

#include <algorithm>
#include <map>

#include "retrain/model/chat_template_filters.h"
#include "retrain/model/chat_template_text_methods.h"
#include "retrain/model/tokenizer_unicode.h"

namespace trimtab::model::jinja {
namespace {

const std::string& text_argument(const Arguments& a, std::size_t i, const char* method) {
  if (i >= a.positional.size() || !a.positional[i].is_string()) {
    throw JinjaError(std::string(method) + "() takes a text");
  }
  return a.positional[i].text();
}

std::int64_t count_argument(const Arguments& a, std::size_t i, const char* name) {
  const Value* value = a.find(i, name);
  if (value == nullptr) return -1;
  if (!value->is_integral()) throw JinjaError(std::string("'") + name + "' is no whole number");
  return value->integer();
}

// str.startswith and endswith take a text or a tuple of texts.
bool any_affix(const std::string& text, const Arguments& a, bool start, const char* method) {
  const auto fits = [&](const Value& value) {
    if (!value.is_string())
      throw JinjaError(std::string(method) + " first arg must be str or a tuple of str, not " +
                       value.python_type());
    return start ? text.starts_with(value.text()) : text.ends_with(value.text());
  };
  if (a.positional.size() != 1) throw JinjaError(std::string(method) + "() takes one argument");
  const Value& given = a.positional[0];
  if (!given.is_tuple()) return fits(given);
  return std::any_of(given.items().begin(), given.items().end(), fits);
}

Value split_space(const std::string& text, std::int64_t limit) {
  std::vector<Value> parts;
  std::string part;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    if (python_space(next_code_point(text, at))) {
      if (!part.empty()) parts.emplace_back(std::exchange(part, {}));
      continue;
    }
    if (part.empty() && limit >= 0 && static_cast<std::int64_t>(parts.size()) == limit) {
      parts.emplace_back(strip(std::string_view(text).substr(begin), nullptr, false, true));
      return Value::list(std::move(parts));
    }
    part += text.substr(begin, at - begin);
  }
  if (!part.empty()) parts.emplace_back(part);
  return Value::list(std::move(parts));
}

Value split(const std::string& text, const Arguments& a) {
  const Value* separator = a.find(0, "sep");
  const std::int64_t limit = count_argument(a, 1, "maxsplit");
  if (separator == nullptr || separator->is_none()) return split_space(text, limit);
  if (!separator->is_string())
    throw JinjaError("must be str or None, not " + separator->python_type());
  const std::string& sep = separator->text();
  if (sep.empty()) throw JinjaError("empty separator");
  std::vector<Value> parts;
  std::size_t begin = 0;
  for (std::int64_t done = 0; limit < 0 || done < limit; ++done) {
    const std::size_t end = text.find(sep, begin);
    if (end == std::string::npos) break;
    parts.emplace_back(text.substr(begin, end - begin));
    begin = end + sep.size();
  }
  parts.emplace_back(text.substr(begin));
  return Value::list(std::move(parts));
}

Value rsplit(const std::string& text, const Arguments& a) {
  const Value* separator = a.find(0, "sep");
  const std::int64_t limit = count_argument(a, 1, "maxsplit");
  if (limit < 0) return split(text, a);
  if (separator == nullptr || !separator->is_string() || separator->text().empty()) {
    throw JinjaError("rsplit() with a limit takes a separator");
  }
  const std::string& sep = separator->text();
  std::vector<Value> parts;
  std::string rest = text;
  for (std::int64_t done = 0; done < limit; ++done) {
    const std::size_t at = rest.rfind(sep);
    if (at == std::string::npos) break;
    parts.emplace_back(rest.substr(at + sep.size()));
    rest.resize(at);
  }
  parts.emplace_back(rest);
  std::reverse(parts.begin(), parts.end());
  return Value::list(std::move(parts));
}

Value replace(const std::string& text, const Arguments& a) {
  const std::string &from = text_argument(a, 0, "replace"), &to = text_argument(a, 1, "replace");
  const std::int64_t limit = count_argument(a, 2, "count");
  std::string out;
  std::int64_t done = 0;
  std::size_t at = 0;
  while (at <= text.size() && (limit < 0 || done < limit)) {
    const std::size_t found = from.empty() ? at : text.find(from, at);
    if (found == std::string::npos) break;
    out += text.substr(at, found - at) + to;
    at = found + from.size();
    ++done;
    if (from.empty()) {  // between all characters
      if (at >= text.size()) return out;
      const std::size_t begin = at;
      next_code_point(text, at);
      out += text.substr(begin, at - begin);
    }
    if (out.size() > kMaxTextBytes) throw JinjaError("a text grows beyond 16 MiB");
  }
  return out + (at < text.size() ? text.substr(at) : "");
}

std::string upper(const std::string& text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    if (c == 0xDF)
      out += "SS";
    else
      append_code_point(out,
                        static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))));
  }
  return out;
}
std::string capitalize(const std::string& text) {
  if (text.empty()) return text;
  std::size_t at = 0;
  next_code_point(text, at);
  return upper(text.substr(0, at)) + lowercase(text.substr(at));
}
std::string title(const std::string& text) {
  std::string out;
  bool inside = false;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    const char32_t c = next_code_point(text, at);
    const std::string one = text.substr(begin, at - begin);
    out += inside ? lowercase(one) : upper(one);
    inside = is_alphabetic(c);
  }
  return out;
}

Value find(const std::string& text, const Arguments& a, bool last) {
  const std::string& wanted = text_argument(a, 0, "find");
  const std::size_t at = last ? text.rfind(wanted) : text.find(wanted);
  if (at == std::string::npos) return std::int64_t{-1};
  return static_cast<std::int64_t>(character_count(std::string_view(text).substr(0, at)));
}

Value split_lines(const std::string& text, const Arguments& a) {
  const Value* keep = a.find(0, "keepends");
  const bool keep_ends = keep && keep->truth();
  std::vector<Value> out;
  std::string line;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    const char32_t c = next_code_point(text, at);
    const bool end = (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 ||
                     c == 0x2028 || c == 0x2029;
    if (end && c == '\r' && at < text.size() && text[at] == '\n') ++at;
    if (!end || keep_ends) line += text.substr(begin, at - begin);
    if (end)
      out.emplace_back(std::exchange(line, {}));
    else if (at >= text.size())
      out.emplace_back(line);
  }
  return Value::list(std::move(out));
}

Value join(const std::string& text, const Arguments& a) {
  if (a.positional.size() != 1) throw JinjaError("join() takes one argument");
  std::string out;
  std::size_t index = 0;
  for (const auto& item : a.positional[0].iterate()) {
    if (!item.is_string()) {
      throw JinjaError("sequence item " + std::to_string(index) + ": expected str instance, " +
                       item.python_type() + " found");
    }
    if (index++ > 0) out += text;
    out += item.text();
    if (out.size() > kMaxTextBytes) throw JinjaError("a text grows beyond 16 MiB");
  }
  return out;
}

// str.center, ljust, rjust: the fill is one character.
std::string justified(const std::string& text, const Arguments& a, const char* method, int side) {
  const std::int64_t width = count_argument(a, 0, "width");
  const std::string fill = a.positional.size() > 1 ? text_argument(a, 1, method) : " ";
  if (a.positional.empty() || character_count(fill) != 1)
    throw JinjaError("The fill character must be exactly one character long");
  if (side == 0) return centered(text, width, fill);
  std::string out;
  const auto length = static_cast<std::int64_t>(character_count(text));
  for (std::int64_t i = length; i < std::min<std::int64_t>(width, 100'000); ++i) out += fill;
  return side < 0 ? text + out : out + text;
}

std::string zero_filled(const std::string& text, const Arguments& a) {
  const std::int64_t width = std::min<std::int64_t>(count_argument(a, 0, "width"), 100'000);
  const std::int64_t missing = width - static_cast<std::int64_t>(character_count(text));
  if (missing <= 0) return text;
  const std::size_t sign = text.starts_with('-') || text.starts_with('+') ? 1 : 0;
  return text.substr(0, sign) + std::string(static_cast<std::size_t>(missing), '0') +
         text.substr(sign);
}

Value partition(const std::string& text, const Arguments& a, bool last) {
  const std::string& sep = text_argument(a, 0, "partition");
  if (sep.empty()) throw JinjaError("empty separator");
  const std::size_t at = last ? text.rfind(sep) : text.find(sep);
  if (at == std::string::npos)
    return last ? Value::list({"", "", text}, true) : Value::list({text, "", ""}, true);
  return Value::list({text.substr(0, at), sep, text.substr(at + sep.size())}, true);
}

std::string swap_case(const std::string& text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    next_code_point(text, at);
    const std::string one = text.substr(begin, at - begin);
    out += cased(one, true) ? lowercase(one) : upper(one);
  }
  return out;
}

std::string expand_tabs(const std::string& text, const Arguments& a) {
  const Value* given = a.find(0, "tabsize");
  const std::int64_t size =
      given == nullptr ? 8 : std::min<std::int64_t>(count_argument(a, 0, "tabsize"), 1000);
  std::string out;
  std::int64_t column = 0;
  for (const std::string& c : characters(text)) {
    if (c == "\t") {
      const std::int64_t width = size > 0 ? size - column % size : 0;
      out.append(static_cast<std::size_t>(width), ' ');
      column += width;
    } else {
      out += c;
      column = c == "\n" || c == "\r" ? 0 : column + 1;
    }
    if (out.size() > kMaxTextBytes) throw JinjaError("a text grows beyond 16 MiB");
  }
  return out;
}

const TextMethods& text_methods() {
  using T = const std::string&;
  using A = const Arguments&;
  static const TextMethods table = [] {
    TextMethods methods = {
        {"strip", [](T t, A a) -> Value { return strip(t, a.find(0, "chars"), true, true); }},
        {"lstrip", [](T t, A a) -> Value { return strip(t, a.find(0, "chars"), true, false); }},
        {"rstrip", [](T t, A a) -> Value { return strip(t, a.find(0, "chars"), false, true); }},
        {"startswith", [](T t, A a) -> Value { return any_affix(t, a, true, "startswith"); }},
        {"endswith", [](T t, A a) -> Value { return any_affix(t, a, false, "endswith"); }},
        {"split", split},
        {"rsplit", rsplit},
        {"splitlines", split_lines},
        {"replace", replace},
        {"join", join},
        {"upper", [](T t, A) -> Value { return upper(t); }},
        {"lower", [](T t, A) -> Value { return lowercase(t); }},
        {"casefold", [](T t, A) -> Value { return lowercase(t); }},
        {"capitalize", [](T t, A) -> Value { return capitalize(t); }},
        {"title", [](T t, A) -> Value { return title(t); }},
        {"find", [](T t, A a) { return find(t, a, false); }},
        {"rfind", [](T t, A a) { return find(t, a, true); }},
        {"index",
         [](T t, A a) {
           Value at = find(t, a, false);
           if (at.integer() < 0) throw JinjaError("substring not found");
           return at;
         }},
        {"count",
         [](T t, A a) -> Value {
           const std::string& wanted = text_argument(a, 0, "count");
           if (wanted.empty()) return static_cast<std::int64_t>(character_count(t) + 1);
           std::int64_t n = 0;
           for (std::size_t at = t.find(wanted); at != std::string::npos;
                at = t.find(wanted, at + wanted.size()))
             ++n;
           return n;
         }},
        {"removeprefix",
         [](T t, A a) -> Value {
           const std::string& p = text_argument(a, 0, "removeprefix");
           return t.starts_with(p) ? t.substr(p.size()) : t;
         }},
        {"removesuffix",
         [](T t, A a) -> Value {
           const std::string& s = text_argument(a, 0, "removesuffix");
           return t.ends_with(s) ? t.substr(0, t.size() - s.size()) : t;
         }},
        {"center", [](T t, A a) -> Value { return justified(t, a, "center", 0); }},
        {"ljust", [](T t, A a) -> Value { return justified(t, a, "ljust", -1); }},
        {"rjust", [](T t, A a) -> Value { return justified(t, a, "rjust", 1); }},
        {"zfill", [](T t, A a) -> Value { return zero_filled(t, a); }},
        {"partition", [](T t, A a) { return partition(t, a, false); }},
        {"rpartition", [](T t, A a) { return partition(t, a, true); }},
        {"swapcase", [](T t, A) -> Value { return swap_case(t); }},
        {"expandtabs", [](T t, A a) -> Value { return expand_tabs(t, a); }},
    };
    add_text_predicates(methods);
    return methods;
  }();
  return table;
}

}  // namespace

std::string strip(std::string_view text, const Value* chars, bool left, bool right) {
  if (chars && !chars->is_none() && !chars->is_string())
    throw JinjaError("strip arg must be None or str");
  const bool given = chars && chars->is_string();
  const auto drops = [&](std::string_view one, char32_t c) {
    return given ? chars->text().find(one) != std::string::npos : python_space(c);
  };
  std::size_t begin = text.size(), end = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t start = at;
    const char32_t c = next_code_point(text, at);
    if (drops(text.substr(start, at - start), c)) continue;
    begin = std::min(begin, start);
    end = at;
  }
  if (begin > end) begin = end = 0;  // nothing is left
  const bool nothing = end == 0;
  if (!left) begin = 0;
  if (!right && !nothing) end = text.size();
  if (!right && nothing && !left) end = text.size();
  return std::string(text.substr(begin, end - begin));
}

Value method_of(const Value& subject, const std::string& name) {
  if (subject.is_string()) {
    if (name == "format") {
      return Function([text = subject](Interpreter& run, const Arguments& a) -> Value {
        return brace_format(run, text.text(), a);
      });
    }
    const auto it = text_methods().find(name);
    if (it == text_methods().end()) return Value();
    return Function([text = subject, run = it->second](Interpreter&, const Arguments& a) {
      return run(text.text(), a);
    });
  }
  if (subject.is_list()) return list_method(subject, name);
  if (subject.is_dict()) return dict_method(subject, name);
  return Value();
}

}  // namespace trimtab::model::jinja
