// Runs a fuzz target over kept inputs: files, or folders with all that is in them. Says which one
// it is at, so that a crash names its input. Fails when there is none, or when one takes over 10 s.
#include <algorithm>
#include <chrono>
#include <iterator>
#include <vector>

#include "tests/fuzz/fuzz_target.h"

int main(int argc, char** argv) {
  namespace fs = std::filesystem;
  std::vector<fs::path> inputs;
  for (int i = 1; i < argc; ++i) {
    if (!fs::is_directory(argv[i])) {
      inputs.emplace_back(argv[i]);
      continue;
    }
    for (const auto& entry : fs::recursive_directory_iterator(argv[i])) {
      if (entry.is_regular_file()) inputs.push_back(entry.path());
    }
  }
  std::sort(inputs.begin(), inputs.end());
  int slow = 0;
  for (const auto& path : inputs) {
    std::ifstream in(path, std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(in)), {});
    std::printf("%s: %zu bytes\n", path.c_str(), bytes.size());
    std::fflush(stdout);
    const auto start = std::chrono::steady_clock::now();
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
    if (std::chrono::steady_clock::now() - start > std::chrono::seconds(10)) {
      std::printf("  took more than 10 s\n");
      ++slow;
    }
  }
  std::printf("%zu inputs, %d too slow\n", inputs.size(), slow);
  return inputs.empty() || slow > 0 ? 1 : 0;
}
