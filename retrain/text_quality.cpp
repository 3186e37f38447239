#include "retrain/text_quality.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <unordered_map>

#include "base/hash.h"

namespace trimtab::retrain {
namespace {

constexpr char32_t kBad = 0xFFFD;

// The next character, or kBad and one byte for what is no UTF-8.
char32_t next_character(std::string_view text, std::size_t& at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(at);
  const std::size_t length = first < 0x80   ? 1
                             : first < 0xC2 ? 0
                             : first < 0xE0 ? 2
                             : first < 0xF0 ? 3
                             : first < 0xF5 ? 4
                                            : 0;
  if (length == 0 || at + length > text.size()) return ++at, kBad;
  char32_t code = length == 1 ? first : first & (0x7FU >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xC0U) != 0x80U) return ++at, kBad;
    code = code << 6 | (byte(at + i) & 0x3FU);
  }
  at += length;
  return code;
}

struct Script {
  char32_t low, high;
  const char* language;
};
constexpr std::array<Script, 11> kScripts = {{{0x0400, 0x052F, "ru"},
                                              {0x0370, 0x03FF, "el"},
                                              {0x0590, 0x05FF, "he"},
                                              {0x0600, 0x06FF, "ar"},
                                              {0x0900, 0x097F, "hi"},
                                              {0x0E00, 0x0E7F, "th"},
                                              {0x1100, 0x11FF, "ko"},
                                              {0xAC00, 0xD7A3, "ko"},
                                              {0x3040, 0x30FF, "ja"},
                                              {0x4E00, 0x9FFF, "zh"},
                                              {0x3400, 0x4DBF, "zh"}}};

// Function words, the most frequent of each language that few others share.
const std::map<std::string, std::set<std::string_view>>& function_words() {
  static const std::map<std::string, std::set<std::string_view>> words = {
      {"en",
       {"the",  "and", "of",  "to",   "is", "my",   "you",  "i",   "it", "that",   "for",  "what",
        "with", "how", "can", "this", "on", "from", "have", "are", "be", "please", "when", "not"}},
      {"de",
       {"der",  "die", "das", "und", "ist", "nicht", "ich",   "mein", "meine", "wie",  "ein",
        "eine", "mit", "von", "auf", "zu",  "den",   "bitte", "es",   "wann",  "kann", "für"}},
      {"fr",
       {"le",  "la",   "les",  "et",  "est", "je",      "mon",  "ma", "vous", "pas", "un",   "une",
        "des", "pour", "avec", "que", "qui", "comment", "dans", "du", "ce",   "sur", "quand"}},
      {"es",
       {"el",  "la",  "los",  "las",  "y",   "es", "mi",     "no",    "un",   "una", "para", "con",
        "que", "por", "como", "cómo", "del", "en", "cuando", "puedo", "está", "yo",  "se"}},
      {"it",
       {"il",  "lo",  "gli",  "e",   "è",     "mio", "mia",  "non",    "un",    "una", "per",
        "con", "che", "come", "del", "della", "di",  "sono", "quando", "posso", "nel", "questo"}},
      {"pt",
       {"o",   "os",  "as",   "e",  "é",  "meu", "minha",  "não",   "um",   "uma", "para", "com",
        "que", "por", "como", "do", "da", "em",  "quando", "posso", "está", "eu",  "você"}},
      {"nl", {"de", "het", "een", "en",  "is",   "niet", "ik",      "mijn", "hoe",  "met", "van",
              "op", "te",  "dat", "kan", "voor", "wat",  "wanneer", "aan",  "zijn", "er",  "u"}},
      {"pl", {"i",  "w",   "nie", "na",    "się",  "jest", "to", "że", "mój",  "moje",  "jak",
              "do", "czy", "co",  "kiedy", "mogę", "dla",  "z",  "o",  "moja", "proszę"}},
      {"sv", {"och", "är",   "inte", "jag", "min", "mitt", "hur", "en",  "ett", "med", "av",
              "på",  "till", "det",  "kan", "för", "vad",  "när", "att", "som", "den"}},
      {"tr",
       {"ve", "bir", "bu", "için", "ne", "nasıl", "benim", "mi", "da", "de", "ile", "çok", "ama",
        "var", "zaman", "değil", "lütfen", "ben", "kadar"}}};
  return words;
}

