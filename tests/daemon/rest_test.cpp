// The REST interface as its callers find it (PROMOTION.md section 5): a real daemon in this
// process.
#include <gmock/gmock.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cstdlib>
#include <set>
#include <thread>

#include "daemon/state_store.h"
#include "tests/base/net_raw_socket.h"
#include "tests/daemon/daemon_fixture.h"
#include "tests/paths.h"

namespace trimtab::daemon {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;

using RestTest = DaemonTest;

std::set<std::string> folders_in(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.insert(entry.path().filename());
  return names;
}

TEST_F(RestTest, TheDocumentAndTheRouterAgree) {
  start();
  std::set<std::string> documented, served;
  const auto paths = YAML::LoadFile(tests::source_dir() / "docs/openapi.yaml")["paths"];
  for (const auto& path : paths) {
    for (const auto& method : path.second) {
      auto name = method.first.as<std::string>();
      if (name == "parameters") continue;
      std::transform(name.begin(), name.end(), name.begin(), ::toupper);
      documented.insert(name + " " + path.first.as<std::string>());
      EXPECT_TRUE(method.second["responses"]) << name << " " << path.first;
    }
  }
  for (const auto& [method, pattern] : app_->routes()) served.insert(method + " " + pattern);
  std::set<std::string> only_documented, only_served;
  std::set_difference(documented.begin(), documented.end(), served.begin(), served.end(),
                      std::inserter(only_documented, only_documented.end()));
  std::set_difference(served.begin(), served.end(), documented.begin(), documented.end(),
                      std::inserter(only_served, only_served.end()));
  EXPECT_THAT(only_documented, IsEmpty());
  EXPECT_THAT(only_served, IsEmpty());
}

TEST_F(RestTest, ReadsAnswerAndCarryNoCache) {
  start();
  open_trial();
  ASSERT_TRUE(wait_for([&] { return get("/api/v1/routing").status == 200; }));
  for (const char* where :
       {"/api/v1/status", "/api/v1/targets", "/api/v1/targets/bot", "/api/v1/targets/bot/drift",
        "/api/v1/targets/bot/signals", "/api/v1/targets/bot/records?sample=5",
        "/api/v1/targets/bot/adapters", "/api/v1/jobs", "/api/v1/promotions",
        "/api/v1/promotions/trial-1", "/api/v1/promotions/trial-1/evidence",
        "/api/v1/promotions/trial-1/events", "/api/v1/routing", "/api/v1/offsets", "/api/v1/events",
        "/api/v1/explain/trial-1", "/api/v1/session"}) {
    const auto answer = get(where);
    EXPECT_EQ(answer.status, 200) << where << answer.body;
    EXPECT_EQ(answer.headers.get("Content-Type"), "application/json") << where;
    EXPECT_EQ(answer.headers.get("Cache-Control"), "no-store") << where;
    json(answer);
  }
}

struct Refusal {
  std::string method, where, body;
  int status;
  std::string says;
};

TEST_F(RestTest, RefusalsAreProblemDocumentsThatSayWhatToDo) {
  start();
  open_trial();
  const std::vector<Refusal> cases = {
      {"GET", "/api/v1/nowhere", "", 404, "no such address"},
      {"POST", "/api/v1/status", "{}", 405, "allowed here: GET"},
      {"GET", "/api/v1/targets/other", "", 404, "there are: bot"},
      {"GET", "/api/v1/targets/other/records", "", 404, "there are: bot"},
      {"GET", "/api/v1/promotions?target=other", "", 404, "there are: bot"},
      {"GET", "/api/v1/events?target=other", "", 404, "there are: bot"},
      {"GET", "/api/v1/routing?target=other", "", 404, "there are: bot"},
      {"GET", "/api/v1/promotions/trial-9", "", 404, "trial-9"},
      {"GET", "/api/v1/promotions/trial-9/events", "", 404, "trial-9"},
      {"GET", "/api/v1/promotions/trial-9/evidence", "", 404, "trial-9"},
      {"GET", "/api/v1/jobs/job-9", "", 404, "job-9"},
      {"GET", "/api/v1/jobs/job-9/events", "", 404, "job-9"},
      {"GET", "/api/v1/explain/al-9", "", 404, "al-9"},
      {"GET", "/api/v1/promotions?limit=many", "", 400, "?limit="},
      {"GET", "/api/v1/promotions?limit=-1", "", 400, "?limit="},
      {"GET", "/api/v1/targets/bot/records?sample=1e9", "", 400, "?sample="},
      {"GET", "/api/v1/routing?wait=long", "", 400, "?wait="},
      {"POST", "/api/v1/promotions/trial-9:pause", "{}", 404, "trial-9"},
      {"POST", "/api/v1/promotions/trial-1:explode", "{}", 405, "allowed here"},
      {"POST", "/api/v1/promotions/trial-1:pause", "{\"actor\"", 400, "the body"},
      {"POST", "/api/v1/promotions/trial-1:pause", "[]", 422, "JSON object"},
      {"POST", "/api/v1/promotions/trial-1:promote", R"({"forse": true})", 422, "'force'"},
      {"POST", "/api/v1/promotions/trial-1:promote", R"({"force": "yes"})", 422, "force"},
      {"POST", "/api/v1/promotions/trial-1:pause", R"({"reason": 7})", 422, "reason"},
      {"POST", "/api/v1/promotions/trial-1:approve", "{}", 409, "AWAIT_APPROVAL"},
      {"POST", "/api/v1/promotions/trial-1:resume", "{}", 409, "not paused"},
      {"POST", "/api/v1/promotions", "{}", 422, "adapter: missing"},
      {"POST", "/api/v1/promotions", R"({"adapter": "/nowhere"})", 422, "no folder"},
      {"POST", "/api/v1/targets/other:retrain", "{}", 404, "there are: bot"},
      {"POST", "/api/v1/targets/bot:rollback", R"({"too": "base"})", 422, "'to'"},
      {"POST", "/api/v1/targets/bot:rollback", R"({"to": null})", 422, "to: must be a text"},
      {"POST", "/api/v1/targets/bot:rollback", R"({"to": "nobody"})", 404, "nobody"},
      {"POST", "/api/v1/targets/bot:lift-tombstone", "{}", 422, "digest: missing"},
      {"POST", "/api/v1/jobs/job-9:cancel", "{}", 404, "job-9"},
      {"POST", "/api/v1/routing/acks", "{}", 422, "instance: missing"},
      {"POST", "/api/v1/routing/acks", R"({"instance": "a", "generation": -1})", 422, "generation"},
      {"POST", "/api/v1/erase", "{}", 422, "a user or a session"},
      {"POST", "/api/v1/offsets", R"({"partition": 0, "to": "middle"})", 422, "earliest"},
      {"POST", "/api/v1/offsets", R"({"partition": -1, "to": 0})", 422, "partition"},
      {"POST", "/api/v1/records", "what?", 400, "JSON array"},
      {"PUT", "/api/v1/log-level", R"({"level": "loud"})", 422, "loud"},
      {"POST", "/api/v1/replay/trial-9", "{}", 404, "trial-9"},
      {"POST", "/api/v1/replay/trial-1", R"({"set": {"margine": 1}})", 400, "margin"},
  };
  for (const auto& one : cases) {
    const auto answer = ask(one.method, one.where, one.body);
    const std::string where = one.method + " " + one.where + " " + one.body;
    EXPECT_EQ(answer.status, one.status) << where << "\n" << answer.body;
    EXPECT_EQ(answer.headers.get("Content-Type"), "application/problem+json") << where;
    const Json problem = json(answer);
    EXPECT_EQ(problem.value("status", 0), one.status) << where;
    EXPECT_FALSE(problem.value("title", "").empty()) << where;
    EXPECT_TRUE(problem.contains("type")) << where;
    EXPECT_THAT(problem.value("detail", ""), HasSubstr(one.says)) << where;
  }
}

TEST_F(RestTest, ASecondTrialIsA409WithTheIdOfTheFirst) {
  start();
  open_trial();
  folder("another", "other weights");
  const auto answer = post("/api/v1/promotions", {{"adapter", path("another")}});
  EXPECT_EQ(answer.status, 409);
  EXPECT_EQ(json(answer).value("trial", ""), "trial-1");
  EXPECT_EQ(folders_in(path("state") + "/adapters").size(), 1U) << "the refused copy is left over";
  const auto retrain = post("/api/v1/targets/bot:retrain", Json::object());
  EXPECT_EQ(retrain.status, 409);
  EXPECT_EQ(json(retrain).value("trial", ""), "trial-1");
}

TEST_F(RestTest, IfMatchIsTheSequenceNumber) {
  start();
  const Json trial = open_trial();
  const auto seen = get("/api/v1/promotions/trial-1");
  const std::string tag(seen.headers.get("ETag"));
  EXPECT_EQ(tag, "\"" + std::to_string(trial.value("seq", 0)) + "\"");
  const auto paused =
      post("/api/v1/promotions/trial-1:pause", {{"reason", "lunch"}}, {{"If-Match", tag}});
  EXPECT_EQ(paused.status, 202) << paused.body;
  EXPECT_NE(paused.headers.get("ETag"), tag);
  EXPECT_EQ(json(paused).value("pause_message", ""), "lunch");
  for (const std::string& stale : {tag, std::string("\"x\""), std::string("W/\"2\"")}) {
    const auto again = post("/api/v1/promotions/trial-1:resume", {}, {{"If-Match", stale}});
    EXPECT_EQ(again.status, 412) << stale << again.body;
  }
  EXPECT_EQ(post("/api/v1/promotions/trial-1:resume", {}, {{"If-Match", "*"}}).status, 202);
  EXPECT_EQ(post("/api/v1/targets/bot:pause", {}, {{"If-Match", "\"1\""}}).status, 412);
}

TEST_F(RestTest, AnIdempotencyKeyDoesItOnceAlsoOverARestart) {
  start();
  const Json body = {{"adapter", path("adapter")}, {"reason", "once"}};
  const net::Headers key = {{"Idempotency-Key", "k-1"}};
  const auto first = post("/api/v1/promotions", body, key);
  ASSERT_EQ(first.status, 202) << first.body;
  const auto again = post("/api/v1/promotions", body, key);
  EXPECT_EQ(again.status, 202);
  EXPECT_EQ(again.body, first.body);
  EXPECT_EQ(again.headers.get("ETag"), first.headers.get("ETag"));
  EXPECT_EQ(folders_in(path("state") + "/adapters").size(), 1U);
  stop();
  start();
  EXPECT_EQ(post("/api/v1/promotions", body, key).body, first.body);
  const auto other = post("/api/v1/promotions/trial-1:abort", {}, key);
  EXPECT_EQ(other.status, 422) << "the key belongs to another request";
  const auto pause = post("/api/v1/promotions/trial-1:pause", {}, {{"Idempotency-Key", "k-2"}});
  EXPECT_EQ(pause.status, 202);
  EXPECT_EQ(post("/api/v1/promotions/trial-1:pause", {}, {{"Idempotency-Key", "k-2"}}).body,
            pause.body);
  EXPECT_EQ(post("/api/v1/promotions/trial-1:pause", {}, {{"Idempotency-Key", "k-3"}}).status, 409);
}

TEST_F(RestTest, EveryChangeIsAudited) {
  start();
  open_trial();
  const Json by = {{"actor", "ann"}, {"reason", "because"}};
  const auto with = [&](const char* key, const Json& value) {
    Json body = by;
    body[key] = value;
    return body;
  };
  EXPECT_EQ(post("/api/v1/promotions/trial-1:pause", by).status, 202);
  EXPECT_EQ(post("/api/v1/promotions/trial-1:abort", by).status, 202);
  ASSERT_TRUE(wait_for(
      [&] { return json(get("/api/v1/promotions/trial-1")).value("ended", false); }));
  EXPECT_EQ(post("/api/v1/targets/bot:pause", by).status, 202);
  EXPECT_EQ(post("/api/v1/targets/bot:resume", by).status, 202);
  EXPECT_EQ(post("/api/v1/targets/bot:rereference", by).status, 202);
  EXPECT_EQ(post("/api/v1/targets/bot:release-quarantine", by).status, 202);
  EXPECT_EQ(post("/api/v1/targets/bot:retrain", by).status, 202);
  Json offset = with("partition", 0);
  offset["to"] = 0;
  EXPECT_EQ(post("/api/v1/offsets", offset).status, 202);
  EXPECT_EQ(post("/api/v1/erase", with("user", "u-1")).status, 202);
  EXPECT_EQ(post("/-/reload", by).status, 200);
  EXPECT_EQ(ask("PUT", "/api/v1/log-level", dump_json(with("level", "info"))).status, 200);
  std::set<std::string> reasons;
  const Json events = json(get("/api/v1/events?limit=1000")).at("events");
  for (const auto& event : events) {
    if (event.value("actor", "") == "ann") reasons.insert(event.value("reason", ""));
  }
  for (const char* reason :
       {"paused", "operator_abort", "pause_target", "resume_target", "rereference",
        "release_quarantine", "retrain", "offsets_reset", "erase", "reloaded", "log_level"}) {
    EXPECT_TRUE(reasons.contains(reason)) << reason;
  }
}

TEST_F(RestTest, RecordsAreAcceptedOnlyOnceTheyAreCommitted) {
  start();
  const std::string line =
      R"({"id":"r-1","target":"bot","ts":1700000000000,"session_id":"s","input":"<b>hi</b>",)"
      R"("output":"yes","status":"ok"})";
  const auto answer = ask("POST", "/api/v1/records", line + "\n{\"id\": 7}\n" + line + "\n");
  EXPECT_EQ(answer.status, 202) << answer.body;
  const Json body = json(answer);
  EXPECT_EQ(body.value("accepted", 0), 2);
  ASSERT_EQ(body.at("dead").size(), 1U);
  EXPECT_EQ(body.at("dead")[0].value("index", -1), 1);
  auto state = StateReader::open(path("state") + "/trimtab.db");
  ASSERT_TRUE(state);
  const auto row = (*state)->record_by_id("bot", "r-1");
  ASSERT_TRUE(row);
  EXPECT_TRUE(row->has_value()) << "202 came before the commit";
  const auto feedback = ask("POST", "/api/v1/feedback",
                            R"([{"feedback_id":"f-1","id":"r-1","name":"thumb","score":1}])");
  EXPECT_EQ(feedback.status, 202) << feedback.body;
  const Json records = json(get("/api/v1/targets/bot/records?sample=5")).at("records");
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0].at("feedback").size(), 1U);
  const Json seen = json(get("/api/v1/status")).at("records");
  EXPECT_EQ(seen.value("duplicates", 0), 1);
}

