// The readers of JSON lines: fields by name and by pointer, vectors.
#include "daemon/cli/value_reader.h"
#include "tests/fuzz/fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace trimtab;
  const std::string path = fuzz::file_of(data, size, "input.jsonl");
  fuzz::check_answer(cli::read_numbers(path, "a"));
  fuzz::check_answer(cli::read_texts(path, "/a/b"));
  fuzz::check_answer(cli::read_texts(path, "/a/0/~1~0"));
  fuzz::check_answer(cli::read_vectors(path));
  // The input as the pointer too.
  const std::string pointer(fuzz::text_of(data, size < 40 ? size : 40));
  fuzz::check_answer(cli::read_texts(path, pointer));
  return 0;
}
