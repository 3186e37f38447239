#include "shadow/pools.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/random.h"

namespace trimtab::shadow {
namespace {

// A seed of its own: who is an evaluation unit must not depend on any trial's seed.
// The same as retrain::kEvalSeed: what is drawn here is never trained on there.
constexpr std::uint64_t kEvaluationSeed = 0x6576616cULL;

Json item_json(const PoolItem& item) {
  return {{"id", item.id},
          {"source", item.source},
          {"known_good", item.known_good},
          {"ts_ms", item.ts_ms}};
}

Result<std::vector<PoolItem>> parse_items(const Json& list, Stratum stratum) {
  std::vector<PoolItem> items;
  if (!list.is_array()) return fail(Code::kCorrupt, "pool: not a list");
  for (const auto& json : list) {
    PoolItem item;
    TRIMTAB_TRY(item.id, json_get<std::string>(json, "id"));
    TRIMTAB_TRY(item.source, json_get<std::string>(json, "source"));
    TRIMTAB_TRY(item.known_good, json_get<std::string>(json, "known_good"));
    TRIMTAB_TRY(item.ts_ms, json_get<std::int64_t>(json, "ts_ms"));
    item.stratum = stratum;
    items.push_back(std::move(item));
  }
  return items;
}

}  // namespace

bool is_evaluation_unit(std::string_view unit, double eval_share) {
  return stable_fraction(unit, kEvaluationSeed) < eval_share;
}

Result<Selection> parse_selection(std::string_view name) {
  if (name == "random") return Selection::kRandom;
  if (name == "user") return Selection::kUser;
  if (name == "judge") return Selection::kJudge;
  return fail(Code::kInvalid,
              "selection '" + std::string(name) + "' is none of random, user, judge");
}

std::string_view stratum_name(Stratum stratum) { return stratum == Stratum::kNew ? "new" : "old"; }

bool label_counts(const LabelledRecord& record) {
  if (record.known_good.empty()) return false;
  return record.selection == Selection::kRandom ||
         (record.selection == Selection::kJudge && record.hash_sampled);
}

FrozenPool FrozenPool::freeze(std::span<const LabelledRecord> records, const Params& params) {
  FrozenPool pool;
  std::map<std::string, const LabelledRecord*> by_id;  // sorted: input order must not matter
  for (const LabelledRecord& record : records) {
    const bool usable = label_counts(record) || (params.advisory && !record.known_good.empty() &&
                                                 record.ts_ms >= params.onset_ms);
    const bool counts =
        usable && !record.unit.empty() && is_evaluation_unit(record.unit, params.eval_share);
    if (!counts || !by_id.emplace(record.id, &record).second) pool.left_out_ += 1;
  }
  for (const auto& [id, record] : by_id) {
    const bool fresh = record->ts_ms >= params.onset_ms;
    (fresh ? pool.new_ : pool.old_)
        .push_back({id, record->source, record->known_good, record->ts_ms,
                    fresh ? Stratum::kNew : Stratum::kOld});
  }
  std::uint64_t salt = 0;
  for (auto* items : {&pool.new_, &pool.old_}) {
    Random random(params.seed * 2 + salt++);
    random.shuffle(*items);
    if (items->size() > params.max_records) {
      pool.left_out_ += items->size() - params.max_records;
      items->resize(params.max_records);
    }
  }
  return pool;
}

bool FrozenPool::forget(const std::set<std::string>& record_ids) {
  bool any = false;
  for (auto* items : {&new_, &old_}) {
    for (auto& item : *items) {
      if (!record_ids.contains(item.id) || item.known_good.empty()) continue;
      item.known_good.clear();
      any = true;
    }
  }
  return any;
}

const std::vector<PoolItem>& FrozenPool::items(Stratum stratum) const {
  return stratum == Stratum::kNew ? new_ : old_;
}

std::size_t FrozenPool::left(Stratum stratum) const {
  return size(stratum) - (stratum == Stratum::kNew ? new_drawn_ : old_drawn_);
}

std::vector<PoolItem> FrozenPool::draw(Stratum stratum, std::size_t count) {
  std::size_t& drawn = stratum == Stratum::kNew ? new_drawn_ : old_drawn_;
  const auto& all = items(stratum);
  const std::size_t end = std::min(all.size(), drawn + count);
  std::vector<PoolItem> batch(all.begin() + static_cast<std::ptrdiff_t>(drawn),
                              all.begin() + static_cast<std::ptrdiff_t>(end));
  drawn = end;
  return batch;
}

std::string FrozenPool::digest() const {
  std::string text;
  for (const auto* list : {&new_, &old_}) {
    for (const PoolItem& item : *list) {
      text += item.id;
      text += '\x1f';
      text += item.known_good;
      text += '\x1e';
    }
    text += '\x1d';
  }
  return sha256_hex(text);
}

Json FrozenPool::save() const {
  Json fresh = Json::array(), old = Json::array();
  for (const auto& item : new_) fresh.push_back(item_json(item));
  for (const auto& item : old_) old.push_back(item_json(item));
  return {{"new", std::move(fresh)}, {"old", std::move(old)}, {"new_drawn", new_drawn_},
          {"old_drawn", old_drawn_}, {"left_out", left_out_}, {"digest", digest()}};
}

Result<FrozenPool> FrozenPool::restore(const Json& saved) {
  FrozenPool pool;
  if (!saved.is_object() || !saved.contains("new") || !saved.contains("old")) {
    return fail(Code::kCorrupt, "pool: not a saved pool");
  }
  TRIMTAB_TRY(pool.new_, parse_items(saved["new"], Stratum::kNew));
  TRIMTAB_TRY(pool.old_, parse_items(saved["old"], Stratum::kOld));
  TRIMTAB_TRY(pool.new_drawn_, json_get<std::size_t>(saved, "new_drawn"));
  TRIMTAB_TRY(pool.old_drawn_, json_get<std::size_t>(saved, "old_drawn"));
  TRIMTAB_TRY(pool.left_out_, json_get<std::size_t>(saved, "left_out"));
  TRIMTAB_TRY(const auto digest, json_get<std::string>(saved, "digest"));
  if (pool.new_drawn_ > pool.new_.size() || pool.old_drawn_ > pool.old_.size() ||
      digest != pool.digest()) {
    return fail(Code::kCorrupt, "pool: it is not the frozen one any more (digest differs)");
  }
  return pool;
}

std::vector<PoolItem> capped_by_source(std::span<const PoolItem> items, std::size_t count,
                                       std::size_t per_source) {
  std::map<std::string, std::size_t> taken;
  std::vector<PoolItem> chosen;
  for (const PoolItem& item : items) {
    if (chosen.size() >= count) break;
    if (taken[item.source] >= per_source) continue;
    taken[item.source] += 1;
    chosen.push_back(item);
  }
  return chosen;
}

namespace {
Result<GoldenItem> golden_item(const Json& json) {
  GoldenItem item;
  if (!json.is_object() || !json.contains("input")) {
    return fail(Code::kInvalid, "not an object with 'input' and 'output'");
  }
  const Json& input = json["input"];
  if (input.is_string()) {
    item.input_json = dump_json(Json::array({{{"role", "user"}, {"content", input}}}));
  } else if (input.is_array() && !input.empty()) {
    item.input_json = dump_json(input);
  } else {
    return fail(Code::kInvalid, "'input' is neither text nor a list of messages");
  }
  TRIMTAB_TRY(item.output, json_get<std::string>(json, "output"));
  if (item.output.empty()) return fail(Code::kInvalid, "'output' is empty");
  return item;
}
}  // namespace

Result<std::vector<GoldenItem>> read_golden(const std::string& path) {
  TRIMTAB_TRY(const std::string text, read_file(path, 256ULL << 20));
  std::vector<GoldenItem> items;
  std::size_t line_number = 0, from = 0;
  while (from < text.size()) {
    const std::size_t end = std::min(text.find('\n', from), text.size());
    const std::string_view line = std::string_view(text).substr(from, end - from);
    from = end + 1;
    line_number += 1;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    const std::string where = path + ":" + std::to_string(line_number);
    const auto json = parse_json(line);
    if (!json) return fail_in(where, json.error());
    auto item = golden_item(*json);
    if (!item) return fail_in(where, item.error());
    item->id = "golden-" + std::to_string(line_number);
    items.push_back(std::move(*item));
  }
  return items;
}

}  // namespace trimtab::shadow
