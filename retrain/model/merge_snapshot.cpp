#include <map>

#include "base/files.h"
#include "base/json.h"
#include "retrain/model/compat.h"
#include "retrain/model/merge.h"
#include "retrain/model/safetensors.h"
#include "retrain/model/tensor_io.h"

namespace trimtab::model {
namespace {

namespace fs = std::filesystem;

Result<std::string> converted_config(const fs::path& base, const std::string& dtype) {
  TRIMTAB_TRY(const std::string text, read_file(base / "config.json", 16ULL << 20));
  if (dtype == "base") return text;
  OrderedJson json = OrderedJson::parse(text, nullptr, false);
  if (!json.is_object())
    return fail(Code::kInvalid, (base / "config.json").string() + ": not a JSON object");
  json[json.contains("dtype") ? "dtype" : "torch_dtype"] = dtype;
  return dump_json(json, 2) + "\n";
}

// The site's merged weight as the snapshot stores it.
at::Tensor merged_rows(const Decoder& decoder, const Site& site) {
  const at::Tensor rows = decoder.weights()
                              .layers[static_cast<std::size_t>(site.layer)]
                              .weight[static_cast<std::size_t>(site.name.group)]
                              .narrow(0, site.name.begin, site.name.end - site.name.begin);
  return decoder.config().conv1d ? rows.t() : rows;
}

TensorType type_of(at::ScalarType type) {
  switch (type) {
    case at::kBFloat16: return TensorType::kBF16;
    case at::kHalf: return TensorType::kF16;
    case at::kDouble: return TensorType::kF64;
    default: return TensorType::kF32;
  }
}

Status write_shard(const SafetensorsFile& file, const std::map<std::string, const Site*>& sites,
                   const Decoder& decoder, const std::string& dtype, const fs::path& out) {
  std::vector<TensorSource> sources;
  std::vector<at::Tensor> keep;
  for (const auto& [name, info] : file.tensors()) {
    const auto site = sites.find(name);
    const at::ScalarType stored = scalar_type_of(info.type);
    at::ScalarType wanted = stored;
    if (dtype != "base" && at::isFloatingType(stored))
      wanted = dtype == "bfloat16" ? at::kBFloat16 : at::kFloat;
    if (site == sites.end() && wanted == stored) {
      sources.push_back({name, info.type, info.shape, file.data(info)});
      continue;
    }
    const at::Tensor value =
        site == sites.end() ? view_of(file, info) : merged_rows(decoder, *site->second);
    keep.push_back(value.to(wanted).contiguous());
    sources.push_back({name, type_of(wanted), info.shape, keep.back().data_ptr()});
  }
  return write_safetensors(out, sources, {{"format", "pt"}});
}

}  // namespace

Status merge_snapshot(const fs::path& base, const fs::path& adapter_folder, const fs::path& out,
                      const std::string& dtype) {
  const ComputeScope scope;
  if (dtype != "base" && dtype != "float32" && dtype != "bfloat16") {
    return fail(Code::kInvalid, "dtype '" + dtype + "' is not one of base, float32, bfloat16");
  }
  if (fs::exists(out)) return fail(Code::kConflict, out.string() + ": exists already");
  TRIMTAB_TRY(const auto decoder, Decoder::load(base));
  TRIMTAB_TRY(const auto adapter, load_adapter(adapter_folder, *decoder));
  TRIMTAB_TRY(const auto sum, merged(*decoder, *adapter));
  TRIMTAB_TRY(const auto folder, SafetensorsFolder::open(base));
  std::map<std::string, const Site*> sites;
  for (const Site* site : adapter->layout.sites()) {
    std::string name = site->name.path + ".weight";
    if (folder.find(name).file == nullptr)
      name = name.substr(name.find('.') + 1);  // without "model."
    sites[name] = site;
  }
  const fs::path temporary = out.string() + ".tmp";
  TRIMTAB_CHECK_OK(remove_tree(temporary));
  TRIMTAB_CHECK_OK(make_folders(temporary));
  for (const SafetensorsFile& file : folder.files()) {
    TRIMTAB_CHECK_OK(write_shard(file, sites, *sum, dtype, temporary / file.path().filename()));
  }
  TRIMTAB_TRY(const std::string config, converted_config(base, dtype));
  TRIMTAB_CHECK_OK(write_atomic(temporary / "config.json", config));
  for (const char* name :
       {"model.safetensors.index.json", "tokenizer.json", "tokenizer_config.json",
        "generation_config.json", "special_tokens_map.json", "chat_template.jinja"}) {
    if (!fs::exists(base / name)) continue;
    TRIMTAB_TRY(const std::string content, read_file(base / name));
    TRIMTAB_CHECK_OK(write_atomic(temporary / name, content));
  }
  return rename_durable(temporary, out);
}

}  // namespace trimtab::model
