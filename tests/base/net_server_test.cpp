// The server against clients that behave badly: OPERATIONS.md section 2, fault 15.
#include "base/net/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/json.h"
#include "base/net/client.h"
#include "tests/base/net_raw_socket.h"

namespace trimtab::net {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// A server with short deadlines and an echo, a slow, a broken and a health route.
class ServerTest : public ::testing::Test {
 protected:
  void start(ServerOptions options = {}) {
    options.name = "test";
    server_ = std::make_unique<Server>(options, clock_);
    server_->post("/echo", [](const Request& r) { return text_response(200, r.body); });
    server_->get("/who", [](const Request& r) {
      return json_response(200, {{"peer", r.peer}, {"route", r.route}});
    });
    server_->get("/jobs/{id}", [](const Request& r) {
      return text_response(200, "job " + std::string(r.param("id")));
    });
    server_->post("/jobs/{id}:cancel", [](const Request& r) {
      return text_response(200, "cancel " + std::string(r.param("id")));
    });
    server_->get("/files/{rest...}",
                 [](const Request& r) { return text_response(200, std::string(r.param("rest"))); });
    server_->get("/throws",
                 [](const Request&) -> Response { throw std::runtime_error("secret text"); });
    server_->get("/big",
                 [](const Request&) { return text_response(200, std::string(8 << 20, 'x')); });
    server_->get("/blocks", [this](const Request&) {
      entered_.fetch_add(1);
      while (!released_.load()) clock_.sleep_ms(5);
      return text_response(200, "done");
    });
    server_->stream("GET", "/events",
                    [](const Request&, ResponseWriter& writer) {
                      SseWriter events(writer);
                      events.event("hello", "line 1\nline 2", "7");
                      while (!writer.stop_token().stop_requested() && !writer.client_gone()) {
                        SystemClock().sleep_ms(10, writer.stop_token());
                      }
                    },
                    {.run = Run::kWaiting});
    server_->stream("GET", "/half", [](const Request&, ResponseWriter& writer) {
      writer.begin(200, {});
      writer.write("half");
    });
    server_->get("/healthz", [](const Request&) { return text_response(200, "ok"); },
                 {.run = Run::kInline});
    const auto started = server_->start();
    ASSERT_TRUE(started) << started.error().message;
  }
  void TearDown() override {
    released_ = true;
    if (server_) server_->stop();
  }
  std::string url(const std::string& path) const {
    return "http://127.0.0.1:" + std::to_string(server_->port()) + path;
  }
  RawSocket raw(int receive_buffer = 0) const { return RawSocket(server_->port(), receive_buffer); }
  // One request on a connection of its own; the whole answer.
  std::string exchange(std::string_view bytes) const {
    auto socket = raw();
    socket.send(bytes);
    return socket.read();
  }
  std::int64_t health_ms() {
    const auto before = clock_.mono_ms();
    const auto answer = client_.get(url("/healthz"));
    EXPECT_TRUE(answer && answer->status == 200);
    return clock_.mono_ms() - before;
  }

