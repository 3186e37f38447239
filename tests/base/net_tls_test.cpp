// Server and client over TLS: names and chains are checked, and slow handshakes cost nothing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <memory>

#include "base/files.h"
#include "base/net/client.h"
#include "base/net/server.h"
#include "tests/base/net_raw_socket.h"

namespace trimtab::net {
namespace {

// A self-signed certificate for `subject_alt_name` ("IP:127.0.0.1"), as PEM files.
void write_certificate(const std::filesystem::path& cert, const std::filesystem::path& key,
                       const char* subject_alt_name) {
  std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> pair(EVP_EC_gen("P-256"), &EVP_PKEY_free);
  std::unique_ptr<X509, decltype(&X509_free)> x509(X509_new(), &X509_free);
  X509_set_version(x509.get(), 2);
  ASN1_INTEGER_set(X509_get_serialNumber(x509.get()), 1);
  X509_gmtime_adj(X509_getm_notBefore(x509.get()), -60);
  X509_gmtime_adj(X509_getm_notAfter(x509.get()), 3600);
  X509_set_pubkey(x509.get(), pair.get());
  X509_NAME* name = X509_get_subject_name(x509.get());
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                             reinterpret_cast<const unsigned char*>("trimtab test"), -1, -1, 0);
  X509_set_issuer_name(x509.get(), name);
  X509_EXTENSION* names =
      X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, subject_alt_name);
  X509_add_ext(x509.get(), names, -1);
  X509_EXTENSION_free(names);
  X509_sign(x509.get(), pair.get(), EVP_sha256());
  std::unique_ptr<FILE, int (*)(FILE*)> cert_file(std::fopen(cert.c_str(), "w"), &std::fclose);
  PEM_write_X509(cert_file.get(), x509.get());
  std::unique_ptr<FILE, int (*)(FILE*)> key_file(std::fopen(key.c_str(), "w"), &std::fclose);
  PEM_write_PrivateKey(key_file.get(), pair.get(), nullptr, nullptr, 0, nullptr, nullptr);
}

class TlsTest : public ::testing::Test {
 protected:
  void start(const char* name = "IP:127.0.0.1") {
    cert_ = folder_.path() / "cert.pem";
    key_ = folder_.path() / "key.pem";
    write_certificate(cert_, key_, name);
    ServerOptions options;
    options.tls_cert_file = cert_;
    options.tls_key_file = key_;
    options.head_ms = 500;
    options.body_limit_bytes = 32 << 20;
    server_ = std::make_unique<Server>(options, clock_);
    server_->post("/echo", [](const Request& r) { return text_response(200, r.body); });
    server_->stream("GET", "/pieces", [](const Request&, ResponseWriter& writer) {
      writer.begin(200, {});
      for (int i = 0; i < 100; ++i) writer.write(std::string(1000, 'p'));
      writer.end();
    });
    const auto started = server_->start();
    ASSERT_TRUE(started) << started.error().message;
    client_ = std::make_unique<Client>(
        ClientOptions{.total_ms = 10'000, .body_limit_bytes = 32 << 20, .ca_file = cert_}, clock_);
  }
  std::string url(const std::string& path, const std::string& host = "127.0.0.1") const {
    return "https://" + host + ":" + std::to_string(server_->port()) + path;
  }

  SystemClock clock_;
  TempFolder folder_{"tls"};
  std::string cert_, key_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<Client> client_;
};

TEST_F(TlsTest, BodiesOfEverySizePassAndConnectionsAreReused) {
  start();
  for (const std::size_t size : {0, 1, 16'383, 16'385, 70'000, 9'000'000}) {
    const auto answer = client_->post(url("/echo"), std::string(size, 'x'));
    ASSERT_TRUE(answer) << size << ": " << answer.error().message;
    EXPECT_EQ(answer->body.size(), size);
  }
  EXPECT_EQ(client_->get(url("/pieces"))->body.size(), 100'000U);
  EXPECT_EQ(server_->connections(), 1U);
}

TEST_F(TlsTest, AWrongNameAndAnUnknownIssuerAreRefused) {
  start("DNS:other.example");
  const auto wrong_name = client_->get(url("/echo"));
  ASSERT_FALSE(wrong_name);
  EXPECT_THAT(wrong_name.error().message, ::testing::HasSubstr("mismatch"));
  Client stranger({}, clock_);
  const auto unknown = stranger.get(url("/echo"));
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, Code::kUnavailable);
}

TEST_F(TlsTest, PlainAndHalfHandshakesAreCutOff) {
  start();
  RawSocket plain(server_->port());
  plain.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  plain.read();
  EXPECT_FALSE(plain.timed_out());
  RawSocket half(server_->port());
  half.send("\x16\x03\x01\x02");
  half.read();
  EXPECT_FALSE(half.timed_out());
  EXPECT_EQ(client_->post(url("/echo"), "x")->body, "x");
}

TEST_F(TlsTest, FilesThatCannotBeUsedAreNamed) {
  start();
  ServerOptions options;
  options.tls_cert_file = key_;
  options.tls_key_file = key_;
  Server broken(options, clock_);
  const auto started = broken.start();
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, Code::kInvalid);
  EXPECT_THAT(started.error().message, ::testing::HasSubstr(key_));
}

}  // namespace
}  // namespace trimtab::net
