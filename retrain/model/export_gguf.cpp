// GGUF as llama.cpp reads it: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, and
// convert_lora_to_gguf.py for names and the order of q and k rows.
#include <cstring>
#include <map>

#include "base/files.h"
#include "retrain/model/compat.h"
#include "retrain/model/merge.h"

namespace trimtab::model {
namespace {

constexpr std::uint64_t kAlignment = 32;
constexpr std::uint32_t kTypeString = 8;
constexpr std::uint32_t kTypeFloat32 = 6;

class GgufText {
 public:
  template <typename Number>
  void number(Number value) {
    char bytes[sizeof(Number)];
    std::memcpy(bytes, &value, sizeof(Number));
    out.append(bytes, sizeof(Number));
  }
  void text(const std::string& value) {
    number<std::uint64_t>(value.size());
    out += value;
  }
  void pair(const std::string& key, const std::string& value) {
    text(key);
    number(kTypeString);
    text(value);
  }
  void pair(const std::string& key, float value) {
    text(key);
    number(kTypeFloat32);
    number(value);
  }
  void pad() { out.append((kAlignment - out.size() % kAlignment) % kAlignment, '\0'); }
  std::string out;
};

std::string architecture(const ModelConfig& config) {
  if (config.family == "mistral") return "llama";
  if (config.family == "cohere") return "command-r";
  return config.family;
}

Result<std::string> gguf_name(const Site& site) {
  static const std::map<std::string, std::string> kNames = {
      {"q_proj", "attn_q"},      {"k_proj", "attn_k"},      {"v_proj", "attn_v"},
      {"o_proj", "attn_output"}, {"gate_proj", "ffn_gate"}, {"up_proj", "ffn_up"},
      {"down_proj", "ffn_down"}, {"qkv_proj", "attn_qkv"},  {"gate_up_proj", "ffn_up"},
      {"c_attn", "attn_qkv"},    {"c_fc", "ffn_up"}};
  std::string part;
  if (site.name.module == "c_proj") {
    part = site.name.group == Group::kAttentionOut ? "attn_output" : "ffn_down";
  } else {
    const auto it = kNames.find(site.name.module);
    if (it == kNames.end())
      return fail(Code::kInvalid, "module " + site.name.module + " has no name in GGUF");
    part = it->second;
  }
  return "blk." + std::to_string(site.layer) + "." + part + ".weight";
}

// llama.cpp rotates neighbouring pairs where Hugging Face rotates halves, so its q and k rows are
// [heads, 2, d/2] -> [heads, d/2, 2].
at::Tensor reorder(const at::Tensor& b, std::int64_t heads) {
  return b.view({heads, 2, b.size(0) / heads / 2, b.size(1)}).transpose(1, 2).reshape(b.sizes());
}

}  // namespace

Status export_gguf(const Decoder& decoder, const Adapter& adapter,
                   const std::filesystem::path& out) {
  const ComputeScope scope;
  const ModelConfig& config = decoder.config();
  TRIMTAB_TRY(const auto folded, fold_adapter(adapter, config));
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (const Site* site : folded->layout.sites()) {
    TRIMTAB_TRY(const std::string name, gguf_name(*site));
    at::Tensor b = folded->b(*site);
    const bool llama = architecture(config) == "llama";
    if (llama && site->name.module == "q_proj") b = reorder(b, config.heads);
    if (llama && site->name.module == "k_proj") b = reorder(b, config.kv_heads);
    tensors.emplace_back(name + ".lora_a", folded->a(*site).to(at::kFloat).contiguous());
    tensors.emplace_back(name + ".lora_b", b.to(at::kFloat).contiguous());
  }
  GgufText file;
  file.out = "GGUF";
  file.number<std::uint32_t>(3);
  file.number<std::uint64_t>(tensors.size());
  file.number<std::uint64_t>(4);
  file.pair("general.type", "adapter");
  file.pair("general.architecture", architecture(config));
  file.pair("adapter.type", "lora");
  file.pair("adapter.lora.alpha", static_cast<float>(folded->layout.spec().alpha));
  std::uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    file.text(name);
    file.number<std::uint32_t>(2);
    file.number(static_cast<std::uint64_t>(tensor.size(1)));  // ggml counts from the inside
    file.number(static_cast<std::uint64_t>(tensor.size(0)));
    file.number<std::uint32_t>(0);  // F32
    file.number(offset);
    offset +=
        (static_cast<std::uint64_t>(tensor.nbytes()) + kAlignment - 1) / kAlignment * kAlignment;
  }
  file.pad();
  for (const auto& [name, tensor] : tensors) {
    file.out.append(static_cast<const char*>(tensor.data_ptr()), tensor.nbytes());
    file.pad();
  }
  return write_atomic(out, file.out);
}

}  // namespace trimtab::model
