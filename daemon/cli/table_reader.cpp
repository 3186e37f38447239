#include "daemon/cli/table_reader.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

#include "daemon/cli/line_reader.h"
#include "daemon/cli/value_reader.h"
#include "drift/parameters.h"

namespace trimtab::cli {
namespace {

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// The short way for what nearly every number looks like; parse_number decides about the rest.
Result<double> number_of(std::string_view text) {
  double value = 0.0;
  const auto [at, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc{} && at == text.data() + text.size() && std::isfinite(value)) return value;
  return drift::parse_number(text);
}

class TableBuilder {
 public:
  explicit TableBuilder(const TableRequest& request) : request_(request) {}

  Status header(const std::vector<std::string>& fields) {
    for (const auto& name : fields) {
      if (std::count(fields.begin(), fields.end(), name) > 1) {
        return fail(Code::kInvalid, "the header has '" + name + "' twice; rename one");
      }
      TableColumn column{.name = name};
      column.wanted = request_.columns.empty() || contains(request_.columns, name);
      table_.columns.push_back(std::move(column));
    }
    for (const auto& name : request_.columns) {
      if (!contains(fields, name)) return fail(Code::kInvalid, "no column '" + name + "'");
    }
    for (const auto& name : request_.categorical) {
      if (!contains(fields, name)) return fail(Code::kInvalid, "no column '" + name + "'");
    }
    return {};
  }

  // A row without quotes.
  Status row(std::string_view line, char separator) {
    const std::size_t width = table_.columns.size();
    std::size_t at = 0;
    for (std::size_t i = 0; i < width; ++i) {
      const char* begin = line.data() + at;
      const char* found = static_cast<const char*>(std::memchr(begin, separator, line.size() - at));
      if ((found == nullptr) != (i + 1 == width)) {
        return ragged(static_cast<std::size_t>(std::count(line.begin(), line.end(), separator)) +
                      1);
      }
      const std::size_t end =
          found != nullptr ? static_cast<std::size_t>(found - line.data()) : line.size();
      TRIMTAB_CHECK_OK(field(table_.columns[i], line.substr(at, end - at)));
      at = end + 1;
    }
    ++table_.rows;
    return {};
  }

  Status row(const std::vector<std::string>& fields) {
    if (fields.size() != table_.columns.size()) return ragged(fields.size());
    for (std::size_t i = 0; i < fields.size(); ++i) {
      TRIMTAB_CHECK_OK(field(table_.columns[i], fields[i]));
    }
    ++table_.rows;
    return {};
  }

  [[nodiscard]] bool has_header() const { return !table_.columns.empty(); }
  [[nodiscard]] Table take() { return std::move(table_); }
  [[nodiscard]] std::int64_t rows() const { return table_.rows; }

 private:
  [[nodiscard]] tl::unexpected<Error> ragged(std::size_t fields) const {
    return fail(Code::kInvalid, "has " + std::to_string(fields) + " fields, the header " +
                                    std::to_string(table_.columns.size()) +
                                    "; make the rows alike");
  }

  Status field(TableColumn& column, std::string_view text) {
    if (!column.wanted) return {};
    if (text.empty()) {
      return fail(Code::kInvalid, "column '" + column.name + "' is empty here; fill or drop it");
    }
    if (table_.rows == 0) {
      column.numeric =
          !contains(request_.categorical, column.name) &&
          (drift::parse_number(text).has_value() || is_non_finite(text));
    }
    if (!column.numeric) {
      const auto at = column.counts.find(text);
      if (at != column.counts.end()) {
        ++at->second;
      } else {
        column.counts.emplace(text, 1);
      }
      return {};
    }
    const auto value = number_of(text);
    if (!value) {
      return fail(Code::kInvalid, "column '" + column.name + "': " + value.error().message +
                                      ", though the column began with a number; mend it, or --set "
                                      "categorical=" +
                                      column.name);
    }
    column.numbers.push_back(*value);
    return {};
  }

  const TableRequest& request_;
  Table table_;
};

// The next record into the builder. False at the end.
Result<bool> feed(LineReader& lines, TableBuilder& builder, std::int64_t& line) {
  std::string_view text;
  TRIMTAB_TRY(bool more, lines.next(text));
  if (!more) return false;
  line = lines.line_number();
  if (text.empty()) {
    while (more && text.empty()) {
      TRIMTAB_TRY(more, lines.next(text));
    }
    if (!more) return false;
    return fail(Code::kInvalid, "a blank line; remove it");
  }
  const char separator = separator_of(lines.path());
  if (builder.has_header() && text.find('"') == std::string_view::npos) {
    TRIMTAB_CHECK_OK(builder.row(text, separator));
    return true;
  }
  RecordSplitter splitter(separator);
  std::vector<std::string> fields;
  std::size_t bytes = 0;
  while (!splitter.feed(text, fields)) {
    bytes += text.size();
    TRIMTAB_TRY(more, lines.next(text));
    if (!more || bytes > LineReader::kMaxLineBytes) {
      return fail(Code::kInvalid, "a quote is never closed");
    }
  }
  TRIMTAB_CHECK_OK(builder.has_header() ? builder.row(fields) : builder.header(fields));
  return true;
}

}  // namespace

Result<Table> read_table(const std::string& path, const TableRequest& request) {
  TRIMTAB_TRY(LineReader lines, LineReader::open(path));
  TableBuilder builder(request);
  std::int64_t line = 1;
  for (;;) {
    const auto more = feed(lines, builder, line);
    if (!more && more.error().code != Code::kInvalid) {
      return tl::unexpected<Error>(more.error());  // the reader's own errors name their place
    }
    if (!more) return tl::unexpected<Error>(at_line(path, line, more.error().message));
    if (!*more) break;
  }
  if (!builder.has_header()) {
    return fail(Code::kInvalid, path + ":1: the file is empty; a header is needed");
  }
  if (builder.rows() == 0) return fail(Code::kInvalid, path + ":2: no rows after the header");
  return builder.take();
}

}  // namespace trimtab::cli
