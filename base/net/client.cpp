#include "base/net/client.h"

#include <algorithm>
#include <deque>
#include <map>
#include <mutex>

#include "base/net/parser.h"
#include "base/net/socket.h"

namespace trimtab::net {
namespace {

struct IdleConnection {
  std::unique_ptr<Transport> transport;
  std::int64_t since_ms = 0;
};

std::string render_request(const ClientRequest& request, const Url& url) {
  std::string out = request.method + " " + url.target + " HTTP/1.1\r\nHost: ";
  const bool usual_port = url.port == (url.scheme == "https" ? 443 : 80);
  const bool v6 = url.host.find(':') != std::string::npos;
  out += v6 ? "[" + url.host + "]" : url.host;
  if (!usual_port) out += ":" + std::to_string(url.port);
  out += "\r\n";
  for (const auto& [name, value] : request.headers.fields()) {
    if (equals_ignoring_case(name, "Host") || equals_ignoring_case(name, "Content-Length") ||
        equals_ignoring_case(name, "Connection") ||
        equals_ignoring_case(name, "Transfer-Encoding")) {
      continue;
    }
    out += name + ": " + value + "\r\n";
  }
  const bool has_body = !request.body.empty() || request.method == "POST" ||
                        request.method == "PUT" || request.method == "PATCH";
  if (has_body) out += "Content-Length: " + std::to_string(request.body.size()) + "\r\n";
  out += "\r\n";
  out += request.body;
  return out;
}

Status check_request(const ClientRequest& request) {
  const auto bad = [](std::string_view text) {
    return text.find_first_of(std::string_view("\r\n\0", 3)) != std::string_view::npos;
  };
  if (request.method.empty() || bad(request.method)) return fail(Code::kInvalid, "bad method");
  for (const auto& [name, value] : request.headers.fields()) {
    if (name.empty() || bad(name) || bad(value) || name.find_first_of(" :") != std::string::npos) {
      return fail(Code::kInvalid, "a header field holds a line break or a bad name");
    }
  }
  return {};
}

}  // namespace

struct Client::State {
  State(ClientOptions client_options, Clock& client_clock)
      : options(std::move(client_options)), clock(client_clock) {}

  std::unique_ptr<Transport> take(const std::string& origin) {
    std::lock_guard lock(mutex);
    const auto it = idle.find(origin);
    if (it == idle.end()) return nullptr;
    auto& kept = it->second;
    while (!kept.empty()) {
      auto last = std::move(kept.back());  // the youngest: most likely alive
      kept.pop_back();
      if (clock.mono_ms() - last.since_ms < options.idle_ms && last.transport->reusable()) {
        return std::move(last.transport);
      }
    }
    return nullptr;
  }

  void keep(const std::string& origin, std::unique_ptr<Transport> transport) {
    std::lock_guard lock(mutex);
    if (idle.size() > kOriginsMax && !idle.contains(origin)) idle.erase(idle.begin());
    auto& kept = idle[origin];
    const std::int64_t now = clock.mono_ms();
    while (!kept.empty() && (kept.size() >= options.idle_per_origin ||
                             now - kept.front().since_ms >= options.idle_ms)) {
      kept.pop_front();
    }
    if (options.idle_per_origin > 0) kept.push_back({std::move(transport), now});
  }

  static constexpr std::size_t kOriginsMax = 256;
  const ClientOptions options;
  Clock& clock;
  std::mutex mutex;
  std::map<std::string, std::deque<IdleConnection>> idle;  // by origin, oldest first
};

namespace {

// One request on one connection.
class ClientExchange final : public Exchange {
 public:
  ClientExchange(std::unique_ptr<Transport> transport, const ParserLimits& limits,
                 const Clock& clock, const ClientRequest& request, std::int64_t silence_ms,
                 std::int64_t deadline_ms)
      : transport_(std::move(transport)),
        parser_(MessageKind::kResponse, limits),
        limits_(limits),
        clock_(clock),
        cancelled_(request.cancelled),
        silence_ms_(silence_ms),
        deadline_ms_(deadline_ms) {}

  ~ClientExchange() override {
    if (on_reusable && transport_ && parser_.done() && parser_.keep_alive() && in_.empty()) {
      on_reusable(std::move(transport_));
    }
  }

  // Sends the request and reads up to the head. `any_byte` tells whether anything came back.
  Status open(const std::string& bytes, std::int64_t head_deadline_ms, bool& any_byte) {
    any_byte = false;
    TRIMTAB_CHECK_OK(transport_->write(bytes, wait_until(head_deadline_ms)));
    while (true) {
      while (!parser_.head_done()) {
        TRIMTAB_CHECK_OK(read_more(head_deadline_ms));
        any_byte = true;
        TRIMTAB_CHECK_OK(parse());
      }
      const int status = parser_.status();
      if (status >= 200) break;
      if (status == 101) return fail(Code::kInvalid, "switching protocols is not spoken here");
      parser_ = Parser(MessageKind::kResponse, limits_);  // 1xx: the real answer follows
      if (!in_.empty()) TRIMTAB_CHECK_OK(parse());
    }
    return {};
  }

  int status() const override { return parser_.status(); }
  const Headers& headers() const override { return const_cast<Parser&>(parser_).headers(); }

