// Preflight: is this folder an adapter that may be served? Every failure has a name.
//
// Reads adapter_config.json and the whole adapter_model.safetensors (header by hand: no torch in
// the daemon), provenance.json where there is one. Checks, in this order (the first that fails is
// the answer): missing_file, bad_config, unsupported_feature, rank_too_large, truncated,
// bad_header, bad_tensor_names, bad_shapes, nan_weights, wrong_digest, wrong_base, wrong_tokenizer.
// An adapter of zeros is legal (the shadow decides). Blocking I/O: called on an
// effects thread. Bounded memory: floats are scanned in 1 MiB pieces.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "shadow/verdicts.h"

namespace trimtab::shadow {

struct PreflightInput {
  std::string folder;
  std::string sha256;            // expected, of adapter_model.safetensors; empty: not known
  std::string base_sha256;       // digest of the base that is served; empty: not checked
  std::string tokenizer_sha256;  // of the served tokenizer.json; empty: not checked
  int max_lora_rank = 16;        // of the fleet (vLLM's default)
};

struct PreflightFacts {
  PreflightVerdict verdict;
  std::string sha256;                         // of adapter_model.safetensors
  std::string base_sha256, tokenizer_sha256;  // as provenance.json says; empty: it does not
  int rank = 0;
  std::uint64_t tensors = 0, parameters = 0;
};

// kIo only when the disk fails; a bad adapter is a verdict, not an error. An adapter without
// provenance whose base digest cannot be known fails wrong_base when base_sha256 is given.
[[nodiscard]] Result<PreflightFacts> preflight(const PreflightInput& input);

}  // namespace trimtab::shadow
