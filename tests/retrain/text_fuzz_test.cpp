// Mutated tokenizer.json files and chat templates: any answer is fine, a crash or a hang is not.
// Inputs that once did harm are kept below and replayed first.
#include <gtest/gtest.h>

#include "base/files.h"
#include "base/json.h"
#include "base/random.h"
#include "retrain/model/bpe_trainer.h"
#include "retrain/model/chat_template.h"
#include "retrain/model/tokenizer.h"
#include "tests/paths.h"

namespace trimtab::model {
namespace {

constexpr std::uint64_t kSeed = 20261123;

// A few edits: a byte changed, a stretch cut, doubled, or replaced by a piece of the language.
std::string mutated(std::string text, Random& random, const std::vector<std::string>& pieces) {
  const auto edits = 1 + random.below(4);
  for (std::uint64_t e = 0; e < edits && !text.empty(); ++e) {
    const std::size_t at = random.below(text.size());
    const std::size_t length = std::min<std::size_t>(random.below(12), text.size() - at);
    switch (random.below(4)) {
      case 0: text[at] = static_cast<char>(random.below(256)); break;
      case 1: text.erase(at, length); break;
      case 2: text.insert(at, text.substr(at, length)); break;
      default: text.insert(at, pieces[random.below(pieces.size())]);
    }
  }
  return text;
}

void try_tokenizer(const std::string& json) {
  const auto tokenizer = Tokenizer::parse(json);
  if (!tokenizer) {
    EXPECT_EQ(tokenizer.error().message.find('\n'), std::string::npos) << json.substr(0, 200);
    return;
  }
  const auto ids = tokenizer->encode("my card  <|im_end|>\xff \xf0\x9f\x8e\x89 12", true);
  if (ids) (void)tokenizer->decode(*ids, true);
}

TEST(TextFuzz, TokenizerFiles) {
  const std::vector<std::string> texts = {"my card my bank", "the card"};
  Json json = Json::parse(train_bpe(texts, {.vocab_size = 270, .min_frequency = 1}).value());
  json["normalizer"] = Json::parse(R"({"type":"Sequence","normalizers":[{"type":"NFC"},
      {"type":"Replace","pattern":{"Regex":"a+"},"content":"b"}]})");
  const std::string seed = json.dump();
  const std::vector<std::string> pieces = {"null",      "[]",      "{}",
                                           "\"\"",      "-1",      "1e999",
                                           "[[",        "\\u0000", "\"type\":\"Sequence\",",
                                           "(?:",       "\\\\p{",  "true",
                                           "4294967296"};
  Random random(kSeed);
  for (int i = 0; i < 1500; ++i) {
    SCOPED_TRACE("round " + std::to_string(i) + " of seed " + std::to_string(kSeed));
    try_tokenizer(mutated(seed, random, pieces));
  }
}

void try_template(const std::string& source, const OrderedJson& messages) {
  const auto chat = ChatTemplate::parse(source, "<s>", "</s>");
  if (chat) (void)chat->render(messages, true);
}

TEST(TextFuzz, ChatTemplates) {
  const OrderedJson document = OrderedJson::parse(
      read_file(tests::source_dir() / "tests/retrain/chat_template_cases.json").value());
  for (const auto* kept :
       {"{%- macro a() %}{{ caller() }}{% endmacro %}{% call a() %}{% endcall %}",
        "{% for loop in messages %}{{ loop }}{% endfor %}", "{{ 'a'.join }}", "{{ [].index }}",
        "{% set ns = namespace(a=ns) %}{{ ns.a.b }}", "{{ ''[::-9223372036854775808] }}",
        "{{ -9223372036854775807 - 1 }}", "{{ (-9223372036854775807 - 1) // -1 }}", "{{ 5 % -3 }}",
        "{% raw %}{% endraw"}) {
    try_template(kept, document["messages"]);
  }
  const std::vector<std::string> pieces = {"{{",
                                           "}}",
                                           "{%",
                                           "%}",
                                           "-",
                                           "|",
                                           "(",
                                           ")",
                                           "[",
                                           "]",
                                           "'",
                                           "is ",
                                           " if ",
                                           "{% for x in y %}",
                                           "{% endfor %}",
                                           "99999999999999999999",
                                           "[::-1]",
                                           "|tojson",
                                           "loop.",
                                           "namespace(",
                                           "\\u12",
                                           "*1000000"};
  Random random(kSeed);
  for (int i = 0; i < 4000; ++i) {
    SCOPED_TRACE("round " + std::to_string(i) + " of seed " + std::to_string(kSeed));
    const auto& cases = document["cases"];
    const auto source = cases[random.below(cases.size())]["template"].get<std::string>();
    try_template(mutated(source, random, pieces), document["messages"]);
  }
}

}  // namespace
}  // namespace trimtab::model
