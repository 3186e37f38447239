#include "base/net/server_tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <array>

namespace trimtab::net {
namespace {

std::string openssl_reason() {
  const auto code = ERR_get_error();
  ERR_clear_error();
  std::array<char, 256> text{};
  ERR_error_string_n(code, text.data(), text.size());
  return text.data();
}

}  // namespace

TlsSession::~TlsSession() {
  ERR_clear_error();
  if (!broken_ && SSL_is_init_finished(ssl_) != 0) SSL_shutdown(ssl_);  // says that all was said
  ERR_clear_error();
  SSL_free(ssl_);
}

bool TlsSession::established() const { return SSL_is_init_finished(ssl_) != 0; }

IoResult TlsSession::receive(char* into, std::size_t size) {
  ERR_clear_error();
  std::size_t got = 0;
  const int result = SSL_read_ex(ssl_, into, size, &got);
  return judge(result, got);
}

IoResult TlsSession::transmit(const char* data, std::size_t size) {
  ERR_clear_error();
  std::size_t sent = 0;
  const int result = SSL_write_ex(ssl_, data, size, &sent);
  return judge(result, sent);
}

IoResult TlsSession::judge(int result, std::size_t bytes) {
  if (result == 1) return {Io::kDone, bytes};
  const int why = SSL_get_error(ssl_, result);
  if (why == SSL_ERROR_WANT_READ) return {Io::kWantRead, 0};
  if (why == SSL_ERROR_WANT_WRITE) return {Io::kWantWrite, 0};
  broken_ = why != SSL_ERROR_ZERO_RETURN;
  return {Io::kClosed, 0};
}

Result<std::unique_ptr<TlsContext>> TlsContext::load(const std::string& cert_file,
                                                     const std::string& key_file) {
  std::unique_ptr<TlsContext> made(new TlsContext(SSL_CTX_new(TLS_server_method())));
  SSL_CTX* context = made->context_;
  if (context == nullptr) return fail(Code::kInternal, "TLS: " + openssl_reason());
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);  // bounded: tickets are enough
  ERR_clear_error();
  if (SSL_CTX_use_certificate_chain_file(context, cert_file.c_str()) != 1) {
    return fail(Code::kInvalid, cert_file + ": cannot be used as certificate: " + openssl_reason());
  }
  if (SSL_CTX_use_PrivateKey_file(context, key_file.c_str(), SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(context) != 1) {
    return fail(Code::kInvalid,
                key_file + ": cannot be used as the certificate's key: " + openssl_reason());
  }
  return made;
}

TlsContext::~TlsContext() { SSL_CTX_free(context_); }

std::unique_ptr<TlsSession> TlsContext::session(int fd) {
  SSL* ssl = SSL_new(context_);
  if (ssl == nullptr) return nullptr;
  SSL_set_fd(ssl, fd);
  SSL_set_accept_state(ssl);
  return std::make_unique<TlsSession>(ssl);
}

}  // namespace trimtab::net
