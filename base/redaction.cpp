// Over 400 lines: one scanner for seven shapes that must agree on what starts and ends a word; each
// shape is a few short functions, and the loop that asks them in order is at the end.
// Over 400 lines because each kind of personal data is a small scanner, and they share one pass.
#include "base/redaction.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

namespace trimtab {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_alnum(char c) { return is_digit(c) || is_alpha(c); }
bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_one_of(char c, std::string_view set) { return set.find(c) != std::string_view::npos; }

// What was found at a place: where it ends and what it is.
struct Found {
  std::size_t begin = 0;
  std::size_t end = 0;
  const char* placeholder = nullptr;
  std::int64_t RedactionCounts::*count = nullptr;
};

// --- EMAIL: found at its '@', so that the scan looks back over the local part once.
bool is_local_char(char c) { return is_alnum(c) || is_one_of(c, "._%+-'"); }

std::optional<Found> email_at(std::string_view text, std::size_t at, std::size_t floor) {
  constexpr std::size_t kLongestLocal = 64, kLongestDomain = 253;
  std::size_t begin = at;
  while (begin > floor && at - begin < kLongestLocal && is_local_char(text[begin - 1])) --begin;
  while (begin < at && is_one_of(text[begin], ".'-")) ++begin;
  std::size_t end = at + 1;
  std::size_t last_dot = 0;
  while (end < text.size() && end - at <= kLongestDomain &&
         (is_alnum(text[end]) || text[end] == '-' || text[end] == '.')) {
    if (text[end] == '.') {
      if (end + 1 >= text.size() || !is_alnum(text[end + 1])) break;
      last_dot = end;
    }
    ++end;
  }
  if (begin == at || last_dot == 0 || end - last_dot < 3) return std::nullopt;
  for (std::size_t i = last_dot + 1; i < end; ++i) {
    if (!is_alpha(text[i]) && text[i] != '-') return std::nullopt;
  }
  return Found{begin, end, "[EMAIL]", &RedactionCounts::email};
}

// --- numbers: a run of digits with the separators that people write inside
struct DigitRun {
  std::string digits;
  std::size_t end = 0;  // behind the last digit
  std::size_t groups = 0;
  bool plus = false;
  bool brackets = false;
  bool dots = false;
};

DigitRun digit_run(std::string_view text, std::size_t at) {
  constexpr std::size_t kMostDigits = 24, kMostSeparators = 2;
  DigitRun run;
  std::size_t i = at;
  const auto skip = [&](std::string_view set, std::size_t most) {
    for (std::size_t n = 0; n < most && i < text.size() && is_one_of(text[i], set); ++n, ++i) {
      run.brackets = run.brackets || is_one_of(text[i], "()");
      run.dots = run.dots || text[i] == '.';
    }
  };
  if (text[i] == '+') run.plus = true, ++i;
  skip("(", 1);
  while (i < text.size() && is_digit(text[i]) && run.digits.size() < kMostDigits) {
    ++run.groups;
    while (i < text.size() && is_digit(text[i]) && run.digits.size() < kMostDigits) {
      run.digits += text[i++];
    }
    run.end = i;
    skip(" -./()", kMostSeparators);
  }
  return run;
}

bool luhn(std::string_view digits) {
  int sum = 0;
  for (std::size_t i = 0; i < digits.size(); ++i) {
    int digit = digits[digits.size() - 1 - i] - '0';
    if (i % 2 == 1) digit = digit * 2 > 9 ? digit * 2 - 9 : digit * 2;
    sum += digit;
  }
  return sum % 10 == 0;
}

bool is_card(const DigitRun& run) {
  const std::string& d = run.digits;
  if (run.plus || d.size() < 13 || d.size() > 19 || run.groups > 5) return false;
  // Visa, Mastercard, Amex, Discover, Diners, JCB, UnionPay, Maestro start with 2..6; no card
  // starts with another digit, and one digit repeated is filler.
  if (d[0] < '2' || d[0] > '6' || d.find_first_not_of(d[0]) == std::string::npos) return false;
  return luhn(d);
}

// 2026-11-23, 23.11.2026, 2026-11-23 10: dates and times are not phone numbers.
bool looks_like_date(std::string_view text) {
  const auto number = [&](std::size_t at, std::size_t length) {
    int value = 0;
    for (std::size_t i = at; i < at + length; ++i) {
      if (i >= text.size() || !is_digit(text[i])) return -1;
      value = value * 10 + text[i] - '0';
    }
    return value;
  };
  const auto separator = [&](std::size_t at) {
    return at < text.size() && is_one_of(text[at], "-./");
  };
  const bool year_first = number(0, 4) >= 1900 && number(0, 4) <= 2100 && separator(4) &&
                          number(5, 2) >= 1 && number(5, 2) <= 12 && separator(7);
  const bool year_last = number(0, 2) >= 1 && number(0, 2) <= 31 && separator(2) &&
                         number(3, 2) >= 1 && separator(5) && number(6, 4) >= 1900 &&
                         number(6, 4) <= 2100;
  return year_first || year_last;
}

bool is_phone(const DigitRun& run, std::string_view text) {
  const std::size_t n = run.digits.size();
  if (run.plus) return n >= 7 && n <= 15;
  if (n < 10 || n > 15 || looks_like_date(text)) return false;
  // A bare run of digits is an order or an account as often as not; a national number has groups,
  // brackets, or the trunk prefix 0 (00 = international).
  const bool trunk =
      run.digits[0] == '0' && !run.dots && run.digits.find_first_not_of('0') != std::string::npos;
  return run.brackets || (run.groups >= 3 && run.groups <= 6) || trunk;
}

std::optional<Found> number_at(std::string_view text, std::size_t at) {
  const DigitRun run = digit_run(text, at);
  if (run.digits.size() < 7 || (run.end < text.size() && is_alnum(text[run.end]))) {
    return std::nullopt;
  }
  if (is_card(run)) return Found{at, run.end, "[CARD]", &RedactionCounts::card};
  if (is_phone(run, text.substr(at, run.end - at))) {
    return Found{at, run.end, "[PHONE]", &RedactionCounts::phone};
  }
  return std::nullopt;
}

// --- IBAN (ISO 13616): rearranged, letters as 10..35, the whole modulo 97 is 1
std::optional<Found> iban_at(std::string_view text, std::size_t at) {
  if (at + 15 > text.size() || !is_upper(text[at]) || !is_upper(text[at + 1]) ||
      !is_digit(text[at + 2]) || !is_digit(text[at + 3])) {
    return std::nullopt;
  }
  std::string compact;
  std::size_t last_good = 0;
  const auto valid = [](const std::string& iban) {
    int rest = 0;
    for (std::size_t i = 0; i < iban.size(); ++i) {
      const char c = iban[(i + 4) % iban.size()];
      rest = is_digit(c) ? (rest * 10 + c - '0') % 97 : (rest * 100 + c - 'A' + 10) % 97;
    }
    return rest == 1;
  };
  for (std::size_t i = at; i < text.size() && compact.size() < 34; ++i) {
    if (text[i] == ' ' && i + 1 < text.size() && text[i - 1] != ' ') continue;
    if (!is_digit(text[i]) && !is_upper(text[i])) break;
    compact += text[i];
    const bool ends = i + 1 == text.size() || !is_alnum(text[i + 1]);
    if (compact.size() >= 15 && ends && valid(compact)) last_good = i + 1;
  }
  if (last_good == 0) return std::nullopt;
  return Found{at, last_good, "[IBAN]", &RedactionCounts::iban};
}

// --- IP
std::optional<Found> ipv4_at(std::string_view text, std::size_t at) {
  std::size_t i = at;
  for (int part = 0; part < 4; ++part) {
    if (part > 0 && (i >= text.size() || text[i++] != '.')) return std::nullopt;
    const std::size_t first = i;
    int value = 0;
    while (i < text.size() && i - first < 3 && is_digit(text[i]))
      value = value * 10 + text[i++] - '0';
    if (i == first || value > 255 || (i - first > 1 && text[first] == '0')) return std::nullopt;
  }
  // 1.2.3.4.5 and 1.2.3.45678 are versions.
  const bool more =
      i < text.size() &&
      (is_alnum(text[i]) || (text[i] == '.' && i + 1 < text.size() && is_digit(text[i + 1])));
  if (more) return std::nullopt;
  return Found{at, i, "[IP]", &RedactionCounts::ip};
}

std::optional<Found> ipv6_at(std::string_view text, std::size_t at) {
  constexpr std::size_t kLongest = 39;
  std::size_t i = at, groups = 0, in_group = 0, gaps = 0;
  bool digits = false;
  while (i < text.size() && i - at < kLongest) {
    if (is_hex(text[i])) {
      digits = digits || is_digit(text[i]);
      if (in_group == 0) ++groups;
      if (++in_group > 4) return std::nullopt;
      ++i;
    } else if (text[i] == ':') {
      const bool two = i + 1 < text.size() && text[i + 1] == ':';
      const bool next = i + 1 < text.size() && is_hex(text[i + 1]);
      if (two && ++gaps > 1) return std::nullopt;
      if (!two && !next) break;
      i += two ? 2 : 1;
      in_group = 0;
    } else {
      break;
    }
  }
  if (i < text.size() && is_alnum(text[i])) return std::nullopt;
  const bool whole = gaps == 0 ? groups == 8 : groups >= 2 && groups <= 7 && digits;
  if (!whole) return std::nullopt;
  return Found{at, i, "[IP]", &RedactionCounts::ip};
}

// --- KEY
bool is_token_char(char c) { return is_alnum(c) || is_one_of(c, "_-"); }

std::size_t run_of(std::string_view text, std::size_t at, bool (*member)(char)) {
  std::size_t end = at;
  while (end < text.size() && member(text[end])) ++end;
  return end;
}

struct Prefix {
  std::string_view text;
  std::size_t least;  // characters behind the prefix
};
// Published formats of GitHub, OpenAI/Anthropic/Stripe, Slack, AWS, Google, GitLab, Hugging Face,
// npm, SendGrid, DigitalOcean.
constexpr std::array<Prefix, 24> kPrefixes{
    {{"ghp_", 30},        {"gho_", 30},  {"ghu_", 30},     {"ghs_", 30},     {"ghr_", 30},
     {"github_pat_", 20}, {"sk-", 20},   {"sk_live_", 16}, {"sk_test_", 16}, {"rk_live_", 16},
     {"pk_live_", 16},    {"xoxb-", 10}, {"xoxp-", 10},    {"xoxa-", 10},    {"xoxs-", 10},
     {"AKIA", 16},        {"ASIA", 16},  {"AIza", 30},     {"glpat-", 16},   {"hf_", 20},
     {"npm_", 30},        {"SG.", 30},   {"dop_v1_", 40},  {"ya29.", 20}}};

bool is_secret_char(char c) { return is_token_char(c) || is_one_of(c, ".~+/="); }

std::optional<Found> key(std::size_t begin, std::size_t end) {
  return Found{begin, end, "[KEY]", &RedactionCounts::key};
}

// Bits a character: 32 random base64 characters have about 4.5, words and ids less.
double entropy(std::string_view text) {
  std::array<int, 256> counts{};
  for (const char c : text) ++counts[static_cast<unsigned char>(c)];
  double bits = 0;
  for (const int count : counts) {
    if (count == 0) continue;
    const double p = count / static_cast<double>(text.size());
    bits -= p * std::log2(p);
  }
  return bits;
}

// A long token that nobody types: letters of both cases and digits, or long hexadecimal.
bool is_random_token(std::string_view token) {
  constexpr std::size_t kShortest = 32;
  constexpr double kLeastEntropy = 3.8;  // a sentence in_snake_case has about 3.5
  if (token.size() < kShortest) return false;
  bool upper = false, lower = false, digit = false, hex = true;
  for (const char c : token) {
    upper = upper || is_upper(c);
    lower = lower || (c >= 'a' && c <= 'z');
    digit = digit || is_digit(c);
    hex = hex && is_hex(c);
  }
  if (hex) return digit && (upper || lower) && entropy(token) > 3.0;
  return upper && lower && digit && entropy(token) > kLeastEntropy;
}

std::optional<Found> pem_at(std::string_view text, std::size_t at) {
  constexpr std::string_view kBegin = "-----BEGIN ";
  if (text.substr(at, kBegin.size()) != kBegin) return std::nullopt;
  const std::size_t label_end = text.find("-----", at + kBegin.size());
  if (label_end == std::string_view::npos || label_end - at > 60 ||
      text.substr(at, label_end - at).find("PRIVATE KEY") == std::string_view::npos) {
    return std::nullopt;
  }
  const std::size_t end = text.find("-----END ", label_end);
  if (end == std::string_view::npos) return key(at, text.size());  // cut off: the rest is key
  const std::size_t tail = text.find("-----", end + 9);
  return key(at, tail == std::string_view::npos ? text.size() : tail + 5);
}

bool equals_ignoring_case(std::string_view a, std::string_view lower) {
  return a.size() == lower.size() &&
         std::equal(a.begin(), a.end(), lower.begin(), [](char x, char y) {
           return (is_upper(x) ? static_cast<char>(x - 'A' + 'a') : x) == y;
         });
}

// `word` at `at` introduces a secret: "password: x", "api_key=x", "Bearer x".
std::optional<Found> named_secret(std::string_view text, std::size_t word_begin,
                                  std::size_t word_end) {
  constexpr std::array<std::string_view, 12> kNames{
      "password", "passwd",       "pwd",        "secret",        "token",       "api_key",
      "apikey",   "access_token", "auth_token", "client_secret", "private_key", "api-key"};
  const std::string_view word = text.substr(word_begin, word_end - word_begin);
  std::size_t at = word_end;
  if (equals_ignoring_case(word, "bearer") || equals_ignoring_case(word, "basic")) {
    if (at >= text.size() || text[at] != ' ') return std::nullopt;
    const std::size_t end = run_of(text, at + 1, is_secret_char);
    const bool digits = std::any_of(text.begin() + static_cast<std::ptrdiff_t>(at + 1),
                                    text.begin() + static_cast<std::ptrdiff_t>(end), is_digit);
    if (end - at - 1 < 16 || !digits) return std::nullopt;
    return key(at + 1, end);
  }
  const bool named = std::any_of(kNames.begin(), kNames.end(), [&](std::string_view name) {
    return equals_ignoring_case(word, name);
  });
  if (!named) return std::nullopt;
  if (at < text.size() && is_one_of(text[at], "\"'")) ++at;  // {"password": "x"}
  while (at < text.size() && text[at] == ' ') ++at;
  if (at >= text.size() || !is_one_of(text[at], ":=")) return std::nullopt;
  ++at;
  while (at < text.size() && is_one_of(text[at], " \"'")) ++at;
  std::size_t end = at;
  while (end < text.size() && !is_space(text[end]) && !is_one_of(text[end], "\"',;<>")) ++end;
  while (end > at && is_one_of(text[end - 1], ".)")) --end;
  if (end - at < 4) return std::nullopt;
  return key(at, end);
}

std::optional<Found> token_at(std::string_view text, std::size_t at) {
  const std::size_t end = run_of(text, at, is_token_char);
  for (const Prefix& prefix : kPrefixes) {
    if (text.substr(at, prefix.text.size()) != prefix.text) continue;
    const std::size_t whole = prefix.text.back() == '.' ? run_of(text, at, is_secret_char) : end;
    if (whole - at >= prefix.text.size() + prefix.least) return key(at, whole);
  }
  // JWT: base64url of {".. starts with eyJ, three parts.
  if (text.substr(at, 3) == "eyJ" && end < text.size() && text[end] == '.') {
    const std::size_t second = run_of(text, end + 1, is_token_char);
    if (second - end > 10 && second < text.size() && text[second] == '.') {
      return key(at, run_of(text, second + 1, is_token_char));
    }
  }
  if (is_random_token(text.substr(at, end - at))) return key(at, end);
  return named_secret(text, at, end);
}

class Redactor {
 public:
  Redactor(std::string_view text, const std::vector<std::string>& keep, RedactionCounts& counts)
      : text_(text), keep_(keep), counts_(counts) {}

