#include "shadow/safetensors_check.h"

#include <algorithm>
#include <cstring>
#include <fstream>
#include <set>

#include "base/json.h"

namespace trimtab::shadow {
namespace {

constexpr std::uint64_t kMaxHeader = 100'000'000;  // the format's own limit
constexpr std::size_t kPiece = 1 << 20;

std::size_t bytes_of(const std::string& dtype) {
  if (dtype == "F64" || dtype == "I64") return 8;
  if (dtype == "F32" || dtype == "I32") return 4;
  if (dtype == "F16" || dtype == "BF16" || dtype == "I16") return 2;
  if (dtype == "I8" || dtype == "U8" || dtype == "BOOL") return 1;
  return 0;
}

TensorFile broken(const char* failure, std::string message) {
  return {failure, std::move(message), {}};
}

// nlohmann keeps the last of two equal keys in silence; the format forbids them.
Result<Json> parse_without_duplicates(const std::string& text) {
  std::vector<std::set<std::string>> open;
  bool duplicate = false;
  const auto watch = [&](int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) open.emplace_back();
    if (event == Json::parse_event_t::object_end && !open.empty()) open.pop_back();
    if (event == Json::parse_event_t::key && !open.empty()) {
      duplicate = duplicate || !open.back().insert(parsed.get<std::string>()).second;
    }
    return true;
  };
  Json json = Json::parse(text, watch, false);
  if (json.is_discarded() || !json.is_object()) {
    return fail(Code::kCorrupt, "the header is not a JSON object");
  }
  if (duplicate) return fail(Code::kCorrupt, "the header names a tensor twice");
  return json;
}

Result<TensorEntry> parse_entry(const std::string& name, const Json& json) {
  TensorEntry entry;
  entry.name = name;
  TRIMTAB_TRY(entry.dtype, json_get<std::string>(json, "dtype"));
  TRIMTAB_TRY(entry.shape, json_get<std::vector<std::int64_t>>(json, "shape"));
  TRIMTAB_TRY(const auto offsets, json_get<std::vector<std::uint64_t>>(json, "data_offsets"));
  const std::size_t bytes = bytes_of(entry.dtype);
  if (bytes == 0) return fail(Code::kCorrupt, "dtype " + entry.dtype + " is not known");
  if (offsets.size() != 2 || offsets[0] > offsets[1]) {
    return fail(Code::kCorrupt, "data_offsets are not [begin, end]");
  }
  std::uint64_t size = bytes;
  for (const std::int64_t length : entry.shape) {
    if (length < 0 || (length > 0 && size > (1ULL << 50) / static_cast<std::uint64_t>(length))) {
      return fail(Code::kCorrupt, "the shape is not possible");
    }
    size *= static_cast<std::uint64_t>(length);
  }
  entry.begin = offsets[0];
  entry.end = offsets[1];
  if (entry.end - entry.begin != size) return fail(Code::kCorrupt, "size and shape disagree");
  return entry;
}

bool all_finite(const unsigned char* data, std::size_t bytes, const std::string& dtype) {
  const auto exponent_full = [&](auto word, auto mask) {
    using Word = decltype(word);
    bool finite = true;
    for (std::size_t i = 0; i + sizeof(Word) <= bytes; i += sizeof(Word)) {
      Word value;
      std::memcpy(&value, data + i, sizeof value);
      finite = finite && (value & mask) != mask;
    }
    return finite;
  };
  if (dtype == "F64") return exponent_full(std::uint64_t{}, std::uint64_t{0x7ff0000000000000ULL});
  if (dtype == "F32") return exponent_full(std::uint32_t{}, std::uint32_t{0x7f800000U});
  if (dtype == "BF16") return exponent_full(std::uint16_t{}, std::uint16_t{0x7f80U});
  if (dtype == "F16") return exponent_full(std::uint16_t{}, std::uint16_t{0x7c00U});
  return true;
}

}  // namespace

Result<TensorFile> read_tensor_header(const std::filesystem::path& path) {
  std::error_code error;
  const std::uint64_t size = std::filesystem::file_size(path, error);
  if (error) return fail(Code::kIo, path.string() + ": " + error.message());
  std::ifstream file(path, std::ios::binary);
  unsigned char prefix[8];
  if (size < sizeof prefix) return broken("truncated", "the file is shorter than its prefix");
  if (!file.read(reinterpret_cast<char*>(prefix), sizeof prefix)) {
    return fail(Code::kIo, path.string() + ": cannot read");
  }
  std::uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = (length << 8) | prefix[i];
  if (length > kMaxHeader) return broken("bad_header", "the header's length is not plausible");
  if (length > size - sizeof prefix) return broken("truncated", "the file ends in its header");
  std::string text(length, '\0');
  if (!file.read(text.data(), static_cast<std::streamsize>(length))) {
    return fail(Code::kIo, path.string() + ": cannot read");
  }
  const auto json = parse_without_duplicates(text);
  if (!json) return broken("bad_header", json.error().message);
  TensorFile found;
  for (const auto& [name, value] : json->items()) {
    if (name == "__metadata__") continue;
    auto entry = parse_entry(name, value);
    if (!entry) return broken("bad_header", "tensor " + name + ": " + entry.error().message);
    found.tensors.push_back(std::move(*entry));
  }
  std::sort(found.tensors.begin(), found.tensors.end(),
            [](const TensorEntry& a, const TensorEntry& b) { return a.begin < b.begin; });
  std::uint64_t reached = 0;
  for (TensorEntry& entry : found.tensors) {
    if (entry.begin != reached) {
      return broken("bad_header", "tensor " + entry.name + " leaves a hole or overlaps");
    }
    reached = entry.end;
    entry.begin += sizeof prefix + length;
    entry.end += sizeof prefix + length;
  }
  const std::uint64_t data = size - sizeof prefix - length;
  if (data < reached) {
    return broken("truncated", "the file has " + std::to_string(data) + " of " +
                                   std::to_string(reached) + " bytes of weights");
  }
  if (data > reached) return broken("bad_header", "bytes follow the last tensor");
  return found;
}

Result<std::string> first_not_finite(const std::filesystem::path& path,
                                     const std::vector<TensorEntry>& tensors) {
  std::ifstream file(path, std::ios::binary);
  std::vector<char> piece(kPiece);
  for (const TensorEntry& entry : tensors) {
    file.seekg(static_cast<std::streamoff>(entry.begin));
    for (std::uint64_t at = entry.begin; at < entry.end;) {
      const auto bytes = static_cast<std::size_t>(std::min<std::uint64_t>(kPiece, entry.end - at));
      if (!file.read(piece.data(), static_cast<std::streamsize>(bytes))) {
        return fail(Code::kIo, path.string() + ": cannot read tensor " + entry.name);
      }
      if (!all_finite(reinterpret_cast<const unsigned char*>(piece.data()), bytes, entry.dtype)) {
        return entry.name;
      }
      at += bytes;
    }
  }
  return std::string();
}

}  // namespace trimtab::shadow
