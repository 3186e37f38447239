// The gateway between a real client, stub model servers, a routing folder and the embedded broker.
// Over 400 lines because all of it needs that one fixture.
#include "daemon/gateway/gateway.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <thread>

#include "base/files.h"
#include "base/json.h"
#include "base/net/client.h"
#include "daemon/embedded_broker.h"
#include "shadow/routing.h"
#include "tests/base/net_raw_socket.h"
#include "tests/daemon/kafka_reader.h"
#include "tests/daemon/stub_model_server.h"

namespace trimtab::gateway {
namespace {

using daemon::StubModelServer;
using ::testing::HasSubstr;

const std::string kChampion = "support-bot-20260101T000000Z-aaaaaaaa";
const std::string kCandidate = "support-bot-20260102T000000Z-bbbbbbbb";

class GatewayTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (auto* stub : {&stub_, &second_}) {
      stub->add_adapter(kChampion);
      stub->add_adapter(kCandidate);
    }
    settings_.port = 0;
    settings_.metrics.port = 0;
    settings_.instance = "gw-1";
    config::GatewayTarget target;
    target.name = "support-bot";
    target.served_base_name = "base-model";
    target.upstreams = {{stub_.url(), 1}};
    settings_.targets = {target};
    settings_.routing.source = config::RoutingSource::kFile;
    settings_.routing.dir = folder_.path();
    settings_.routing.url = "";
    settings_.routing.poll_interval_ms = 10;
    settings_.health_interval_ms = 100;
    settings_.first_byte_timeout_ms = 2'000;
    settings_.drain_ms = 2'000;
    settings_.threads = 8;
    settings_.records.enabled = false;
  }
  void TearDown() override {
    stub_.release = second_.release = true;
    if (gateway_) gateway_->stop();
  }

  void start() {
    auto created = Gateway::create(settings_, clock_);
    ASSERT_TRUE(created) << created.error().message;
    gateway_ = std::move(*created);
    const auto started = gateway_->start();
    ASSERT_TRUE(started) << started.error().message;
  }

  static shadow::AdapterRef adapter(const std::string& name) {
    shadow::AdapterRef ref;
    ref.name = name;
    if (!name.empty()) {
      ref.sha256 = std::string(64, 'a');
      ref.uri = "/adapters/" + name;
      ref.base_revision = std::string(64, 'b');
      ref.tokenizer_digest = std::string(64, 'c');
    }
    return ref;
  }
  shadow::Routing ramp(std::uint64_t generation, double share) const {
    shadow::Routing routing;
    routing.target = "support-bot";
    routing.generation = generation;
    routing.expected_previous = generation - 1;
    routing.experiment = "trial-1";
    routing.seed = "seed";
    routing.unit_key = "session_id";
    routing.arms = shadow::ramp_arms(adapter(kChampion), adapter(kCandidate), share, 0);
    routing.reason = "test";
    routing.actor = "test";
    return routing;
  }
  void publish(const shadow::Routing& routing) {
    ASSERT_TRUE(
        write_atomic(folder_.path() / "support-bot.json", dump_json(shadow::to_json(routing))));
  }
  void wait_for_generation(std::uint64_t generation) {
    const std::string line =
        "trimtab_gateway_routing_generation{target=\"support-bot\"} " + std::to_string(generation);
    wait_for_metric(line + "\n");
  }
  void wait_for_metric(const std::string& text) {
    const auto before = clock_.mono_ms();
    while (clock_.mono_ms() - before < 10'000) {
      if (metrics().find(text) != std::string::npos) return;
      clock_.sleep_ms(5);
    }
    FAIL() << "never saw " << text << " in\n" << metrics();
  }
  std::string metrics() {
    const auto answer =
        client_.get("http://127.0.0.1:" + std::to_string(gateway_->metrics_port()) + "/metrics");
    return answer ? answer->body : "";
  }
  std::string url(const std::string& path) const {
    return "http://127.0.0.1:" + std::to_string(gateway_->port()) + path;
  }
  net::ClientRequest chat(const std::string& text, const std::string& session = "",
                          bool stream = false) const {
    net::ClientRequest request;
    request.method = "POST";
    request.url = url("/v1/chat/completions");
    request.headers.set("Content-Type", "application/json");
    if (!session.empty()) request.headers.set("X-Session-Id", session);
    Json body = {{"model", "support-bot"},
                 {"messages", {{{"role", "user"}, {"content", text}}}},
                 {"temperature", 0.1}};
    if (stream) body["stream"] = true;
    request.body = dump_json(body);
    return request;
  }
  static std::string content(const net::Response& answer) {
    const auto json = parse_json(answer.body);
    if (!json || !json->contains("choices")) return "";
    return json->at("choices").at(0).at("message").at("content").get<std::string>();
  }

