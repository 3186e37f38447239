#include "base/net/connection.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "base/log.h"

namespace trimtab::net {
namespace {

// No CR, LF or NUL may reach the wire through a field: that is how answers are split.
void append_clean(std::string& out, std::string_view text) {
  for (const char c : text) {
    if (c != '\r' && c != '\n' && c != '\0') out.push_back(c);
  }
}

void append_date(std::string& out, std::int64_t now_ms) {
  thread_local std::int64_t cached_s = -1;
  thread_local std::string cached;
  const std::int64_t now_s = now_ms / 1000;
  if (now_s != cached_s) {
    std::array<char, 64> text{};
    const auto seconds = static_cast<time_t>(now_s);
    tm parts{};
    gmtime_r(&seconds, &parts);
    strftime(text.data(), text.size(), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &parts);
    cached = text.data();
    cached_s = now_s;
  }
  out += cached;
}

bool ours(std::string_view name) {
  return equals_ignoring_case(name, "Content-Length") || equals_ignoring_case(name, "Connection") ||
         equals_ignoring_case(name, "Transfer-Encoding") || equals_ignoring_case(name, "Date");
}

}  // namespace

std::string render_head(int status, const Headers& headers, std::int64_t length, bool keep_alive,
                        bool http_1_0, std::int64_t now_ms) {
  std::string out = "HTTP/1.1 " + std::to_string(status) + " ";
  out += reason_phrase(status);
  out += "\r\n";
  append_date(out, now_ms);
  for (const auto& [name, value] : headers.fields()) {
    if (ours(name)) continue;
    append_clean(out, name);
    out += ": ";
    append_clean(out, value);
    out += "\r\n";
  }
  if (!headers.has("X-Content-Type-Options")) out += "X-Content-Type-Options: nosniff\r\n";
  if (length >= 0 && status != 204 && status >= 200) {
    out += "Content-Length: " + std::to_string(length) + "\r\n";
  } else if (length < 0 && !http_1_0) {
    out += "Transfer-Encoding: chunked\r\n";
  }
  if (!keep_alive) {
    out += "Connection: close\r\n";
  } else if (http_1_0) {
    out += "Connection: keep-alive\r\n";
  }
  out += "\r\n";
  return out;
}

std::string render(const Response& response, const Connection& connection, bool keep_alive,
                   std::int64_t now_ms) {
  std::string out = render_head(response.status, response.headers,
                                static_cast<std::int64_t>(response.body.size()), keep_alive,
                                connection.http_1_0, now_ms);
  const bool bodiless = connection.head_only || response.status == 204 || response.status == 304;
  if (!bodiless) out += response.body;
  return out;
}

IoResult Connection::receive(char* into, std::size_t size) {
  if (tls) return tls->receive(into, size);
  const auto got = ::recv(fd.get(), into, size, MSG_DONTWAIT);
  if (got > 0) return {Io::kDone, static_cast<std::size_t>(got)};
  const bool later = got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
  return {later ? Io::kWantRead : Io::kClosed, 0};
}

IoResult Connection::transmit(std::string_view data) {
  if (tls) return tls->transmit(data.data(), data.size());
  const auto sent = ::send(fd.get(), data.data(), data.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  if (sent > 0) return {Io::kDone, static_cast<std::size_t>(sent)};
  const bool later = sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
  return {later ? Io::kWantWrite : Io::kClosed, 0};
}

Io Connection::send_out() {
  while (out_at < out.size()) {
    const auto sent = transmit(std::string_view(out).substr(out_at));
    if (sent.state != Io::kDone) return sent.state;
    out_at += sent.bytes;
  }
  return Io::kDone;
}

ConnectionWriter::ConnectionWriter(Connection& connection, const ServerOptions& options,
                                   const Clock& clock, std::stop_token stop, bool draining)
    : connection_(connection),
      options_(options),
      clock_(clock),
      stop_(std::move(stop)),
      keep_alive_(!connection.close_after && !draining) {}

bool ConnectionWriter::send(Response response) {
  if (begun_ || finished_) return false;
  begun_ = finished_ = true;
  connection_.answered_status = response.status;
  connection_.close_after = !keep_alive_ || stop_.stop_requested();
  connection_.out = render(response, connection_, !connection_.close_after, clock_.now_ms());
  connection_.out_at = 0;
  broken_ = connection_.send_out() == Io::kClosed;
  if (broken_) {
    connection_.close_after = true;
    connection_.out.clear();
    connection_.out_at = 0;
  }
  return !broken_;
}

bool ConnectionWriter::begin(int status, const Headers& headers) {
  if (begun_ || finished_) return false;
  begun_ = true;
  connection_.answered_status = status;
  if (connection_.http_1_0) keep_alive_ = false;
  return send_all(
      render_head(status, headers, -1, keep_alive_, connection_.http_1_0, clock_.now_ms()));
}

bool ConnectionWriter::write(std::string_view piece) {
  if (!begun_ || finished_ || broken_) return false;
  if (piece.empty() || connection_.head_only) return true;
  if (connection_.http_1_0) return send_all(piece);
  std::string framed = fmt::format("{:x}\r\n", piece.size());
  framed += piece;
  framed += "\r\n";
  return send_all(framed);
}

bool ConnectionWriter::end() {
  if (!begun_ || finished_ || broken_) return false;
  finished_ = true;
  connection_.close_after = !keep_alive_;
  if (connection_.http_1_0 || connection_.head_only) return true;
  return send_all("0\r\n\r\n");
}

bool ConnectionWriter::client_gone() {
  pollfd poller{connection_.fd.get(), POLLRDHUP, 0};
  broken_ = broken_ || ::poll(&poller, 1, 0) > 0;
  return broken_;
}

bool ConnectionWriter::send_all(std::string_view data) {
  std::int64_t deadline = clock_.mono_ms() + options_.write_ms;
  while (!data.empty() && !broken_) {
    const auto sent = connection_.transmit(data);
    if (sent.state == Io::kDone) {
      data.remove_prefix(sent.bytes);
      deadline = clock_.mono_ms() + options_.write_ms;
    } else if (sent.state == Io::kClosed) {
      broken_ = true;
    } else {
      const short events = sent.state == Io::kWantRead ? POLLIN : POLLOUT;
      broken_ = !wait_for(connection_.fd.get(), events, {clock_, deadline, nullptr});
    }
  }
  return !broken_;
}

}  // namespace trimtab::net
