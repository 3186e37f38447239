// trimtab-worker pretrain JOB.yaml: a small base model from text and labelled chat, from scratch.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>

#include "base/files.h"
#include "base/json.h"
#include "config/yaml_tree.h"
#include "retrain/model/decoder.h"
#include "retrain/model/pretrain.h"
#include "retrain/worker_command.h"

namespace trimtab::retrain {
namespace {

// One settings key: where its value goes. Text that is no number of the field's kind is an error.
using Setter = std::function<bool(const std::string&)>;

Setter into(std::string& field) {
  return [&field](const std::string& text) { return field = text, true; };
}
Setter into(bool& field) {
  return [&field](const std::string& text) {
    field = text == "true";
    return text == "true" || text == "false";
  };
}
template <typename Number>
Setter into_number(Number& field) {
  return [&field](const std::string& text) {
    std::size_t used = 0;
    try {
      const double value = std::stod(text, &used);
      field = static_cast<Number>(value);
      return used == text.size() && static_cast<double>(field) == value;
    } catch (const std::exception&) {  // stod's only way to say no
      return false;
    }
  };
}

std::map<std::string, Setter> setters(model::PretrainSettings& s) {
  return {{"out", into(s.out)},
          {"architecture.hidden", into_number(s.hidden)},
          {"architecture.layers", into_number(s.layers)},
          {"architecture.heads", into_number(s.heads)},
          {"architecture.kv_heads", into_number(s.kv_heads)},
          {"architecture.intermediate", into_number(s.intermediate)},
          {"architecture.vocab", into_number(s.vocab)},
          {"architecture.max_positions", into_number(s.max_positions)},
          {"tie_word_embeddings", into(s.tie_word_embeddings)},
          {"data.text", into(s.text)},
          {"data.chat", into(s.chat)},
          {"data.eval", into(s.eval)},
          {"epochs", into_number(s.epochs)},
          {"lr", into_number(s.lr)},
          {"warmup_share", into_number(s.warmup_share)},
          {"weight_decay", into_number(s.weight_decay)},
          {"clip_norm", into_number(s.clip_norm)},
          {"prompt_weight", into_number(s.prompt_weight)},
          {"batch_tokens", into_number(s.batch_tokens)},
          {"seed", into_number(s.seed)},
          {"threads", into_number(s.threads)},
          {"max_seconds", into_number(s.max_seconds)},
          {"eval_limit", into_number(s.eval_limit)}};
}

Status apply(const config::YamlNode& node, const std::string& prefix,
             const std::map<std::string, Setter>& keys) {
  for (const auto& [key, value] : node.pairs) {
    const std::string name = prefix + key.text;
    const auto at = std::to_string(key.place.line) + ":" + std::to_string(key.place.column) + ": ";
    if (value.type == config::YamlNode::Type::kMap && (name == "architecture" || name == "data")) {
      TRIMTAB_CHECK_OK(apply(value, name + ".", keys));
      continue;
    }
    const auto setter = keys.find(name);
    if (setter == keys.end()) return fail(Code::kInvalid, at + "unknown key '" + name + "'");
    if (value.type != config::YamlNode::Type::kScalar || !setter->second(value.text)) {
      return fail(Code::kInvalid, at + "'" + name + "' has the wrong type");
    }
  }
  return {};
}

Result<model::PretrainSettings> load(const std::filesystem::path& path) {
  TRIMTAB_TRY(const std::string text, read_file(path, config::kMaxConfigBytes));
  const auto document = config::parse_yaml(text);
  if (!document.problems.empty()) {
    const auto& problem = document.problems.front();
    return fail(Code::kInvalid, path.string() + ":" + std::to_string(problem.place.line) + ":" +
                                    std::to_string(problem.place.column) + ": " + problem.message);
  }
  model::PretrainSettings settings;
  if (auto status = apply(document.root, "", setters(settings)); !status) {
    return fail(Code::kInvalid, path.string() + ":" + status.error().message);
  }
  for (std::string* file : {&settings.out, &settings.text, &settings.chat, &settings.eval}) {
    if (!file->empty()) *file = (path.parent_path() / *file).string();
  }
  return settings;
}

Result<int> run(const std::string& job) {
  TRIMTAB_TRY(const auto settings, load(job));
  model::prepare_process(1);  // lanes are the parallelism
  const auto result = model::pretrain(settings);
  if (!result) {
    std::fprintf(stderr, "%s\n", result.error().message.c_str());
    return result.error().code == Code::kInternal || result.error().code == Code::kIo
               ? kExitFailed
               : kExitBadInput;
  }
  const OrderedJson report = {
      {"out", settings.out},
      {"parameters", result->parameters},
      {"steps", result->steps},
      {"tokens", result->tokens},
      {"seconds", result->seconds},
      {"tokens_per_s",
       result->seconds > 0 ? static_cast<double>(result->tokens) / result->seconds : 0.0},
      {"final_loss", result->final_loss},
      {"eval_accuracy", result->accuracy},
      {"eval_examples", result->eval_examples}};
  std::printf("%s\n", dump_json(report).c_str());
  return 0;
}

}  // namespace

Run add_pretrain(CLI::App& app) {
  auto job = std::make_shared<std::string>();
  app.add_option("JOB", *job, "The job file (YAML)")->required();
  return [job] { return run(*job); };
}

}  // namespace trimtab::retrain
