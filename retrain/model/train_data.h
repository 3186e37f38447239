// What a trainer trains on, and the plan that says which step sees which item.
//
// No torch. Files become items in line_reader.h. An item is a document with supervised labels, a
// preference pair, or a thumb.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"
#include "retrain/model/chat_data.h"
#include "retrain/model/model_config.h"

namespace trimtab::model {

struct Item {
  Example example;   // the document; in a pair the chosen one
  Example rejected;  // pairs only
  bool good = true;  // thumbs only
  std::string task;  // whose gradient, in gradient surgery
  [[nodiscard]] std::int64_t tokens() const {
    return static_cast<std::int64_t>(example.ids.size() + rejected.ids.size());
  }
};

// How many positions count: labels >= 0 beyond the first (labels[1:] in transformers' words).
[[nodiscard]] std::int64_t supervised(const Example& example);

// plan[step][micro-batch] = item indices.
using Plan = std::vector<std::vector<std::vector<std::size_t>>>;
[[nodiscard]] Result<Plan> read_plan(const std::filesystem::path& path, std::size_t items);

struct PlanSettings {
  std::int64_t steps = 0;  // 0: by epochs
  double epochs = 3;
  std::int64_t batch_sequences = 32;
  std::int64_t batch_tokens = 4096;
  std::int64_t seed = 1;
  int lanes = 1;  // micro-batches a step, filled evenly by tokens
  // Curriculum: a number an item, or empty. The first `ordered_epochs` passes go by it, ascending,
  // ties in the pass's own shuffled order; the later ones are shuffled only.
  std::vector<double> difficulty;
  std::int64_t ordered_epochs = 0;
};
// Shuffled epochs, each order a function of seed and epoch alone; packed up to the bounds. Items
// without a supervised token are left out. Identical for identical arguments.
[[nodiscard]] Plan make_plan(const std::vector<Item>& items, const PlanSettings& settings);

}  // namespace trimtab::model
