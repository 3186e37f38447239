// tokenizer.json files, and texts through those that are accepted.
#include "retrain/model/tokenizer.h"
#include "tests/fuzz/fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace trimtab;
  const auto tokenizer = model::Tokenizer::parse(fuzz::text_of(data, size));
  fuzz::check_answer(tokenizer);
  if (!tokenizer) return 0;
  for (const std::string_view text :
       {std::string_view("Hello, my card  <|im_end|>\xff \xf0\x9f\x8e\x89 12'll\n\n"),
        fuzz::text_of(data, size < 200 ? size : 200)}) {
    const auto ids = tokenizer->encode(text, true);
    fuzz::check_answer(ids);
    if (ids) (void)tokenizer->decode(*ids, false);
  }
  return 0;
}
