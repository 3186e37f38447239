#include "daemon/past_log.h"

#include <fstream>
#include <iostream>
#include <limits>
#include <sstream>
#include <utility>
#include <vector>

namespace trimtab::daemon {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

class Lines final : public PastLog {
 public:
  Lines(std::string name, std::unique_ptr<std::istream> owned, std::istream* in,
        std::int64_t first_line, std::int64_t max_bytes)
      : name_(std::move(name)),
        owned_(std::move(owned)),
        in_(in),
        line_(first_line - 1),
        buffer_(static_cast<std::size_t>(max_bytes) + 2) {}

  Result<bool> next(Message& out) override {
    while (read_line(out)) {
      if (out.payload.find_first_not_of(" \t\r") != std::string_view::npos) return true;
    }
    if (in_->bad()) return fail(Code::kIo, where() + ": cannot be read to its end");
    return false;
  }
  std::string where() const override { return name_ + ":" + std::to_string(line_); }

 private:
  bool read_line(Message& out) {
    in_->getline(buffer_.data(), static_cast<std::streamsize>(buffer_.size()));
    auto size = static_cast<std::size_t>(in_->gcount());
    if (in_->eof() && size == 0) return false;
    if (in_->bad()) return false;
    ++line_;
    out.too_long = in_->fail();
    if (out.too_long) {
      in_->clear();
      in_->ignore(std::numeric_limits<std::streamsize>::max(), '\n');
    } else if (!in_->eof()) {
      --size;  // gcount counts the delimiter
    }
    out.payload = {buffer_.data(), size};
    if (std::exchange(first_, false) && out.payload.starts_with(kByteOrderMark)) {
      out.payload.remove_prefix(kByteOrderMark.size());
    }
    if (out.payload.ends_with('\r')) out.payload.remove_suffix(1);
    out.ts_ms = 0;
    return true;
  }

  std::string name_;
  std::unique_ptr<std::istream> owned_;
  std::istream* in_;
  std::int64_t line_;
  bool first_ = true;
  std::vector<char> buffer_;
};

}  // namespace

Result<std::unique_ptr<PastLog>> open_past_file(const std::string& path, std::int64_t max_bytes) {
  if (path == "-") return std::make_unique<Lines>("-", nullptr, &std::cin, 1, max_bytes);
  auto file = std::make_unique<std::ifstream>(path, std::ios::binary);
  if (!*file || file->peek() == std::ifstream::traits_type::eof()) {
    if (!*file && !file->eof()) return fail(Code::kNotFound, path + ": cannot open");
    return fail(Code::kInvalid, path + ":1: the file is empty");
  }
  std::istream* in = file.get();
  return std::make_unique<Lines>(path, std::move(file), in, 1, max_bytes);
}

std::unique_ptr<PastLog> past_text(std::string name, std::string text, std::int64_t first_line,
                                   std::int64_t max_bytes) {
  auto stream = std::make_unique<std::istringstream>(std::move(text));
  std::istream* in = stream.get();
  return std::make_unique<Lines>(std::move(name), std::move(stream), in, first_line, max_bytes);
}

}  // namespace trimtab::daemon
