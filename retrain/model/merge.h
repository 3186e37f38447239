// An adapter added into the base's weights: W + s B A; DoRA: m / ||W + sBA|| (W + s B A).
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "base/result.h"
#include "retrain/model/decoder.h"

namespace trimtab::model {

// A decoder with the merged weights; the base stays as it is (unchanged tensors are shared).
[[nodiscard]] Result<std::shared_ptr<const Decoder>> merged(const Decoder& base,
                                                            const Adapter& adapter);

// Writes a snapshot folder that Hugging Face loads: `base` with `adapter` added in. Tensor names,
// shards and the other files stay as they are. dtype: "base" (each tensor as it was), "float32",
// "bfloat16". Built in OUT.tmp and renamed; kConflict when OUT exists.
[[nodiscard]] Status merge_snapshot(const std::filesystem::path& base,
                                    const std::filesystem::path& adapter,
                                    const std::filesystem::path& out, const std::string& dtype);

// Writes a GGUF LoRA (version 3, F32) that llama.cpp's --lora takes. The adapter is folded first
// (one rank, one scale); q and k rows of llama-type models are reordered as llama.cpp stores them.
// kInvalid for DoRA.
[[nodiscard]] Status export_gguf(const Decoder& decoder, const Adapter& adapter,
                                 const std::filesystem::path& out);

}  // namespace trimtab::model