TEST_F(RestTest, TokensHaveRolesAndThePageItsCookie) {
  ASSERT_TRUE(write_atomic(path("viewer"), "viewer-secret-0001\n"));
  ASSERT_TRUE(write_atomic(path("operator"), "operator-secret-0001\n"));
  write_config("http:\n  port: 0\n  tokens:\n    - {name: vera, role: viewer, token_file: " +
               path("viewer") +
               "}\n    - {name: olaf, role: operator, token_file: " + path("operator") + "}\n");
  start();
  EXPECT_EQ(get("/api/v1/status").status, 401);
  EXPECT_EQ(get("/metrics").status, 401);
  EXPECT_EQ(get("/-/healthy").status, 200);
  EXPECT_EQ(get("/").status, 200);
  const net::Headers viewer = {{"Authorization", "Bearer viewer-secret-0001"}};
  const net::Headers operate = {{"Authorization", "Bearer operator-secret-0001"}};
  EXPECT_EQ(ask("GET", "/api/v1/status", "", viewer).status, 200);
  EXPECT_EQ(ask("GET", "/metrics", "", viewer).status, 200);
  EXPECT_EQ(ask("POST", "/api/v1/targets/bot:pause", "{}", viewer).status, 403);
  EXPECT_EQ(ask("GET", "/api/v1/status", "", {{"Authorization", "Bearer nonsense"}}).status, 401);
  EXPECT_EQ(post("/api/v1/targets/bot:pause", {{"actor", "mallory"}}, operate).status, 202);
  const Json events = json(ask("GET", "/api/v1/events?kind=command", "", viewer)).at("events");
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(events.back().value("actor", ""), "olaf") << "the token's name, not the body's";

  const net::Headers csrf = {{"X-Trimtab-Csrf", "1"}};
  EXPECT_EQ(post("/api/v1/session", {{"token", "operator-secret-0001"}}).status, 403);
  EXPECT_EQ(post("/api/v1/session", {{"token", "wrong-secret-00001"}}, csrf).status, 401);
  const auto signed_in = post("/api/v1/session", {{"token", "operator-secret-0001"}}, csrf);
  ASSERT_EQ(signed_in.status, 204);
  const std::string cookie(signed_in.headers.get("Set-Cookie"));
  EXPECT_THAT(cookie, HasSubstr("HttpOnly"));
  EXPECT_THAT(cookie, HasSubstr("SameSite=Strict"));
  const std::string pair = cookie.substr(0, cookie.find(';'));
  EXPECT_EQ(json(ask("GET", "/api/v1/session", "", {{"Cookie", pair}})).value("name", ""), "olaf");
  EXPECT_EQ(post("/api/v1/targets/bot:resume", {}, {{"Cookie", pair}}).status, 403);
  EXPECT_EQ(
      post("/api/v1/targets/bot:resume", {}, {{"Cookie", pair}, {"X-Trimtab-Csrf", "1"}}).status,
      202);
  // A new secret: who came with the old one is out, and says so at once.
  ASSERT_TRUE(write_atomic(path("operator"), "operator-secret-0002\n"));
  EXPECT_EQ(post("/-/reload", {}, operate).status, 200);
  EXPECT_EQ(ask("GET", "/api/v1/status", "", operate).status, 401);
  EXPECT_EQ(ask("GET", "/api/v1/status", "", {{"Cookie", pair}}).status, 401);
  EXPECT_EQ(ask("GET", "/api/v1/status", "", viewer).status, 200);
}

