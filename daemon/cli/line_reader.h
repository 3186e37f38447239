// LineReader: the lines of a file or of standard input, in chunks of 1 MiB. And the splitting of a
// CSV record. Errors say FILE:LINE. One thread a reader.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace trimtab::cli {

class LineReader {
 public:
  static constexpr std::size_t kMaxLineBytes = 64U << 20;

  // "-" is standard input. kNotFound when the file cannot be opened.
  [[nodiscard]] static Result<LineReader> open(const std::string& path);
  LineReader(LineReader&& other) noexcept;
  LineReader& operator=(LineReader&&) = delete;
  ~LineReader();

  // The next line without its end ("\n", "\r\n") and, on the first, without a byte order mark.
  // False at the end. The line is valid until the next call. kIo: the file cannot be read;
  // kExhausted: a line longer than 64 MiB.
  [[nodiscard]] Result<bool> next(std::string_view& line);
  // Of the last line, from 1.
  [[nodiscard]] std::int64_t line_number() const { return number_; }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  LineReader(std::FILE* file, std::string path);
  bool fill();
  Result<bool> finish(std::string_view& line);
  [[nodiscard]] tl::unexpected<Error> error(Code code, const std::string& message) const;

  std::FILE* file_;
  std::string path_;
  std::vector<char> buffer_;
  std::size_t at_ = 0, end_ = 0;
  std::string carried_;
  std::int64_t number_ = 0;
};

// Splits CSV records (RFC 4180: quotes, doubled quotes and line breaks inside), in linear time.
class RecordSplitter {
 public:
  explicit RecordSplitter(char separator) : separator_(separator) {}
  // One line of a record. False: a quote is open, the record goes on with the next line.
  [[nodiscard]] bool feed(std::string_view line, std::vector<std::string>& fields);

 private:
  char separator_;
  bool quoted_ = false;
  std::string field_;
};
// ',' or, for *.tsv, a tab.
[[nodiscard]] char separator_of(const std::string& path);
[[nodiscard]] bool ends_with(const std::string& path, std::string_view suffix);

}  // namespace trimtab::cli