bool is_word_byte(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte >= 0x80 || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// Runs of letters and digits, ASCII lower case.
std::vector<std::string> words_of(std::string_view text) {
  std::vector<std::string> words;
  std::string word;
  for (const char c : text) {
    if (is_word_byte(c)) {
      word += lower(c);
    } else if (!word.empty()) {
      words.push_back(std::move(word));
      word.clear();
    }
  }
  if (!word.empty()) words.push_back(std::move(word));
  return words;
}

// The script that more than half of the letters beyond Latin belong to; empty: Latin, or none.
std::string script_of(std::string_view text) {
  std::map<std::string, int> counts;
  int latin = 0, other = 0, ukrainian = 0;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = next_character(text, at);
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= 0xC0 && c < 0x250)) ++latin;
    for (const Script& script : kScripts) {
      if (c < script.low || c > script.high) continue;
      ++counts[script.language];
      ++other;
    }
    if (c == 0x456 || c == 0x457 || c == 0x454 || c == 0x491) ++ukrainian;
  }
  if (other == 0 || other <= latin) return {};
  if (counts["ja"] > 0) return "ja";  // kana beside Chinese characters
  const auto most =
      std::max_element(counts.begin(), counts.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  if (most->first == "ru" && ukrainian > 0) return "uk";
  return most->first;
}

// The largest share of the characters that one run of n words makes up.
double largest_run_share(const std::vector<std::string>& words, std::size_t n) {
  std::unordered_map<std::uint64_t, std::size_t> characters;
  std::size_t total = 0, most = 0;
  for (const std::string& word : words) total += word.size();
  for (std::size_t i = 0; i + n <= words.size(); ++i) {
    std::string run;
    for (std::size_t k = 0; k < n; ++k) run += words[i + k] + " ";
    std::size_t& sum = characters[stable_hash(run)];
    sum += run.size() - n;
    if (sum > run.size() - n) most = std::max(most, sum);  // once is no repetition
  }
  return total == 0 ? 0 : static_cast<double>(most) / static_cast<double>(total);
}

bool lines_repeat(std::string_view text) {
  std::set<std::string_view> seen;
  std::size_t lines = 0, repeats = 0;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = text.substr(begin, end - begin);
    if (line.find_first_not_of(" \t\r") != std::string_view::npos) {
      ++lines;
      if (!seen.insert(line).second) ++repeats;
    }
    begin = end + 1;
  }
  return lines >= 4 && static_cast<double>(repeats) > 0.3 * static_cast<double>(lines);
}

}  // namespace

std::string language_of(std::string_view text) {
  if (const std::string script = script_of(text); !script.empty()) return script;
  std::vector<std::pair<int, std::string>> hits;
  const auto words = words_of(text);
  for (const auto& [language, list] : function_words()) {
    int count = 0;
    for (const std::string& word : words) count += list.contains(word) ? 1 : 0;
    hits.emplace_back(count, language);
  }
  std::sort(hits.rbegin(), hits.rend());
  if (hits[0].first < 2 || 2 * hits[0].first < 3 * hits[1].first) return {};
  return hits[0].second;
}

const char* quality_problem(std::string_view text) {
  std::size_t characters = 0, broken = 0;
  for (std::size_t at = 0; at < text.size();) {
    const char32_t c = next_character(text, at);
    ++characters;
    const bool control =
        (c < 0x20 && c != '\n' && c != '\r' && c != '\t') || (c >= 0x7F && c < 0xA0);
    if (control || c == kBad) ++broken;
  }
  if (100 * broken > characters) return "broken_text";
  const auto words = words_of(text);
  if (words.size() < 20) return nullptr;
  std::size_t length = 0, with_letter = 0;
  for (const std::string& word : words) {
    std::size_t points = 0;
    for (std::size_t at = 0; at < word.size(); ++points) (void)next_character(word, at);
    length += points;
    with_letter +=
        std::any_of(word.begin(), word.end(), [](char c) { return !(c >= '0' && c <= '9'); }) ? 1
                                                                                              : 0;
  }
  const auto count = static_cast<double>(words.size());
  const double mean = static_cast<double>(length) / count;
  if (script_of(text).empty() && (mean < 2 || mean > 12)) return "word_length";
  if (static_cast<double>(with_letter) < 0.6 * count) return "few_words";
  if (largest_run_share(words, 2) > 0.20 || largest_run_share(words, 4) > 0.16 ||
      lines_repeat(text))
    return "repetition";
  return nullptr;
}

std::string redact_names(std::string_view text, const std::vector<std::string>& names) {
  if (names.empty()) return std::string(text);
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const bool starts = at == 0 || !is_word_byte(text[at - 1]);
    std::size_t longest = 0;
    for (const std::string& name : names) {
      if (!starts || name.empty() || name.size() <= longest || at + name.size() > text.size())
        continue;
      const bool ends = at + name.size() == text.size() || !is_word_byte(text[at + name.size()]);
      const bool same =
          std::equal(name.begin(), name.end(), text.begin() + static_cast<std::ptrdiff_t>(at),
                     [](char a, char b) { return lower(a) == lower(b); });
      if (ends && same) longest = name.size();
    }
    if (longest > 0) {
      out += "[NAME]";
      at += longest;
    } else {
      out += text[at++];
    }
  }
  return out;
}

}  // namespace trimtab::retrain
