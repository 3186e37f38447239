#include "retrain/replay.h"

#include <algorithm>

#include "base/hash.h"
#include "base/json.h"

namespace trimtab::retrain {
namespace {

constexpr const char* kOther = "other";

Json item_json(const ReplayItem& item) {
  Json messages = Json::array();
  for (const Message& message : item.messages) {
    messages.push_back({{"role", message.role}, {"content", message.content}});
  }
  return {{"id", item.record_id},          {"unit", item.unit},
          {"label", item.label},           {"messages", std::move(messages)},
          {"completion", item.completion}, {"ts_ms", item.ts_ms}};
}

Result<ReplayItem> parse_item(const Json& json) {
  ReplayItem item;
  TRIMTAB_TRY(item.record_id, json_get<std::string>(json, "id"));
  TRIMTAB_TRY(item.unit, json_get<std::string>(json, "unit"));
  TRIMTAB_TRY(item.label, json_get<std::string>(json, "label"));
  TRIMTAB_TRY(item.completion, json_get<std::string>(json, "completion"));
  TRIMTAB_TRY(item.ts_ms, json_get<std::int64_t>(json, "ts_ms"));
  TRIMTAB_TRY(const auto messages, json_get<Json>(json, "messages"));
  for (const Json& message : messages) {
    Message parsed;
    TRIMTAB_TRY(parsed.role, json_get<std::string>(message, "role"));
    TRIMTAB_TRY(parsed.content, json_get<std::string>(message, "content"));
    item.messages.push_back(std::move(parsed));
  }
  return item;
}

}  // namespace

ReplayReservoir::ReplayReservoir(const config::DataSettings& settings, std::uint64_t seed)
    : settings_(settings), seed_(seed) {}

bool ReplayReservoir::offer(const Example& example) {
  if (is_evaluation_unit(example.unit, settings_.eval_share)) return false;
  if (example.messages.empty() || example.completion.empty()) return false;
  const auto bytes = prompt_text(example.messages).size() + example.completion.size();
  if (static_cast<std::int64_t>(bytes) > settings_.max_text_bytes) return false;
  std::string label = class_of(example);
  if (!classes_.contains(label) &&
      static_cast<std::int64_t>(classes_.size()) >= settings_.replay_classes) {
    label = kOther;
  }
  Class& group = classes_[label];
  const std::int64_t position = group.offered++;
  ReplayItem item{example.record_id, example.unit,       label,
                  example.messages,  example.completion, example.ts_ms};
  if (static_cast<std::int64_t>(group.items.size()) < settings_.replay_per_class) {
    group.items.push_back(std::move(item));
    return true;
  }
  // Algorithm R: the n-th item replaces slot j, j uniform in [0, n), when j is a slot.
  const double uniform = stable_fraction(label + "\x1f" + std::to_string(position), seed_);
  const auto slot = static_cast<std::int64_t>(uniform * static_cast<double>(position + 1));
  if (slot >= static_cast<std::int64_t>(group.items.size())) return false;
  group.items[static_cast<std::size_t>(slot)] = std::move(item);
  return true;
}

std::int64_t ReplayReservoir::erase_unit(const std::string& unit) {
  std::int64_t erased = 0;
  for (auto& [label, group] : classes_) {
    erased += static_cast<std::int64_t>(
        std::erase_if(group.items, [&](const ReplayItem& item) { return item.unit == unit; }));
  }
  return erased;
}

std::vector<ReplayItem> ReplayReservoir::items() const {
  std::vector<ReplayItem> all;
  for (const auto& [label, group] : classes_) {
    all.insert(all.end(), group.items.begin(), group.items.end());
  }
  return all;
}

std::int64_t ReplayReservoir::size() const {
  std::int64_t size = 0;
  for (const auto& [label, group] : classes_) size += static_cast<std::int64_t>(group.items.size());
  return size;
}

nlohmann::json ReplayReservoir::save() const {
  Json classes = Json::array();
  for (const auto& [label, group] : classes_) {
    Json items = Json::array();
    for (const ReplayItem& item : group.items) items.push_back(item_json(item));
    classes.push_back({{"label", label}, {"offered", group.offered}, {"items", std::move(items)}});
  }
  return {{"version", 1}, {"classes", std::move(classes)}};
}

Result<ReplayReservoir> ReplayReservoir::restore(const config::DataSettings& settings,
                                                 std::uint64_t seed, const nlohmann::json& saved) {
  const auto corrupt = [](const Error& error) {
    return fail(Code::kCorrupt, "replay reservoir: " + error.message);
  };
  ReplayReservoir reservoir(settings, seed);
  const auto version = json_get<int>(saved, "version");
  if (!version || *version != 1) return fail(Code::kCorrupt, "replay reservoir: not version 1");
  const auto classes = json_get<Json>(saved, "classes");
  if (!classes) return corrupt(classes.error());
  for (const Json& entry : *classes) {
    const auto label = json_get<std::string>(entry, "label");
    const auto offered = json_get<std::int64_t>(entry, "offered");
    const auto items = json_get<Json>(entry, "items");
    if (!label) return corrupt(label.error());
    if (!offered) return corrupt(offered.error());
    if (!items) return corrupt(items.error());
    Class& group = reservoir.classes_[*label];
    group.offered = *offered;
    for (const Json& json : *items) {
      auto item = parse_item(json);
      if (!item) return corrupt(item.error());
      group.items.push_back(std::move(*item));
    }
    const auto bound = static_cast<std::size_t>(settings.replay_per_class);
    if (group.items.size() <= bound) continue;
    // A uniform subset of a uniform sample is uniform.
    std::stable_sort(group.items.begin(), group.items.end(),
                     [&](const ReplayItem& a, const ReplayItem& b) {
                       return stable_hash(a.record_id, seed) < stable_hash(b.record_id, seed);
                     });
    group.items.resize(bound);
  }
  return reservoir;
}

}  // namespace trimtab::retrain
