// A safetensors file read with suspicion, without torch: header, layout, finite values. The trainer
// has a reader of its own (retrain/ and shadow/ do not include one another); this one only checks.
// Format: 8 bytes little-endian header length, JSON header, data. Blocking I/O.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"

namespace trimtab::shadow {

struct TensorEntry {
  std::string name, dtype;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0, end = 0;  // in the file, header included
};

// What is wrong, by name; `failure` is empty when nothing is.
struct TensorFile {
  std::string failure;  // truncated | bad_header
  std::string message;
  std::vector<TensorEntry> tensors;  // by position
};

// kIo when the file cannot be read. Holes, overlaps, duplicate names, unknown dtypes, trailing
// bytes and shapes that do not fit are bad_header; a file shorter than its header says is
// truncated.
[[nodiscard]] Result<TensorFile> read_tensor_header(const std::filesystem::path& path);

// The first tensor with a NaN or an infinity; empty when all values are finite. F64, F32, F16 and
// BF16 are scanned in pieces of 1 MiB; integers are finite.
[[nodiscard]] Result<std::string> first_not_finite(const std::filesystem::path& path,
                                                   const std::vector<TensorEntry>& tensors);

}  // namespace trimtab::shadow
