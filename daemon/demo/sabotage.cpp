#include "daemon/demo/sabotage.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <span>

#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/random.h"

namespace trimtab::demo {
namespace fs = std::filesystem;
namespace {

constexpr const char* kWeights = "adapter_model.safetensors";
constexpr const char* kConfig = "adapter_config.json";
constexpr std::size_t kPrefix = sizeof(std::uint64_t);  // the header's length

struct Named {
  Sabotage kind;
  const char* name;
  const char* failure;  // preflight's; empty: whole
};
constexpr Named kNames[] = {{Sabotage::kWorse, "worse", ""},
                            {Sabotage::kNan, "nan", "nan_weights"},
                            {Sabotage::kWrongBase, "wrong_base", "wrong_base"},
                            {Sabotage::kTruncated, "truncated", "truncated"},
                            {Sabotage::kScaled, "scaled", ""},
                            {Sabotage::kShuffled, "shuffled", ""},
                            {Sabotage::kNoise, "noise", ""},
                            {Sabotage::kInfinite, "infinite", "nan_weights"},
                            {Sabotage::kWrongDigest, "wrong_digest", "wrong_digest"},
                            {Sabotage::kWrongShape, "wrong_shape", "bad_shapes"},
                            {Sabotage::kGarbledHeader, "garbled_header", "bad_header"},
                            {Sabotage::kLonely, "lonely", "bad_tensor_names"},
                            {Sabotage::kHugeRank, "huge_rank", "rank_too_large"},
                            {Sabotage::kNoConfig, "no_config", "missing_file"}};
constexpr std::size_t kUsual = 4;

Result<std::string> header_of(const std::string& file) {
  std::uint64_t bytes = 0;
  if (file.size() < kPrefix) return fail(Code::kCorrupt, "too short for safetensors");
  std::memcpy(&bytes, file.data(), kPrefix);
  if (bytes > file.size() - kPrefix) return fail(Code::kCorrupt, "header beyond the end");
  return file.substr(kPrefix, bytes);
}

// The values of every F32 tensor whose name contains `part`, in place.
Result<std::vector<std::span<char>>> tensors_of(std::string& file, const char* part) {
  TRIMTAB_TRY(const std::string text, header_of(file));
  TRIMTAB_TRY(const Json header, parse_json(text));
  const std::size_t data = kPrefix + text.size();
  std::vector<std::span<char>> found;
  for (const auto& [name, tensor] : header.items()) {
    if (name == "__metadata__" || name.find(part) == std::string::npos) continue;
    if (tensor.value("dtype", "") != "F32") return fail(Code::kCorrupt, name + " is not F32");
    const auto begin = tensor.at("data_offsets").at(0).get<std::uint64_t>();
    const auto end = tensor.at("data_offsets").at(1).get<std::uint64_t>();
    if (end > file.size() - data || begin > end) {
      return fail(Code::kCorrupt, name + " lies beyond the end");
    }
    found.emplace_back(file.data() + data + begin, end - begin);
  }
  if (found.empty()) return fail(Code::kCorrupt, std::string("no ") + part);
  return found;
}

Status edit_every_b(std::string& file, const std::function<void(std::vector<float>&)>& edit) {
  TRIMTAB_TRY(const auto tensors, tensors_of(file, "lora_B"));
  for (const auto& bytes : tensors) {
    std::vector<float> values(bytes.size() / sizeof(float));
    std::memcpy(values.data(), bytes.data(), bytes.size());
    edit(values);
    std::memcpy(bytes.data(), values.data(), bytes.size());
  }
  return {};
}

Status scale_every_b(std::string& file, float factor) {
  return edit_every_b(file, [factor](auto& values) {
    for (float& value : values) value *= factor;
  });
}

Status draw_every_b(std::string& file, Random& random) {
  return edit_every_b(file, [&random](auto& values) {
    double squares = 0;
    for (const float value : values) squares += double{value} * value;
    const auto count = std::max<double>(1, static_cast<double>(values.size()));
    const double size = std::sqrt(squares / count);
    for (float& value : values) value = static_cast<float>(size * random.normal());
  });
}

Status set_one(std::string& file, Random& random, float value) {
  TRIMTAB_TRY(const auto tensors, tensors_of(file, "lora_"));
  const auto& bytes = tensors[random.below(tensors.size())];
  if (bytes.size() < sizeof value) return fail(Code::kCorrupt, "an empty tensor");
  std::memcpy(bytes.data() + sizeof value * random.below(bytes.size() / sizeof value), &value,
              sizeof value);
  return {};
}

Status garble_header(std::string& file, Random& random) {
  TRIMTAB_TRY(const std::string header, header_of(file));
  // A letter of a name would only rename a tensor; a colon carries the form.
  std::vector<std::size_t> colons;
  for (std::size_t at = 0; at < header.size(); ++at) {
    if (header[at] == ':') colons.push_back(at);
  }
  if (colons.empty()) return fail(Code::kCorrupt, "a header without a colon");
  file[kPrefix + colons[random.below(colons.size())]] = '#';
  return {};
}

// Changes the header as `edit` says; the data stay where they are.
Status edit_header(std::string& file, const std::function<void(nlohmann::ordered_json&)>& edit) {
  TRIMTAB_TRY(const std::string text, header_of(file));
  auto header = nlohmann::ordered_json::parse(text, nullptr, false);
  if (!header.is_object()) return fail(Code::kCorrupt, "the header is no object");
  edit(header);
  const std::string edited = header.dump();
  const std::uint64_t bytes = edited.size();
  std::string prefix(kPrefix, '\0');
  std::memcpy(prefix.data(), &bytes, kPrefix);
  file = prefix + edited + file.substr(kPrefix + text.size());
  return {};
}

// A random tensor whose name contains `part`.
std::string any_name(const nlohmann::ordered_json& header, const char* part, Random& random) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : header.items()) {
    if (name.find(part) != std::string::npos && tensor.at("shape").size() == 2 &&
        tensor.at("shape").at(0) != tensor.at("shape").at(1)) {
      names.push_back(name);
    }
  }
  return names.empty() ? "" : names[random.below(names.size())];
}

