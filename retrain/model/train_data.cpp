#include "retrain/model/train_data.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <sstream>

#include "base/files.h"
#include "base/json.h"
#include "base/random.h"

namespace trimtab::model {
namespace {

constexpr std::uint64_t kFileLimit = 8ULL << 30;

using ParseItem = std::function<Result<Item>(const Json&)>;

Result<std::vector<Item>> read_items(const std::filesystem::path& path, const ParseItem& parse) {
  TRIMTAB_TRY(const std::string content, read_file(path, kFileLimit));
  std::istringstream in(content);
  std::vector<Item> items;
  std::string text;
  for (std::size_t number = 1; std::getline(in, text); ++number) {
    if (text.empty()) continue;
    const std::string where = path.string() + ":" + std::to_string(number);
    const auto json = parse_json(text);
    if (!json) return fail_in(where, json.error());
    auto item = parse(*json);
    if (!item) return fail_in(where, item.error());
    items.push_back(std::move(*item));
  }
  return items;
}

Result<std::vector<std::int64_t>> id_list(const Json& json, const char* key,
                                          const ModelConfig& config, bool masked) {
  if (!json.is_object() || !json.contains(key) || !json[key].is_array()) {
    return fail(Code::kInvalid, std::string("needs a list of token ids '") + key + "'");
  }
  std::vector<std::int64_t> ids;
  for (const Json& item : json[key]) {
    if (!item.is_number_integer())
      return fail(Code::kInvalid, std::string("'") + key + "' must hold whole numbers");
    const auto id = item.get<std::int64_t>();
    if ((id < 0 && !(masked && id == -100)) || id >= config.vocab) {
      return fail(Code::kInvalid, "token id " + std::to_string(id) + " in '" + key +
                                      "' is outside the vocabulary of " +
                                      std::to_string(config.vocab));
    }
    ids.push_back(id);
  }
  return ids;
}

Status check_length(const Example& example, const ModelConfig& config) {
  if (example.ids.empty()) return fail(Code::kInvalid, "an empty document");
  if (static_cast<std::int64_t>(example.ids.size()) > config.max_positions) {
    return fail(Code::kInvalid, std::to_string(example.ids.size()) +
                                    " tokens are more than the context of " +
                                    std::to_string(config.max_positions));
  }
  return {};
}

Result<Example> prompt_and_completion(const Json& json, const char* completion_key,
                                      const ModelConfig& config) {
  Example example;
  TRIMTAB_TRY(example.ids, id_list(json, "prompt", config, false));
  TRIMTAB_TRY(const auto completion, id_list(json, completion_key, config, false));
  if (example.ids.empty() || completion.empty())
    return fail(Code::kInvalid, "prompt and completion must not be empty");
  example.prompt_length = static_cast<std::int64_t>(example.ids.size());
  example.labels.assign(example.ids.size(), -100);
  example.ids.insert(example.ids.end(), completion.begin(), completion.end());
  example.labels.insert(example.labels.end(), completion.begin(), completion.end());
  TRIMTAB_CHECK_OK(check_length(example, config));
  return example;
}

}  // namespace

std::int64_t supervised(const Example& example) {
  std::int64_t count = 0;
  for (std::size_t i = 1; i < example.labels.size(); ++i) count += example.labels[i] >= 0 ? 1 : 0;
  return count;
}

Result<std::vector<Item>> read_tokens(const std::filesystem::path& path,
                                      const ModelConfig& config) {
  return read_items(path, [&](const Json& json) -> Result<Item> {
    Item item;
    TRIMTAB_TRY(item.example.ids, id_list(json, "input_ids", config, false));
    TRIMTAB_TRY(item.example.labels, id_list(json, "labels", config, true));
    if (item.example.ids.size() != item.example.labels.size()) {
      return fail(Code::kInvalid, "input_ids and labels differ in length");
    }
    TRIMTAB_CHECK_OK(check_length(item.example, config));
    return item;
  });
}

Result<std::vector<Item>> read_pairs(const std::filesystem::path& path, const ModelConfig& config) {
  return read_items(path, [&](const Json& json) -> Result<Item> {
    Item item;
    TRIMTAB_TRY(item.example, prompt_and_completion(json, "chosen", config));
    TRIMTAB_TRY(item.rejected, prompt_and_completion(json, "rejected", config));
    return item;
  });
}

Result<std::vector<Item>> read_thumbs(const std::filesystem::path& path,
                                      const ModelConfig& config) {
  return read_items(path, [&](const Json& json) -> Result<Item> {
    Item item;
    TRIMTAB_TRY(item.example, prompt_and_completion(json, "completion", config));
    TRIMTAB_TRY(item.good, json_get<bool>(json, "good"));
    return item;
  });
}

Result<Plan> read_plan(const std::filesystem::path& path, std::size_t items) {
  TRIMTAB_TRY(const std::string text, read_file(path, kFileLimit));
  const auto json = parse_json(text);
  if (!json) return fail_in(path.string(), json.error());
  const auto bad = [&] {
    return fail(Code::kInvalid,
                path.string() +
                    ": must be [[[index, ..] micro-batch, ..] step, ..] with indices below " +
                    std::to_string(items));
  };
  if (!json->is_array()) return bad();
  Plan plan;
  for (const Json& step : *json) {
    if (!step.is_array()) return bad();
    plan.emplace_back();
    for (const Json& micro : step) {
      if (!micro.is_array()) return bad();
      plan.back().emplace_back();
      for (const Json& index : micro) {
        if (!index.is_number_unsigned() || index.get<std::size_t>() >= items) return bad();
        plan.back().back().push_back(index.get<std::size_t>());
      }
    }
  }
  return plan;
}

namespace {

// Longest first to the emptiest micro-batch: the lanes end at about the same time.
std::vector<std::vector<std::size_t>> balance(const std::vector<Item>& items,
                                              std::vector<std::size_t> step, int lanes) {
  std::stable_sort(step.begin(), step.end(), [&](std::size_t a, std::size_t b) {
    return items[a].tokens() > items[b].tokens();
  });
  std::vector<std::vector<std::size_t>> micro(static_cast<std::size_t>(lanes));
  std::vector<std::int64_t> load(micro.size(), 0);
  for (const std::size_t index : step) {
    const auto lane =
        static_cast<std::size_t>(std::min_element(load.begin(), load.end()) - load.begin());
    micro[lane].push_back(index);
    load[lane] += items[index].tokens();
  }
  return micro;
}

}  // namespace

Plan make_plan(const std::vector<Item>& items, const PlanSettings& s) {
  std::vector<std::size_t> usable;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (supervised(items[i].example) > 0 && items[i].example.weight > 0) usable.push_back(i);
  }
  Plan plan;
  if (usable.empty()) return plan;
  const auto wanted =
      s.steps > 0 ? std::int64_t{-1}
                  : static_cast<std::int64_t>(s.epochs * static_cast<double>(usable.size()) + 0.5);
  std::int64_t seen = 0;
  for (std::uint64_t epoch = 0;; ++epoch) {
    std::vector<std::size_t> order = usable;
    Random random(static_cast<std::uint64_t>(s.seed) * 0x9e3779b97f4a7c15ULL + epoch);
    random.shuffle(order);
    std::vector<std::size_t> step;
    std::int64_t tokens = 0;
    const auto flush = [&] {
      if (!step.empty()) plan.push_back(balance(items, step, s.lanes));
      step.clear();
      tokens = 0;
    };
    for (const std::size_t index : order) {
      if (wanted >= 0 && seen == wanted) break;
      const bool full = static_cast<std::int64_t>(step.size()) >= s.batch_sequences ||
                        tokens + items[index].tokens() > s.batch_tokens;
      if (full && !step.empty()) flush();
      step.push_back(index);
      tokens += items[index].tokens();
      ++seen;
    }
    flush();
    if (s.steps > 0 && static_cast<std::int64_t>(plan.size()) >= s.steps) {
      plan.resize(static_cast<std::size_t>(s.steps));
      return plan;
    }
    if (wanted >= 0 && seen >= wanted) return plan;
  }
}

}  // namespace trimtab::model
