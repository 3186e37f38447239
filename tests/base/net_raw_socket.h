// A client without manners, for tests: it sends what it is told, byte by byte if asked.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <string_view>

namespace trimtab::net {

class RawSocket {
 public:
  explicit RawSocket(int port, int receive_buffer = 0) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_buffer > 0) {
      ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected_ = ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  RawSocket(RawSocket&& other) noexcept : fd_(other.fd_), connected_(other.connected_) {
    other.fd_ = -1;
  }
  ~RawSocket() { close(); }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  [[nodiscard]] bool connected() const { return connected_; }

  // False once the peer has reset the connection.
  bool send(std::string_view data) {
    while (!data.empty()) {
      const auto sent = ::send(fd_, data.data(), data.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      data.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }
  // Everything until the peer closes, or `limit` bytes, or no byte for `wait_ms`.
  std::string read(std::size_t limit = 1 << 20, int wait_ms = 5000) {
    std::string out;
    char buffer[4096];
    while (out.size() < limit) {
      pollfd poller{fd_, POLLIN, 0};
      if (::poll(&poller, 1, wait_ms) <= 0) {
        timed_out_ = true;
        break;
      }
      const auto got = ::recv(fd_, buffer, sizeof buffer, 0);
      if (got <= 0) break;
      out.append(buffer, static_cast<std::size_t>(got));
    }
    return out;
  }
  // Until `end` has come.
  std::string read_until(std::string_view end, int wait_ms = 5000) {
    std::string out;
    while (!out.ends_with(end)) {
      const std::string more = read(1, wait_ms);
      if (more.empty()) break;
      out += more;
    }
    return out;
  }
  [[nodiscard]] bool timed_out() const { return timed_out_; }

 private:
  int fd_;
  bool connected_ = false;
  bool timed_out_ = false;
};

}  // namespace trimtab::net
