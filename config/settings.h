// The root of trimtabd's configuration: what `config/load.h` fills from one YAML file and what
// App::New receives. A plain value; immutable once loaded (a reload makes a new one and swaps).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/daemon_settings.h"
#include "config/drift_settings.h"
#include "config/retrain_settings.h"
#include "config/shadow_settings.h"

namespace trimtab::config {

// The value hashed for assignment and for evaluation units, first that a record has.
enum class UnitKey { kUser, kSession, kRequest };

// What `check-config` is told about the traffic, to say what the plan can detect and how long it
// takes. Used for nothing else.
struct ExpectedTraffic {
  double records_per_day = 10'000;
  double units_per_day = 2'000;  // users or sessions, by unit_key
  double label_rate = 0.05;      // share of records with a random-selected label
  double complaint_rate = 0.02;  // share of units
  double base_rate = 0.2;        // error rate on the labelled metric
};

// One alias such as `support-bot`: its base, its champion adapter (a fact of the state, not of the
// configuration), its signals, its policy and its plan.
struct TargetSettings {
  std::string name;    // lower case, digits, '-', '_', '.'; 1..63; first a letter or digit
  std::string base;    // folder of the base snapshot (Hugging Face format)
  std::string golden;  // optional JSONL of {input, output}; a screen, never trained on
  UnitKey unit_key = UnitKey::kUser;
  double eval_share = 0.5;  // stable-hash share of the units that no job ever trains on
  ExpectedTraffic expected;
  DriftSettings drift;
  RetrainSettings retrain;
  PromotionSettings promotion;  // shadow_settings.h
  ServingSettings serving;
};

// Some knobs are needed by two rooms, and each room's struct has them. The YAML has each once;
// load_settings copies them by this function, and so must whoever builds a TargetSettings by hand:
//   eval_share -> retrain.data.eval_share
//   retrain.{cooldown_ms, retry_attempts, retry_growth} -> promotion.{cooldown_ms, max_tries, ..}
void share_common_fields(TargetSettings& target);

// user_id | session_id | request
[[nodiscard]] const char* unit_key_name(UnitKey key);

struct Settings {
  StateSettings state;
  KafkaSettings kafka;
  IngestSettings ingest;
  StoreSettings store;
  ControlSettings control;
  HttpSettings http;
  MetricsSettings metrics;
  LogSettings log;
  std::vector<TargetSettings> targets;
};

}  // namespace trimtab::config
