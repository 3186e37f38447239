// A snapshot folder becomes a Decoder: names by family, fused matrices, one dtype.
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <set>
#include <thread>

#include "retrain/model/any_device.h"
#include "retrain/model/compat.h"
#include "retrain/model/decoder.h"
#include "retrain/model/lanes.h"
#include "retrain/model/openblas_core.h"
#include "retrain/model/safetensors.h"
#include "retrain/model/tensor_io.h"
#include "retrain/model/tensor_ops.h"

namespace trimtab::model {

at::ScalarType scalar_type_of(TensorType type) {
  switch (type) {
    case TensorType::kF64: return at::kDouble;
    case TensorType::kF32: return at::kFloat;
    case TensorType::kF16: return at::kHalf;
    case TensorType::kBF16: return at::kBFloat16;
    case TensorType::kI64: return at::kLong;
    case TensorType::kI32: return at::kInt;
    case TensorType::kI16: return at::kShort;
    case TensorType::kI8: return at::kChar;
    case TensorType::kU8: return at::kByte;
    case TensorType::kBool: return at::kBool;
  }
  return at::kFloat;
}

at::Tensor view_of(const SafetensorsFile& file, const TensorInfo& info) {
  if (info.elements() == 0) return at::empty(info.shape, scalar_type_of(info.type));
  // from_blob wants a mutable pointer; nobody writes through it.
  return at::from_blob(const_cast<std::byte*>(file.data(info)), info.shape,
                       scalar_type_of(info.type));
}

namespace {

constexpr std::size_t kHugePage = 2U << 20;

// Memory for a weight. Large ones on huge pages: fewer faults while loading, fewer TLB misses in
// the products that read them column by column.
at::Tensor room_for(const std::vector<std::int64_t>& shape, at::ScalarType type) {
  std::size_t bytes = c10::elementSize(type);
  for (const auto size : shape) bytes *= static_cast<std::size_t>(size);
  void* memory = nullptr;
  if (bytes < kHugePage || posix_memalign(&memory, kHugePage, bytes) != 0)
    return at::empty(shape, type);
  madvise(memory, bytes, MADV_HUGEPAGE);  // a wish: without it all is the same but slower
  return at::from_blob(
      memory, shape, [](void* p) { std::free(p); }, type);
}

// Family-specific names: where each part of a block lives in the snapshot.
struct Names {
  std::string prefix;  // "model." / "transformer." / ""
  std::string layers, embedding, positions, final_norm;
  std::string norm1, norm2, post_attention, post_mlp;
  std::array<std::vector<std::string>, 4> parts;  // by Group, fused in this order
};

Names names_of(const ModelConfig& c, const SafetensorsFolder& folder) {
  Names n;
  if (c.family == "gpt2") {
    n.prefix = folder.find("transformer.wte.weight").file != nullptr ? "transformer." : "";
    n.layers = n.prefix + "h.";
    n.embedding = n.prefix + "wte.weight";
    n.positions = n.prefix + "wpe.weight";
    n.final_norm = n.prefix + "ln_f";
    n.norm1 = "ln_1";
    n.norm2 = "ln_2";
    n.parts = {{{"attn.c_attn"}, {"attn.c_proj"}, {"mlp.c_fc"}, {"mlp.c_proj"}}};
    return n;
  }
  n.prefix = folder.find("embed_tokens.weight").file != nullptr ? "" : "model.";
  n.layers = n.prefix + "layers.";
  n.embedding = n.prefix + "embed_tokens.weight";
  n.final_norm = n.prefix + "norm";
  n.norm1 = "input_layernorm";
  n.norm2 = c.sandwich_norms ? "pre_feedforward_layernorm" : "post_attention_layernorm";
  n.post_attention = "post_attention_layernorm";
  n.post_mlp = "post_feedforward_layernorm";
  n.parts = {{{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},
              {"self_attn.o_proj"},
              {"mlp.gate_proj", "mlp.up_proj"},
              {"mlp.down_proj"}}};
  if (c.fused_qkv) n.parts[0] = {"self_attn.qkv_proj"};
  if (c.fused_gate_up) n.parts[2] = {"mlp.gate_up_proj"};
  return n;
}

class Loader {
 public:
  Loader(const ModelConfig& config, const SafetensorsFolder& folder, at::ScalarType weight,
         at::ScalarType stream)
      : config_(config),
        folder_(folder),
        names_(names_of(config, folder)),
        weight_(weight),
        stream_(stream) {}

  Result<Weights> load() {
    Weights w;
    w.embedding = take(names_.embedding, {config_.vocab, config_.hidden}, weight_);
    if (config_.learned_positions) {
      w.positions = take(names_.positions, {config_.max_positions, config_.hidden}, stream_);
    }
    for (std::int64_t layer = 0; layer < config_.layers && error_.empty(); ++layer) {
      w.layers.push_back(load_layer(names_.layers + std::to_string(layer) + "."));
    }
    w.final_norm = take(names_.final_norm + ".weight", {config_.hidden}, stream_);
    if (config_.norm_bias)
      w.final_norm_bias = take(names_.final_norm + ".bias", {config_.hidden}, stream_);
    w.head = config_.tied ? w.embedding
                          : take("lm_head.weight", {config_.vocab, config_.hidden}, weight_);
    if (error_.empty()) refuse_unused();
    if (error_.empty()) copy_all();
    if (!error_.empty()) return fail(Code::kCorrupt, error_);
    return w;
  }