  SystemClock clock_;
  TempFolder folder_{"gateway"};
  StubModelServer stub_, second_;
  config::GatewaySettings settings_;
  net::Client client_{{}, clock_};
  std::unique_ptr<Gateway> gateway_;
};

TEST_F(GatewayTest, WithoutARoutingDocumentTheBaseAnswers) {
  start();
  const auto answer = client_.send(chat("hello"));
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->status, 200) << answer->body;
  EXPECT_EQ(content(*answer), "base-model: hello");
  EXPECT_EQ(answer->headers.get("X-Trimtab-Adapter"), "base");
  EXPECT_FALSE(answer->headers.has("X-Trimtab-Arm"));
  EXPECT_TRUE(answer->headers.get("X-Trimtab-Id").starts_with("r-"));
}

TEST_F(GatewayTest, AssignmentIsStickyStampedAndFollowsTheDocument) {
  publish(ramp(3, 0.25));
  start();
  wait_for_generation(3);
  const auto routing = ramp(3, 0.25);
  std::map<std::string, int> arms;
  for (int i = 0; i < 200; ++i) {
    const std::string session = "s" + std::to_string(i % 50);
    const auto answer = client_.send(chat("hi", session));
    ASSERT_TRUE(answer);
    const auto& arm = routing.assign(session);
    EXPECT_EQ(answer->headers.get("X-Trimtab-Arm"), arm.role) << session;
    EXPECT_EQ(answer->headers.get("X-Trimtab-Adapter"), arm.adapter.name) << session;
    EXPECT_EQ(answer->headers.get("X-Trimtab-Generation"), "3");
    EXPECT_EQ(content(*answer), arm.adapter.name + ": hi");
    ++arms[arm.role];
  }
  EXPECT_EQ(arms.size(), 3U);
  // Widening moves nobody who is in an arm.
  publish(ramp(4, 0.5));
  wait_for_generation(4);
  for (int i = 0; i < 50; ++i) {
    const std::string session = "s" + std::to_string(i);
    if (routing.assign(session).role == shadow::kArmChampion) continue;
    const auto answer = client_.send(chat("hi", session));
    EXPECT_EQ(answer->headers.get("X-Trimtab-Arm"), routing.assign(session).role);
  }
  // An older or a broken document changes nothing.
  publish(ramp(2, 0.1));
  wait_for_metric("trimtab_gateway_routing_errors_total{reason=\"older\",target=\"support-bot\"}");
  ASSERT_TRUE(write_atomic(folder_.path() / "support-bot.json", "{\"schema\":1"));
  wait_for_metric(
      "trimtab_gateway_routing_errors_total{reason=\"invalid\",target=\"support-bot\"}");
  EXPECT_EQ(client_.send(chat("hi", "s1"))->headers.get("X-Trimtab-Generation"), "4");
}

