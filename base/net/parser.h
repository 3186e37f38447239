// Internal to base/net: incremental HTTP/1.1 parsing on Boost.Beast's basic_parser, with bounds.
//
// The parser never sees a socket. One object a message; not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "base/net/message.h"

namespace trimtab::net {

enum class MessageKind { kRequest, kResponse };

struct ParserLimits {
  std::size_t header_bytes = 16 << 10;
  std::size_t body_bytes = 8 << 20;
  bool no_body = false;  // the answer to a HEAD request
};

class Parser {
 public:
  Parser(MessageKind kind, const ParserLimits& limits);
  ~Parser();
  Parser(Parser&&) noexcept;
  Parser& operator=(Parser&&) noexcept;

  // Consumes what it can from the front of `buffer` and appends decoded body bytes to body(). Stops
  // once when the head is complete, so that the caller can judge it; call again to go on. An
  // error's message is for people; error_status() is the HTTP status that a server answers.
  [[nodiscard]] Status parse(std::string& buffer);
  // The peer closed: the proper end of an answer without a length, else an error.
  [[nodiscard]] Status parse_end();
  [[nodiscard]] int error_status() const { return error_status_; }

  [[nodiscard]] bool head_done() const;
  [[nodiscard]] bool done() const;
  [[nodiscard]] bool keep_alive() const;  // REQUIRES: head_done()
  [[nodiscard]] bool http_1_0() const;

  // REQUIRES: head_done().
  [[nodiscard]] std::string& method();
  [[nodiscard]] std::string& target();
  [[nodiscard]] int status() const;
  [[nodiscard]] Headers& headers();
  [[nodiscard]] std::string& body();  // may be taken (moved or cleared) between calls

 private:
  struct Impl;
  [[nodiscard]] Status error(int status, const std::string& what);
  std::unique_ptr<Impl> impl_;
  int error_status_ = 0;
};

}  // namespace trimtab::net
