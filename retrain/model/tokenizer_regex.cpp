#define PCRE2_CODE_UNIT_WIDTH 8
#include "retrain/model/tokenizer_regex.h"

#include <pcre2.h>

#include <cctype>
#include <optional>
#include <set>
#include <utility>

#include "base/check.h"
#include "base/json.h"
#include "retrain/model/tokenizer_unicode.h"
#include "retrain/model/tokenizer_unicode16.h"

namespace trimtab::model {
namespace {

constexpr std::string_view kSpaceSet = "\\p{Z}\\x{9}-\\x{d}\\x{85}";
constexpr std::size_t kPatternLimit = 64 << 10;

std::string_view newer_members(std::string_view category) {
  for (const auto& entry : kNewerCategories) {
    if (entry.name == category) return entry.members;
  }
  return {};
}
// A script's name alone means its extensions to PCRE2 (Han: also the full stop U+3002), and the
// script proper to Oniguruma.
std::string spelled(const std::string& name) {
  static const std::set<std::string_view> kScripts = {
      "Arabic",   "Armenian",  "Bengali", "Bopomofo", "Cyrillic", "Devanagari", "Ethiopic",
      "Georgian", "Greek",     "Gujarati", "Han",     "Hangul",   "Hebrew",     "Hiragana",
      "Kannada",  "Katakana",  "Khmer",   "Lao",      "Latin",    "Malayalam",  "Myanmar",
      "Sinhala",  "Tamil",     "Telugu",  "Thai",     "Tibetan"};
  return kScripts.contains(name) ? "sc:" + name : name;
}
const std::string& digit_set() {
  static const std::string set = "\\p{Nd}" + std::string(newer_members("Nd"));
  return set;
}
const std::string& word_set() {
  static const std::string set =
      "\\p{L}\\p{M}\\p{Nl}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}"
      "\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}"
      "\\x{b2}-\\x{b3}\\x{b9}\\x{bc}-\\x{be}" +  // Oniguruma's words alone have these
      digit_set() + std::string(newer_members("L")) + std::string(newer_members("M"));
  return set;
}

// One pass over the pattern, copying what both engines read alike.
class Translator {
 public:
  explicit Translator(std::string_view pattern) : in_(pattern) {}

  Result<std::string> run() {
    if (in_.size() > kPatternLimit) return refuse("is longer than 64 KiB");
    while (at_ < in_.size()) {
      Status step = in_class_ ? class_step() : plain_step();
      if (!step) return tl::unexpected<Error>(step.error());
    }
    if (in_class_) return refuse("has a class without its ']'");
    return std::move(out_);
  }

 private:
  tl::unexpected<Error> refuse(std::string_view what) const {
    return fail(Code::kInvalid,
                "regular expression '" + std::string(in_.substr(0, 80)) + "' " + std::string(what));
  }
  [[nodiscard]] bool next_is(std::string_view text) const {
    return in_.substr(at_).starts_with(text);
  }
  void copy(std::size_t count) {
    out_ += in_.substr(at_, count);
    at_ += count;
  }

  Status plain_step() {
    const char c = in_[at_];
    if (c == '\\') return escape();
    if (c == '[') return open_class();
    if (next_is("(?")) return group();
    if (c == '}' && at_ + 1 < in_.size() && in_[at_ + 1] == '+' && counted_) {
      return refuse("repeats a counted repeat ('{..}+'), which Ruby and PCRE2 read differently");
    }
    if (c == '{') counted_ = true;
    copy(1);
    return {};
  }

  // (?m) is Ruby's "dot matches line breaks", PCRE2's (?s).
  Status group() {
    copy(2);
    while (at_ < in_.size() &&
           (std::isalpha(static_cast<unsigned char>(in_[at_])) || in_[at_] == '-')) {
      const char flag = in_[at_++];
      if (flag == 'm') {
        out_ += 's';
      } else if (flag == 'i' || flag == 'x' || flag == '-') {
        out_ += flag;
      } else {
        return refuse(std::string("has the group flag '") + flag + "', which is not covered");
      }
    }
    return {};
  }

  Status open_class() {
    in_class_ = true;
    copy(1);
    if (next_is("^")) copy(1);
    if (next_is("]")) {
      out_ += "\\]";
      ++at_;
    }
    return {};
  }

