// Between safetensors and tensors. Internal to the model.
#pragma once

#include <ATen/core/Tensor.h>

#include "retrain/model/safetensors.h"

namespace trimtab::model {

[[nodiscard]] at::ScalarType scalar_type_of(TensorType type);
// A view into the file's map: valid while the file lives, never written.
[[nodiscard]] at::Tensor view_of(const SafetensorsFile& file, const TensorInfo& info);

}  // namespace trimtab::model
