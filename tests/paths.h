// Where the tests find things on this machine. Only paths.cpp knows absolute paths, so that the
// compiler cache serves every other test file to every checkout.
#pragma once

#include <filesystem>

namespace trimtab::tests {

std::filesystem::path source_dir();  // the checkout
std::filesystem::path bin_dir();     // the built programs
std::filesystem::path shared_dir();  // ../shared: reference material, may be absent

}  // namespace trimtab::tests
