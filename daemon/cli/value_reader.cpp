#include "daemon/cli/value_reader.h"

#include <cctype>
#include <algorithm>

#include "base/json.h"
#include "daemon/cli/line_reader.h"
#include "drift/parameters.h"

namespace trimtab::cli {
namespace {

using HeaderHandler = std::function<Status(const std::vector<std::string>&)>;
using RowHandler = std::function<Status(const std::vector<std::string>&, std::int64_t)>;

// Reads one record, with the line breaks inside its quotes. False at the end of the input; `line`
// is the record's first. Blank lines may only stand at the end.
Result<bool> next_record(LineReader& lines, std::vector<std::string>& fields, std::int64_t& line) {
  std::string_view text;
  TRIMTAB_TRY(bool more, lines.next(text));
  line = lines.line_number();
  const bool blank = more && text.empty();
  while (more && text.empty()) {
    TRIMTAB_TRY(more, lines.next(text));
  }
  if (!more) return false;
  if (blank) return tl::unexpected<Error>(at_line(lines.path(), line, "a blank line; remove it"));
  RecordSplitter splitter(separator_of(lines.path()));
  std::size_t bytes = 0;
  while (more && bytes <= LineReader::kMaxLineBytes) {
    if (splitter.feed(text, fields)) return true;
    bytes += text.size();
    TRIMTAB_TRY(more, lines.next(text));
  }
  return tl::unexpected<Error>(at_line(lines.path(), line, "a quote is never closed"));
}

// Calls handle(fields, line) for every record after the header, given to `header` first.
Status each_record(const std::string& path, LineReader& lines, const HeaderHandler& header,
                   const RowHandler& row) {
  std::vector<std::string> fields;
  std::size_t width = 0;
  std::int64_t line = 0;
  for (;;) {
    TRIMTAB_TRY(const bool more, next_record(lines, fields, line));
    if (!more) break;
    Status handled;
    if (width == 0) {
      width = fields.size();
      handled = header(fields);
    } else if (fields.size() != width) {
      handled =
          fail(Code::kInvalid, "has " + std::to_string(fields.size()) + " fields, the header " +
                                   std::to_string(width) + "; make the rows alike");
    } else {
      handled = row(fields, line);
    }
    if (!handled) return tl::unexpected<Error>(at_line(path, line, handled.error().message));
  }
  if (width == 0) return fail(Code::kInvalid, path + ":1: the file is empty; a header is needed");
  return {};
}

Result<std::size_t> find_column(const std::vector<std::string>& header, const std::string& name) {
  const auto found = std::find(header.begin(), header.end(), name);
  if (found != header.end() && std::find(found + 1, header.end(), name) != header.end()) {
    return fail(Code::kInvalid, "the header has '" + name + "' twice; rename one");
  }
  if (found != header.end()) return static_cast<std::size_t>(found - header.begin());
  std::string known;
  for (const auto& field : header) known += (known.empty() ? "" : ", ") + field;
  return fail(Code::kInvalid, "no column '" + name + "'; the header has: " + known);
}

Status each_csv_value(const std::string& path, const std::string& column, LineReader& lines,
                      const ItemHandler& handle) {
  if (column.empty()) {
    return fail(Code::kInvalid, path + ":1: a table needs --column NAME");
  }
  std::size_t index = 0;
  return each_record(
      path, lines,
      [&](const std::vector<std::string>& header) -> Status {
        TRIMTAB_TRY(index, find_column(header, column));
        return {};
      },
      [&](const std::vector<std::string>& fields, std::int64_t line) -> Status {
        if (fields[index].empty()) {
          return fail(Code::kInvalid, "column '" + column + "' is empty here; fill or drop it");
        }
        return handle({fields[index], line});
      });
}

// The field's text: strings as they are, numbers as they print.
Result<std::string> json_field(std::string_view line, const std::string& column) {
  TRIMTAB_TRY(const Json object, parse_json(line));
  const Json* value = nullptr;
  if (column.starts_with('/')) {
    try {
      const Json::json_pointer pointer(column);
      if (object.contains(pointer)) value = &object.at(pointer);
    } catch (const nlohmann::json::exception&) {
      return fail(Code::kInvalid, "'" + column + "' is no JSON pointer");
    }
  } else if (object.is_object() && object.contains(column)) {
    value = &object.at(column);
  }
  if (value == nullptr) return fail(Code::kInvalid, "no field '" + column + "'");
  if (value->is_string()) return value->get<std::string>();
  if (value->is_number() || value->is_boolean()) return value->dump();
  return fail(Code::kInvalid, "field '" + column + "' is neither a number nor a string");
}

Status each_line_item(const std::string& path, LineReader& lines, const ItemHandler& handle) {
  std::string_view line;
  std::int64_t blank = 0;  // seen since the last value
  for (;;) {
    TRIMTAB_TRY(const bool more, lines.next(line));
    if (!more) return {};
    if (line.empty()) {
      ++blank;
      continue;
    }
    if (blank > 0) {
      return tl::unexpected<Error>(
          at_line(path, lines.line_number() - blank, "a blank line; remove it"));
    }
    const Status handled = handle({line, lines.line_number()});
    if (!handled) {
      return tl::unexpected<Error>(at_line(path, lines.line_number(), handled.error().message));
    }
  }
}

}  // namespace

bool is_non_finite(std::string_view text) {
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return lower == "nan" || lower == "inf" || lower == "infinity";
}

Error at_line(const std::string& path, std::int64_t line, const std::string& message) {
  return {Code::kInvalid, path + ":" + std::to_string(line) + ": " + message};
}

Status each_item(const std::string& path, const std::string& column, const ItemHandler& handle) {
  TRIMTAB_TRY(LineReader lines, LineReader::open(path));
  std::int64_t count = 0;
  const ItemHandler counted = [&](const Item& item) {
    ++count;
    return handle(item);
  };
  if (ends_with(path, ".csv") || ends_with(path, ".tsv")) {
    TRIMTAB_CHECK_OK(each_csv_value(path, column, lines, counted));
  } else if (ends_with(path, ".jsonl") || (!column.empty() && path == "-")) {
    if (column.empty()) return fail(Code::kInvalid, path + ":1: JSON lines need --column NAME");
    TRIMTAB_CHECK_OK(each_line_item(path, lines, [&](const Item& item) -> Status {
      TRIMTAB_TRY(const std::string text, json_field(item.text, column));
      return counted({text, item.line});
    }));
  } else if (!column.empty()) {
    return fail(Code::kInvalid, path + ":1: --column wants a .csv, .tsv or .jsonl file");
  } else {
    TRIMTAB_CHECK_OK(each_line_item(path, lines, counted));
  }
  if (count == 0) return fail(Code::kInvalid, path + ":1: no values; the input is empty");
  return {};
}

Result<std::vector<std::string>> read_lines(const std::string& path) {
  TRIMTAB_TRY(LineReader lines, LineReader::open(path));
  std::vector<std::string> texts;
  std::string_view line;
  for (;;) {
    TRIMTAB_TRY(const bool more, lines.next(line));
    if (!more) break;
    texts.emplace_back(line);
  }
  if (texts.empty()) return fail(Code::kInvalid, path + ":1: no lines; the input is empty");
  return texts;
}

Result<std::vector<double>> read_numbers(const std::string& path, const std::string& column) {
  std::vector<double> values;
  TRIMTAB_CHECK_OK(each_item(path, column, [&](const Item& item) -> Status {
    TRIMTAB_TRY(const double value, drift::parse_number(item.text));
    values.push_back(value);
    return {};
  }));
  return values;
}

Result<std::vector<std::string>> read_texts(const std::string& path, const std::string& column) {
  std::vector<std::string> values;
  TRIMTAB_CHECK_OK(each_item(path, column, [&](const Item& item) -> Status {
    values.emplace_back(item.text);
    return {};
  }));
  return values;
}

Result<std::vector<std::vector<double>>> read_rows(const std::string& path, std::size_t width) {
  std::vector<std::vector<double>> rows;
  std::vector<std::string> fields;
  TRIMTAB_CHECK_OK(each_item(path, "", [&](const Item& item) -> Status {
    if (!RecordSplitter(',').feed(item.text, fields)) {
      return fail(Code::kInvalid, "a quote is never closed");
    }
    if (width == 0) width = fields.size();
    if (fields.size() != width) {
      return fail(Code::kInvalid, std::to_string(fields.size()) + " values where " +
                                      std::to_string(width) + " belong");
    }
    std::vector<double> row;
    for (const auto& field : fields) {
      TRIMTAB_TRY(const double value, drift::parse_number(field));
      row.push_back(value);
    }
    rows.push_back(std::move(row));
    return {};
  }));
  return rows;
}

Result<std::vector<std::vector<double>>> read_vectors(const std::string& path) {
  std::vector<std::vector<double>> rows;
  TRIMTAB_TRY(LineReader lines, LineReader::open(path));  // arrays whatever the file's suffix
  TRIMTAB_CHECK_OK(each_line_item(path, lines, [&](const Item& item) -> Status {
    TRIMTAB_TRY(const Json array, parse_json(item.text));
    std::vector<double> row;
    if (!array.is_array() || array.empty()) {
      return fail(Code::kInvalid, "expected one JSON array of numbers");
    }
    for (const auto& value : array) {
      if (!value.is_number()) return fail(Code::kInvalid, "an element is not a number");
      row.push_back(value.get<double>());
    }
    if (!rows.empty() && rows.front().size() != row.size()) {
      return fail(Code::kInvalid, "a vector of length " + std::to_string(row.size()) +
                                      " among vectors of length " +
                                      std::to_string(rows.front().size()));
    }
    rows.push_back(std::move(row));
    return {};
  }));
  if (rows.empty()) return fail(Code::kInvalid, path + ":1: no vectors; the input is empty");
  return rows;
}

Result<std::vector<std::vector<std::string>>> read_columns(const std::string& path,
                                                           const std::vector<std::string>& names,
                                                           std::vector<std::int64_t>* at_lines) {
  TRIMTAB_TRY(LineReader lines, LineReader::open(path));
  std::vector<std::vector<std::string>> columns(names.size());
  std::vector<std::size_t> indices;
  TRIMTAB_CHECK_OK(each_record(
      path, lines,
      [&](const std::vector<std::string>& header) -> Status {
        for (const auto& name : names) {
          TRIMTAB_TRY(const std::size_t index, find_column(header, name));
          indices.push_back(index);
        }
        return {};
      },
      [&](const std::vector<std::string>& fields, std::int64_t line) -> Status {
        if (at_lines != nullptr) at_lines->push_back(line);
        for (std::size_t i = 0; i < indices.size(); ++i) columns[i].push_back(fields[indices[i]]);
        // What is missing equals what is missing, which says nothing of a model.
        if (std::all_of(indices.begin(), indices.end(),
                        [&](std::size_t at) { return fields[at].empty(); })) {
          return fail(Code::kInvalid, "a row of nothing; fill or drop it");
        }
        return {};
      }));
  if (columns.front().empty()) return fail(Code::kInvalid, path + ":2: no rows after the header");
  return columns;
}

}  // namespace trimtab::cli