TEST_F(RestTest, ForeignPagesAndHostsAreTurnedAway) {
  start();
  net::RawSocket rebound(app_->port());
  rebound.send("GET /api/v1/status HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(rebound.read(), HasSubstr("HTTP/1.1 421"));
  EXPECT_EQ(post("/api/v1/targets/bot:pause", {}, {{"Origin", "http://evil.example"}}).status, 403);
  const auto page = get("/");
  EXPECT_EQ(page.status, 200);
  const std::string policy(page.headers.get("Content-Security-Policy"));
  EXPECT_THAT(policy, HasSubstr("default-src 'none'"));
  EXPECT_THAT(policy, testing::Not(HasSubstr("unsafe")));
  EXPECT_EQ(page.body.find("<style"), std::string::npos);
  EXPECT_EQ(page.body.find("onclick="), std::string::npos);
  EXPECT_EQ(page.headers.get("X-Content-Type-Options"), "nosniff");
}

TEST_F(RestTest, BodiesAndHeadersAreBounded) {
  write_config("http: {port: 0, max_body: 64KiB}\n");
  start();
  EXPECT_EQ(ask("POST", "/api/v1/records", std::string(100'000, ' ')).status, 413);
  EXPECT_EQ(ask("POST", "/api/v1/records", "x", {{"Content-Encoding", "gzip"}}).status, 415);
  EXPECT_EQ(ask("GET", "/api/v1/status", "", {{"X-Long", std::string(40'000, 'a')}}).status, 431);
}

TEST_F(RestTest, SlowClientsAndBombsDoNotKeepHealthWaiting) {
  start();
  std::vector<net::RawSocket> slow;
  for (int i = 0; i < 200; ++i) {
    slow.emplace_back(app_->port());
    slow.back().send("POST /api/v1/records HTTP/1.1\r\nHost: localhost\r\nX-Slow: ");
  }
  for (int i = 0; i < 20; ++i) {
    slow.emplace_back(app_->port());
    slow.back().send(
        "POST /api/v1/records HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int k = 0; k < 4; ++k) slow.back().send("10000\r\n" + std::string(0x10000, '[') + "\r\n");
    slow.emplace_back(app_->port());
    slow.back().send(
        "POST /api/v1/records HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\n"
        "Content-Length: 1000000\r\n\r\n\x1f\x8b");
  }
  for (const int port : {app_->port(), app_->metrics_port()}) {
    for (const char* where : {"/-/healthy", "/metrics"}) {
      const auto began_ms = clock_.mono_ms();
      const auto answer = client_.get("http://127.0.0.1:" + std::to_string(port) + where);
      const auto took_ms = clock_.mono_ms() - began_ms;
      ASSERT_TRUE(answer) << answer.error().message;
      EXPECT_EQ(answer->status, 200);
      EXPECT_LT(took_ms, 1'000) << where << " on port " << port;
    }
  }
}

// Reads a stream's bytes until they hold `text`.
std::string read_until(net::RawSocket& socket, const std::string& text) {
  std::string seen;
  for (int i = 0; i < 300 && seen.find(text) == std::string::npos; ++i) seen += socket.read(1, 100);
  return seen;
}

TEST_F(RestTest, EventStreamsMissNothingAndFilter) {
  start();
  open_trial();
  EXPECT_EQ(post("/api/v1/promotions/trial-1:pause", {{"reason", "first"}}).status, 202);
  stop();
  start();  // the ring is empty now, the journal is not
  net::RawSocket socket(app_->port());
  socket.send(
      "GET /api/v1/events?kind=transition HTTP/1.1\r\nHost: localhost\r\n"
      "Accept: text/event-stream\r\nLast-Event-ID: 1\r\n\r\n");
  EXPECT_THAT(read_until(socket, "\"first\""), HasSubstr("event: transition"));
  EXPECT_EQ(post("/api/v1/targets/bot:pause", {{"reason", "not asked for"}}).status, 202);
  EXPECT_EQ(post("/api/v1/promotions/trial-1:resume", {{"reason", "second"}}).status, 202);
  const std::string later = read_until(socket, "\"second\"");
  EXPECT_THAT(later, HasSubstr("\"second\""));
  EXPECT_THAT(later, testing::Not(HasSubstr("not asked for")));
  EXPECT_EQ(
      ask("GET", "/api/v1/events", "", {{"Accept", "text/event-stream"}, {"Last-Event-ID", "x"}})
          .status,
      400);
}

TEST_F(RestTest, AReloadSaysWhatNeedsARestartAndABadOneChangesNothing) {
  start();
  const std::string hash = json(get("/api/v1/status")).value("config_hash", "");
  ASSERT_TRUE(write_atomic(path("trimtab.yaml"), "targets: [\n"));
  EXPECT_EQ(post("/-/reload", {}).status, 422);
  EXPECT_THAT(get("/metrics").body, HasSubstr("trimtab_config_last_reload_successful 0"));
  EXPECT_EQ(json(get("/api/v1/status")).value("config_hash", ""), hash);
  write_config("log: {level: debug}\nstore: {rate: 0.5}\n",
               "targets:\n  - name: bot\n    base: " + path("no-such-base") +
                   "\n    serving: {driver: file}\n    retrain: {minimum_examples: 7}\n");
  const auto taken = post("/-/reload", {{"reason", "tuning"}});
  EXPECT_EQ(taken.status, 200) << taken.body;
  EXPECT_EQ(json(taken).at("needs_restart"), Json::array({"store.rate"}));
  EXPECT_THAT(get("/metrics").body, HasSubstr("trimtab_config_last_reload_successful 1"));
  EXPECT_TRUE(
      wait_for([&] { return json(get("/api/v1/status")).value("config_hash", "") != hash; }));
  write_config("", "targets:\n  - {name: another, base: /b, serving: {driver: file}}\n");
  EXPECT_THAT(json(post("/-/reload", {})).value("detail", ""), HasSubstr("restart"));
}

TEST_F(RestTest, RoutingIsPolledAndAcknowledged) {
  start();
  ASSERT_TRUE(wait_for([&] { return get("/api/v1/routing").status == 200; }));
  const Json routing = json(get("/api/v1/routing"));
  const auto generation = routing.value("generation", 0);
  const auto began_ms = clock_.mono_ms();
  const auto same = get("/api/v1/routing?wait=0.4&generation=" + std::to_string(generation));
  EXPECT_EQ(same.status, 200);
  EXPECT_GE(clock_.mono_ms() - began_ms, 350);
  const Json ack = {{"instance", "gw-1"}, {"generation", generation}, {"target", "bot"}};
  EXPECT_EQ(post("/api/v1/routing/acks", ack).status, 202);
  EXPECT_TRUE(wait_for([&] {
    const Json routers = json(get("/api/v1/targets/bot")).at("routers");
    return routers.size() == 1 && routers[0].value("instance", "") == "gw-1";
  }));
}

TEST_F(RestTest, WithSeveralTargetsOneMustBeNamed) {
  const std::string both =
      "targets:\n  - {name: a, base: /b, serving: {driver: file}}\n"
      "  - {name: b, base: /b, serving: {driver: file}}\n";
  write_config("", both);
  start();
  EXPECT_EQ(get("/api/v1/routing").status, 422);
  EXPECT_EQ(post("/api/v1/promotions", {{"adapter", path("adapter")}}).status, 422);
  EXPECT_EQ(post("/api/v1/promotions", {{"adapter", path("adapter")}, {"target", "b"}}).status,
            202);
  EXPECT_EQ(json(get("/api/v1/promotions?target=a")).at("promotions").size(), 0U);
  EXPECT_EQ(json(get("/api/v1/promotions?target=b")).at("promotions").size(), 1U);
}

}  // namespace
}  // namespace trimtab::daemon
