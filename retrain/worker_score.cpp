// trimtab-worker score: known-good completions under one or two adapters (shadow/scorer.h has the
// other end of this format), or labels ranked behind a prompt:
//   IN  {"id","messages","labels":[..]}
//   OUT {"id","results":[{"adapter","best","logprobs":[one a label]}, ..]}
#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/json.h"
#include "retrain/model/chat_data.h"
#include "retrain/model/decoder.h"
#include "retrain/model/lanes.h"
#include "retrain/serve/pair_score.h"
#include "retrain/worker_command.h"

namespace trimtab::retrain {
namespace {

struct Options {
  std::string base, in, out;
  std::vector<std::string> adapters;  // folders; "none" is the bare base
  std::string dtype = "auto";
  std::string device = "auto";
  serve::ScoreSettings settings;
};

// A line of the input: a text to score, or labels to rank.
struct Line {
  serve::ScoreItem item;
  std::vector<std::string> labels;
  std::vector<model::TokenIds> label_ids;
};

Status read_labels(const Json& json, const model::ChatCodec& codec, Line& line) {
  TRIMTAB_TRY(line.labels, json_get<std::vector<std::string>>(json, "labels"));
  for (const std::string& label : line.labels) {
    TRIMTAB_TRY(auto ids, codec.tokenizer.encode(label, false));
    if (ids.empty()) return fail(Code::kInvalid, "a label is empty");
    line.label_ids.push_back(std::move(ids));
  }
  if (line.labels.empty()) return fail(Code::kInvalid, "'labels' is empty");
  return {};
}

Result<Line> read_item(const std::string& text, const model::ChatCodec& codec) {
  TRIMTAB_TRY(const Json checked, parse_json(text));  // bounds the nesting
  const OrderedJson json = OrderedJson::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("messages")) {
    return fail(Code::kInvalid, "needs an object with 'id', 'messages' and 'text' or 'labels'");
  }
  Line line;
  serve::ScoreItem& item = line.item;
  TRIMTAB_TRY(item.id, json_get<std::string>(checked, "id"));
  TRIMTAB_TRY(const std::string prompt, codec.chat.render(json["messages"], true));
  TRIMTAB_TRY(item.prompt, codec.tokenizer.encode(prompt, false));
  if (item.prompt.empty()) return fail(Code::kInvalid, "the prompt is empty");
  if (json.contains("labels")) {
    if (json.contains("text")) return fail(Code::kInvalid, "'text' or 'labels', not both");
    TRIMTAB_CHECK_OK(read_labels(checked, codec, line));
    return line;
  }
  TRIMTAB_TRY(item.text, json_get<std::string>(checked, "text"));
  TRIMTAB_TRY(item.target, codec.tokenizer.encode(item.text, false));
  if (item.target.empty()) return fail(Code::kInvalid, "the text is empty");
  return line;
}

Result<std::vector<Line>> read_items(const std::string& path, const model::ChatCodec& codec) {
  std::ifstream file;
  if (path != "-") {
    if (std::filesystem::is_directory(path))  // opens as a file does, and has no line
      return fail(Code::kInvalid, path + ": is a folder; name a file of JSON lines");
    file.open(path);
    if (!file) return fail(Code::kNotFound, path + ": cannot be opened");
  }
  std::istream& in = path == "-" ? std::cin : file;
  std::vector<Line> items;
  std::string line;
  for (std::size_t number = 1; std::getline(in, line); ++number) {
    if (line.empty()) continue;
    auto item = read_item(line, codec);
    if (!item) return fail_in(path + ":" + std::to_string(number), item.error());
    items.push_back(std::move(*item));
  }
  if (in.bad()) return fail(Code::kIo, path + ": cannot be read");
  if (items.empty())
    return fail(Code::kInvalid, path + ": no_data: no line to score; write one JSON object a line");
  return items;
}

std::string output_line(const serve::ScoreItem& item, const Options& options,
                        const std::vector<serve::SideScore>& sides) {
  OrderedJson results = OrderedJson::array();
  for (std::size_t s = 0; s < sides.size(); ++s) {
    OrderedJson result = {{"adapter", options.adapters[s]}};
    if (!options.settings.likelihood_only) {
      result["greedy"] = sides[s].greedy;
      result["match"] = sides[s].match;
    }
    result["mean_logprob"] = sides[s].mean_logprob;
    result["tokens"] = sides[s].tokens;
    results.push_back(std::move(result));
  }
  return dump_json(OrderedJson{{"id", item.id}, {"results", results}}) + "\n";
}

Result<std::string> rank(const Line& line, const model::Decoder& decoder, const Options& options,
                         const std::vector<const model::Adapter*>& sides) {
  OrderedJson results = OrderedJson::array();
  for (std::size_t s = 0; s < sides.size(); ++s) {
    TRIMTAB_TRY(const auto logprobs,
                serve::label_logprobs(decoder, sides[s], line.item.prompt, line.label_ids));
    const auto best = std::max_element(logprobs.begin(), logprobs.end()) - logprobs.begin();
    results.push_back({{"adapter", options.adapters[s]},
                       {"best", line.labels[static_cast<std::size_t>(best)]},
                       {"logprobs", logprobs}});
  }
  return dump_json(OrderedJson{{"id", line.item.id}, {"results", results}}) + "\n";
}

// One line of output an input line, in order: texts in paired batches, labels one item a time on
// each lane.
Result<std::string> score_lines(const std::vector<Line>& lines, const serve::PairScorer& scorer,
                                const model::Decoder& decoder, const Options& options,
                                const std::vector<const model::Adapter*>& sides) {
  std::vector<serve::ScoreItem> items;
  for (const Line& line : lines) {
    if (line.labels.empty()) items.push_back(line.item);
  }
  TRIMTAB_TRY(const auto scores, scorer.score(items));
  std::vector<Result<std::string>> answers(lines.size());
  const auto lanes = static_cast<std::size_t>(options.settings.lanes);
  model::run_lanes(options.settings.lanes, [&](int lane) {
    for (auto i = static_cast<std::size_t>(lane); i < lines.size(); i += lanes) {
      if (!lines[i].labels.empty()) answers[i] = rank(lines[i], decoder, options, sides);
    }
  });
  std::string text;
  std::size_t scored = 0;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (lines[i].labels.empty()) {
      text += output_line(lines[i].item, options, scores[scored++]);
      continue;
    }
    if (!answers[i]) return fail_in("item '" + lines[i].item.id + "'", answers[i].error());
    text += *answers[i];
  }
  return text;
}