TEST_F(GatewayTest, AnExpiredDocumentMeansChampionOnly) {
  auto routing = ramp(1, 0.5);
  routing.expires_at_ms = clock_.now_ms() - 1000;
  publish(routing);
  start();
  wait_for_generation(1);
  for (int i = 0; i < 20; ++i) {
    const auto answer = client_.send(chat("hi", "s" + std::to_string(i)));
    EXPECT_EQ(answer->headers.get("X-Trimtab-Adapter"), kChampion);
    EXPECT_EQ(answer->headers.get("X-Trimtab-Arm"), "champion");
  }
}

TEST_F(GatewayTest, TheBodyPassesByteForByteButForTheModel) {
  start();
  auto request = chat("x");
  request.body =
      "{ \"seed\": 18446744073709551615, \"x\": {\"model\": \"inner\"},  \"model\" : "
      "\"support-bot\" ,\"messages\":[{\"role\":\"user\",\"content\":\"\\u00e9\\\"model\\\"\"}]}";
  const auto answer = client_.send(request);
  ASSERT_TRUE(answer);
  ASSERT_EQ(answer->status, 200) << answer->body;
  std::string expected = request.body;
  expected.replace(expected.find("support-bot"), 11, "base-model");
  EXPECT_EQ(stub_.last_request().body, expected);
}

