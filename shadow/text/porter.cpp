#include "shadow/text/porter.h"

#include <span>
#include <string_view>
#include <utility>

namespace trimtab::shadow {
namespace {

bool is_consonant(std::string_view word, std::size_t i) {
  const char c = word[i];
  if (c == 'a' || c == 'e' || c == 'i' || c == 'o' || c == 'u') return false;
  return c != 'y' || i == 0 || !is_consonant(word, i - 1);
}

// How many times a vowel is followed by a consonant: [C](VC)^m[V].
int measure(std::string_view stem) {
  int m = 0;
  for (std::size_t i = 1; i < stem.size(); ++i) {
    if (is_consonant(stem, i) && !is_consonant(stem, i - 1)) ++m;
  }
  return m;
}

bool has_vowel(std::string_view stem) {
  for (std::size_t i = 0; i < stem.size(); ++i) {
    if (!is_consonant(stem, i)) return true;
  }
  return false;
}

bool ends_double_consonant(std::string_view word) {
  const std::size_t n = word.size();
  return n >= 2 && word[n - 1] == word[n - 2] && is_consonant(word, n - 1);
}

bool ends_cvc(std::string_view word) {
  const std::size_t n = word.size();
  if (n == 2) return !is_consonant(word, 0) && is_consonant(word, 1);
  if (n < 3) return false;
  const char last = word[n - 1];
  return is_consonant(word, n - 3) && !is_consonant(word, n - 2) && is_consonant(word, n - 1) &&
         last != 'w' && last != 'x' && last != 'y';
}

std::string_view without(std::string_view word, std::size_t suffix) {
  return word.substr(0, word.size() - suffix);
}

struct Rule {
  std::string_view suffix, replacement;
};

// The first rule whose suffix fits decides; it applies when the stem's measure exceeds `above`.
std::string apply(std::string word, std::span<const Rule> rules, int above) {
  for (const Rule& rule : rules) {
    if (!word.ends_with(rule.suffix)) continue;
    const std::string_view stem = without(word, rule.suffix.size());
    if (measure(stem) <= above) return word;
    return std::string(stem).append(rule.replacement);
  }
  return word;
}

std::string step1a(std::string word) {
  if (word.ends_with("ies") && word.size() == 4) return word.substr(0, 3);
  if (word.ends_with("sses") || word.ends_with("ies")) return word.substr(0, word.size() - 2);
  if (word.ends_with("s") && !word.ends_with("ss")) word.pop_back();
  return word;
}

std::string after_ed_or_ing(std::string stem) {
  if (stem.ends_with("at") || stem.ends_with("bl") || stem.ends_with("iz")) return stem + 'e';
  if (ends_double_consonant(stem)) {
    const char last = stem.back();
    if (last != 'l' && last != 's' && last != 'z') stem.pop_back();
    return stem;
  }
  return measure(stem) == 1 && ends_cvc(stem) ? stem + 'e' : stem;
}

std::string step1b(std::string word) {
  if (word.ends_with("ied")) return word.substr(0, word.size() - (word.size() == 4 ? 1 : 2));
  if (word.ends_with("eed")) {
    if (measure(without(word, 3)) > 0) word.pop_back();
    return word;
  }
  for (const std::string_view suffix : {"ed", "ing"}) {
    if (word.ends_with(suffix) && has_vowel(without(word, suffix.size()))) {
      return after_ed_or_ing(std::string(without(word, suffix.size())));
    }
  }
  return word;
}

std::string step1c(std::string word) {
  const std::size_t n = word.size();
  if (n > 2 && word.back() == 'y' && is_consonant(word, n - 2)) word.back() = 'i';
  return word;
}

std::string step2(std::string word) {
  static constexpr Rule kRules[] = {{"ational", "ate"}, {"tional", "tion"}, {"enci", "ence"},
                                    {"anci", "ance"},   {"izer", "ize"},    {"bli", "ble"},
                                    {"alli", "al"},     {"entli", "ent"},   {"eli", "e"},
                                    {"ousli", "ous"},   {"ization", "ize"}, {"ation", "ate"},
                                    {"ator", "ate"},    {"alism", "al"},    {"iveness", "ive"},
                                    {"fulness", "ful"}, {"ousness", "ous"}, {"aliti", "al"},
                                    {"iviti", "ive"},   {"biliti", "ble"},  {"fulli", "ful"}};
  if (word.ends_with("alli") && measure(without(word, 4)) > 0) {
    return step2(std::string(without(word, 2)));
  }
  if (word.ends_with("logi")) {  // the l counts with the stem
    return measure(without(word, 3)) > 0 ? std::string(without(word, 1)) : word;
  }
  return apply(std::move(word), kRules, 0);
}

std::string step3(std::string word) {
  static constexpr Rule kRules[] = {{"icate", "ic"}, {"ative", ""},  {"alize", "al"},
                                    {"iciti", "ic"}, {"ical", "ic"}, {"ful", ""},
                                    {"ness", ""}};
  return apply(std::move(word), kRules, 0);
}

std::string step4(std::string word) {
  static constexpr Rule kBefore[] = {{"al", ""},    {"ance", ""}, {"ence", ""}, {"er", ""},
                                     {"ic", ""},    {"able", ""}, {"ible", ""}, {"ant", ""},
                                     {"ement", ""}, {"ment", ""}, {"ent", ""}};
  static constexpr Rule kAfter[] = {{"ou", ""},  {"ism", ""}, {"ate", ""}, {"iti", ""},
                                    {"ous", ""}, {"ive", ""}, {"ize", ""}};
  if (word.ends_with("sion") || word.ends_with("tion")) {
    return measure(without(word, 3)) > 1 ? std::string(without(word, 3)) : word;
  }
  for (const Rule& rule : kBefore) {
    if (word.ends_with(rule.suffix)) return apply(std::move(word), kBefore, 1);
  }
  return apply(std::move(word), kAfter, 1);
}

std::string step5(std::string word) {
  if (word.ends_with("e")) {
    const std::string_view stem = without(word, 1);
    const int m = measure(stem);
    if (m > 1 || (m == 1 && !ends_cvc(stem))) word.pop_back();
  }
  if (word.ends_with("ll") && measure(without(word, 1)) > 1) word.pop_back();
  return word;
}

// Irregular forms of NLTK's table: word, stem.
constexpr std::pair<std::string_view, std::string_view> kIrregular[] = {
    {"sky", "sky"},        {"skies", "sky"},       {"dying", "die"},        {"lying", "lie"},
    {"tying", "tie"},      {"news", "news"},       {"innings", "inning"},   {"inning", "inning"},
    {"outings", "outing"}, {"outing", "outing"},   {"cannings", "canning"}, {"canning", "canning"},
    {"howe", "howe"},      {"proceed", "proceed"}, {"exceed", "exceed"},    {"succeed", "succeed"}};

}  // namespace

std::string porter_stem(std::string word) {
  for (const auto& [form, stem] : kIrregular) {
    if (word == form) return std::string(stem);
  }
  if (word.size() <= 2) return word;
  return step5(step4(step3(step2(step1c(step1b(step1a(std::move(word))))))));
}

}  // namespace trimtab::shadow
