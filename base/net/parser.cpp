#include "base/net/parser.h"

#include <boost/asio/buffer.hpp>
#include <boost/beast/http/basic_parser.hpp>
#include <optional>

#include "base/check.h"

namespace trimtab::net {
namespace {

namespace http = boost::beast::http;
using boost::beast::error_code;
using boost::beast::string_view;

std::string_view view(string_view text) { return {text.data(), text.size()}; }

// What a message holds, filled by Beast's callbacks. Fields of trailers are dropped: a header must
// not change after it was judged.
struct Message {
  std::string method, target, body;
  int status = 0;
  int version = 11;
  bool head_done = false;
  Headers headers;
};

template <bool kIsRequest>
class Sink final : public http::basic_parser<kIsRequest> {
 public:
  explicit Sink(Message& message) : message_(message) {}

 private:
  void on_request_impl(http::verb, string_view method, string_view target, int version,
                       error_code&) override {
    message_.method = view(method);
    message_.target = view(target);
    message_.version = version;
  }
  void on_response_impl(int code, string_view, int version, error_code&) override {
    message_.status = code;
    message_.version = version;
  }
  void on_field_impl(http::field, string_view name, string_view value, error_code&) override {
    if (!message_.head_done) message_.headers.add(view(name), view(value));
  }
  void on_header_impl(error_code&) override { message_.head_done = true; }
  void on_body_init_impl(const boost::optional<std::uint64_t>&, error_code&) override {}
  std::size_t on_body_impl(string_view body, error_code&) override {
    message_.body.append(body.data(), body.size());
    return body.size();
  }
  void on_chunk_header_impl(std::uint64_t, string_view, error_code&) override {}
  std::size_t on_chunk_body_impl(std::uint64_t, string_view body, error_code&) override {
    message_.body.append(body.data(), body.size());
    return body.size();
  }
  void on_finish_impl(error_code&) override {}

  Message& message_;
};

}  // namespace

struct Parser::Impl {
  template <typename Function>
  auto apply(Function&& function) {
    return kind == MessageKind::kRequest ? function(request) : function(response);
  }
  Impl(MessageKind message_kind, const ParserLimits& parser_limits)
      : kind(message_kind), limits(parser_limits) {
    apply([this](auto& sink) {
      sink.header_limit(static_cast<std::uint32_t>(limits.header_bytes));
      sink.body_limit(limits.body_bytes);
      if (limits.no_body) sink.skip(true);
    });
  }

  MessageKind kind;
  ParserLimits limits;
  Message message;
  Sink<true> request{message};
  Sink<false> response{message};
  std::uint64_t wire_bytes = 0;
  bool any = false;
};

Parser::Parser(MessageKind kind, const ParserLimits& limits)
    : impl_(std::make_unique<Impl>(kind, limits)) {}
Parser::~Parser() = default;
Parser::Parser(Parser&&) noexcept = default;
Parser& Parser::operator=(Parser&&) noexcept = default;

Status Parser::error(int status, const std::string& what) {
  error_status_ = status;
  return fail(Code::kInvalid, what);
}

Status Parser::parse(std::string& buffer) {
  std::size_t used = 0;
  const bool had_head = head_done();
  Status result;
  while (used < buffer.size() && !done()) {
    error_code problem;
    const std::size_t taken = impl_->apply([&](auto& sink) {
      return sink.put(boost::asio::const_buffer(buffer.data() + used, buffer.size() - used),
                      problem);
    });
    impl_->any = true;
    used += taken;
    impl_->wire_bytes += taken;
    if (problem == http::error::need_more) {
      // Chunk headers and trailers are structured too: they must fit where a header must.
      if (buffer.size() - used > impl_->limits.header_bytes)
        result = error(431, "header too large");
      break;
    }
    if (problem == http::error::header_limit) {
      const bool in_line = impl_->message.method.empty() && impl_->message.status == 0;
      result = error(in_line ? 414 : 431, in_line ? "address too long" : "header too large");
    } else if (problem == http::error::body_limit) {
      result =
          error(413, "body larger than " + std::to_string(impl_->limits.body_bytes) + " bytes");
    } else if (problem) {
      result = error(400, "not HTTP/1.1: " + problem.message());
    }
    if (!result || (!had_head && head_done())) break;
  }
  buffer.erase(0, used);
  // Tiny chunks cost six bytes on the wire for one of body; more than that is padding.
  if (result && impl_->wire_bytes > impl_->limits.header_bytes + 8 * impl_->limits.body_bytes) {
    result = error(413, "too many bytes for one message");
  }
  return result;
}

Status Parser::parse_end() {
  if (!impl_->any) return error(400, "closed before a message");
  if (done()) return {};
  error_code problem;
  impl_->apply([&](auto& sink) { sink.put_eof(problem); });
  if (problem) return error(400, "closed in the middle of a message");
  return {};
}

bool Parser::head_done() const { return impl_->message.head_done; }
bool Parser::done() const {
  return impl_->apply([](auto& sink) { return sink.is_done(); });
}
bool Parser::keep_alive() const {
  return head_done() && impl_->apply([](auto& sink) { return sink.keep_alive(); });
}
bool Parser::http_1_0() const { return impl_->message.version < 11; }
std::string& Parser::method() { return impl_->message.method; }
std::string& Parser::target() { return impl_->message.target; }
int Parser::status() const { return impl_->message.status; }
Headers& Parser::headers() { return impl_->message.headers; }
std::string& Parser::body() { return impl_->message.body; }

}  // namespace trimtab::net
