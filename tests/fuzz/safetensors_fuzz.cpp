// Safetensors files: whatever is accepted must lie within the file.
#include "retrain/model/safetensors.h"
#include "tests/fuzz/fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace trimtab;
  const auto file = model::SafetensorsFile::open(fuzz::file_of(data, size, "input.safetensors"));
  fuzz::check_answer(file);
  if (!file) return 0;
  unsigned sum = 0;
  for (const auto& [name, info] : file->tensors()) {
    const std::byte* bytes = file->data(info);
    CHECK(info.end - info.begin ==
              static_cast<std::uint64_t>(info.elements()) * model::tensor_type_bytes(info.type),
          "a tensor whose bytes do not fit its shape");
    for (std::uint64_t i = 0; i < info.end - info.begin; ++i)
      sum += static_cast<unsigned>(bytes[i]);
  }
  return sum == 0xFFFFFFFFU ? 1 : 0;
}
