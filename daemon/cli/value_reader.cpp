#include "daemon/cli/value_reader.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "base/json.h"
#include "drift/parameters.h"

namespace trimtab::cli {
namespace {

constexpr std::size_t kMaxLineBytes = 64U << 20;

// Lines of a file or of standard input, without their ends ("\n", "\r\n").
class LineReader {
 public:
  [[nodiscard]] static Result<LineReader> open(const std::string& path) {
    if (path == "-") return LineReader(stdin, false);
    std::FILE* file = std::fopen(path.c_str(), "rb");
    if (file == nullptr) {
      return fail(Code::kNotFound, path + ": cannot open: " + std::strerror(errno));
    }
    return LineReader(file, true);
  }
  LineReader(LineReader&& other) noexcept
      : file_(std::exchange(other.file_, nullptr)), owned_(other.owned_) {
    buffer_.resize(1 << 20);
  }
  LineReader& operator=(LineReader&&) = delete;
  ~LineReader() {
    if (file_ != nullptr && owned_) std::fclose(file_);
  }

  // False at the end. The line is valid until the next call.
  [[nodiscard]] Result<bool> next(std::string_view& line) {
    carried_.clear();
    for (;;) {
      if (at_ == end_ && !fill()) {
        if (std::ferror(file_)) return fail(Code::kIo, "cannot read");
        line = carried_;
        if (carried_.empty()) return false;
        return count_line(line);
      }
      const char* begin = buffer_.data() + at_;
      const char* found = static_cast<const char*>(std::memchr(begin, '\n', end_ - at_));
      const std::size_t size = (found ? static_cast<std::size_t>(found - begin) : end_ - at_);
      const std::string_view piece(begin, size);
      at_ += size + (found ? 1 : 0);
      if (found && carried_.empty()) {
        line = piece;
        return count_line(line);
      }
      carried_.append(piece);
      if (carried_.size() > kMaxLineBytes) return fail(Code::kExhausted, "line longer than 64 MiB");
      if (found) {
        line = carried_;
        return count_line(line);
      }
    }
  }
  [[nodiscard]] std::int64_t line_number() const { return number_; }

 private:
  LineReader(std::FILE* file, bool owned) : file_(file), owned_(owned) {}
  bool fill() {
    at_ = 0;
    end_ = std::fread(buffer_.data(), 1, buffer_.size(), file_);
    return end_ > 0;
  }
  Result<bool> count_line(std::string_view& line) {
    ++number_;
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    return true;
  }

  std::FILE* file_;
  bool owned_;
  std::vector<char> buffer_;
  std::size_t at_ = 0, end_ = 0;
  std::string carried_;
  std::int64_t number_ = 0;
};

bool ends_with(const std::string& path, std::string_view suffix) {
  return path.size() >= suffix.size() &&
         std::string_view(path).substr(path.size() - suffix.size()) == suffix;
}

// Splits one CSV record (RFC 4180: quotes, doubled quotes inside). False when a quote is open.
bool split_record(std::string_view line, char separator, std::vector<std::string>& fields) {
  fields.clear();
  std::string field;
  bool quoted = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quoted) {
      if (c != '"') {
        field += c;
      } else if (i + 1 < line.size() && line[i + 1] == '"') {
        field += line[++i];
      } else {
        quoted = false;
      }
    } else if (c == '"' && field.empty()) {
      quoted = true;
    } else if (c == separator) {
      fields.push_back(std::move(field));
      field.clear();
    } else {
      field += c;
    }
  }
  fields.push_back(std::move(field));
  return !quoted;
}

// Calls handle(fields, line) for every record after the header, given to `header` first.
Status each_record(
    const std::string& path, LineReader& lines,
    const std::function<Status(const std::vector<std::string>&)>& header,
    const std::function<Status(const std::vector<std::string>&, std::int64_t)>& row) {
  const char separator = ends_with(path, ".tsv") ? '\t' : ',';
  std::string record;
  std::vector<std::string> fields;
  std::size_t width = 0;
  std::int64_t first_line = 0;
  std::string_view line;
  for (;;) {
    TRIMTAB_TRY(const bool more, lines.next(line));
    if (!more) break;
    if (record.empty()) first_line = lines.line_number();
    record.append(line);
    if (record.empty()) continue;
    if (!split_record(record, separator, fields)) {  // a line break inside quotes
      record += '\n';
      if (record.size() > kMaxLineBytes) break;
      continue;
    }
    record.clear();
    Status handled;
    if (width == 0) {
      width = fields.size();
      handled = header(fields);
    } else if (fields.size() != width) {
      handled =
          fail(Code::kInvalid, "has " + std::to_string(fields.size()) + " fields, the header " +
                                   std::to_string(width) + "; make the rows alike");
    } else {
      handled = row(fields, first_line);
    }
    if (!handled) {
      return tl::unexpected<Error>(at_line(path, first_line, handled.error().message));
    }
  }
  if (!record.empty()) {
    return tl::unexpected<Error>(at_line(path, first_line, "a quote is never closed"));
  }
  if (width == 0) return fail(Code::kInvalid, path + ":1: the file is empty; a header is needed");
  return {};
}

Result<std::size_t> find_column(const std::vector<std::string>& header, const std::string& name) {
  const auto found = std::find(header.begin(), header.end(), name);
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
      [&](const std::vector<std::string>& fields, std::int64_t line) {
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
    split_record(item.text, ',', fields);
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
                                                           const std::vector<std::string>& names) {
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
      [&](const std::vector<std::string>& fields, std::int64_t) -> Status {
        for (std::size_t i = 0; i < indices.size(); ++i) columns[i].push_back(fields[indices[i]]);
        return {};
      }));
  if (columns.front().empty()) return fail(Code::kInvalid, path + ":2: no rows after the header");
  return columns;
}

bool all_numbers(const std::vector<std::string>& texts) {
  return std::all_of(texts.begin(), texts.end(),
                     [](const std::string& text) { return drift::parse_number(text).has_value(); });
}

}  // namespace trimtab::cli
