// Reads values for the offline commands: one a line, a column of a CSV or TSV, or a field of a
// JSONL file; from a file or standard input ("-"). Streams: memory does not grow with the input.
// Errors say FILE:LINE: what, and what to do; line 1 is the first line of the file, header
// included; standard input is "-".
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace trimtab::cli {

// One value or row with the place it came from.
struct Item {
  std::string_view text;  // valid during the call only
  std::int64_t line = 0;
};
using ItemHandler = std::function<Status(const Item&)>;

// Calls `handle` for every value. An error it returns gets FILE:LINE in front. Empty input and a
// missing column are errors. Blank lines at the very end are ignored; elsewhere they are values.
[[nodiscard]] Status each_item(const std::string& path, const std::string& column,
                               const ItemHandler& handle);

// Every line as it is, without its end; for texts. An empty file is an error.
[[nodiscard]] Result<std::vector<std::string>> read_lines(const std::string& path);
[[nodiscard]] Result<std::vector<double>> read_numbers(const std::string& path,
                                                       const std::string& column);
[[nodiscard]] Result<std::vector<std::string>> read_texts(const std::string& path,
                                                          const std::string& column);
// Comma-separated numbers, each line with `width` of them (0: as many as the first line).
[[nodiscard]] Result<std::vector<std::vector<double>>> read_rows(const std::string& path,
                                                                 std::size_t width);
// One JSON array of numbers a line, all of one length.
[[nodiscard]] Result<std::vector<std::vector<double>>> read_vectors(const std::string& path);
// Named columns of a CSV with a header, in the order asked for.
// `at_lines`: when asked for, the line of each row, from 1.
[[nodiscard]] Result<std::vector<std::vector<std::string>>> read_columns(
    const std::string& path, const std::vector<std::string>& names,
    std::vector<std::int64_t>* at_lines = nullptr);

// "path:line: message"; standard input is "-".
[[nodiscard]] Error at_line(const std::string& path, std::int64_t line, const std::string& message);

// "nan", "-Infinity": a number that is none, as programs print it.
[[nodiscard]] bool is_non_finite(std::string_view text);

}  // namespace trimtab::cli
