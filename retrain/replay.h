// Replay: a bounded reservoir of what the champion does right, a class at a time, so that learning
// the new does not unlearn the old (LORA.md section 2).
//
// Per class (Example::label or class_of) at most `replay_per_class` items, chosen uniformly from
// all that were offered (algorithm R, Vitter 1985, driven by a stable hash of seed, class and
// position: no generator state). Beyond `replay_classes` classes, newcomers share the class
// "other". Evaluation units are refused here already. Control thread only; memory bounded by
// replay_per_class x replay_classes x max_text_bytes, typically 300 bytes an item.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/result.h"
#include "config/retrain_settings.h"
#include "retrain/example.h"

namespace trimtab::retrain {

struct ReplayItem {
  std::string record_id;
  std::string unit;
  std::string label;
  std::vector<Message> messages;
  std::string completion;
  std::int64_t ts_ms = 0;
};

class ReplayReservoir {
 public:
  ReplayReservoir(const config::DataSettings& settings, std::uint64_t seed);

  // Offers an example that is known to be right. True when it was taken.
  bool offer(const Example& example);
  // Removes what belongs to a unit (erasure). Returns how many.
  std::int64_t erase_unit(const std::string& unit);

  // Class by class, in the order of names.
  [[nodiscard]] std::vector<ReplayItem> items() const;
  [[nodiscard]] std::int64_t size() const;
  [[nodiscard]] std::int64_t classes() const { return static_cast<std::int64_t>(classes_.size()); }

  [[nodiscard]] nlohmann::json save() const;
  // kCorrupt when it is not a document of save(). Larger than the present bounds: cut, by hash.
  [[nodiscard]] static Result<ReplayReservoir> restore(const config::DataSettings& settings,
                                                       std::uint64_t seed,
                                                       const nlohmann::json& saved);

 private:
  struct Class {
    std::int64_t offered = 0;
    std::vector<ReplayItem> items;
  };
  config::DataSettings settings_;
  std::uint64_t seed_;
  std::map<std::string, Class> classes_;
};

}  // namespace trimtab::retrain
