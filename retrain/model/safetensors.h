// Safetensors files: reading by memory map, writing without holes. No torch, no copies.
//
// Layout: 8 bytes little-endian header length, a JSON header {name: {dtype, shape, data_offsets}},
// then the data. A reader here trusts nothing: header size, offsets, overlaps, holes, duplicate
// names, dtype against shape and file size are all checked before the first tensor is handed out.
// Source: https://huggingface.co/docs/safetensors (format). Thread-safe once opened.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace trimtab::model {

enum class TensorType { kF64, kF32, kF16, kBF16, kI64, kI32, kI16, kI8, kU8, kBool };
[[nodiscard]] std::size_t tensor_type_bytes(TensorType type);
[[nodiscard]] std::string_view tensor_type_name(TensorType type);

struct TensorInfo {
  std::string name;
  TensorType type = TensorType::kF32;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0;  // offsets into the data part
  std::uint64_t end = 0;
  [[nodiscard]] std::int64_t elements() const;
};

// One open file; the map lives as long as the object.
class SafetensorsFile {
 public:
  // kNotFound, kIo, or kCorrupt with the file and the reason.
  [[nodiscard]] static Result<SafetensorsFile> open(const std::filesystem::path& path);
  SafetensorsFile(SafetensorsFile&& other) noexcept;
  SafetensorsFile& operator=(SafetensorsFile&& other) noexcept;
  ~SafetensorsFile();

  [[nodiscard]] const std::map<std::string, TensorInfo>& tensors() const { return tensors_; }
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const { return metadata_; }
  [[nodiscard]] const TensorInfo* find(const std::string& name) const;
  // The tensor's bytes, little-endian, row-major; valid while this object lives.
  [[nodiscard]] const std::byte* data(const TensorInfo& info) const { return data_ + info.begin; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  SafetensorsFile() = default;
  std::filesystem::path path_;
  std::map<std::string, TensorInfo> tensors_;
  std::map<std::string, std::string> metadata_;
  const std::byte* map_ = nullptr;
  std::uint64_t map_bytes_ = 0;
  const std::byte* data_ = nullptr;
};

// The tensors of a snapshot folder: model.safetensors, or model.safetensors.index.json and its
// shards. Every name is there once.
class SafetensorsFolder {
 public:
  [[nodiscard]] static Result<SafetensorsFolder> open(const std::filesystem::path& folder);
  struct Found {
    const SafetensorsFile* file = nullptr;
    const TensorInfo* info = nullptr;
  };
  // file == nullptr when absent.
  [[nodiscard]] Found find(const std::string& name) const;
  [[nodiscard]] std::vector<std::string> names() const;
  [[nodiscard]] const std::vector<SafetensorsFile>& files() const { return files_; }

 private:
  std::vector<SafetensorsFile> files_;
  std::map<std::string, std::size_t> file_of_;
};

// What to write: `data` points at elements() * bytes, little-endian, and must outlive the call.
struct TensorSource {
  std::string name;
  TensorType type = TensorType::kF32;
  std::vector<std::int64_t> shape;
  const void* data = nullptr;
};

// Writes tensors in the given order, header padded to 8 bytes, fsynced; atomic by rename.
[[nodiscard]] Status write_safetensors(const std::filesystem::path& path,
                                       const std::vector<TensorSource>& tensors,
                                       const std::map<std::string, std::string>& metadata);

}  // namespace trimtab::model
