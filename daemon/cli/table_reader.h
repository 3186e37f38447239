// Reads all columns of a CSV or TSV at once, for the report: numbers into vectors, text into
// counts. In chunks: what stays is 8 bytes a number, and for text one entry a distinct value. A
// column is numeric when its first value is a number, and then every value must be one. Errors say
// FILE:LINE. One thread a call.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace trimtab::cli {

struct TableColumn {
  std::string name;
  bool numeric = false;
  bool wanted = true;
  std::vector<double> numbers;
  std::map<std::string, std::int64_t, std::less<>> counts;  // by text
};

struct Table {
  std::vector<TableColumn> columns;  // as in the header
  std::int64_t rows = 0;
};

struct TableRequest {
  std::vector<std::string> columns;      // empty: all
  std::vector<std::string> categorical;  // read as text even where they hold numbers
};

// kInvalid: no header, a column named twice or not there, ragged rows, an empty field, a text among
// numbers, NaN or infinity, a quote that is never closed, a blank line, no rows.
[[nodiscard]] Result<Table> read_table(const std::string& path, const TableRequest& request);

}  // namespace trimtab::cli