  Status class_step() {
    const char c = in_[at_];
    if (c == '\\') return escape();
    if (c == ']') in_class_ = false;
    if (next_is("&&")) return refuse("intersects classes ('&&'), which is not covered");
    if (next_is("[:")) {
      const std::size_t end = in_.find(":]", at_);
      if (end == std::string_view::npos) return refuse("has '[:' without ':]'");
      copy(end + 2 - at_);
      return {};
    }
    if (c == '[') return refuse("nests a class in a class, which is not covered");
    copy(1);
    return {};
  }

  Status escape() {
    if (at_ + 1 >= in_.size()) return refuse("ends in a backslash");
    const char c = in_[at_ + 1];
    switch (c) {
      case 's': return put_set(kSpaceSet, false);
      case 'S': return put_set(kSpaceSet, true);
      case 'w': return put_set(word_set(), false);
      case 'W': return put_set(word_set(), true);
      case 'd': return put_set(digit_set(), false);
      case 'D': return put_set(digit_set(), true);
      case 'u': return hex4();
      case 'h':
      case 'H':
      case 'R':
      case 'X':
      case 'O':
      case 'N':
      case 'K':
      case 'y':
      case 'Y':
      case 'g':
      case 'k':
      case 'C':
      case 'M':
      case 'Q':
      case 'E': return refuse(std::string("uses '\\") + c + "', which is not covered");
      default: break;
    }
    if (c == 'p' || c == 'P') return property();
    copy(2);
    return {};
  }

  Status put_set(std::string_view set, bool negated) {
    at_ += 2;
    if (in_class_ && negated) {
      // A complement inside a class: only single properties have a spelling of their own.
      if (set == digit_set()) {
        out_ += "\\P{Nd}";
        return {};
      }
      if (set == kSpaceSet) {
        out_ += "\\S";  // differs from White_Space only at U+180E
        return {};
      }
      return refuse("uses '\\W' inside a class, which is not covered");
    }
    if (in_class_) {
      out_ += set;
    } else {
      out_ += negated ? "[^" : "[";
      out_ += set;
      out_ += ']';
    }
    return {};
  }

  Status hex4() {
    if (at_ + 6 > in_.size()) return refuse("has a short \\u escape");
    out_ += "\\x{" + std::string(in_.substr(at_ + 2, 4)) + "}";
    at_ += 6;
    return {};
  }

  Status property() {
    const std::size_t open = at_ + 2;
    if (open >= in_.size() || in_[open] != '{') return refuse("has \\p without {..}");
    const std::size_t close = in_.find('}', open);
    if (close == std::string_view::npos) return refuse("has \\p{ without }");
    std::string name(in_.substr(open + 1, close - open - 1));
    bool negated = in_[at_ + 1] == 'P';
    if (name.starts_with('^')) {
      negated = !negated;
      name.erase(0, 1);
    }
    const std::string known = (negated ? "\\P{" : "\\p{") + spelled(name) + "}";
    const std::string_view newer = newer_members(name);
    if (newer.empty() || (negated && in_class_)) {
      out_ += known;
    } else if (in_class_) {
      out_ += known + std::string(newer);
    } else {
      out_ += (negated ? "[^\\p{" : "[\\p{") + spelled(name) + "}" + std::string(newer) + "]";
    }
    at_ = close + 1;
    return {};
  }

  std::string_view in_;
  std::string out_;
  std::size_t at_ = 0;
  bool in_class_ = false;
  bool counted_ = false;
};

// Match data and JIT stack are per thread: PCRE2 forbids sharing them.
struct Scratch {
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(64 << 10, 16 << 20, nullptr);
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  Scratch() {
    CHECK(context && stack && data, "out of memory");
    pcre2_jit_stack_assign(context, nullptr, stack);
    pcre2_set_match_limit(context, 10'000'000);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    pcre2_match_data_free(data);
    pcre2_jit_stack_free(stack);
    pcre2_match_context_free(context);
  }
};

}  // namespace

struct TokenRegex::Compiled {
  explicit Compiled(pcre2_code* c) : code(c) {}
  Compiled(const Compiled&) = delete;
  Compiled& operator=(const Compiled&) = delete;
  ~Compiled() { pcre2_code_free(code); }
  pcre2_code* code;

