#include "base/net/socket.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <mutex>

namespace trimtab::net {
namespace {

std::string errno_text(int number) {
  std::array<char, 128> buffer{};
  return strerror_r(number, buffer.data(), buffer.size());
}

std::string address_text(const sockaddr_storage& address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address.ss_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&address);
    inet_ntop(AF_INET, &v4->sin_addr, text.data(), text.size());
  } else {
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&address);
    inet_ntop(AF_INET6, &v6->sin6_addr, text.data(), text.size());
  }
  return text.data();
}

int port_of(const sockaddr_storage& address) {
  return address.ss_family == AF_INET
             ? ntohs(reinterpret_cast<const sockaddr_in*>(&address)->sin_port)
             : ntohs(reinterpret_cast<const sockaddr_in6*>(&address)->sin6_port);
}

void no_delay(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

using Addresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

// A look-up that outlives its caller's patience must keep its memory: getaddrinfo_a's worker thread
// still writes to it. So it is shared, and the late answer is dropped with it.
struct Lookup {
  std::string host, port;
  addrinfo hints{};
  gaicb request{};
};

Result<Addresses> look_up(const std::string& host, int port, const Wait& wait) {
  auto lookup = std::make_unique<Lookup>();
  lookup->host = host;
  lookup->port = std::to_string(port);
  lookup->hints.ai_socktype = SOCK_STREAM;
  lookup->hints.ai_flags = AI_NUMERICSERV;
  lookup->request.ar_name = lookup->host.c_str();
  lookup->request.ar_service = lookup->port.c_str();
  lookup->request.ar_request = &lookup->hints;
  gaicb* list[] = {&lookup->request};
  if (getaddrinfo_a(GAI_NOWAIT, list, 1, nullptr) != 0) {
    return fail(Code::kUnavailable, host + ": cannot start a name look-up");
  }
  int state = EAI_INPROGRESS;
  while ((state = gai_error(&lookup->request)) == EAI_INPROGRESS) {
    const bool cancelled = wait.cancelled != nullptr && *wait.cancelled && (*wait.cancelled)();
    if (cancelled || wait.clock.mono_ms() >= wait.deadline_ms) {
      if (gai_cancel(&lookup->request) == EAI_NOTCANCELED) {
        static_cast<void>(lookup.release());  // the resolver's thread still owns it: see above
      }
      return fail(Code::kTimeout, host + ": the name look-up took too long");
    }
    const timespec slice{0, 20'000'000};
    const gaicb* waiting[] = {&lookup->request};
    gai_suspend(waiting, 1, &slice);
  }
  if (state != 0) return fail(Code::kUnavailable, host + ": " + gai_strerror(state));
  return Addresses(lookup->request.ar_result, &freeaddrinfo);
}

Result<Addresses> resolve(const std::string& host, int port, const Wait& wait) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const std::string name = host == "localhost" ? "127.0.0.1" : host;
  if (getaddrinfo(name.c_str(), std::to_string(port).c_str(), &hints, &found) == 0) {
    return Addresses(found, &freeaddrinfo);
  }
  return look_up(host, port, wait);
}

Result<Fd> connect_tcp(const Url& url, const Wait& wait) {
  TRIMTAB_TRY(const auto addresses, resolve(url.host, url.port, wait));
  std::string why = "no address";
  for (const addrinfo* at = addresses.get(); at != nullptr; at = at->ai_next) {
    Fd fd(::socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) {
      why = errno_text(errno);
      continue;
    }
    no_delay(fd.get());
    if (::connect(fd.get(), at->ai_addr, at->ai_addrlen) != 0 && errno != EINPROGRESS) {
      why = errno_text(errno);
      continue;
    }
    auto ready = wait_for(fd.get(), POLLOUT, wait);
    if (!ready) return fail(ready.error().code, "no connection within the deadline");
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error == 0) return fd;
    why = errno_text(error);
  }
  return fail(Code::kUnavailable, "cannot connect: " + why);
}

constexpr std::size_t kPiece = 64 << 10;