  SystemClock clock_;
  Client client_{{}, clock_};
  std::unique_ptr<Server> server_;
  std::atomic<bool> released_{false};
  std::atomic<int> entered_{0};
};

TEST_F(ServerTest, RoutesByTheMostLiteralPattern) {
  start();
  EXPECT_EQ(client_.get(url("/jobs/job-1"))->body, "job job-1");
  EXPECT_EQ(client_.get(url("/jobs/a%2Fb%20c"))->body, "job a/b c");
  EXPECT_EQ(client_.post(url("/jobs/job-1:cancel"), "")->body, "cancel job-1");
  EXPECT_EQ(client_.get(url("/files/a/b/c"))->body, "a/b/c");
  const auto unknown = client_.get(url("/nothing"));
  EXPECT_EQ(unknown->status, 404);
  EXPECT_EQ(unknown->headers.get("content-type"), "application/problem+json");
  const auto body = parse_json(unknown->body);
  ASSERT_TRUE(body);
  EXPECT_EQ(json_or<int>(*body, "status", 0), 404);
  const auto wrong_method = client_.get(url("/echo"));
  EXPECT_EQ(wrong_method->status, 405);
  EXPECT_EQ(wrong_method->headers.get("Allow"), "POST");
  EXPECT_EQ(client_.get(url("/files/../etc"))->status, 400);
  EXPECT_EQ(client_.get(url("/files/%2e%2e/etc"))->status, 400);
  EXPECT_EQ(client_.get(url("/files/%zz"))->status, 400);
  EXPECT_EQ(client_.get(url("/files/%00"))->status, 400);
}

TEST_F(ServerTest, KeepsConnectionsAliveAndAnswersPipelinedRequestsInOrder) {
  start();
  auto socket = raw();
  std::string many;
  for (int i = 0; i < 2000; ++i) {
    many += i % 2 == 0 ? "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
                       : "GET /jobs/" + std::to_string(i) + " HTTP/1.1\r\nHost: a\r\n\r\n";
  }
  many += "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
  std::thread sender([&] { socket.send(many); });
  const std::string answers = socket.read(16 << 20);
  sender.join();
  EXPECT_FALSE(socket.timed_out());
  std::size_t at = 0;
  for (int i = 1; i < 2000; i += 2) {
    at = answers.find("job " + std::to_string(i), at);
    ASSERT_NE(at, std::string::npos) << i;
  }
}

TEST_F(ServerTest, HeadHasNoBodyButItsLength) {
  start();
  const auto answer = exchange("HEAD /jobs/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(answer, HasSubstr("Content-Length: 5\r\n"));
  EXPECT_TRUE(answer.ends_with("\r\n\r\n"));
}

TEST_F(ServerTest, SlowlorisIsAnsweredAndNeverHoldsAWorker) {
  start({.workers = 2, .head_ms = 300, .request_ms = 600});
  std::vector<RawSocket> slow;
  for (int i = 0; i < 64; ++i) {
    slow.push_back(raw());
    slow.back().send(i % 2 == 0 ? "GET /echo HTTP/1.1\r\nHost: a\r\nX-Slow: "
                                : "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nx");
  }
  EXPECT_LT(health_ms(), 1000);
  EXPECT_EQ(client_.post(url("/echo"), "quick")->body, "quick");
  for (auto& socket : slow) EXPECT_THAT(socket.read(), StartsWith("HTTP/1.1 408 "));
  EXPECT_EQ(client_.post(url("/echo"), "quick")->body, "quick");
}

TEST_F(ServerTest, ADripOfBytesDoesNotExtendTheDeadline) {
  start({.head_ms = 300});
  auto socket = raw();
  bool alive = socket.send("GET /who HTTP/1.1\r\n");
  const auto before = clock_.mono_ms();
  while (alive && clock_.mono_ms() - before < 5000) {
    alive = socket.send("a");
    pollfd unused{};
    ::poll(&unused, 0, 20);
    if (!socket.read(1, 0).empty()) break;
  }
  EXPECT_LT(clock_.mono_ms() - before, 2000);
}

TEST_F(ServerTest, BusyHandlersDoNotStarveHealthAndTheQueueIsBounded) {
  start({.workers = 2, .queue = 3});
  std::vector<RawSocket> busy;
  for (int i = 0; i < 8; ++i) {
    busy.push_back(raw());
    busy.back().send("GET /blocks HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  }
  while (entered_.load() < 2) std::this_thread::yield();
  EXPECT_LT(health_ms(), 1000);
  // 2 run, 3 wait, 3 are refused at once.
  int refused = 0;
  for (auto& socket : busy) {
    const auto early = socket.read(1 << 20, 200);
    if (early.starts_with("HTTP/1.1 503 ")) {
      ++refused;
      EXPECT_THAT(early, HasSubstr("Retry-After: 1"));
    }
  }
  EXPECT_EQ(refused, 3);
  released_ = true;
}

TEST_F(ServerTest, WaitingThreadsAreBounded) {
  start({.waiting_max = 4});
  std::vector<RawSocket> open;
  for (int i = 0; i < 4; ++i) {
    open.push_back(raw());
    open.back().send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
    EXPECT_THAT(open.back().read_until("line 2\n\n\r\n"),
                HasSubstr("event: hello\ndata: line 1\n"));
  }
  EXPECT_EQ(client_.get(url("/events"))->status, 503);
  EXPECT_EQ(client_.post(url("/echo"), "still")->body, "still");
  open.clear();  // a closed page gives its thread back
  const auto before = clock_.mono_ms();
  int status = 503;
  while (status == 503 && clock_.mono_ms() - before < 5000) {
    auto socket = raw();
    socket.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
    status = std::stoi(socket.read_until(" 200 ", 100).empty() ? "503" : "200");
  }
  EXPECT_EQ(status, 200);
}

TEST_F(ServerTest, BodiesAreBoundedHoweverTheyAreSent) {
  start({.body_limit_bytes = 1000});
  EXPECT_EQ(client_.post(url("/echo"), std::string(1000, 'x'))->body.size(), 1000U);
  EXPECT_EQ(client_.post(url("/echo"), std::string(1001, 'x'))->status, 413);
  const std::string head = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
  EXPECT_THAT(exchange(head + "3\r\nabc\r\n0\r\nX-Trailer: 1\r\nConnection: close\r\n\r\n"
                              "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
              HasSubstr("abc"));
  std::string bomb;
  for (int i = 0; i < 11; ++i) bomb += "64\r\n" + std::string(100, 'x') + "\r\n";
  EXPECT_THAT(exchange(head + bomb), StartsWith("HTTP/1.1 413 "));
  EXPECT_THAT(exchange(head + "ffffffffff\r\n"), StartsWith("HTTP/1.1 413 "));
  EXPECT_THAT(exchange(head + "fffffffffffffffffffff\r\n"), StartsWith("HTTP/1.1 4"));
  // Padding in chunk extensions and trailers is bounded as a header is.
  EXPECT_THAT(exchange(head + "1;" + std::string(200'000, 'e')), StartsWith("HTTP/1.1 4"));
  EXPECT_THAT(exchange(head + "0\r\nX-T: " + std::string(200'000, 't')), StartsWith("HTTP/1.1 4"));
}

TEST_F(ServerTest, ContentEncodingIsRefusedBeforeTheBody) {
  start();
  for (const char* coding : {"gzip", "deflate", "br", "x-bomb"}) {
    EXPECT_THAT(exchange("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Encoding: " +
                         std::string(coding) + "\r\nContent-Length: 1000000\r\n\r\n"),
                StartsWith("HTTP/1.1 415 "));
  }
  EXPECT_THAT(
      exchange("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
      StartsWith("HTTP/1.1 501 "));
  EXPECT_THAT(exchange("POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n"),
              StartsWith("HTTP/1.1 501 "));
}

TEST_F(ServerTest, HeadersAreBounded) {
  start({.header_limit_bytes = 4096});
  std::string head = "GET /who HTTP/1.1\r\nHost: a\r\n";
  for (int i = 0; i < 10'000; ++i) head += "X-" + std::to_string(i) + ": y\r\n";
  EXPECT_THAT(exchange(head + "\r\n"), StartsWith("HTTP/1.1 431 "));
  EXPECT_THAT(exchange("GET /who HTTP/1.1\r\nHost: a\r\nX: " + std::string(1 << 20, 'x')),
              StartsWith("HTTP/1.1 431 "));
  EXPECT_THAT(exchange("GET /" + std::string(1 << 20, 'x')), StartsWith("HTTP/1.1 414 "));
}

TEST_F(ServerTest, DeepPathsAndLongQueriesAreOrdinary) {
  start({.header_limit_bytes = 1 << 20});
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += "/a";
  EXPECT_EQ(client_.get(url(deep))->status, 404);
  EXPECT_EQ(client_.get(url("/files" + deep))->status, 200);
  EXPECT_EQ(client_.get(url("/who?" + std::string(500'000, '&')))->status, 200);
}

TEST_F(ServerTest, AmbiguousMessagesAreRefused) {
  start();
  const std::string line = "POST /echo HTTP/1.1\r\nHost: a\r\n";
  for (const std::string& bytes :
       {line + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        line + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        line + "Content-Length: -1\r\n\r\n", line + "Content-Length: 1e3\r\n\r\n",
        line + "Host: b\r\n\r\n", line + "Bad Name: x\r\n\r\n",
        std::string("POST /echo HTTP/1.1\r\n\r\n"), std::string("GET  /who HTTP/1.1\r\n\r\n"),
        std::string("GET /who HTTP/2.0\r\n\r\n"),
        std::string("\x16\x03\x01\x02 tls hello\r\n\r\n")}) {
    EXPECT_THAT(exchange(bytes), StartsWith("HTTP/1.1 400 ")) << bytes;
  }
  EXPECT_THAT(exchange("TRACE /who HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
              StartsWith("HTTP/1.1 405 "));
}

TEST_F(ServerTest, TheServersOwnFactsCannotBeSpoofed) {
  start();
  const auto answer = client_.get(url("/who"), {{"REMOTE_ADDR", "10.0.0.1"},
                                                {"REMOTE_PORT", "1"},
                                                {"LOCAL_ADDR", "10.0.0.2"},
                                                {"X-Forwarded-For", "10.0.0.3"}});
  ASSERT_TRUE(answer);
  EXPECT_EQ(json_or<std::string>(*parse_json(answer->body), "peer", ""), "127.0.0.1");
}

TEST_F(ServerTest, ForeignHostNamesAreRefusedWhenNamesAreSet) {
  start({.hosts = {"trimtab.example"}});
  const auto with_host = [&](const std::string& host) {
    return exchange("GET /who HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n");
  };
  EXPECT_THAT(with_host("evil.example"), StartsWith("HTTP/1.1 421 "));
  EXPECT_THAT(with_host("TRIMTAB.example:8500"), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(with_host("localhost:1"), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(with_host("[::1]:1"), StartsWith("HTTP/1.1 200 "));
}

TEST_F(ServerTest, TheGateComesBeforeTheBodyAndNotBeforeHealth) {
  start({.gate = [](const Request& head) -> std::optional<Response> {
    if (head.headers.get("Authorization") == "Bearer right") return std::nullopt;
    return problem(401, "a bearer token is needed");
  }});
  EXPECT_THAT(exchange("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"),
              StartsWith("HTTP/1.1 401 "));
  ClientRequest request;
  request.method = "POST";
  request.url = url("/echo");
  request.body = "in";
  request.headers.set("Authorization", "Bearer right");
  EXPECT_EQ(client_.send(request)->body, "in");
  EXPECT_LT(health_ms(), 1000);
}

TEST_F(ServerTest, ExceptionsStayInside) {
  start();
  const auto answer = client_.get(url("/throws"));
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 500);
  EXPECT_THAT(answer->body, Not(HasSubstr("secret")));
  for (const auto& [name, value] : answer->headers.fields()) {
    EXPECT_THAT(value, Not(HasSubstr("secret"))) << name;
  }
}

TEST_F(ServerTest, LineBreaksCannotSplitAnAnswer) {
  Response response = text_response(200, "x");
  response.headers.add("X-Name", "a\r\nSet-Cookie: b");
  Server server({.name = "split"}, clock_);
  server.get("/", [&](const Request&) { return response; });
  ASSERT_TRUE(server.start());
  const auto answer = client_.get("http://127.0.0.1:" + std::to_string(server.port()) + "/");
  ASSERT_TRUE(answer);
  EXPECT_FALSE(answer->headers.has("Set-Cookie"));
  EXPECT_EQ(answer->headers.get("X-Name"), "aSet-Cookie: b");
}

TEST_F(ServerTest, ABrokenStreamIsSeenByTheClient) {
  start();
  const auto answer = client_.get(url("/half"));
  EXPECT_FALSE(answer);
}

TEST_F(ServerTest, ClientsThatDoNotReadAreCutOffAndDoNotHoldAWorker) {
  start({.workers = 1, .write_ms = 300});
  std::vector<RawSocket> deaf;
  for (int i = 0; i < 8; ++i) {
    deaf.push_back(raw(4096));
    deaf.back().send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
  }
  EXPECT_EQ(client_.post(url("/echo"), "quick")->body, "quick");
  const auto before = clock_.mono_ms();
  while (server_->connections() > 2 && clock_.mono_ms() - before < 5000) clock_.sleep_ms(10);
  EXPECT_LE(server_->connections(), 2U);
}

TEST_F(ServerTest, WhenFullAnOldWaitingConnectionMakesRoom) {
  start({.connections_max = 8});
  std::vector<RawSocket> idle;
  for (int i = 0; i < 50; ++i) {
    idle.push_back(raw());
    idle.back().send("GET /wh");
  }
  EXPECT_LT(health_ms(), 1000);
  EXPECT_LE(server_->connections(), 8U);
}

TEST_F(ServerTest, ExpectContinueIsAnsweredBeforeTheBody) {
  start();
  auto socket = raw();
  socket.send(
      "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n"
      "Connection: close\r\n\r\n");
  EXPECT_EQ(socket.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  socket.send("hi");
  EXPECT_TRUE(socket.read().ends_with("\r\n\r\nhi"));
}

TEST_F(ServerTest, TakenPortIsOneClearLine) {
  start();
  Server second({.port = server_->port()}, clock_);
  const auto started = second.start();
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, Code::kConflict);
  EXPECT_THAT(started.error().message, HasSubstr("address in use"));
}

TEST_F(ServerTest, StopLetsAnswersInFlightFinish) {
  start({.drain_ms = 5000});
  std::string body;
  std::thread asking([&] {
    const auto answer = Client({}, clock_).get(url("/blocks"));
    if (answer) body = answer->body;
  });
  while (entered_.load() == 0) std::this_thread::yield();
  std::thread releasing([&] {
    clock_.sleep_ms(100);
    released_ = true;
  });
  server_->stop();
  asking.join();
  releasing.join();
  EXPECT_EQ(body, "done");
}

TEST_F(ServerTest, StopClosesIdleConnectionsAtOnce) {
  start();
  auto idle = raw();
  idle.send("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(idle.read_until("ok"), StartsWith("HTTP/1.1 200 "));
  server_->stop();
  EXPECT_EQ(idle.read(), "");
  EXPECT_FALSE(idle.timed_out());
}

TEST_F(ServerTest, MetricsCountRoutesNotPaths) {
  Metrics metrics;
  start({.metrics = &metrics});
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(client_.get(url("/jobs/" + std::to_string(i))));
  ASSERT_TRUE(client_.get(url("/nothing/here")));
  server_->stop();
  const auto text = metrics.expose();
  EXPECT_THAT(text, HasSubstr("trimtab_http_request_duration_seconds_count{code=\"200\","
                              "route=\"/jobs/{id}\"} 20"));
  EXPECT_THAT(text, HasSubstr("route=\"none\"} 1"));
}

}  // namespace
}  // namespace trimtab::net
