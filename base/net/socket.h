// Internal to base/net: file descriptors, listening, connecting, and byte streams with deadlines.
//
// Deadlines are Clock::mono_ms() values. Waiting polls in slices of at most 100 ms, so that a moved
// clock, a stop or a cancellation is noticed. SIGPIPE is never raised (MSG_NOSIGNAL).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "base/clock.h"
#include "base/net/message.h"
#include "base/result.h"

namespace trimtab::net {

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() { reset(); }
  void reset();
  [[nodiscard]] int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// A non-blocking listening socket; `port` becomes the real one.
[[nodiscard]] Result<Fd> listen_tcp(const std::string& host, int& port);
// Without a descriptor when nobody is waiting. `peer` gets the numeric address.
[[nodiscard]] Fd accept_tcp(const Fd& listener, std::string& peer, int& error);

// OpenSSL writes with write(2), which raises SIGPIPE on a closed connection. Once a process.
void ignore_sigpipe();

struct Wait {
  const Clock& clock;
  std::int64_t deadline_ms;
  const std::function<bool()>* cancelled = nullptr;
};
// True when `events` (POLLIN, POLLOUT) are there; kTimeout else.
[[nodiscard]] Status wait_for(int fd, short events, const Wait& wait);

// A connected byte stream: plain TCP, or TLS over it.
class Transport {
 public:
  virtual ~Transport() = default;
  // Appends what has arrived (at least a byte) to `into`; false = the peer closed.
  [[nodiscard]] virtual Result<bool> read(std::string& into, const Wait& wait) = 0;
  [[nodiscard]] virtual Status write(std::string_view data, const Wait& wait) = 0;
  // Idle and alive: nothing to read, not closed.
  [[nodiscard]] virtual bool reusable() = 0;
};

[[nodiscard]] Result<std::unique_ptr<Transport>> connect_to(const Url& url, const Wait& wait,
                                                            const std::string& ca_file);

}  // namespace trimtab::net
