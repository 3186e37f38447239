// The readers of tables and of plain lines.
#include "daemon/cli/table_reader.h"
#include "daemon/cli/value_reader.h"
#include "tests/fuzz/fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace trimtab;
  const std::string csv = fuzz::file_of(data, size, "input.csv");
  const auto table = cli::read_table(csv, {});
  fuzz::check_answer(table);
  if (table) {
    for (const auto& column : table->columns) {
      std::int64_t values = static_cast<std::int64_t>(column.numbers.size());
      for (const auto& [text, count] : column.counts) values += count;
      CHECK(values == table->rows, "a column with more or fewer values than rows");
      fuzz::check_answer(cli::read_texts(csv, column.name));
    }
  }
  fuzz::check_answer(cli::read_numbers(csv, "a"));
  fuzz::check_answer(cli::read_columns(csv, {"label", "prediction"}));
  const std::string plain = fuzz::file_of(data, size, "input.txt");
  fuzz::check_answer(cli::read_numbers(plain, ""));
  fuzz::check_answer(cli::read_rows(plain, 0));
  fuzz::check_answer(cli::read_lines(plain));
  return 0;
}
