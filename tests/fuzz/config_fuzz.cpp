// The strict YAML loader: daemon and gateway.
#include "config/load.h"
#include "tests/fuzz/fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace trimtab;
  const std::string_view text = fuzz::text_of(data, size);
  fuzz::check_answer(config::parse_settings(text, "fuzz.yaml"));
  fuzz::check_answer(config::parse_gateway_settings(text, "fuzz.yaml"));
  return 0;
}
