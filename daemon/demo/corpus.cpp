#include "daemon/demo/corpus.h"

#include <algorithm>
#include <array>
#include <set>
#include <span>
#include <string_view>

#include "base/check.h"
#include "base/files.h"
#include "base/hash.h"
#include "daemon/demo/intents_data.h"

namespace trimtab::demo {
namespace {

using Patterns = std::span<const std::string_view>;

// {1} and {2} are the intent's two groups. The last kTestPatterns of each list are never trained
// on.
constexpr std::size_t kTestPatterns = 4;
constexpr std::array<std::string_view, 16> kAct = {"{1} {2}",
                                                   "please {1} {2}",
                                                   "can you {1} {2}",
                                                   "i want to {1} {2}",
                                                   "i need to {1} {2}",
                                                   "how do i {1} {2}",
                                                   "could you {1} {2} for me",
                                                   "i would like to {1} {2}",
                                                   "is it possible to {1} {2}",
                                                   "help me {1} {2}",
                                                   "i am trying to {1} {2}",
                                                   "where can i {1} {2}",
                                                   "let me {1} {2}",
                                                   "what do i do to {1} {2}",
                                                   "somebody should {1} {2} right away",
                                                   "my wish is to {1} {2}"};
constexpr std::array<std::string_view, 16> kAsk = {"what is {1} {2}",
                                                   "tell me {1} {2}",
                                                   "i want to know {1} {2}",
                                                   "do you know {1} {2}",
                                                   "can you check {1} {2}",
                                                   "show me {1} {2}",
                                                   "{1} {2}",
                                                   "any idea about {1} {2}",
                                                   "please look up {1} {2}",
                                                   "i need {1} {2}",
                                                   "give me {1} {2}",
                                                   "can i find out {1} {2}",
                                                   "i wonder about {1} {2}",
                                                   "explain {1} {2}",
                                                   "my question is {1} {2}",
                                                   "i would love to hear {1} {2}"};
constexpr std::array<std::string_view, 16> kFix = {"{1} {2}",
                                                   "help {1} {2}",
                                                   "i think {1} {2}",
                                                   "{1} {2} what now",
                                                   "it seems {1} {2}",
                                                   "what can i do if {1} {2}",
                                                   "since {time} {1} {2}",
                                                   "i am calling because {1} {2}",
                                                   "{1} {2} and i need help",
                                                   "unfortunately {1} {2}",
                                                   "my problem is that {1} {2}",
                                                   "{1} {2} can you fix it",
                                                   "sadly {1} {2} again",
                                                   "who helps me when {1} {2}",
                                                   "i noticed {1} {2}",
                                                   "{1} {2} please advise"};

struct Slot {
  std::string_view name;
  std::vector<std::string_view> values;
};
const std::vector<Slot>& slots() {
  static const std::vector<Slot> all = {
      {"{time}",
       {"tomorrow", "on friday", "next week", "yesterday", "tonight", "on monday", "this morning",
        "in june", "at seven", "last weekend"}},
      {"{city}", {"paris", "boston", "rome", "tokyo", "lima", "oslo", "cairo", "denver", "madrid"}},
      {"{amount}", {"fifty dollars", "200 euros", "a thousand dollars", "30 bucks", "ten euros"}},
      {"{name}", {"anna", "mr lee", "carlos", "julia", "my sister", "doctor brown", "omar"}},
      {"{item}",
       {"headphones", "coffee machine", "desk lamp", "jacket", "backpack", "blender", "keyboard",
        "sofa"}},
      {"{room}", {"kitchen", "bedroom", "living room", "hallway", "bathroom", "office"}},
      {"{dish}", {"lasagna", "curry", "pancakes", "tomato soup", "pizza", "risotto", "tacos"}},
      {"{food}",
       {"rice", "chicken", "beans", "spinach", "salmon", "potatoes", "tofu", "mushrooms"}},
  };
  return all;
}

constexpr std::array<std::string_view, 8> kGreetings = {"",    "",       "",     "",
                                                        "hi ", "hello ", "hey ", "good morning "};
constexpr std::array<std::string_view, 8> kClosings = {
    "", "", "", "", " thanks", " thank you", " asap", " if you can"};

Patterns patterns_of(std::string_view kind, Split split) {
  const auto& all = kind == "act" ? kAct : kind == "ask" ? kAsk : kFix;
  const Patterns patterns(all);
  return split == Split::kTrain ? patterns.first(patterns.size() - kTestPatterns)
                                : patterns.last(kTestPatterns);
}

template <typename List>
std::string_view pick(const List& list, Random& random) {
  return list[random.below(list.size())];
}

void replace_all(std::string& text, std::string_view what, std::string_view with) {
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + with.size())) {
    text.replace(at, what.size(), with);
  }
}

// One slip in about every thirtieth word: swapped, dropped or doubled letters.
void add_typos(std::string& text, Random& random) {
  for (std::size_t i = 1; i + 1 < text.size(); ++i) {
    if (text[i] == ' ' || text[i - 1] == ' ' || text[i + 1] == ' ' || !random.chance(0.007)) {
      continue;
    }
    switch (random.below(3)) {
      case 0: std::swap(text[i], text[i + 1]); break;
      case 1: text.erase(i, 1); break;
      default: text.insert(i, 1, text[i]); break;
    }
  }
}