  Result<std::string> read() override {
    while (true) {
      if (!in_.empty() && !parser_.done()) {
        const std::size_t before = in_.size();
        TRIMTAB_CHECK_OK(parse());
        if (in_.size() < before && parser_.body().empty() && !parser_.done()) continue;
      }
      if (!parser_.body().empty()) return std::exchange(parser_.body(), {});
      if (parser_.done()) return std::string();
      TRIMTAB_CHECK_OK(read_more(clock_.mono_ms() + silence_ms_));
    }
  }

  std::function<void(std::unique_ptr<Transport>)> on_reusable;

 private:
  Wait wait_until(std::int64_t deadline_ms) const {
    return {clock_, std::min(deadline_ms, deadline_ms_), &cancelled_};
  }

  // The peer's close is the end of an answer without a length, else an error.
  Status read_more(std::int64_t deadline_ms) {
    TRIMTAB_TRY(const bool more, transport_->read(in_, wait_until(deadline_ms)));
    if (more) return {};
    auto ended = parser_.parse_end();
    if (!ended || !parser_.head_done()) {
      return fail(Code::kUnavailable, "connection closed before the answer was whole");
    }
    return {};
  }

  Status parse() {
    auto status = parser_.parse(in_);
    if (status) return {};
    const bool large = parser_.error_status() == 413 || parser_.error_status() == 431;
    return fail(large ? Code::kExhausted : Code::kInvalid, "answer: " + status.error().message);
  }

  std::unique_ptr<Transport> transport_;
  Parser parser_;
  ParserLimits limits_;
  const Clock& clock_;
  std::function<bool()> cancelled_;
  std::int64_t silence_ms_;
  std::int64_t deadline_ms_;
  std::string in_;
};

}  // namespace

Client::Client(ClientOptions options, Clock& clock)
    : state_(std::make_unique<State>(std::move(options), clock)) {
  ignore_sigpipe();
}

Client::~Client() = default;

Result<std::unique_ptr<Exchange>> Client::start(const ClientRequest& request) {
  State& s = *state_;
  TRIMTAB_TRY(const Url url, parse_url(request.url));
  const std::string origin = url.origin();
  auto checked = check_request(request);
  if (!checked) return fail_in(origin, checked.error());
  const auto or_default = [](std::int64_t own, std::int64_t usual) {
    return own > 0 ? own : usual;
  };
  const std::int64_t now = s.clock.mono_ms();
  const std::int64_t deadline = now + or_default(request.total_ms, s.options.total_ms);
  const std::int64_t silence = or_default(request.silence_ms, s.options.silence_ms);
  const std::int64_t connect = now + or_default(request.connect_ms, s.options.connect_ms);
  const ParserLimits limits{s.options.header_limit_bytes, s.options.body_limit_bytes,
                            request.method == "HEAD"};
  const std::string bytes = render_request(request, url);
  const bool repeatable =
      request.safe_to_repeat || request.method == "GET" || request.method == "HEAD";
  for (bool fresh = false;; fresh = true) {
    auto transport = fresh ? nullptr : s.take(origin);
    const bool reused = transport != nullptr;
    if (!reused) {
      auto connected = connect_to(url, {s.clock, std::min(connect, deadline), &request.cancelled},
                                  s.options.ca_file);
      if (!connected) return fail_in(origin, connected.error());
      transport = std::move(*connected);
    }
    auto exchange = std::make_unique<ClientExchange>(std::move(transport), limits, s.clock, request,
                                                     silence, deadline);
    bool any_byte = false;
    const std::int64_t head_deadline =
        s.clock.mono_ms() + or_default(request.first_byte_ms, silence);
    auto opened = exchange->open(bytes, head_deadline, any_byte);
    if (opened) {
      exchange->on_reusable = [&s, origin](std::unique_ptr<Transport> done) {
        s.keep(origin, std::move(done));
      };
      return std::unique_ptr<Exchange>(std::move(exchange));
    }
    const bool stale = reused && !any_byte && opened.error().code == Code::kUnavailable;
    if (!stale || !repeatable) return fail_in(origin, opened.error());
  }
}

Result<Response> Client::stream(const ClientRequest& request,
                                const std::function<bool(std::string_view)>& on_piece) {
  TRIMTAB_TRY(auto exchange, start(request));
  Response response{exchange->status(), exchange->headers(), {}};
  for (;;) {
    auto piece = exchange->read();
    if (!piece) {
      const auto url = parse_url(request.url);
      return fail_in(url ? url->origin() : request.url, piece.error());
    }
    if (piece->empty() || !on_piece(*piece)) return response;
  }
}

Result<Response> Client::send(const ClientRequest& request) {
  std::string body;
  TRIMTAB_TRY(auto response, stream(request, [&](std::string_view piece) {
                body += piece;
                return true;
              }));
  response.body = std::move(body);
  return response;
}

Result<Response> Client::get(const std::string& url, const Headers& headers) {
  ClientRequest request;
  request.url = url;
  request.headers = headers;
  return send(request);
}

Result<Response> Client::post(const std::string& url, std::string body,
                              std::string_view content_type, const Headers& headers) {
  ClientRequest request;
  request.method = "POST";
  request.url = url;
  request.headers = headers;
  request.headers.set("Content-Type", content_type);
  request.body = std::move(body);
  return send(request);
}

}  // namespace trimtab::net