Result<int> run_score(const Options& options) {
  model::prepare_process(1);  // lanes, not threaded products
  model::LoadOptions how;
  how.dtype = options.dtype;
  how.device = options.device;
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
  TRIMTAB_TRY(const std::string text, score_lines(items, scorer, *decoder, options, sides));
  if (!options.out.empty()) {
    TRIMTAB_CHECK_OK(write_atomic(options.out, text));
  } else {
    std::cout << text << std::flush;
    if (!std::cout) return cannot_write_stdout();
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
      ->allow_extra_args(false);  // one folder a time, or IN would be taken for another
  app.add_option("--max-new-tokens", options->settings.max_new_tokens, "Longest greedy answer")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app.add_option("--batch", options->settings.batch, "Items side by side")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app.add_flag("--likelihood", options->settings.likelihood_only,
               "The texts' log-probabilities alone, no greedy answers");
  app.add_option("--threads", options->settings.lanes, "Batches at the same time")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  app.add_option("--dtype", options->dtype, "auto, float32 or bfloat16")
      ->check(CLI::IsMember({"auto", "float32", "bfloat16"}))
      ->capture_default_str();
  app.add_option("--device", options->device, "auto, cpu, cuda, or cpu-at (for tests)")
      ->capture_default_str();
  app.add_option("--out", options->out, "File to write (default: standard output)");
  app.add_option("IN", options->in, "Items, one JSON object a line; - for standard input")
      ->required();
  return [options] { return run_score(*options); };
}

}  // namespace trimtab::retrain