TEST_F(GatewayTest, BadRequestsAreAnsweredInOpenAisWords) {
  start();
  const auto post = [&](const std::string& path, const std::string& body) {
    return *client_.post(url(path), body);
  };
  EXPECT_EQ(post("/v1/chat/completions", "not json").status, 400);
  EXPECT_EQ(post("/v1/chat/completions", "[]").status, 400);
  EXPECT_EQ(post("/v1/chat/completions", R"({"messages":[]})").status, 400);
  EXPECT_EQ(post("/v1/chat/completions", R"({"model":"support-bot","model":"x"})").status, 400);
  EXPECT_EQ(post("/v1/chat/completions", R"({"model":"support-bot","mod\u0065l":"x"})").status,
            400);
  EXPECT_EQ(post("/v1/chat/completions", R"({"model":"support-bot","stream":1})").status, 400);
  EXPECT_EQ(post("/v1/chat/completions", std::string(100'000, '[')).status, 400);
  const auto unknown = post("/v1/chat/completions", R"({"model":"gpt-x","messages":[]})");
  EXPECT_EQ(unknown.status, 404);
  EXPECT_EQ(parse_json(unknown.body)->at("error").at("code"), "model_not_found");
  // Neither an adapter's own name nor the base's, nor the fleet's management calls.
  EXPECT_EQ(post("/v1/chat/completions", R"({"model":"base-model","messages":[]})").status, 404);
  EXPECT_EQ(post("/v1/load_lora_adapter", "{}").status, 404);
  EXPECT_EQ(stub_.calls.load(), 0);
}

TEST_F(GatewayTest, ModelsAreTheAliases) {
  publish(ramp(1, 0.1));
  start();
  wait_for_generation(1);
  const auto list = parse_json(client_.get(url("/v1/models"))->body);
  ASSERT_EQ(list->at("data").size(), 1U);
  EXPECT_EQ(list->at("data").at(0).at("id"), "support-bot");
  EXPECT_EQ(list->at("data").at(0).at("root"), kChampion);
  EXPECT_EQ(client_.get(url("/v1/models/support-bot"))->status, 200);
  EXPECT_EQ(client_.get(url("/v1/models/other"))->status, 404);
}

TEST_F(GatewayTest, StreamsPassPieceByPiece) {
  publish(ramp(1, 0.5));
  start();
  wait_for_generation(1);
  stub_.stream_gate = 1;
  std::vector<std::string> seen;
  net::SseParser parser;
  const auto answer = client_.stream(chat("hello", "s1", true), [&](std::string_view piece) {
    return parser.feed(piece, [&](const auto& event) {
      seen.push_back(event.data);
      stub_.stream_gate = 100;  // the second piece is made only after the first has been seen here
    });
  });
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->headers.get("Content-Type"), "text/event-stream");
  EXPECT_EQ(answer->headers.get("X-Trimtab-Adapter"), ramp(1, 0.5).assign("s1").adapter.name);
  ASSERT_EQ(seen.size(), 4U);
  EXPECT_EQ(seen.back(), "[DONE]");
  wait_for_metric("trimtab_gateway_first_token_seconds_count{target=\"support-bot\"} 1");
}

TEST_F(GatewayTest, ALostAdapterFallsBackAndIsStampedTruthfully) {
  publish(ramp(1, 0.5));
  start();
  wait_for_generation(1);
  stub_.lose_adapters();
  auto answer = client_.send(chat("hi", "s1"));
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 200);
  EXPECT_EQ(answer->headers.get("X-Trimtab-Adapter"), "base");
  stub_.add_adapter(kChampion);
  for (int i = 0; i < 20; ++i) {
    answer = client_.send(chat("hi", "s" + std::to_string(i)));
    EXPECT_EQ(answer->headers.get("X-Trimtab-Adapter"), kChampion);
    EXPECT_EQ(answer->headers.get("X-Trimtab-Arm"),
              ramp(1, 0.5).assign("s" + std::to_string(i)).role);
  }
  EXPECT_THAT(metrics(), HasSubstr("trimtab_gateway_fallbacks_total{reason=\"adapter_missing\""));
}

TEST_F(GatewayTest, AnotherServerMayStillHaveTheAdapter) {
  settings_.targets[0].upstreams = {{stub_.url(), 1}, {second_.url(), 1}};
  publish(ramp(1, 0.5));
  start();
  wait_for_generation(1);
  stub_.lose_adapters();
  for (int i = 0; i < 20; ++i) {
    const std::string session = "s" + std::to_string(i);
    const auto answer = client_.send(chat("hi", session));
    EXPECT_EQ(answer->headers.get("X-Trimtab-Adapter"), ramp(1, 0.5).assign(session).adapter.name);
  }
  EXPECT_THAT(metrics(), ::testing::Not(HasSubstr("trimtab_gateway_fallbacks_total{")));
}

TEST_F(GatewayTest, ALyingServerIsNotAttested) {
  publish(ramp(1, 0.5));
  start();
  wait_for_generation(1);
  stub_.lie = true;
  EXPECT_EQ(client_.send(chat("hi", "s1"))->headers.get("X-Trimtab-Adapter"), "unknown");
  EXPECT_EQ(client_.send(chat("hi", "s1", true))->headers.get("X-Trimtab-Adapter"), "unknown");
  EXPECT_THAT(metrics(), HasSubstr("trimtab_gateway_unattested_total{target=\"support-bot\"} 2"));
}

TEST_F(GatewayTest, ADeadServerIsLeftForAnother) {
  settings_.targets[0].upstreams = {{stub_.url(), 1}, {second_.url(), 1}};
  start();
  stub_.stop();
  for (int i = 0; i < 20; ++i) {
    const auto answer = client_.send(chat("hi"));
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->status, 200) << answer->body;
  }
  second_.answer_status = 503;
  EXPECT_EQ(client_.send(chat("hi"))->status, 503);
  second_.answer_status = 429;
  EXPECT_EQ(client_.send(chat("hi"))->status, 429);
}

TEST_F(GatewayTest, NothingIsRepeatedAfterTheFirstByte) {
  settings_.targets[0].upstreams = {{stub_.url(), 1}, {second_.url(), 1}};
  start();
  stub_.break_off = second_.break_off = true;
  const auto answer = client_.send(chat("hi", "", true));
  EXPECT_FALSE(answer);  // the client sees that the stream is not whole
  EXPECT_EQ(stub_.calls + second_.calls, 1);
  wait_for_metric("trimtab_gateway_aborted_total{side=\"upstream\",target=\"support-bot\"} 1");
}

TEST_F(GatewayTest, ATimeOutIsAnsweredAndNotRepeated) {
  settings_.targets[0].upstreams = {{stub_.url(), 1}, {second_.url(), 1}};
  settings_.first_byte_timeout_ms = 200;
  start();
  stub_.hang = second_.hang = true;
  EXPECT_EQ(client_.send(chat("hi"))->status, 504);
  EXPECT_EQ(stub_.calls + second_.calls, 1);
}

TEST_F(GatewayTest, AClientThatLeavesEndsTheGeneration) {
  start();
  stub_.stream_gate = 1;
  net::ClientRequest request = chat("hello", "", true);
  static_cast<void>(client_.stream(request, [](std::string_view) { return false; }));
  wait_for_metric("trimtab_gateway_aborted_total{side=\"client\",target=\"support-bot\"} 1");
  const auto before = clock_.mono_ms();
  while (!stub_.client_left && clock_.mono_ms() - before < 5000) clock_.sleep_ms(5);
  EXPECT_TRUE(stub_.client_left);
}

TEST_F(GatewayTest, HeadersOfTheHopAndOurTokensStayHere) {
  const auto token = folder_.path() / "token";
  const auto upstream_token = folder_.path() / "upstream";
  ASSERT_TRUE(write_atomic(token, "client-secret\n"));
  ASSERT_TRUE(write_atomic(upstream_token, "fleet-secret\n"));
  settings_.client_token_file = token;
  start();
  EXPECT_EQ(client_.send(chat("hi"))->status, 401);
  auto request = chat("hi");
  request.headers.set("Authorization", "Bearer client-secret");
  request.headers.set("Cookie", "a=b");
  request.headers.set("X-Forwarded-For", "1.2.3.4");
  EXPECT_EQ(client_.send(request)->status, 200);
  EXPECT_FALSE(stub_.last_request().headers.has("Authorization"));
  EXPECT_FALSE(stub_.last_request().headers.has("Cookie"));
  EXPECT_FALSE(stub_.last_request().headers.has("X-Forwarded-For"));
  settings_.targets[0].token_file = upstream_token;
  ASSERT_TRUE(gateway_->reload(settings_));
  EXPECT_EQ(client_.send(request)->status, 200);
  EXPECT_EQ(stub_.last_request().headers.get("Authorization"), "Bearer fleet-secret");
}

TEST_F(GatewayTest, SettingsThatCannotWorkAreRefused) {
  settings_.host = "0.0.0.0";
  EXPECT_FALSE(Gateway::create(settings_, clock_));
  settings_.host = "127.0.0.1";
  settings_.records.enabled = true;
  settings_.records.kafka.properties = {{"no.such.property", "1"}};
  const auto bad = Gateway::create(settings_, clock_);
  ASSERT_FALSE(bad);
  EXPECT_THAT(bad.error().message, HasSubstr("no.such.property"));
}

TEST_F(GatewayTest, ReloadKeepsTheOldOnAnErrorAndTheDocumentsOnSuccess) {
  publish(ramp(5, 0.5));
  start();
  wait_for_generation(5);
  auto broken = settings_;
  broken.targets[0].token_file = "/no/such/file";
  EXPECT_FALSE(gateway_->reload(broken));
  EXPECT_EQ(client_.send(chat("hi", "s1"))->headers.get("X-Trimtab-Generation"), "5");
  ASSERT_TRUE(remove_all(folder_.path() / "support-bot.json"));
  settings_.targets[0].upstreams = {{second_.url(), 1}};
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(gateway_->reload(settings_));
  const auto answer = client_.send(chat("hi", "s1"));
  EXPECT_EQ(answer->headers.get("X-Trimtab-Generation"), "5");
  EXPECT_EQ(second_.calls.load(), 1);
}

TEST_F(GatewayTest, ReadinessNamesWhatIsMissing) {
  start();
  const auto ready = [&] {
    return *client_.get("http://127.0.0.1:" + std::to_string(gateway_->metrics_port()) + "/readyz");
  };
  EXPECT_EQ(ready().status, 503);
  EXPECT_THAT(ready().body, HasSubstr("no routing document"));
  publish(ramp(1, 0.5));
  wait_for_generation(1);
  EXPECT_EQ(ready().status, 200);
  stub_.healthy = false;
  wait_for_metric("trimtab_gateway_upstream_healthy{upstream=\"" + stub_.url() + "\"} 0");
  EXPECT_EQ(ready().status, 503);
  // A wrong health check is no outage.
  EXPECT_EQ(client_.send(chat("hi"))->status, 200);
}

TEST_F(GatewayTest, MirrorsAShareOfTheChampionsRequestsToTheCandidate) {
  auto document = ramp(1, 0.1);
  for (auto& arm : document.arms) {
    if (arm.role == shadow::kArmCandidate) arm.mirror_ppm = 500'000;
  }
  publish(document);
  start();
  wait_for_generation(1);
  int by_candidate = 0;
  constexpr int kRequests = 200;
  for (int i = 0; i < kRequests; ++i) {
    const auto answer = client_.send(chat("hello", "s" + std::to_string(i), i % 2 == 0));
    ASSERT_TRUE(answer);
    ASSERT_EQ(answer->status, 200);
    by_candidate += answer->headers.get("X-Trimtab-Arm") == "candidate" ? 1 : 0;
  }
  // Half of what others answered, within five sigma of a fair coin.
  const int others = kRequests - by_candidate;
  const auto before = clock_.mono_ms();
  const auto mirrored = [&] { return stub_.calls - kRequests; };
  while (mirrored() < others / 3 && clock_.mono_ms() - before < 10'000) clock_.sleep_ms(10);
  EXPECT_GT(mirrored(), others / 3);
  EXPECT_LT(mirrored(), 2 * others / 3);
  EXPECT_THAT(metrics(), HasSubstr("trimtab_gateway_mirrored_total{result=\"ok\","
                                   "target=\"support-bot\"}"));
}

TEST_F(GatewayTest, TheLastDocumentOutlivesARestart) {
  const TempFolder kept("kept");
  // A daemon that answers with one document and then goes away.
  std::atomic<std::uint64_t> generation{7};
  const auto daemon_of = [&](int port) {
    auto server = std::make_unique<net::Server>(
        net::ServerOptions{.name = "daemon", .port = port, .workers = 2}, clock_);
    server->get("/api/v1/routing", [&](const net::Request&) {
      return net::json_text_response(200, dump_json(shadow::to_json(ramp(generation, 0.5))));
    });
    server->post("/api/v1/routing/acks",
                 [](const net::Request&) { return net::json_text_response(202, "{}"); });
    EXPECT_TRUE(server->start());
    return server;
  };
  auto server = daemon_of(0);
  const int port = server->port();
  settings_.routing.source = config::RoutingSource::kUrl;
  settings_.routing.url = "http://127.0.0.1:" + std::to_string(port);
  settings_.routing.keep_dir = kept.path();
  start();
  wait_for_generation(7);
  const auto before = clock_.mono_ms();
  while (!std::filesystem::exists(kept.path() / "support-bot.json") &&
         clock_.mono_ms() - before < 10'000) {
    clock_.sleep_ms(5);
  }
  gateway_->stop();
  gateway_.reset();
  server->stop();
  server.reset();

  // Restarted while the daemon is away: the arms are as before, for every unit.
  start();
  wait_for_generation(7);
  for (int i = 0; i < 20; ++i) {
    const std::string session = "s" + std::to_string(i);
    const auto answer = client_.send(chat("hello", session));
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->headers.get("X-Trimtab-Arm"), ramp(7, 0.5).assign(session).role);
  }
  // The daemon is back, from an older copy of its state: what it says now counts.
  generation = 3;
  server = daemon_of(port);
  wait_for_generation(3);
  gateway_->stop();
  gateway_.reset();
  server->stop();

  // What was kept and has expired meanwhile means champion only; what is damaged means none.
  auto expired = ramp(9, 0.5);
  expired.expires_at_ms = clock_.now_ms() - 1;
  const auto file = kept.path() / "support-bot.json";
  ASSERT_TRUE(write_atomic(file, dump_json(shadow::to_json(expired))));
  start();
  wait_for_generation(9);
  for (int i = 0; i < 20; ++i) {
    const auto answer = client_.send(chat("hello", "s" + std::to_string(i)));
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->headers.get("X-Trimtab-Arm"), "champion");
  }
  gateway_->stop();
  gateway_.reset();
  ASSERT_TRUE(write_atomic(file, "{half a docu"));
  start();
  wait_for_metric(
      "trimtab_gateway_routing_errors_total{reason=\"invalid\",target=\"support-bot\"}");
  EXPECT_EQ(client_.send(chat("hello", "s"))->status, 200) << "the base answers";
}

