#include "daemon/demo/pretrain_data.h"

#include <algorithm>

#include "base/files.h"
#include "base/json.h"
#include "base/random.h"

namespace trimtab::demo {
namespace {

std::string chat_line(const Sentence& sentence, std::size_t number) {
  const Json line = {{"id", "p-" + std::to_string(number)},
                     {"messages",
                      {{{"role", "user"}, {"content", sentence.text}},
                       {{"role", "assistant"}, {"content", sentence.intent}}}}};
  return dump_json(line) + "\n";
}

}  // namespace

Status write_pretrain_data(const Corpus& corpus, const PretrainOptions& options,
                           const std::filesystem::path& out,
                           const std::filesystem::path& base_out) {
  TRIMTAB_CHECK_OK(make_folders(out));
  Random random(options.seed);
  std::string text;
  for (int i = 0; i < options.texts_per_domain; ++i) {
    for (const auto& domain : corpus.domains()) {
      text += corpus.draw(domain, Split::kTrain, random).text + "\n";
    }
  }
  std::vector<std::string> lines;
  std::string eval;
  for (const auto& domain : options.known) {
    const auto intents = corpus.intents_of(domain);
    if (intents.empty()) return fail(Code::kInvalid, "no such domain: '" + domain + "'");
    const int count = options.labelled_per_intent * static_cast<int>(intents.size());
    for (int i = 0; i < count; ++i) {
      lines.push_back(chat_line(corpus.draw(domain, Split::kTrain, random), lines.size()));
    }
    for (const auto& sentence : corpus.held_out(domain, options.eval_per_intent, options.seed)) {
      eval += chat_line(sentence, eval.size());
    }
  }
  random.shuffle(lines);
  std::string chat;
  for (const auto& line : lines) chat += line;
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
  TRIMTAB_CHECK_OK(write_atomic(out / "chat.jsonl", chat));
  TRIMTAB_CHECK_OK(write_atomic(out / "eval.jsonl", eval));
  // JSON is YAML.
  return write_atomic(out / "pretrain.yaml", dump_json(job, 2) + "\n");
}

}  // namespace trimtab::demo