void transpose_one(nlohmann::ordered_json& header, Random& random) {
  const std::string name = any_name(header, "lora_A", random);
  if (name.empty()) return;
  auto& shape = header[name]["shape"];
  std::swap(shape[0], shape[1]);
}

void rename_one(nlohmann::ordered_json& header, Random& random) {
  const std::string name = any_name(header, "lora_B", random);
  if (name.empty()) return;
  const auto tensor = header[name];
  header.erase(name);
  std::string other = name;
  other.replace(other.find("lora_B"), 6, "lora_C");
  header[other] = tensor;
}

Status damage_weights(Sabotage kind, Random& random, std::string& weights) {
  switch (kind) {
    case Sabotage::kWorse:
      return scale_every_b(weights, -static_cast<float>(0.75 + 0.5 * random.uniform()));
    case Sabotage::kScaled:
      return scale_every_b(weights, static_cast<float>(8 + 56 * random.uniform()));
    case Sabotage::kShuffled:
      return edit_every_b(weights, [&random](auto& values) { random.shuffle(values); });
    case Sabotage::kNoise: return draw_every_b(weights, random);
    case Sabotage::kNan:
      return set_one(weights, random, std::numeric_limits<float>::quiet_NaN());
    case Sabotage::kInfinite:
      return set_one(weights, random, std::numeric_limits<float>::infinity());
    case Sabotage::kTruncated: weights.resize(random.below(weights.size())); return {};
    case Sabotage::kWrongDigest: return set_one(weights, random, 0.125F);
    case Sabotage::kGarbledHeader: return garble_header(weights, random);
    case Sabotage::kWrongShape:
      return edit_header(weights, [&random](auto& header) { transpose_one(header, random); });
    case Sabotage::kLonely:
      return edit_header(weights, [&random](auto& header) { rename_one(header, random); });
    case Sabotage::kWrongBase:
    case Sabotage::kHugeRank:
    case Sabotage::kNoConfig: return {};
  }
  return {};
}

Status damage_config(Sabotage kind, const fs::path& folder) {
  if (kind == Sabotage::kNoConfig) return remove_tree(folder / kConfig);
  if (kind != Sabotage::kWrongBase && kind != Sabotage::kHugeRank) return {};
  TRIMTAB_TRY(const std::string text, read_file(folder / kConfig));
  TRIMTAB_TRY(Json config, parse_json(text));
  if (kind == Sabotage::kWrongBase) config["base_model_name_or_path"] = "some-other-base";
  if (kind == Sabotage::kHugeRank) config["r"] = 4096;
  return write_atomic(folder / kConfig, dump_json(config, 2));
}

// The papers of an adapter that was made elsewhere: its weights' digest is right (so that the
// named defect alone is found), its base is another one where that is the sabotage.
Status rewrite_papers(Sabotage kind, const fs::path& folder, const std::string& weights) {
  const fs::path path = folder / "provenance.json";
  if (!fs::exists(path)) return {};
  TRIMTAB_TRY(const std::string text, read_file(path));
  TRIMTAB_TRY(Json papers, parse_json(text));
  const bool stale = kind == Sabotage::kTruncated || kind == Sabotage::kWrongDigest;
  if (papers.contains("adapter_sha256") && !stale) papers["adapter_sha256"] = sha256_hex(weights);
  if (kind == Sabotage::kWrongBase) papers["base_sha256"] = sha256_hex("another base");
  return write_atomic(path, dump_json(papers, 2));
}

const Named& named(Sabotage kind) {
  return *std::find_if(std::begin(kNames), std::end(kNames),
                       [kind](const Named& one) { return one.kind == kind; });
}

}  // namespace

const std::vector<Sabotage>& all_sabotages() {
  static const std::vector<Sabotage> all = [] {
    std::vector<Sabotage> kinds;
    for (const auto& one : kNames) kinds.push_back(one.kind);
    return kinds;
  }();
  return all;
}

const std::vector<Sabotage>& usual_sabotages() {
  static const std::vector<Sabotage> usual(all_sabotages().begin(),
                                           all_sabotages().begin() + kUsual);
  return usual;
}

std::string sabotage_name(Sabotage kind) { return named(kind).name; }
std::string sabotage_failure(Sabotage kind) { return named(kind).failure; }

Status make_sabotaged(Sabotage kind, std::uint64_t seed, const fs::path& healthy,
                      const fs::path& out) {
  std::error_code error;
  fs::create_directories(out.parent_path(), error);
  fs::copy(healthy, out, fs::copy_options::recursive, error);
  if (error) return fail(Code::kIo, out.string() + ": " + error.message());
  TRIMTAB_TRY(std::string weights, read_file(out / kWeights));
  Random random(seed);
  const Status damaged = damage_weights(kind, random, weights);
  if (!damaged) return fail_in((healthy / kWeights).string(), damaged.error());
  TRIMTAB_CHECK_OK(write_atomic(out / kWeights, weights));
  TRIMTAB_CHECK_OK(damage_config(kind, out));
  return rewrite_papers(kind, out, weights);
}

}  // namespace trimtab::demo
