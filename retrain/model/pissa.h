// PiSSA (Meng et al. 2024, arXiv 2404.02948): the adapter begins as the r principal singular
// vectors of each base weight, the base as what is left, W = W_res + s B0 A0.
//
//   W = U S V^T;  A0 = (S_r / s)^1/2 V_r^T,  B0 = U_r (S_r / s)^1/2   (PEFT's pissa_init)
// Training runs on W_res. What is exported is a plain LoRA of the *unchanged* base with twice the
// rank: A = [A; A0], B = [B, -B0], the same scale (PEFT: convert_pissa_to_lora), so that serving
// needs no second base.
#pragma once

#include <cstdint>
#include <memory>

#include "base/result.h"
#include "retrain/model/decoder.h"

namespace trimtab::model {

struct PissaStart {
  std::shared_ptr<Adapter> adapter;         // A0, B0
  std::shared_ptr<const Decoder> residual;  // the base less s B0 A0
};

// `power_iterations` 0: LAPACK's SVD of every weight (seconds for a 135 M model, minutes for 7 B);
// else a randomised range finder (Halko, Martinsson, Tropp 2011) with so many iterations, seeded.
// Sites are spread over `lanes` threads; the result does not depend on how many.
[[nodiscard]] Result<PissaStart> make_pissa(const LoraSpec& spec, const Decoder& base,
                                            std::int64_t power_iterations, std::uint64_t seed,
                                            int lanes);

// The plain LoRA of the unchanged base that equals residual + `trained`; `initial` is A0, B0.
[[nodiscard]] Result<std::shared_ptr<Adapter>> pissa_to_lora(const Adapter& trained,
                                                             const Adapter& initial,
                                                             const ModelConfig& config);

}  // namespace trimtab::model
