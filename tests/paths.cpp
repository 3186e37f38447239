#include "tests/paths.h"

namespace trimtab::tests {

std::filesystem::path source_dir() { return TRIMTAB_SOURCE_DIR; }
std::filesystem::path bin_dir() { return TRIMTAB_BIN_DIR; }
std::filesystem::path shared_dir() { return TRIMTAB_SHARED_DIR; }

}  // namespace trimtab::tests
