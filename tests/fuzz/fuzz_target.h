// What every fuzz target has in common. A target is one function, LLVMFuzzerTestOneInput: libFuzzer
// calls it with clang (./dev fuzz NAME), tests/fuzz/replay.cpp with g++ over the corpus kept under
// tests/fuzz/NAME/ (ctest fuzz_replay_NAME). Any answer is fine; a crash, a hang, a leak or a
// message of more than one line is not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/files.h"
#include "base/result.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace trimtab::fuzz {

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// The input as a file, for readers that want one. One name, written anew each time.
inline std::string file_of(const std::uint8_t* data, std::size_t size, const std::string& name) {
  static const TempFolder folder("trimtab-fuzz");
  const auto path = folder.path() / name;
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  out.close();
  return path.string();
}

template <typename T>
void check_answer(const Result<T>& answer) {
  if (answer) return;
  CHECK(!answer.error().message.empty(), "an error without a message");
}

}  // namespace trimtab::fuzz
