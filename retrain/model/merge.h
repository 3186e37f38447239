// An adapter added into the base's weights: W + s B A; DoRA: m / ||W + sBA|| (W + s B A).
#pragma once

#include <filesystem>
#include <memory>

#include "base/result.h"
#include "retrain/model/decoder.h"

namespace trimtab::model {

// A decoder with the merged weights; the base stays as it is (unchanged tensors are shared).
[[nodiscard]] Result<std::shared_ptr<const Decoder>> merged(const Decoder& base, const Adapter& adapter);

}  // namespace trimtab::model