 private:
  LayerWeights load_layer(const std::string& at) {
    LayerWeights w;
    norm(at + names_.norm1, w.norm1, w.norm1_bias);
    if (!config_.parallel_block) norm(at + names_.norm2, w.norm2, w.norm2_bias);
    if (config_.sandwich_norms) {
      w.post_attention_norm =
          take(at + names_.post_attention + ".weight", {config_.hidden}, stream_);
      w.post_mlp_norm = take(at + names_.post_mlp + ".weight", {config_.hidden}, stream_);
    }
    if (config_.qk_norm) {
      const bool per_head = config_.family == "cohere";
      const auto shape = [&](std::int64_t heads) {
        return per_head ? std::vector<std::int64_t>{heads, config_.head_dim}
                        : std::vector<std::int64_t>{config_.head_dim};
      };
      w.q_norm = take(at + "self_attn.q_norm.weight", shape(config_.heads), stream_);
      w.k_norm = take(at + "self_attn.k_norm.weight", shape(config_.kv_heads), stream_);
    }
    const std::array<bool, 4> biased = {config_.qkv_bias, config_.o_bias, config_.mlp_bias,
                                        config_.mlp_bias};
    for (std::size_t g = 0; g < 4; ++g) fuse(at, g, biased[g], w);
    return w;
  }

  void norm(const std::string& name, at::Tensor& weight, at::Tensor& bias) {
    weight = take(name + ".weight", {config_.hidden}, stream_);
    if (config_.norm_bias) bias = take(name + ".bias", {config_.hidden}, stream_);
  }

  // Concatenates a group's parts row after row into one matrix [out, in].
  void fuse(const std::string& at, std::size_t g, bool biased, LayerWeights& w) {
    const auto& c = config_;
    const std::array<std::int64_t, 4> inputs = {c.hidden, c.q_width(), c.hidden, c.intermediate};
    std::array<std::vector<std::int64_t>, 4> rows = {{{c.q_width(), c.kv_width(), c.kv_width()},
                                                      {c.hidden},
                                                      {c.intermediate, c.intermediate},
                                                      {c.hidden}}};
    if (c.fused_qkv) rows[0] = {c.qkv_width()};
    if (c.fused_gate_up) rows[2] = {2 * c.intermediate};
    if (!c.gated_mlp) rows[2] = {c.intermediate};
    std::int64_t total = 0;
    for (const auto r : rows[g]) total += r;
    w.weight[g] = room_for({total, inputs[g]}, weight_);
    if (biased) w.bias[g] = at::empty({total}, stream_);
    std::int64_t row = 0;
    for (std::size_t i = 0; i < rows[g].size(); ++i) {
      const std::string name = at + names_.parts[g][i];
      const std::vector<std::int64_t> shape =
          c.conv1d ? std::vector<std::int64_t>{inputs[g], rows[g][i]}
                   : std::vector<std::int64_t>{rows[g][i], inputs[g]};
      const at::Tensor part = find(name + ".weight", shape);
      if (!part.defined()) return;
      copies_.push_back(
          {name + ".weight", w.weight[g].narrow(0, row, rows[g][i]), c.conv1d ? part.t() : part});
      if (biased) {
        const at::Tensor bias = find(name + ".bias", {rows[g][i]});
        if (!bias.defined()) return;
        copies_.push_back({name + ".bias", w.bias[g].narrow(0, row, rows[g][i]), bias});
      }
      row += rows[g][i];
    }
  }

  at::Tensor take(const std::string& name, const std::vector<std::int64_t>& shape,
                  at::ScalarType type) {
    const at::Tensor view = find(name, shape);
    if (!view.defined()) return view;
    at::Tensor copy = room_for(shape, type);
    copies_.push_back({name, copy, view});
    return copy;
  }

  at::Tensor find(const std::string& name, const std::vector<std::int64_t>& shape) {
    used_.insert(name);
    const auto found = folder_.find(name);
    if (found.file == nullptr) return complain("tensor '" + name + "' is missing");
    const at::ScalarType type = scalar_type_of(found.info->type);
    if (!at::isFloatingType(type))
      return complain(found.file->path().string() + ": tensor '" + name +
                      "' is not floating point");
    if (found.info->shape != shape) {
      return complain(found.file->path().string() + ": tensor '" + name +
                      "' does not have the shape that config.json asks for");
    }
    return view_of(*found.file, *found.info);
  }