  std::string run() {
    while (at_ < text_.size()) {
      const auto found = look();
      if (found && !kept(*found)) {
        take(*found);
      } else if (found) {
        skip_to(found->end);
      } else {
        skip_to(at_ + 1);
      }
    }
    out_ += text_.substr(copied_);
    return std::move(out_);
  }

 private:
  // What begins here, or (an e-mail) has its '@' here.
  std::optional<Found> look() const {
    const char c = text_[at_];
    if (c == '@') return email_at(text_, at_, copied_);
    const bool fresh = at_ == 0 || !is_token_char(text_[at_ - 1]);
    if (c == '-' && (at_ == 0 || text_[at_ - 1] != '-')) return pem_at(text_, at_);
    const bool opens = c == '+' || c == '(';
    if (!fresh || (!is_alnum(c) && !opens && c != ':')) return std::nullopt;
    if (is_digit(c)) {
      const bool dotted = at_ > 1 && text_[at_ - 1] == '.' && is_digit(text_[at_ - 2]);
      if (auto found = dotted ? std::nullopt : ipv4_at(text_, at_)) return found;
    }
    if (is_hex(c) || c == ':') {
      if (auto found = ipv6_at(text_, at_)) return found;
    }
    if (is_upper(c)) {
      if (auto found = iban_at(text_, at_)) return found;
    }
    if (is_alnum(c)) {
      if (auto found = token_at(text_, at_)) return found;
    }
    const bool inside_number =
        at_ > 0 && is_one_of(text_[at_ - 1], ".,") && at_ > 1 && is_digit(text_[at_ - 2]);
    if ((is_digit(c) || opens) && !inside_number) return number_at(text_, at_);
    return std::nullopt;
  }

  bool kept(const Found& found) const {
    const std::string_view word = text_.substr(found.begin, found.end - found.begin);
    return std::find(keep_.begin(), keep_.end(), word) != keep_.end();
  }
  void take(const Found& found) {
    out_ += text_.substr(copied_, found.begin - copied_);
    out_ += found.placeholder;
    ++(counts_.*found.count);
    copied_ = at_ = found.end;
  }
  void skip_to(std::size_t at) { at_ = at; }

  std::string_view text_;
  const std::vector<std::string>& keep_;
  RedactionCounts& counts_;
  std::string out_;
  std::size_t at_ = 0;
  std::size_t copied_ = 0;  // text before this is in out_
};

}  // namespace

std::string redact(std::string_view text, const std::vector<std::string>& keep,
                   RedactionCounts* counts) {
  RedactionCounts local;
  return Redactor(text, keep, counts != nullptr ? *counts : local).run();
}

}  // namespace trimtab
