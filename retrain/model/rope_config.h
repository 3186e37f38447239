// The rotary embedding's part of a config.json, in both spellings (`rope_scaling` + `rope_theta`,
// and the newer `rope_parameters`).
#pragma once

#include <cstdint>

#include "retrain/model/config_reader.h"
#include "retrain/model/model_config.h"

namespace trimtab::model {

// Fills config.rope; complains to the reader about what is unknown or out of range.
void read_rope(ConfigReader& reader, std::int64_t head_dim, double default_theta,
               ModelConfig& config);

}  // namespace trimtab::model
