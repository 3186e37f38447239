// The client against servers that behave badly, and its reuse of connections.
#include "base/net/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <thread>

#include "base/net/server.h"
#include "base/net/socket.h"

namespace trimtab::net {
namespace {

using ::testing::HasSubstr;

// Accepts connections one after another and answers each with fixed bytes, whatever is asked.
class FixedServer {
 public:
  // `hold_open`: do not close after the bytes.
  explicit FixedServer(std::vector<std::string> answers, bool hold_open = false)
      : listener_(*listen_tcp("127.0.0.1", port_)),
        thread_([this, answers = std::move(answers), hold_open](std::stop_token stop) {
          const Wait forever{clock_, clock_.mono_ms() + 20'000, nullptr};
          std::vector<Fd> open;
          for (const auto& answer : answers) {
            std::string peer;
            int error = 0;
            Fd fd;
            while (!fd && !stop.stop_requested()) {
              static_cast<void>(
                  wait_for(listener_.get(), POLLIN, {clock_, clock_.mono_ms() + 50, nullptr}));
              fd = accept_tcp(listener_, peer, error);
            }
            if (!fd) return;
            static_cast<void>(wait_for(fd.get(), POLLIN, forever));
            char buffer[4096];
            static_cast<void>(::recv(fd.get(), buffer, sizeof buffer, 0));
            static_cast<void>(::send(fd.get(), answer.data(), answer.size(), MSG_NOSIGNAL));
            if (hold_open) open.push_back(std::move(fd));
          }
          while (hold_open && !stop.stop_requested()) clock_.sleep_ms(20, stop);
        }) {}
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/"; }

 private:
  SystemClock clock_;
  int port_ = 0;
  Fd listener_;
  std::jthread thread_;
};

class ClientTest : public ::testing::Test {
 protected:
  SystemClock clock_;
  Client client_{
      {.connect_ms = 1000, .silence_ms = 300, .total_ms = 1000, .body_limit_bytes = 10'000},
      clock_};
};

TEST_F(ClientTest, ParsesUrlsStrictly) {
  const auto url = parse_url("https://[::1]:8443/a?b=c#d");
  ASSERT_TRUE(url);
  EXPECT_EQ(url->host, "::1");
  EXPECT_EQ(url->port, 8443);
  EXPECT_EQ(url->target, "/a?b=c");
  EXPECT_EQ(url->origin(), "https://[::1]:8443");
  EXPECT_EQ(parse_url("http://host")->port, 80);
  EXPECT_EQ(parse_url("http://host?x")->target, "/?x");
  for (const char* bad :
       {"", "host", "ftp://host/", "http://", "http://user:pw@host/", "http://host:0/",
        "http://host:65536/", "http://host:/", "http://[::1/", "http://ho st/", "http://host/\n"}) {
    EXPECT_FALSE(parse_url(bad)) << bad;
  }
}

TEST_F(ClientTest, AnswersOfEveryFramingAreRead) {
  FixedServer server(
      {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
       "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
       "HTTP/1.1 200 OK\r\n\r\nabc", "HTTP/1.0 200 OK\r\n\r\nabc",
       "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"});
  for (int i = 0; i < 5; ++i) {
    const auto answer = client_.get(server.url());
    ASSERT_TRUE(answer) << i << ": " << answer.error().message;
    EXPECT_EQ(answer->body, "abc") << i;
  }
}

TEST_F(ClientTest, BrokenAnswersAreErrorsNeverHalfAnAnswer) {
  const std::vector<std::pair<std::string, Code>> cases = {
      {"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\nabc", Code::kUnavailable},
      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", Code::kUnavailable},
      {"HTTP/1.1 200 OK\r\nContent-Le", Code::kUnavailable},
      {"", Code::kUnavailable},
      {"SSH-2.0-OpenSSH\r\n\r\n", Code::kInvalid},
      {"HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n", Code::kExhausted},
      {"HTTP/1.1 200 OK\r\n\r\n" + std::string(20'000, 'x'), Code::kExhausted},
      {"HTTP/1.1 200 OK\r\nX: " + std::string(200'000, 'x'), Code::kExhausted}};
  std::vector<std::string> answers;
  for (const auto& [bytes, code] : cases) answers.push_back(bytes);
  FixedServer server(answers);
  for (const auto& [bytes, code] : cases) {
    ClientRequest request;
    request.method = "POST";
    request.url = server.url();
    const auto answer = client_.send(request);
    ASSERT_FALSE(answer) << bytes.substr(0, 60);
    EXPECT_EQ(answer.error().code, code) << bytes.substr(0, 60) << answer.error().message;
  }
}

TEST_F(ClientTest, DeadlinesHold) {
  FixedServer silent({"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\nabc", ""}, true);
  for (int i = 0; i < 2; ++i) {
    const auto before = clock_.mono_ms();
    const auto answer = client_.get(silent.url());
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().code, Code::kTimeout);
    EXPECT_LT(clock_.mono_ms() - before, 900);
  }
  const auto refused = client_.get("http://127.0.0.1:1/");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnavailable);
  EXPECT_THAT(refused.error().message, HasSubstr("http://127.0.0.1:1"));
#if !defined(__SANITIZE_THREAD__)  // glibc's look-up threads crash under it
  ClientRequest request;
  request.url = "http://name.invalid/";
  request.connect_ms = 500;
  const auto before = clock_.mono_ms();
  EXPECT_FALSE(client_.send(request));
  EXPECT_LT(clock_.mono_ms() - before, 2000);
#endif
}

TEST_F(ClientTest, ACancelledWaitEnds) {
  FixedServer silent({""}, true);
  ClientRequest request;
  request.url = silent.url();
  request.silence_ms = request.total_ms = 60'000;
  const auto before = clock_.mono_ms();
  request.cancelled = [&] { return clock_.mono_ms() - before > 100; };
  const auto answer = client_.send(request);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Code::kTimeout);
  EXPECT_LT(clock_.mono_ms() - before, 2000);
}

TEST_F(ClientTest, HeadersCannotSplitARequest) {
  const auto answer = client_.get("http://127.0.0.1:1/", {{"X", "a\r\nY: b"}});
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, Code::kInvalid);
}

TEST_F(ClientTest, ReusesConnectionsAndReplacesStaleOnes) {
  std::atomic<int> served{0};
  auto make = [&](int port) {
    auto server = std::make_unique<Server>(ServerOptions{.port = port}, clock_);
    server->get("/", [&](const Request&) {
      ++served;
      return text_response(200, "x");
    });
    return server;
  };
  auto server = make(0);
  ASSERT_TRUE(server->start());
  const int port = server->port();
  const std::string url = "http://127.0.0.1:" + std::to_string(port) + "/";
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(client_.get(url));
  EXPECT_EQ(server->connections(), 1U);
  server->stop();
  server = make(port);  // the kept connection is dead now
  ASSERT_TRUE(server->start());
  EXPECT_TRUE(client_.get(url));
  EXPECT_EQ(served.load(), 101);
}

TEST_F(ClientTest, PiecesComeAsTheyAreSent) {
  Server server({}, clock_);
  std::atomic<int> seen{0};
  server.stream("GET", "/", [&](const Request&, ResponseWriter& writer) {
    SseWriter events(writer);
    for (int i = 0; i < 5; ++i) {
      // The next event is sent only once this one has been seen: nothing may be held back.
      while (seen.load() < i) std::this_thread::yield();
      events.event("n", std::to_string(i) + "\nsecond");
    }
    writer.end();
  });
  ASSERT_TRUE(server.start());
  SseParser parser;
  ClientRequest request;
  request.url = "http://127.0.0.1:" + std::to_string(server.port()) + "/";
  const auto answer = client_.stream(request, [&](std::string_view piece) {
    return parser.feed(piece, [&](const SseParser::Event& event) {
      EXPECT_EQ(event.data, std::to_string(seen.load()) + "\nsecond");
      EXPECT_EQ(event.name, "n");
      ++seen;
    });
  });
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(seen.load(), 5);
}

TEST_F(ClientTest, SseParserIsBoundedAndSplitsAnywhere) {
  const std::string text = ": c\r\ndata: a\r\ndata:b\r\n\r\nevent: x\nid: 9\ndata: {\"k\":1}\n\n";
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    SseParser parser;
    std::vector<std::string> data;
    const auto on_event = [&](const SseParser::Event& event) { data.push_back(event.data); };
    ASSERT_TRUE(parser.feed(std::string_view(text).substr(0, cut), on_event));
    ASSERT_TRUE(parser.feed(std::string_view(text).substr(cut), on_event));
    EXPECT_EQ(data, (std::vector<std::string>{"a\nb", "{\"k\":1}"})) << cut;
  }
  SseParser parser;
  EXPECT_FALSE(parser.feed(
      "data: " + std::string(200, 'x'), [](const auto&) {}, 100));
}

}  // namespace
}  // namespace trimtab::net