TEST_F(GatewayTest, LongPollsTheDaemonAndAcknowledges) {
  std::mutex mutex;
  std::condition_variable changed;
  std::uint64_t generation = 1;
  std::vector<std::string> acks;
  net::Server control({}, clock_);
  control.route("GET", "/api/v1/routing",
                [&](const net::Request& r) {
                  std::unique_lock lock(mutex);
                  if (r.has_query("wait")) {
                    changed.wait_for(lock, std::chrono::seconds(1), [&] {
                      return std::to_string(generation) != r.query_value("generation");
                    });
                  }
                  return net::json_response(200, shadow::to_json(ramp(generation, 0.5)));
                },
                {.waits_if_query = "wait"});
  control.post("/api/v1/routing/acks", [&](const net::Request& r) {
    std::lock_guard lock(mutex);
    acks.push_back(r.body);
    return net::json_response(202, Json::object());
  });
  ASSERT_TRUE(control.start());
  settings_.routing.source = config::RoutingSource::kUrl;
  settings_.routing.url = "http://127.0.0.1:" + std::to_string(control.port());
  settings_.routing.long_poll_ms = 1'000;
  start();
  wait_for_generation(1);
  {
    std::lock_guard lock(mutex);
    generation = 2;
  }
  changed.notify_all();
  wait_for_generation(2);
  const auto expected = Json{{"instance", "gw-1"}, {"target", "support-bot"}, {"generation", 2}};
  const auto before = clock_.mono_ms();
  bool acknowledged = false;
  while (!acknowledged && clock_.mono_ms() - before < 5'000) {
    clock_.sleep_ms(5);
    std::lock_guard lock(mutex);
    for (const auto& ack : acks) acknowledged = acknowledged || *parse_json(ack) == expected;
  }
  EXPECT_TRUE(acknowledged);
  gateway_->stop();  // a poll under way does not hold it up
  control.stop();
}

