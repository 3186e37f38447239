#include "shadow/text/tokenizers.h"

#include <utility>

namespace trimtab::shadow {
namespace {

using Class = bool (*)(char32_t);

bool is_digit(char32_t c) { return c >= U'0' && c <= U'9'; }
bool is_not_digit(char32_t c) { return !is_digit(c); }
bool is_not_number(char32_t c) { return !is_number(c); }
bool is_stop(char32_t c) { return c == U'.' || c == U','; }
bool is_dash(char32_t c) { return c == U'-'; }
// mteval's [{-~[-` -&(-+:-@/]: ASCII punctuation except ' , - . and space to ampersand.
bool is_western_mark(char32_t c) {
  return (c >= U'{' && c <= U'~') || (c >= U'[' && c <= U'`') || (c >= U' ' && c <= U'&') ||
         (c >= U'(' && c <= U'+') || (c >= U':' && c <= U'@') || c == U'/';
}

void replace_all(Text& text, std::u32string_view from, std::u32string_view to) {
  for (std::size_t at = text.find(from); at != Text::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
}

// Every character of the class between two spaces.
Text isolate(const Text& text, Class chosen) {
  Text result;
  for (const char32_t c : text) {
    if (chosen(c)) {
      result.append({U' ', c, U' '});
    } else {
      result.push_back(c);
    }
  }
  return result;
}

// Left to right, without overlaps: a first and a second of these classes -> "first second ", or
// " first second" when the first is the one to be set apart.
Text part(const Text& text, Class first, Class second, bool apart_is_first) {
  Text result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (i + 1 < text.size() && first(text[i]) && second(text[i + 1])) {
      if (apart_is_first) {
        result.append({U' ', text[i], U' ', text[i + 1]});
      } else {
        result.append({text[i], U' ', text[i + 1], U' '});
      }
      ++i;
    } else {
      result.push_back(text[i]);
    }
  }
  return result;
}

void unescape(Text& text) {
  replace_all(text, U"&quot;", U"\"");
  replace_all(text, U"&amp;", U"&");
  replace_all(text, U"&lt;", U"<");
  replace_all(text, U"&gt;", U">");
}

Text split_stops_and_dashes(Text text) {
  text = part(text, is_not_digit, is_stop, false);
  text = part(text, is_stop, is_not_digit, true);
  return part(text, is_digit, is_dash, false);
}

Words tokenize_13a(Text text) {
  replace_all(text, U"<skipped>", U"");
  replace_all(text, U"-\n", U"");
  replace_all(text, U"\n", U" ");
  unescape(text);
  text = U" " + text + U" ";
  return split(split_stops_and_dashes(isolate(text, is_western_mark)));
}

Words tokenize_intl(Text text) {
  text = part(text, is_not_number, is_punctuation, false);
  text = part(text, is_punctuation, is_not_number, true);
  return split(isolate(text, is_symbol));
}

Words tokenize_char(const Text& text) {
  Words words;
  for (const char32_t c : text) {
    if (!is_space(c)) words.emplace_back(1, c);
  }
  return words;
}

Text trim_end(Text text) {
  while (!text.empty() && is_space(text.back())) text.pop_back();
  return text;
}

Text tercom_normalize(Text text) {
  replace_all(text, U"\n-", U"");
  replace_all(text, U"\n", U" ");
  unescape(text);
  text = isolate(U" " + text + U" ", is_western_mark);
  replace_all(text, U"'s ", U" 's ");
  if (text.size() >= 2 && text.compare(text.size() - 2, 2, U"'s") == 0) {
    text.replace(text.size() - 2, 2, U" 's");
  }
  return split_stops_and_dashes(std::move(text));
}

}  // namespace

Result<Tokenizer> parse_tokenizer(std::string_view name) {
  if (name == "13a") return Tokenizer::k13a;
  if (name == "intl") return Tokenizer::kIntl;
  if (name == "char") return Tokenizer::kChar;
  if (name == "none") return Tokenizer::kNone;
  return fail(Code::kInvalid, "no tokenizer '" + std::string(name) + "'");
}

Words tokenize(Tokenizer tokenizer, const Text& text) {
  switch (tokenizer) {
    case Tokenizer::k13a: return tokenize_13a(trim_end(text));
    case Tokenizer::kIntl: return tokenize_intl(trim_end(text));
    case Tokenizer::kChar: return tokenize_char(text);
    case Tokenizer::kNone: break;
  }
  return split(text);
}

Words tercom_tokenize(const Text& text, const TercomOptions& options) {
  Text line = trim_end(options.case_sensitive ? text : lower(text));
  if (options.normalized) line = tercom_normalize(std::move(line));
  if (options.no_punct) {
    std::erase_if(line, [](char32_t c) {
      return std::u32string_view(U".,?:;!\"()").find(c) != std::u32string_view::npos;
    });
  }
  return split(line);
}

}  // namespace trimtab::shadow
