#include "daemon/demo/sabotage.h"

#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>

#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"

namespace trimtab::demo {
namespace fs = std::filesystem;
namespace {

constexpr const char* kWeights = "adapter_model.safetensors";

// Calls `edit` with the values of every F32 tensor whose name contains `part`, and writes them
// back.
Status edit_tensors(std::string& file, const char* part,
                    const std::function<void(std::vector<float>&)>& edit) {
  std::uint64_t header_bytes = 0;
  if (file.size() < 8) return fail(Code::kCorrupt, "too short for safetensors");
  std::memcpy(&header_bytes, file.data(), 8);
  if (header_bytes > file.size() - 8) return fail(Code::kCorrupt, "header beyond the end");
  TRIMTAB_TRY(const Json header, parse_json(std::string_view(file).substr(8, header_bytes)));
  for (const auto& [name, tensor] : header.items()) {
    if (name == "__metadata__" || name.find(part) == std::string::npos) continue;
    if (tensor.value("dtype", "") != "F32") return fail(Code::kCorrupt, name + " is not F32");
    const auto begin = tensor.at("data_offsets").at(0).get<std::uint64_t>();
    const auto end = tensor.at("data_offsets").at(1).get<std::uint64_t>();
    if (end > file.size() - 8 - header_bytes || begin > end) {
      return fail(Code::kCorrupt, name + " lies beyond the end");
    }
    char* data = file.data() + 8 + header_bytes + begin;
    std::vector<float> values((end - begin) / sizeof(float));
    std::memcpy(values.data(), data, values.size() * sizeof(float));
    edit(values);
    std::memcpy(data, values.data(), values.size() * sizeof(float));
  }
  return {};
}

Status damage_weights(Sabotage kind, std::string& weights) {
  switch (kind) {
    case Sabotage::kWorse:
      return edit_tensors(weights, "lora_B", [](std::vector<float>& values) {
        for (float& value : values) value = -value;
      });
    case Sabotage::kNan: {
      bool done = false;
      return edit_tensors(weights, "lora_B", [&done](std::vector<float>& values) {
        if (!done && !values.empty()) values[0] = std::numeric_limits<float>::quiet_NaN();
        done = true;
      });
    }
    case Sabotage::kTruncated: weights.resize(weights.size() * 2 / 3); return {};
    case Sabotage::kWrongBase: return {};
  }
  return {};
}

// The papers of an adapter that was made elsewhere: its weights' digest is right (so that the
// named defect alone is found), its base is another one where that is the sabotage.
Status rewrite_papers(Sabotage kind, const fs::path& folder, const std::string& weights) {
  const fs::path path = folder / "provenance.json";
  if (!fs::exists(path)) return {};
  TRIMTAB_TRY(const std::string text, read_file(path));
  TRIMTAB_TRY(Json papers, parse_json(text));
  for (const char* key : {"adapter_sha256", "weights_sha256"}) {
    if (papers.contains(key) && kind != Sabotage::kTruncated) papers[key] = sha256_hex(weights);
  }
  if (kind == Sabotage::kWrongBase) papers["base_sha256"] = sha256_hex("another base");
  return write_atomic(path, dump_json(papers, 2));
}

}  // namespace

const std::vector<Sabotage>& all_sabotages() {
  static const std::vector<Sabotage> all = {Sabotage::kWorse, Sabotage::kNan, Sabotage::kWrongBase,
                                            Sabotage::kTruncated};
  return all;
}

std::string sabotage_name(Sabotage kind) {
  switch (kind) {
    case Sabotage::kWorse: return "worse";
    case Sabotage::kNan: return "nan";
    case Sabotage::kWrongBase: return "wrong_base";
    case Sabotage::kTruncated: return "truncated";
  }
  return "unknown";
}

Status make_sabotaged(Sabotage kind, const fs::path& healthy, const fs::path& out) {
  std::error_code error;
  fs::create_directories(out.parent_path(), error);
  fs::copy(healthy, out, fs::copy_options::recursive, error);
  if (error) return fail(Code::kIo, out.string() + ": " + error.message());
  TRIMTAB_TRY(std::string weights, read_file(out / kWeights));
  const Status damaged = damage_weights(kind, weights);
  if (!damaged) return fail_in((healthy / kWeights).string(), damaged.error());
  TRIMTAB_CHECK_OK(write_atomic(out / kWeights, weights));
  if (kind == Sabotage::kWrongBase) {
    TRIMTAB_TRY(const std::string text, read_file(out / "adapter_config.json"));
    TRIMTAB_TRY(Json config, parse_json(text));
    config["base_model_name_or_path"] = "some-other-base";
    TRIMTAB_CHECK_OK(write_atomic(out / "adapter_config.json", dump_json(config, 2)));
  }
  return rewrite_papers(kind, out, weights);
}

}  // namespace trimtab::demo