class GatewayRecordsTest : public GatewayTest {
 protected:
  void SetUp() override {
    GatewayTest::SetUp();
    auto broker = daemon::EmbeddedBroker::start(1);
    ASSERT_TRUE(broker) << broker.error().message;
    broker_ = std::move(*broker);
    settings_.records.enabled = true;
    settings_.records.kafka.brokers = broker_->bootstrap();
    publish(ramp(1, 0.5));
    start();
    wait_for_generation(1);
  }
  std::vector<Json> records(std::size_t count) {
    std::vector<Json> parsed;
    for (const auto& message : daemon::read_topic(broker_->bootstrap(), "trimtab.records", count)) {
      parsed.push_back(*parse_json(message.value));
      EXPECT_EQ(parsed.back().at("id"), message.key);
    }
    EXPECT_EQ(parsed.size(), count);
    return parsed;
  }
  std::unique_ptr<daemon::EmbeddedBroker> broker_;
};

TEST_F(GatewayRecordsTest, HoldTheWholeStoryOfARequest) {
  auto request = chat("hello", "s1");
  request.headers.set("X-User-Id", "u1");
  request.headers.set("X-Tenant", "acme");
  request.headers.set("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
  const auto answer = client_.send(request);
  ASSERT_EQ(answer->status, 200);
  auto streamed = chat("again", "s2", true);
  streamed.headers.set("X-Trimtab-Probe", "1");
  ASSERT_TRUE(client_.send(streamed));
  stub_.answer_status = 400;
  ASSERT_EQ(client_.send(chat("bad", "s3"))->status, 400);
  gateway_->stop();
  const auto all = records(3);
  const auto& first = all[0];
  const auto arm = ramp(1, 0.5).assign("s1");
  EXPECT_EQ(first.at("id"), answer->headers.get("X-Trimtab-Id"));
  EXPECT_EQ(first.at("kind"), "inference");
  EXPECT_EQ(first.at("target"), "support-bot");
  EXPECT_EQ(first.at("model_req"), "support-bot");
  EXPECT_EQ(first.at("model"), arm.adapter.name);
  EXPECT_EQ(first.at("adapter"), arm.adapter.name);
  EXPECT_EQ(first.at("arm"), arm.role);
  EXPECT_EQ(first.at("generation"), 1);
  EXPECT_EQ(first.at("experiment"), "trial-1");
  EXPECT_EQ(first.at("session_id"), "s1");
  EXPECT_EQ(first.at("user_id"), "u1");
  EXPECT_EQ(first.at("tenant"), "acme");
  EXPECT_EQ(first.at("trace_id"), "0af7651916cd43dd8448eb211c80319c");
  EXPECT_EQ(first.at("op"), "chat");
  EXPECT_EQ(first.at("input").at(0).at("content"), "hello");
  EXPECT_EQ(first.at("output"), arm.adapter.name + ": hello");
  EXPECT_EQ(first.at("tok").at("in"), 7);
  EXPECT_EQ(first.at("tok").at("out"), 3);
  EXPECT_DOUBLE_EQ(first.at("mean_logprob").get<double>(), -1.0);
  EXPECT_EQ(first.at("finish"), "stop");
  EXPECT_EQ(first.at("status"), "200");
  EXPECT_GE(first.at("latency_s").get<double>(), 0.0);
  const auto began = parse_rfc3339(first.at("ts").get<std::string>());
  const auto ended = parse_rfc3339(first.at("ts_end").get<std::string>());
  ASSERT_TRUE(began && ended);
  EXPECT_LE(*began, *ended);
  const auto& second = all[1];
  EXPECT_EQ(second.at("op"), "probe");
  EXPECT_EQ(second.at("output"), ramp(1, 0.5).assign("s2").adapter.name + ": again");
  EXPECT_TRUE(second.contains("ttft_s"));
  EXPECT_EQ(second.at("finish"), "stop");
  const auto& third = all[2];
  EXPECT_EQ(third.at("status"), "400");
  EXPECT_EQ(third.at("error"), "BadRequestError");
  EXPECT_FALSE(third.contains("output"));
  EXPECT_FALSE(third.contains("adapter"));
}

TEST_F(GatewayRecordsTest, ABrokenStreamIsAborted) {
  stub_.break_off = true;
  EXPECT_FALSE(client_.send(chat("x", "s1", true)));
  gateway_->stop();
  const auto all = records(1);
  EXPECT_EQ(all[0].at("finish"), "aborted");
  EXPECT_EQ(all[0].at("error"), "upstream_broken");
}

TEST_F(GatewayRecordsTest, ABrokerThatIsDownDelaysNothing) {
  ASSERT_TRUE(broker_->set_down(true));
  for (int i = 0; i < 50; ++i) {
    const auto before = clock_.mono_ms();
    ASSERT_EQ(client_.send(chat("x", "s1"))->status, 200);
    EXPECT_LT(clock_.mono_ms() - before, 1000);
  }
  ASSERT_TRUE(broker_->set_down(false));
  gateway_->stop();
  EXPECT_EQ(records(50).size(), 50U);
}

}  // namespace
}  // namespace trimtab::gateway