std::vector<std::string> split_on(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (true) {
    const auto end = text.find(separator);
    parts.emplace_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

// Calls row(line_number, line) for every line that is neither empty nor a comment.
template <typename Row>
Status each_line(std::string_view content, Row row) {
  int number = 0;
  for (const auto& line : split_on(content, '\n')) {
    ++number;
    if (line.empty() || line[0] == '#') continue;
    TRIMTAB_CHECK_OK(row(number, line));
  }
  return {};
}

}  // namespace

void Corpus::add(Intent intent) {
  const auto known = std::find(domains_.begin(), domains_.end(), intent.domain);
  const auto domain = static_cast<std::size_t>(known - domains_.begin());
  if (known == domains_.end()) {
    domains_.push_back(intent.domain);
    of_domain_.emplace_back();
  }
  of_domain_[domain].push_back(intents_.size());
  intents_.push_back(std::move(intent));
}

Corpus Corpus::builtin() {
  Corpus corpus;
  const Status read = each_line(kIntentsText, [&](int, const std::string& line) -> Status {
    const auto fields = split_on(line, '|');
    CHECK(fields.size() == 5, "intents.txt has five fields a line");
    corpus.add({fields[0],
                fields[1],
                fields[2],
                split_on(fields[3], ';'),
                split_on(fields[4], ';'),
                {},
                {}});
    return {};
  });
  CHECK(read.has_value(), "the built-in intents are well formed");
  return corpus;
}

Result<Corpus> Corpus::from_tsv(const std::filesystem::path& train,
                                const std::filesystem::path& test) {
  Corpus corpus;
  for (const bool is_test : {false, true}) {
    const auto& path = is_test ? test : train;
    TRIMTAB_TRY(const std::string content, read_file(path));
    TRIMTAB_CHECK_OK(each_line(content, [&](int number, const std::string& line) -> Status {
      const auto fields = split_on(line, '\t');
      if (fields.size() != 3 || fields[0].empty() || fields[1].empty() || fields[2].empty()) {
        return fail(Code::kInvalid, path.string() + ":" + std::to_string(number) +
                                        ": expected domain<TAB>intent<TAB>text");
      }
      auto found = std::find_if(
          corpus.intents_.begin(), corpus.intents_.end(),
          [&](const Intent& i) { return i.domain == fields[0] && i.name == fields[1]; });
      if (found == corpus.intents_.end()) {
        corpus.add({fields[0], fields[1], {}, {}, {}, {}, {}});
        found = corpus.intents_.end() - 1;
      }
      (is_test ? found->test_texts : found->train_texts).push_back(fields[2]);
      return {};
    }));
  }
  for (const auto& intent : corpus.intents_) {
    if (intent.train_texts.empty() || intent.test_texts.empty()) {
      return fail(Code::kInvalid, "intent '" + intent.name + "' of domain '" + intent.domain +
                                      "' is missing from the train or the test file");
    }
  }
  if (corpus.intents_.empty()) return fail(Code::kInvalid, train.string() + ": no sentences");
  return corpus;
}

std::vector<std::string> Corpus::intents_of(const std::string& domain) const {
  std::vector<std::string> names;
  for (const auto& intent : intents_) {
    if (intent.domain == domain) names.push_back(intent.name);
  }
  return names;
}

std::string Corpus::text_of(const Intent& intent, Split split, Random& random) const {
  if (intent.kind.empty()) {
    const auto& texts = split == Split::kTest ? intent.test_texts : intent.train_texts;
    return std::string(pick(texts, random));
  }
  std::string text(pick(kGreetings, random));
  text += pick(patterns_of(intent.kind, split), random);
  replace_all(text, "{1}", pick(intent.first, random));
  replace_all(text, "{2}", pick(intent.second, random));
  for (const auto& slot : slots()) {
    if (text.find(slot.name) != std::string::npos) {
      replace_all(text, slot.name, pick(slot.values, random));
    }
  }
  text += pick(kClosings, random);
  add_typos(text, random);
  return text;
}

Sentence Corpus::draw(const std::string& domain, Split split, Random& random) const {
  const auto known = std::find(domains_.begin(), domains_.end(), domain);
  CHECK(known != domains_.end(), "unknown domain");
  const auto& indices = of_domain_[static_cast<std::size_t>(known - domains_.begin())];
  const Intent& intent = intents_[indices[random.below(indices.size())]];
  return {intent.domain, intent.name, text_of(intent, split, random)};
}

std::vector<Sentence> Corpus::listed(const std::string& domain) const {
  std::vector<Sentence> sentences;
  for (const auto& intent : intents_) {
    if (intent.domain != domain) continue;
    std::set<std::string_view> seen;
    for (const auto& text : intent.train_texts) {
      if (seen.insert(text).second) sentences.push_back({intent.domain, intent.name, text});
    }
  }
  return sentences;
}

std::vector<Sentence> Corpus::held_out(const std::string& domain, int per_intent,
                                       std::uint64_t seed) const {
  std::vector<Sentence> sentences;
  for (const auto& intent : intents_) {
    if (intent.domain != domain) continue;
    Random random(seed ^ stable_hash(intent.name));
    std::set<std::string> seen;
    // Small groups may have fewer distinct sentences than asked for: the bound ends the search.
    for (int tries = 0; tries < per_intent * 20 && static_cast<int>(seen.size()) < per_intent;
         ++tries) {
      std::string text = text_of(intent, Split::kTest, random);
      if (seen.insert(text).second)
        sentences.push_back({intent.domain, intent.name, std::move(text)});
    }
  }
  return sentences;
}

}  // namespace trimtab::demo