  // 1 match (begin, end filled), 0 none, negative: PCRE2's error.
  int match(std::string_view text, std::size_t from, std::size_t& begin, std::size_t& end) const {
    thread_local Scratch scratch;
    const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
    int rc = pcre2_match(code, subject, text.size(), from, PCRE2_NO_UTF_CHECK, scratch.data,
                         scratch.context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {  // the interpreter keeps its frames on the heap
      rc = pcre2_match(code, subject, text.size(), from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                       scratch.data, scratch.context);
    }
    if (rc == PCRE2_ERROR_NOMATCH) return 0;
    if (rc < 0) return rc;
    const PCRE2_SIZE* ovector = pcre2_get_ovector_pointer(scratch.data);
    begin = ovector[0];
    end = ovector[1];
    return 1;
  }
};

Result<std::string> translate_oniguruma(std::string_view pattern) {
  return Translator(pattern).run();
}

Result<TokenRegex> TokenRegex::compile(std::string_view pattern) {
  TRIMTAB_TRY(const std::string translated, translate_oniguruma(pattern));
  struct Context {
    pcre2_compile_context* value = pcre2_compile_context_create(nullptr);
    ~Context() { pcre2_compile_context_free(value); }
  } context;
  pcre2_set_newline(context.value, PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* code =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE, &error, &offset, context.value);
  if (code == nullptr) {
    PCRE2_UCHAR text[160] = {};
    pcre2_get_error_message(error, text, sizeof(text));
    return fail(Code::kInvalid, "regular expression '" + std::string(pattern.substr(0, 80)) +
                                    "': " + reinterpret_cast<const char*>(text) + " at " +
                                    std::to_string(offset));
  }
  pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // without a JIT the interpreter is used
  TokenRegex regex;
  regex.compiled_ = std::make_shared<const Compiled>(code);
  return regex;
}

TokenRegex TokenRegex::literal(std::string_view text) {
  TokenRegex regex;
  regex.literal_ = text;
  return regex;
}

Status TokenRegex::find_all(std::string_view text, std::vector<Span>& spans) const {
  spans.clear();
  if (text.empty()) {
    spans.push_back({0, 0, false});
    return {};
  }
  std::size_t done = 0;  // everything before is in `spans`
  std::size_t from = 0;  // where the next attempt starts
  std::optional<std::size_t> last_end;
  while (from <= text.size()) {
    std::size_t begin = 0, end = 0;
    if (!compiled_) {
      begin = literal_.empty() ? std::string_view::npos : text.find(literal_, from);
      if (begin == std::string_view::npos) break;
      end = begin + literal_.size();
    } else {
      const int found = compiled_->match(text, from, begin, end);
      if (found == 0) break;
      if (found < 0) {
        return fail(Code::kInvalid,
                    "the tokenizer's regular expression needs too many steps on "
                    "this text (PCRE2 error " +
                        std::to_string(found) + ")");
      }
      if (begin == end && last_end == end) {  // no empty match right after a match
        if (from >= text.size()) break;
        next_code_point(text, from);
        continue;
      }
    }
    if (begin > done) spans.push_back({done, begin, false});
    if (begin >= done) spans.push_back({begin, end, true});
    done = from = end;
    last_end = end;
  }
  if (done < text.size()) spans.push_back({done, text.size(), false});
  return {};
}

Result<TokenRegex> read_token_pattern(const Json& json) {
  if (json.is_object() && json.contains("String") && json["String"].is_string()) {
    return TokenRegex::literal(json["String"].get<std::string>());
  }
  if (json.is_object() && json.contains("Regex") && json["Regex"].is_string()) {
    return TokenRegex::compile(json["Regex"].get<std::string>());
  }
  return fail(Code::kInvalid, "'pattern' is neither {\"String\": ..} nor {\"Regex\": ..}");
}

Status replace_matches(const TokenRegex& pattern, std::string_view content, std::string& text) {
  std::vector<TokenRegex::Span> spans;
  TRIMTAB_CHECK_OK(pattern.find_all(text, spans));
  std::string out;
  out.reserve(text.size());
  for (const auto& span : spans) {
    out +=
        span.matched ? content : std::string_view(text).substr(span.begin, span.end - span.begin);
  }
  text = std::move(out);
  return {};
}

}  // namespace trimtab::model