bool socket_is_quiet(int fd) {
  char byte = 0;
  const auto got = ::recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

class PlainTransport final : public Transport {
 public:
  explicit PlainTransport(Fd fd) : fd_(std::move(fd)) {}

  Result<bool> read(std::string& into, const Wait& wait) override {
    const std::size_t before = into.size();
    into.resize(before + kPiece);
    for (;;) {
      const auto got = ::recv(fd_.get(), into.data() + before, kPiece, 0);
      into.resize(before + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
      if (got >= 0) return got > 0;
      if (errno != EAGAIN && errno != EINTR) {
        return fail(Code::kUnavailable, "connection lost: " + errno_text(errno));
      }
      TRIMTAB_CHECK_OK(wait_for(fd_.get(), POLLIN, wait));
      into.resize(before + kPiece);
    }
  }

  Status write(std::string_view data, const Wait& wait) override {
    while (!data.empty()) {
      const auto sent = ::send(fd_.get(), data.data(), data.size(), MSG_NOSIGNAL);
      if (sent >= 0) {
        data.remove_prefix(static_cast<std::size_t>(sent));
      } else if (errno == EAGAIN || errno == EINTR) {
        TRIMTAB_CHECK_OK(wait_for(fd_.get(), POLLOUT, wait));
      } else {
        return fail(Code::kUnavailable, "connection lost: " + errno_text(errno));
      }
    }
    return {};
  }

  bool reusable() override { return socket_is_quiet(fd_.get()); }

 private:
  Fd fd_;
};

struct SslFree {
  void operator()(SSL* ssl) const { SSL_free(ssl); }
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};

std::string tls_error(SSL* ssl) {
  const long verify = ssl != nullptr ? SSL_get_verify_result(ssl) : X509_V_OK;
  if (verify != X509_V_OK) return X509_verify_cert_error_string(verify);
  const auto code = ERR_get_error();
  ERR_clear_error();
  if (code == 0) return "connection closed";
  std::array<char, 256> text{};
  ERR_error_string_n(code, text.data(), text.size());
  return text.data();
}

class TlsTransport final : public Transport {
 public:
  static Result<std::unique_ptr<Transport>> open(Fd fd, const Url& url, const Wait& wait,
                                                 const std::string& ca_file) {
    auto transport = std::make_unique<TlsTransport>();
    transport->fd_ = std::move(fd);
    auto& context = transport->context_;
    context.reset(SSL_CTX_new(TLS_client_method()));
    if (!context) return fail(Code::kInternal, "TLS: " + tls_error(nullptr));
    SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
    SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
    const int loaded = ca_file.empty()
                           ? SSL_CTX_set_default_verify_paths(context.get())
                           : SSL_CTX_load_verify_locations(context.get(), ca_file.c_str(), nullptr);
    if (loaded != 1) {
      ERR_clear_error();
      return fail(Code::kInvalid, ca_file + ": cannot be read as PEM certificates");
    }
    TRIMTAB_CHECK_OK(transport->handshake(url, wait));
    return std::unique_ptr<Transport>(std::move(transport));
  }

  Result<bool> read(std::string& into, const Wait& wait) override {
    const std::size_t before = into.size();
    into.resize(before + kPiece);
    std::size_t got = 0;
    auto status =
        run([&] { return SSL_read_ex(ssl_.get(), into.data() + before, kPiece, &got); }, wait);
    into.resize(before + got);
    if (status) return true;
    if (closed_) return false;
    return tl::unexpected<Error>(status.error());
  }

  Status write(std::string_view data, const Wait& wait) override {
    while (!data.empty()) {
      std::size_t sent = 0;
      TRIMTAB_CHECK_OK(
          run([&] { return SSL_write_ex(ssl_.get(), data.data(), data.size(), &sent); }, wait));
      data.remove_prefix(sent);
    }
    return {};
  }

  bool reusable() override { return SSL_pending(ssl_.get()) == 0 && socket_is_quiet(fd_.get()); }

 private:
  Status handshake(const Url& url, const Wait& wait) {
    ssl_.reset(SSL_new(context_.get()));
    if (!ssl_) return fail(Code::kInternal, "TLS: " + tls_error(nullptr));
    SSL_set_mode(ssl_.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_set_fd(ssl_.get(), fd_.get());
    auto* verify = SSL_get0_param(ssl_.get());
    if (X509_VERIFY_PARAM_set1_ip_asc(verify, url.host.c_str()) != 1) {
      ERR_clear_error();
      SSL_set_tlsext_host_name(ssl_.get(), url.host.c_str());
      X509_VERIFY_PARAM_set_hostflags(verify, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
      if (X509_VERIFY_PARAM_set1_host(verify, url.host.c_str(), 0) != 1) {
        return fail(Code::kInvalid, "TLS: bad host name");
      }
    }
    return run([&] { return SSL_connect(ssl_.get()); }, wait);
  }

  // Repeats an OpenSSL call until it succeeds (1), waiting for what it asks for.
  template <typename Call>
  Status run(Call&& call, const Wait& wait) {
    for (;;) {
      ERR_clear_error();
      const int result = call();
      if (result == 1) return {};
      const int why = SSL_get_error(ssl_.get(), result);
      if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) {
        TRIMTAB_CHECK_OK(wait_for(fd_.get(), why == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, wait));
        continue;
      }
      closed_ = why == SSL_ERROR_ZERO_RETURN;
      return fail(Code::kUnavailable, "TLS: " + tls_error(ssl_.get()));
    }
  }

  Fd fd_;
  std::unique_ptr<SSL_CTX, SslFree> context_;
  std::unique_ptr<SSL, SslFree> ssl_;
  bool closed_ = false;
};

}  // namespace

void Fd::reset() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

void ignore_sigpipe() {
  static std::once_flag once;
  std::call_once(once, [] { std::signal(SIGPIPE, SIG_IGN); });
}

Result<Fd> listen_tcp(const std::string& host, int& port) {
  const std::string where = host + ":" + std::to_string(port);
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE;
  addrinfo* found = nullptr;
  const std::string name = host == "localhost" ? "127.0.0.1" : host;
  if (getaddrinfo(name.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) {
    return fail(Code::kInvalid, where + ": give a numeric address of this machine to listen on");
  }
  const Addresses addresses(found, &freeaddrinfo);
  Fd fd(::socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return fail(Code::kIo, where + ": " + errno_text(errno));
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(fd.get(), found->ai_addr, found->ai_addrlen) != 0 || ::listen(fd.get(), 512) != 0) {
    const int error = errno;
    if (error == EADDRINUSE) {
      return fail(Code::kConflict,
                  where + ": address in use; stop the other process or choose another port");
    }
    return fail(Code::kIo, where + ": cannot listen: " + errno_text(error));
  }
  sockaddr_storage real{};
  socklen_t size = sizeof real;
  ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&real), &size);
  port = port_of(real);
  return fd;
}

Fd accept_tcp(const Fd& listener, std::string& peer, int& error) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  Fd fd(::accept4(listener.get(), reinterpret_cast<sockaddr*>(&address), &size,
                  SOCK_NONBLOCK | SOCK_CLOEXEC));
  error = fd ? 0 : errno;
  if (fd) {
    no_delay(fd.get());
    peer = address_text(address);
  }
  return fd;
}

Status wait_for(int fd, short events, const Wait& wait) {
  for (;;) {
    if (wait.cancelled != nullptr && *wait.cancelled && (*wait.cancelled)()) {
      return fail(Code::kTimeout, "cancelled");
    }
    const std::int64_t left = wait.deadline_ms - wait.clock.mono_ms();
    if (left <= 0) return fail(Code::kTimeout, "no answer within the deadline");
    pollfd poller{fd, events, 0};
    const int ready = ::poll(&poller, 1, static_cast<int>(std::min<std::int64_t>(left, 100)));
    if (ready > 0) return {};
    if (ready < 0 && errno != EINTR) return fail(Code::kIo, "poll: " + errno_text(errno));
  }
}

Result<std::unique_ptr<Transport>> connect_to(const Url& url, const Wait& wait,
                                              const std::string& ca_file) {
  TRIMTAB_TRY(auto fd, connect_tcp(url, wait));
  if (url.scheme == "https") return TlsTransport::open(std::move(fd), url, wait, ca_file);
  return std::unique_ptr<Transport>(std::make_unique<PlainTransport>(std::move(fd)));
}

}  // namespace trimtab::net
