// Internal to base/net: the server's end of TLS (1.2 and newer).
//
// A session works on a non-blocking socket and never waits: it says which way the socket must be
// ready first. One thread at a time.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "base/result.h"

typedef struct ssl_st SSL;          // NOLINT: OpenSSL's own names
typedef struct ssl_ctx_st SSL_CTX;  // NOLINT

namespace trimtab::net {

enum class Io { kDone, kWantRead, kWantWrite, kClosed };
struct IoResult {
  Io state = Io::kClosed;
  std::size_t bytes = 0;  // with kDone
};

class TlsSession {
 public:
  TlsSession(SSL* ssl) : ssl_(ssl) {}  // owns it; NOLINT(google-explicit-constructor)
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;
  // The handshake happens inside the first calls.
  [[nodiscard]] IoResult receive(char* into, std::size_t size);
  [[nodiscard]] IoResult transmit(const char* data, std::size_t size);
  [[nodiscard]] bool established() const;

 private:
  [[nodiscard]] IoResult judge(int result, std::size_t bytes);
  SSL* ssl_;
  bool broken_ = false;
};

class TlsContext {
 public:
  // PEM files; the certificate's may hold its chain. kInvalid names the file that cannot be used.
  [[nodiscard]] static Result<std::unique_ptr<TlsContext>> load(const std::string& cert_file,
                                                                const std::string& key_file);
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;
  // nullptr when out of memory.
  [[nodiscard]] std::unique_ptr<TlsSession> session(int fd);

 private:
  explicit TlsContext(SSL_CTX* context) : context_(context) {}
  SSL_CTX* context_;
};

}  // namespace trimtab::net