  // Converts on a few threads: most of the time goes to the pages' first touch.
  void copy_all() {
    std::atomic<std::size_t> next{0};
    std::vector<char> finite(copies_.size(), 0);
    const int threads =
        static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1U, kMostThreads));
    run_lanes(threads, [&](int) {
      const ComputeScope scope;
      for (std::size_t i = next++; i < copies_.size(); i = next++) {
        const auto& [name, to, from] = copies_[i];
        to.copy_(from);
        // Widening keeps what is finite so: the narrow one has fewer bytes to look at.
        finite[i] = all_finite(from.element_size() < to.element_size() ? from : to) ? 1 : 0;
      }
    });
    for (std::size_t i = 0; i < copies_.size(); ++i) {
      if (finite[i] == 0) complain("tensor '" + copies_[i].name + "' holds NaN or infinity");
    }
  }

  // A tensor that nobody asked for (an unexpected bias, another norm) would be another model.
  void refuse_unused() {
    for (const auto& name : folder_.names()) {
      if (used_.count(name) != 0 || name == "lm_head.weight") continue;
      const bool buffer = name.size() > 10 && (name.rfind(".attn.bias") == name.size() - 10 ||
                                               name.rfind(".masked_bias") != std::string::npos ||
                                               name.rfind(".inv_freq") != std::string::npos);
      if (!buffer)
        complain("tensor '" + name + "' is not part of a " + config_.family +
                 " by this config.json");
    }
  }

  at::Tensor complain(const std::string& why) {
    if (error_.empty()) error_ = why;
    return {};
  }

  struct Copy {
    std::string name;
    at::Tensor to;    // a view of what the decoder keeps
    at::Tensor from;  // a view of the file
  };
  static constexpr unsigned kMostThreads = 8;

  const ModelConfig& config_;
  const SafetensorsFolder& folder_;
  Names names_;
  std::vector<Copy> copies_;
  at::ScalarType weight_;
  at::ScalarType stream_;
  std::set<std::string> used_;
  std::string error_;
};

Result<bool> wants_cuda(const std::string& device) {
  if (device == "cpu" || device == "cpu-at") return false;
  if (device == "auto") return cuda_is_there();
  if (device != "cuda") return fail(Code::kInvalid, "device '" + device + "' is unknown");
  if (!cuda_is_there()) {
    return fail(Code::kInvalid,
                "device cuda: this libtorch has no CUDA, or there is no device or driver");
  }
  return true;
}

void move_to(at::Device device, Weights& w, bool tied) {
  const auto move = [&](at::Tensor& tensor) {
    if (tensor.defined()) tensor = tensor.to(device);
  };
  for (at::Tensor* tensor : {&w.embedding, &w.positions, &w.final_norm, &w.final_norm_bias})
    move(*tensor);
  if (tied) w.head = w.embedding;
  move(w.head);
  for (LayerWeights& layer : w.layers) {
    for (at::Tensor* tensor :
         {&layer.norm1, &layer.norm1_bias, &layer.norm2, &layer.norm2_bias,
          &layer.post_attention_norm, &layer.post_mlp_norm, &layer.q_norm, &layer.k_norm})
      move(*tensor);
    for (at::Tensor& tensor : layer.weight) move(tensor);
    for (at::Tensor& tensor : layer.bias) move(tensor);
  }
}

Result<at::ScalarType> weight_type(const std::string& dtype, const ModelConfig& config, bool cuda) {
  if (dtype == "auto" && cuda) return at::kBFloat16;
  if (dtype == "float32") return at::kFloat;
  if (dtype == "bfloat16") return at::kBFloat16;
  if (dtype == "float64") return at::kDouble;
  if (dtype == "auto") {
#if defined(__x86_64__)
    // bf16 products are fast only where the processor has them (LORA.md section 4), and pay only
    // when the matrices are large.
    __builtin_cpu_init();
    const bool fast = __builtin_cpu_supports("avx512bf16") != 0;
    if (fast && config.dtype == "bfloat16" && config.hidden >= 512) return at::kBFloat16;
#endif
    return at::kFloat;
  }
  return fail(Code::kInvalid,
              "dtype '" + dtype + "' is not one of float32, bfloat16, float64, auto");
}

}  // namespace

Result<std::shared_ptr<const Decoder>> Decoder::load(const std::filesystem::path& folder,
                                                     const LoadOptions& options) {
  use_best_openblas_core();
  const ComputeScope scope;
  TRIMTAB_TRY(ModelConfig config, read_model_config(folder));
  TRIMTAB_TRY(const bool cuda, wants_cuda(options.device));
  TRIMTAB_TRY(const at::ScalarType type, weight_type(options.dtype, config, cuda));
  any_device_everywhere(options.device == "cpu-at");
  TRIMTAB_TRY(const auto files, SafetensorsFolder::open(folder));
  Loader loader(config, files, type, type == at::kDouble ? at::kDouble : at::kFloat);
  auto weights = loader.load();
  if (!weights) return fail_in(folder.string(), weights.error());
  if (cuda) move_to(at::Device(at::kCUDA), *weights, config.tied);
  return std::make_shared<const Decoder>(std::move(config), std::move(*weights));
}

}  // namespace trimtab::model
