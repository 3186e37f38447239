#include "base/base_digest.h"

#include <algorithm>
#include <vector>

#include "base/hash.h"

namespace trimtab {
namespace fs = std::filesystem;

Result<std::string> base_digest(const fs::path& folder) {
  std::vector<std::string> names = {"config.json"};
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().extension() == ".safetensors") {
      names.push_back(entry.path().filename().string());
    }
  }
  if (error) return fail(Code::kNotFound, folder.string() + ": cannot list: " + error.message());
  std::sort(names.begin(), names.end());
  std::string lines;
  for (const auto& name : names) {
    TRIMTAB_TRY(const std::string digest, sha256_file_hex(folder / name));
    lines += name + " " + digest + "\n";
  }
  return sha256_hex(lines);
}

Result<std::string> tokenizer_digest(const fs::path& folder) {
  return sha256_file_hex(folder / "tokenizer.json");
}

}  // namespace trimtab
