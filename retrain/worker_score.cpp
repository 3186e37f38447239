// trimtab-worker score: known-good completions under one or two adapters (shadow/scorer.h has the
// other end of this format).
#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/json.h"
#include "retrain/model/chat_data.h"
#include "retrain/model/decoder.h"
#include "retrain/serve/pair_score.h"
#include "retrain/worker_command.h"

namespace trimtab::retrain {
namespace {

struct Options {
  std::string base, in, out;
  std::vector<std::string> adapters;  // folders; "none" is the bare base
  std::string dtype = "auto";
  serve::ScoreSettings settings;
  int threads = 1;
};

Result<serve::ScoreItem> read_item(const std::string& text, const model::ChatCodec& codec) {
  TRIMTAB_TRY(const Json checked, parse_json(text));  // bounds the nesting
  const OrderedJson json = OrderedJson::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("messages")) {
    return fail(Code::kInvalid, "needs an object with 'id', 'messages' and 'text'");
  }
  serve::ScoreItem item;
  TRIMTAB_TRY(item.id, json_get<std::string>(checked, "id"));
  TRIMTAB_TRY(item.text, json_get<std::string>(checked, "text"));
  TRIMTAB_TRY(const std::string prompt, codec.chat.render(json["messages"], true));
  TRIMTAB_TRY(item.prompt, codec.tokenizer.encode(prompt, false));
  TRIMTAB_TRY(item.target, codec.tokenizer.encode(item.text, false));
  if (item.prompt.empty() || item.target.empty()) {
    return fail(Code::kInvalid, "the prompt or the text is empty");
  }
  return item;
}

Result<std::vector<serve::ScoreItem>> read_items(const std::string& path,
                                                 const model::ChatCodec& codec) {
  std::ifstream file;
  if (path != "-") {
    file.open(path);
    if (!file) return fail(Code::kNotFound, path + ": cannot be opened");
  }
  std::istream& in = path == "-" ? std::cin : file;
  std::vector<serve::ScoreItem> items;
  std::string line;
  for (std::size_t number = 1; std::getline(in, line); ++number) {
    if (line.empty()) continue;
    auto item = read_item(line, codec);
    if (!item) return fail_in(path + ":" + std::to_string(number), item.error());
    items.push_back(std::move(*item));
  }
  return items;
}

std::string output_line(const serve::ScoreItem& item, const std::vector<std::string>& adapters,
                        const std::vector<serve::SideScore>& sides) {
  OrderedJson results = OrderedJson::array();
  for (std::size_t s = 0; s < sides.size(); ++s) {
    results.push_back({{"adapter", adapters[s]},
                       {"greedy", sides[s].greedy},
                       {"match", sides[s].match},
                       {"mean_logprob", sides[s].mean_logprob},
                       {"tokens", sides[s].tokens}});
  }
  return dump_json(OrderedJson{{"id", item.id}, {"results", results}}) + "\n";
}

Result<int> run_score(const Options& options) {
  model::prepare_process(options.threads);
  model::LoadOptions how;
  how.dtype = options.dtype;
  TRIMTAB_TRY(const auto decoder, model::Decoder::load(options.base, how));
  TRIMTAB_TRY(const auto codec, model::ChatCodec::load(options.base));
  std::vector<std::shared_ptr<model::Adapter>> loaded;
  std::vector<const model::Adapter*> sides;
  for (const auto& folder : options.adapters) {
    if (folder == "none") {
      sides.push_back(nullptr);
      continue;
    }
    TRIMTAB_TRY(auto adapter, model::load_adapter(folder, *decoder));
    sides.push_back(adapter.get());
    loaded.push_back(std::move(adapter));
  }
  TRIMTAB_TRY(const auto items, read_items(options.in, codec));
  const serve::PairScorer scorer(decoder, codec.tokenizer, codec.stops, sides, options.settings);
  TRIMTAB_TRY(const auto scores, scorer.score(items));
  std::string text;
  for (std::size_t i = 0; i < items.size(); ++i) {
    text += output_line(items[i], options.adapters, scores[i]);
  }
  if (!options.out.empty()) {
    TRIMTAB_CHECK_OK(write_atomic(options.out, text));
  } else {
    std::cout << text << std::flush;
    if (!std::cout) return fail(Code::kIo, "standard output: cannot write");
  }
  return 0;
}

}  // namespace

Run add_score(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("--base", options->base, "The base model's snapshot folder")->required();
  app.add_option("--adapter", options->adapters,
                 "An adapter's folder, or none for the bare base; twice: side by side")
      ->required()
      ->expected(1)
      ->take_all();
  app.add_option("--max-new-tokens", options->settings.max_new_tokens, "Longest greedy answer")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app.add_option("--batch", options->settings.batch, "Items side by side")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_option("--threads", options->threads, "Threads of the matrix products")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  app.add_option("--dtype", options->dtype, "auto, float32 or bfloat16")
      ->check(CLI::IsMember({"auto", "float32", "bfloat16"}))
      ->capture_default_str();
  app.add_option("--out", options->out, "File to write (default: standard output)");
  app.add_option("IN", options->in, "Items, one JSON object a line; - for standard input")
      ->required();
  return [options] { return run_score(*options); };
}

}  // namespace trimtab::retrain
