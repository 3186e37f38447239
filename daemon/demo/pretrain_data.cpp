#include "daemon/demo/pretrain_data.h"

#include <algorithm>
#include <iterator>
#include <sstream>

#include "base/files.h"
#include "base/json.h"
#include "base/random.h"

namespace trimtab::demo {
namespace {

// The first adapter of one's own base: the rank that retraining goes on with (house.cpp).
constexpr int kFirstRank = 16;
constexpr double kFirstRate = 1e-3;

std::string chat_line(const Sentence& sentence, std::size_t number) {
  const Json line = {{"id", "p-" + std::to_string(number)},
                     {"messages",
                      {{{"role", "user"}, {"content", sentence.text}},
                       {{"role", "assistant"}, {"content", sentence.intent}}}}};
  return dump_json(line) + "\n";
}

// Words are what spaces divide; what is left of none would be no sentence, so the text then stays.
std::string with_words_left_out(const std::string& text, double share, Random& random) {
  constexpr std::size_t kShort = 4;
  std::istringstream stream(text);
  const std::vector<std::string> words{std::istream_iterator<std::string>(stream), {}};
  if (words.size() < kShort) return text;
  std::string kept;
  for (const auto& word : words) {
    if (random.chance(share)) continue;
    if (!kept.empty()) kept += ' ';
    kept += word;
  }
  return kept.empty() ? text : kept;
}

std::string unlabelled_text(const Corpus& corpus, int per_domain, Random& random) {
  std::vector<std::string> listed;
  std::string text;
  for (const auto& domain : corpus.domains()) {
    for (const auto& sentence : corpus.listed(domain)) listed.push_back(sentence.text + "\n");
  }
  if (!listed.empty()) {
    random.shuffle(listed);
    for (const auto& line : listed) text += line;
    return text;
  }
  for (int i = 0; i < per_domain; ++i) {
    for (const auto& domain : corpus.domains())
      text += corpus.draw(domain, Split::kTrain, random).text + "\n";
  }
  return text;
}

void add_labelled(const Corpus& corpus, const PretrainOptions& options, const std::string& domain,
                  Random& random, std::vector<std::string>& lines) {
  for (const auto& sentence : corpus.listed(domain)) {
    lines.push_back(chat_line(sentence, lines.size()));
    for (int i = 0; i < options.variants; ++i) {
      Sentence variant = sentence;
      variant.text = with_words_left_out(sentence.text, options.left_out, random);
      lines.push_back(chat_line(variant, lines.size()));
    }
  }
  if (!corpus.listed(domain).empty()) return;
  const int count =
      options.labelled_per_intent * static_cast<int>(corpus.intents_of(domain).size());
  for (int i = 0; i < count; ++i)
    lines.push_back(chat_line(corpus.draw(domain, Split::kTrain, random), lines.size()));
}

// chat.jsonl and eval.jsonl: the known domains with their intents.
Status write_labelled(const Corpus& corpus, const PretrainOptions& options, Random& random,
                      const std::filesystem::path& out) {
  TRIMTAB_CHECK_OK(make_folders(out));
  std::vector<std::string> lines;
  std::string eval;
  for (const auto& domain : options.known) {
    if (corpus.intents_of(domain).empty())
      return fail(Code::kInvalid, "no such domain: '" + domain + "'");
    add_labelled(corpus, options, domain, random, lines);
    for (const auto& sentence : corpus.held_out(domain, options.eval_per_intent, options.seed)) {
      eval += chat_line(sentence, eval.size());
    }
  }
  random.shuffle(lines);
  std::string chat;
  for (const auto& line : lines) chat += line;
  TRIMTAB_CHECK_OK(write_atomic(out / "chat.jsonl", chat));
  return write_atomic(out / "eval.jsonl", eval);
}

}  // namespace

Status write_first_job(const Corpus& corpus, const PretrainOptions& options,
                       const std::filesystem::path& out, const std::filesystem::path& base) {
  Random random(options.seed);
  TRIMTAB_CHECK_OK(write_labelled(corpus, options, random, out));
  const auto path = [](const std::filesystem::path& file) {
    return std::filesystem::absolute(file).string();
  };
  const OrderedJson job = {
      {"base", path(base)},
      {"out", path(out / "adapter")},
      {"data", {{"chat", path(out / "chat.jsonl")}, {"eval", path(out / "eval.jsonl")}}},
      {"epochs", options.epochs},
      {"lora", {{"r", kFirstRank}, {"lora_alpha", 2 * kFirstRank}}},
      {"optimizer", {{"lr", kFirstRate}}},
      {"batch_sequences", 32},
      {"seed", options.seed}};
  return write_atomic(out / "first.yaml", dump_json(job, 2) + "\n");  // JSON is YAML
}

Status write_pretrain_data(const Corpus& corpus, const PretrainOptions& options,
                           const std::filesystem::path& out,
                           const std::filesystem::path& base_out) {
  Random random(options.seed);
  const std::string text = unlabelled_text(corpus, options.texts_per_domain, random);
  TRIMTAB_CHECK_OK(write_labelled(corpus, options, random, out));
  const OrderedJson job = {{"out", std::filesystem::absolute(base_out).string()},
                           {"architecture",
                            {{"hidden", 192},
                             {"layers", 4},
                             {"heads", 6},
                             {"kv_heads", 6},
                             {"intermediate", 512},
                             {"vocab", 2000},
                             {"max_positions", 512}}},
                           {"tie_word_embeddings", true},
                           {"data",
                            {{"text", std::filesystem::absolute(out / "text.txt").string()},
                             {"chat", std::filesystem::absolute(out / "chat.jsonl").string()},
                             {"eval", std::filesystem::absolute(out / "eval.jsonl").string()}}},
                           {"epochs", options.epochs},
                           {"lr", 2e-3},
                           {"batch_tokens", 2048},
                           {"weight_decay", 0.01},
                           {"seed", options.seed}};
  TRIMTAB_CHECK_OK(write_atomic(out / "text.txt", text));
  // JSON is YAML.
  return write_atomic(out / "pretrain.yaml", dump_json(job, 2) + "\n");
}

}  // namespace trimtab::demo
