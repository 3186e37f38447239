#include "retrain/model/train_data.h"

#include <algorithm>
#include <numeric>

#include "base/files.h"
#include "base/json.h"
#include "base/random.h"

namespace trimtab::model {
namespace {

constexpr std::uint64_t kFileLimit = 8ULL << 30;

}  // namespace

std::int64_t supervised(const Example& example) {
  std::int64_t count = 0;
  for (std::size_t i = 1; i < example.labels.size(); ++i) count += example.labels[i] >= 0 ? 1 : 0;
  return count;
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
    if (!s.difficulty.empty() && epoch < static_cast<std::uint64_t>(s.ordered_epochs)) {
      std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        return s.difficulty[a] < s.difficulty[b];
      });
    }
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
