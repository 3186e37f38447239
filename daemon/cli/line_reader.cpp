#include "daemon/cli/line_reader.h"

#include <cerrno>
#include <cstring>
#include <utility>

namespace trimtab::cli {
namespace {

constexpr std::size_t kChunkBytes = 1U << 20;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

}  // namespace

LineReader::LineReader(std::FILE* file, std::string path)
    : file_(file), path_(std::move(path)), buffer_(kChunkBytes) {}

LineReader::LineReader(LineReader&& other) noexcept
    : file_(std::exchange(other.file_, nullptr)),
      path_(std::move(other.path_)),
      buffer_(std::move(other.buffer_)),
      at_(other.at_),
      end_(other.end_),
      carried_(std::move(other.carried_)),
      number_(other.number_) {}

LineReader::~LineReader() {
  if (file_ != nullptr && file_ != stdin) std::fclose(file_);
}

Result<LineReader> LineReader::open(const std::string& path) {
  if (path == "-") return LineReader(stdin, path);
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) {
    return fail(Code::kNotFound, path + ": cannot open: " + std::strerror(errno));
  }
  return LineReader(file, path);
}

tl::unexpected<Error> LineReader::error(Code code, const std::string& message) const {
  return tl::unexpected<Error>(
      Error{code, path_ + ":" + std::to_string(number_ + 1) + ": " + message});
}

bool LineReader::fill() {
  at_ = 0;
  end_ = std::fread(buffer_.data(), 1, buffer_.size(), file_);
  return end_ > 0;
}

Result<bool> LineReader::next(std::string_view& line) {
  carried_.clear();
  for (;;) {
    if (at_ == end_ && !fill()) {
      if (std::ferror(file_)) {
        return error(Code::kIo, std::string("cannot read: ") + std::strerror(errno));
      }
      line = carried_;
      if (carried_.empty()) return false;
      return finish(line);
    }
    const char* begin = buffer_.data() + at_;
    const char* found = static_cast<const char*>(std::memchr(begin, '\n', end_ - at_));
    const std::size_t size = found ? static_cast<std::size_t>(found - begin) : end_ - at_;
    at_ += size + (found ? 1 : 0);
    if (found && carried_.empty()) {
      line = std::string_view(begin, size);
      return finish(line);
    }
    carried_.append(begin, size);
    if (carried_.size() > kMaxLineBytes) {
      return error(Code::kExhausted, "a line longer than 64 MiB; break it up");
    }
    if (found) {
      line = carried_;
      return finish(line);
    }
  }
}

Result<bool> LineReader::finish(std::string_view& line) {
  if (++number_ == 1 && line.starts_with(kByteOrderMark)) line.remove_prefix(kByteOrderMark.size());
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  return true;
}

bool RecordSplitter::feed(std::string_view line, std::vector<std::string>& fields) {
  if (quoted_) {
    field_ += '\n';
  } else {
    fields.clear();
    field_.clear();
  }
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (quoted_) {
      if (c != '"') {
        field_ += c;
      } else if (i + 1 < line.size() && line[i + 1] == '"') {
        field_ += line[++i];
      } else {
        quoted_ = false;
      }
    } else if (c == '"' && field_.empty()) {
      quoted_ = true;
    } else if (c == separator_) {
      fields.push_back(std::move(field_));
      field_.clear();
    } else {
      field_ += c;
    }
  }
  if (quoted_) return false;
  fields.push_back(std::move(field_));
  field_.clear();
  return true;
}

bool ends_with(const std::string& path, std::string_view suffix) {
  return path.size() >= suffix.size() &&
         std::string_view(path).substr(path.size() - suffix.size()) == suffix;
}

char separator_of(const std::string& path) { return ends_with(path, ".tsv") ? '\t' : ','; }

}  // namespace trimtab::cli
