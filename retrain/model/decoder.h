// The one causal LM: a config-driven decoder, equal to Hugging Face's to 1e-4 on fp32 logits.
//
// It runs on a flat batch: the tokens of all documents one after another, [N, hidden], no padding;
// a Segment is one document's run of new tokens. Attention never crosses segments. Each segment may
// use another adapter (or none) and may continue a KvSequence, so a server's batch of mixed
// adapters and a trainer's packed batch are the same call. Threads: a loaded Decoder is immutable;
// any number of threads may call it, each with KvSequences of its own. GEMM threads are whatever
// set_compute_threads() chose.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "retrain/model/lora.h"
#include "retrain/model/model_config.h"

namespace trimtab::model {

// Process-wide set-up, once, before the first tensor: OpenBLAS's kernels (openblas_core.h), OpenMP
// and OpenBLAS threads (at:: alone does not cap OpenBLAS), glibc's mmap and trim thresholds (else
// every large buffer is a page-fault storm).
void prepare_process(int threads);
void set_compute_threads(int threads);

// Keys and values of one document, grown as needed. Owned by the caller; one user at a time.
class KvSequence {
 public:
  [[nodiscard]] std::int64_t length() const { return length_; }
  void truncate(std::int64_t length);     // keep the first `length` tokens
  [[nodiscard]] KvSequence fork() const;  // a copy: prompts with a shared prefix
  [[nodiscard]] std::int64_t bytes() const;

  // For the decoder: rows of one layer are appended, then all layers advance together.
  void append(std::size_t layer, std::size_t layers, const at::Tensor& k, const at::Tensor& v);
  void advance(std::int64_t tokens) { length_ += tokens; }
  [[nodiscard]] const at::Tensor& keys(std::size_t layer) const { return keys_[layer]; }
  [[nodiscard]] const at::Tensor& values(std::size_t layer) const { return values_[layer]; }

 private:
  std::vector<at::Tensor> keys_;  // per layer [capacity, kv_heads * head_dim], rotated
  std::vector<at::Tensor> values_;
  std::int64_t length_ = 0;
};

// Rows [begin, begin + length) of a flat batch.
struct RowRange {
  std::int64_t begin = 0;
  std::int64_t length = 0;
};

struct Segment {
  std::int64_t length = 0;           // new tokens; segments lie one after another in the batch
  KvSequence* cache = nullptr;       // null: the document is whole
  const Adapter* adapter = nullptr;  // null: the bare base
  // Rows of earlier segments that this one goes on from, in order (shared_prefix.h). A cache must
  // then be empty; it gets the whole document.
  std::vector<RowRange> before = {};
};

// One flat batch. REQUIRES: sum of lengths == ids.size() == positions.size().
struct Batch {
  std::vector<std::int64_t> ids;
  std::vector<std::int64_t> positions;
  std::vector<Segment> segments;
  // Appends a document; positions continue after the cache's tokens, else start at 0.
  void add(const std::vector<std::int64_t>& tokens, const Adapter* adapter = nullptr,
           KvSequence* cache = nullptr);
};

struct LayerWeights {
  at::Tensor norm1, norm1_bias, norm2, norm2_bias;
  at::Tensor post_attention_norm, post_mlp_norm;  // Gemma-2
  at::Tensor q_norm, k_norm;                      // Qwen3 [head_dim]; Cohere [heads, head_dim]
  std::array<at::Tensor, 4> weight;               // by Group, fused, [out, in]
  std::array<at::Tensor, 4> bias;                 // undefined when absent
};

struct Weights {
  at::Tensor embedding;  // [vocab, hidden]
  at::Tensor positions;  // GPT-2 [max_positions, hidden]
  std::vector<LayerWeights> layers;
  at::Tensor final_norm, final_norm_bias;
  at::Tensor head;  // [vocab, hidden]; the embedding itself when tied
};

struct LoadOptions {
  std::string dtype = "float32";  // float32 | bfloat16 | float64 (gradient tests) | auto
  // cpu | cuda | auto (CUDA where there is one) | cpu-at (the tensor operations of any_device.h on
  // the CPU, for tests; process-wide)
  std::string device = "cpu";
};

struct Tape;  // saved activations of a training forward (tape.h)

class Decoder {
 public:
  // kNotFound, kInvalid (unsupported config), kCorrupt (tensor missing, wrong shape, NaN).
  [[nodiscard]] static Result<std::shared_ptr<const Decoder>> load(
      const std::filesystem::path& folder, const LoadOptions& options = {});
  Decoder(ModelConfig config, Weights weights);

  [[nodiscard]] const ModelConfig& config() const { return config_; }
  [[nodiscard]] const Weights& weights() const { return weights_; }
  [[nodiscard]] at::ScalarType dtype() const;

  // Last hidden states after the final norm, [N, hidden]. Appends to every segment's cache. With a
  // tape, saves what a backward needs (then no caches). kInvalid: an id outside the vocabulary, a
  // position outside the context.
  [[nodiscard]] Result<at::Tensor> forward(const Batch& batch, Tape* tape = nullptr) const;
  // fp32 logits [rows, vocab] of hidden states [rows, hidden] (fp64 when the model is fp64).
  [[nodiscard]] at::Tensor logits(const at::Tensor& hidden) const;

 private:
  ModelConfig config_;
  Weights weights_;
};

}  // namespace trimtab::model
