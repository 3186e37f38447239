// The whole trimtabd against fleets that are down, slow, forgetful or lying: reconciled, or held
// with the reason, never promoted (issue "Bad input and faults"; OPERATIONS.md section 5, faults 19
// and 21). The adapter is a real one, trained here by the real worker on the shipped base.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <cstdlib>
#include <cstring>

#include "base/files.h"
#include "base/json.h"
#include "base/random.h"
#include "daemon/state_store.h"
#include "shadow/routing.h"
#include "shadow/trial.h"
#include "tests/daemon/stub_model_server.h"
#include "tests/fault/daemon_process.h"
#include "tests/paths.h"

namespace trimtab::tests {
namespace {

namespace fs = std::filesystem;
using daemon::StubModelServer;
using ::testing::HasSubstr;

// Trained once for all tests: a few steps on a few tokens.
const fs::path& trained_adapter() {
  static const TempFolder folder("fleet-adapter");
  static const fs::path adapter = [] {
    std::string lines;
    for (int i = 0; i < 8; ++i) {
      lines += R"({"input_ids":[5,6,7,8,9],"labels":[5,6,7,8,9]})"
               "\n";
    }
    const fs::path job = folder.path() / "job.yaml";
    const bool wrote =
        write_atomic(folder.path() / "data.jsonl", lines) &&
        write_atomic(job, "base: " + (source_dir() / "daemon/demo/base").string() +
                              "\nout: " + (folder.path() / "out").string() +
                              "\ndata: {tokens: " + (folder.path() / "data.jsonl").string() +
                              "}\nsteps: 2\nthreads: 1\nlora: {r: 4, lora_alpha: 8}\n");
    const std::string command = (bin_dir() / "trimtab-worker").string() + " train " + job.string() +
                                " >" + (folder.path() / "log").string() + " 2>&1";
    if (!wrote || std::system(command.c_str()) != 0) {
      ADD_FAILURE() << read_file(folder.path() / "log").value_or("no log");
    }
    return folder.path() / "out";
  }();
  return adapter;
}

class FleetTest : public ::testing::Test {
 protected:
  void configure(const std::vector<std::string>& urls, const std::string& plan = "") {
    std::string endpoints;
    for (const auto& url : urls) endpoints += "{url: \"" + url + "\"}, ";
    ConfigParts parts;
    parts.state = daemon_.state();
    parts.target =
        "    serving:\n      endpoints: [" + endpoints + "]\n" +
        "      served_base_name: base-model\n      max_loras: 4\n      connect_timeout: 300ms\n" +
        "      load_timeout: 700ms\n      request_timeout: 700ms\n      retry_backoff: 100ms\n" +
        "      router_lease: 20s\n" +
        "    promotion:\n      plan: {ship: non_inferior, ladder: [0.25, "
        "0.5], " +
        "canary_min_dwell: 200ms, ab_min_dwell: 200ms, bake: 200ms, label_wait: 1s" + plan + "}\n";
    daemon_.write_config(daemon_config(parts));
  }
  void start() {
    daemon_.start();
    ASSERT_TRUE(daemon_.wait_started()) << daemon_.log();
  }
  // Registers the adapter and asks for its promotion without statistics: only the fleet is left to
  // say no.
  std::string register_and_force() {
    int status = 0;
    const auto answer =
        daemon_.post("/api/v1/promotions",
                     {{"adapter", trained_adapter().string()}, {"target", "bot"}}, &status);
    EXPECT_EQ(status, 202) << answer.dump();
    const std::string id = answer.value("id", "");
    (void)daemon_.post("/api/v1/promotions/" + id + ":promote", {{"force", true}, {"actor", "t"}},
                       &status);
    EXPECT_EQ(status, 202);
    return id;
  }
  void acknowledge() {
    const auto routing = daemon_.get("/api/v1/routing?target=bot");
    (void)daemon_.post(
        "/api/v1/routing/acks",
        {{"instance", "gw"}, {"target", "bot"}, {"generation", routing.value("generation", 0)}});
  }
  Json trial(const std::string& id) { return daemon_.get("/api/v1/promotions/" + id); }
  std::string state_of(const std::string& id) { return trial(id).value("state", ""); }
  bool reaches(const std::string& id, const std::string& state) {
    return daemon_.eventually([&] {
      acknowledge();
      return state_of(id) == state;
    });
  }
  std::string champion() { return daemon_.champion("bot"); }
  std::string routed_to(const char* role) {
    const auto routing = daemon_.get("/api/v1/routing?target=bot");
    for (const auto& arm : routing.value("arms", Json::array())) {
      if (arm.value("role", "") == role && arm.at("adapter").is_string()) return arm["adapter"];
    }
    return "";
  }
  std::string events() { return dump_json(daemon_.get("/api/v1/events?after=0")); }

  TempFolder folder_{"fleet"};
  DaemonProcess daemon_{folder_.path()};
};

TEST_F(FleetTest, AFleetThatIsDownHoldsTheTrialWithTheReasonAndLoadsWhenItIsBack) {
  int port = 0;
  { port = StubModelServer().port(); }  // a port that nobody listens on now
  configure({"http://127.0.0.1:" + std::to_string(port)});
  start();
  const std::string id = register_and_force();
  ASSERT_TRUE(reaches(id, "LOADING")) << trial(id).dump();
  EXPECT_TRUE(daemon_.eventually([&] {
    return trial(id).value("waits_for", "").find("load") != std::string::npos;
  })) << trial(id).dump();
  daemon_.clock().sleep_ms(1'500);
  EXPECT_EQ(state_of(id), "LOADING");
  EXPECT_EQ(champion(), "base");
  StubModelServer back("base-model", port);
  ASSERT_TRUE(reaches(id, "PROMOTED")) << trial(id).dump() << daemon_.log();
  EXPECT_EQ(champion(), trial(id).at("candidate"));
}

TEST_F(FleetTest, AFleetThatStaysDownEndsTheTrialByItsDwell) {
  configure({"http://127.0.0.1:1"}, ", max_dwell: {loading: 2s}");
  start();
  const std::string id = register_and_force();
  ASSERT_TRUE(reaches(id, "REJECTED")) << trial(id).dump();
  EXPECT_THAT(trial(id).dump(), HasSubstr("load_failed"));
  EXPECT_EQ(champion(), "base");
}

TEST_F(FleetTest, ASlowServerIsWaitedForNeverTakenForGood) {
  StubModelServer stub;
  stub.hang = true;  // completions, so the warm-up
  configure({stub.url()});
  start();
  const std::string id = register_and_force();
  ASSERT_TRUE(reaches(id, "LOADING")) << trial(id).dump();
  daemon_.clock().sleep_ms(3'000);
  EXPECT_EQ(state_of(id), "LOADING");
  stub.hang = false;
  stub.release = true;
  ASSERT_TRUE(reaches(id, "PROMOTED")) << trial(id).dump();
}

TEST_F(FleetTest, OneServerOfTwoWithoutTheAdapterIsNotLoaded) {
  StubModelServer one, full;
  full.slots = 0;
  configure({one.url(), full.url()});
  start();
  const std::string id = register_and_force();
  ASSERT_TRUE(reaches(id, "REJECTED")) << trial(id).dump();
  EXPECT_THAT(trial(id).dump(), HasSubstr("load_failed"));
  EXPECT_EQ(champion(), "base");
}

TEST_F(FleetTest, LiarsAreNeverPromoted) {
  StubModelServer stub;
  configure({stub.url()});
  start();
  stub.load_corrupt_root = true;  // another folder under our name
  const std::string first = register_and_force();
  ASSERT_TRUE(reaches(first, "REJECTED")) << trial(first).dump();
  EXPECT_THAT(trial(first).dump(), HasSubstr("load_failed"));
  stub.load_corrupt_root = false;
  stub.lose_adapters();
  daemon_.clock().sleep_ms(1'100);  // names carry the second
  stub.lie = true;                  // answers as another model
  const std::string second = register_and_force();
  ASSERT_TRUE(reaches(second, "REJECTED")) << trial(second).dump();
  EXPECT_THAT(trial(second).dump(), HasSubstr("another-model"));
  EXPECT_EQ(champion(), "base");
}

TEST_F(FleetTest, ARestartedServerGetsItsAdaptersBackAndAnImpostorIsEvicted) {
  StubModelServer stub;
  configure({stub.url()});
  start();
  const std::string id = register_and_force();
  ASSERT_TRUE(reaches(id, "PROMOTED")) << trial(id).dump();
  const std::string name = champion();
  const auto root_of = [&]() -> std::string {
    SystemClock clock;
    net::Client client({}, clock);
    const auto answer = client.get(stub.url() + "/v1/models");
    if (!answer) return "";
    const auto models = parse_json(answer->body);
    for (const auto& model : models->at("data")) {
      if (model.at("id") == name) return model.at("root").get<std::string>();
    }
    return "";
  };
  const std::string root = root_of();
  ASSERT_THAT(root, HasSubstr(name));
  stub.lose_adapters();
  EXPECT_TRUE(daemon_.eventually([&] { return root_of() == root; })) << daemon_.log();
  stub.lose_adapters();
  stub.add_adapter(name, "/somebody/elses");
  EXPECT_TRUE(daemon_.eventually([&] { return root_of() == root; })) << root_of() << daemon_.log();
  EXPECT_GE(daemon_.log_lines("from another folder"), 1);
  EXPECT_EQ(champion(), name);
}

TEST_F(FleetTest, WhileACandidateIsMissingEverybodyGoesToTheChampion) {
  StubModelServer stub;
  configure({stub.url()});
  start();
  const std::string id = register_and_force();
  // Nobody acknowledges a document: the canary stays where it is.
  ASSERT_TRUE(daemon_.eventually([&] { return !routed_to("candidate").empty(); }))
      << trial(id).dump();
  ASSERT_EQ(state_of(id), "CANARY");
  const std::string candidate = routed_to("candidate");
  stub.load_corrupt_root = true;  // it comes back as something else, again and again
  stub.lose_adapters();
  EXPECT_TRUE(daemon_.eventually([&] { return routed_to("candidate").empty(); })) << daemon_.log();
  EXPECT_EQ(state_of(id), "CANARY");
  stub.load_corrupt_root = false;
  EXPECT_TRUE(daemon_.eventually([&] { return routed_to("candidate") == candidate; }))
      << daemon_.log();
  EXPECT_EQ(champion(), "base");
}

// --- 19: files that are not what they should be never reach the fleet
TEST_F(FleetTest, BrokenAdaptersAreRejectedByName) {
  StubModelServer stub;
  configure({stub.url()});
  start();
  const auto damaged = [&](const std::string& name, auto damage) {
    const fs::path to = folder_.path() / name;
    fs::copy(trained_adapter(), to, fs::copy_options::recursive);
    damage(to);
    int status = 0;
    const auto answer =
        daemon_.post("/api/v1/promotions", {{"adapter", to.string()}, {"target", "bot"}}, &status);
    EXPECT_EQ(status, 202) << answer.dump();
    const std::string id = answer.value("id", "");
    EXPECT_TRUE(reaches(id, "REJECTED")) << trial(id).dump();
    return trial(id).value("reason", "") + " " + trial(id).value("detail", "");
  };
  const auto weights = [](const fs::path& at) { return at / "adapter_model.safetensors"; };
  EXPECT_THAT(damaged("truncated",
                      [&](const fs::path& at) {
                        fs::resize_file(weights(at), fs::file_size(weights(at)) - 64);
                      }),
              HasSubstr("preflight_failed truncated"));
  EXPECT_THAT(damaged("nan",
                      [&](const fs::path& at) {
                        std::string bytes = *read_file(weights(at));
                        std::memcpy(&bytes[bytes.size() - 4], "\x00\x00\xc0\x7f", 4);
                        ASSERT_TRUE(write_atomic(weights(at), bytes));
                      }),
              HasSubstr("preflight_failed nan"));
  EXPECT_THAT(damaged("wrong-base",
                      [&](const fs::path& at) {
                        auto papers = *parse_json(*read_file(at / "provenance.json"));
                        papers["base_sha256"] = std::string(64, '0');
                        ASSERT_TRUE(write_atomic(at / "provenance.json", dump_json(papers)));
                      }),
              HasSubstr("preflight_failed wrong_base"));
  EXPECT_EQ(champion(), "base");
  EXPECT_EQ(stub.calls.load(), 0) << "nothing was loaded or asked";
}

// --- 21: a candidate that users complain about is rolled back within a bound, from real records
TEST_F(FleetTest, ACandidateThatIsWorseInTheAbIsRolledBackWithinABound) {
  ConfigParts parts;
  parts.state = daemon_.state();
  parts.target =
      "    serving: {driver: file, router_lease: 20s}\n    drift: {reference_size: 100000}\n"
      "    retrain: {limits: {nice: 0}}\n"
      "    promotion:\n      plan: {ship: non_inferior, margin_live: 0.1, ladder: [0.25, 0.5], "
      "shadow_advisory_pairs: 5, canary_min_dwell: 200ms, canary_min_units: 5, "
      "ab_min_dwell: 1h, label_wait: 1s}\n";
  daemon_.write_config(daemon_config(parts));
  start();
  constexpr std::uint64_t kSeed = 20261125;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  Random random(kSeed);
  int sent = 0, exposed = 0;
  const auto send = [&](int count, double candidate_complains, bool thumbs_up) {
    const auto text = daemon_.get("/api/v1/routing?target=bot");
    const auto routing = shadow::parse_routing(text);
    ASSERT_TRUE(routing) << text.dump();
    Json records = Json::array(), feedback = Json::array();
    for (int i = 0; i < count; ++i) {
      const std::string id = "r" + std::to_string(sent++);
      const auto& arm = routing->assign("s-" + id);
      const bool candidate = arm.role == shadow::kArmCandidate;
      exposed += candidate ? 1 : 0;
      const std::int64_t now_ms = daemon_.clock().now_ms();
      records.push_back({{"id", id},
                         {"ts", now_ms},
                         {"target", "bot"},
                         {"session_id", "s-" + id},
                         {"input", "where is my card " + id},
                         {"output", "card_arrival"},
                         {"adapter", arm.adapter.bare_base() ? Json() : Json(arm.adapter.name)},
                         {"arm", arm.role},
                         {"generation", routing->generation},
                         {"experiment", routing->experiment},
                         {"status", "ok"}});
      const bool complains = random.uniform() < (candidate ? candidate_complains : 0.02);
      if (!complains && !thumbs_up) continue;
      feedback.push_back({{"kind", "feedback"},
                          {"feedback_id", "f" + id},
                          {"id", id},
                          {"ts", now_ms + 1},
                          {"name", "thumb"},
                          {"score", complains ? 0 : 1},
                          {"selection", "user"}});
    }
    int status = 0;
    (void)daemon_.post("/api/v1/records", records, &status);
    ASSERT_EQ(status, 202);
    if (!feedback.empty()) (void)daemon_.post("/api/v1/feedback", feedback, &status);
    ASSERT_EQ(status, 202);
  };
  send(60, 0, true);  // texts known to be good, for the shadow's likelihood pairs
  int status = 0;
  const auto answer = daemon_.post(
      "/api/v1/promotions", {{"adapter", trained_adapter().string()}, {"target", "bot"}}, &status);
  ASSERT_EQ(status, 202) << answer.dump();
  const std::string id = answer.value("id", "");
  ASSERT_TRUE(daemon_.eventually(
      [&] {
        acknowledge();
        return state_of(id) == "CANARY";
      },
      200'000))
      << trial(id).dump() << daemon_.log();
  EXPECT_TRUE(daemon_.eventually(
      [&] {
        acknowledge();
        send(20, 0.6, false);
        return state_of(id) == "ROLLED_BACK";
      },
      200'000))
      << trial(id).dump();
  EXPECT_EQ(trial(id).value("reason", ""), "live_harm");
  EXPECT_EQ(champion(), "base");
  EXPECT_EQ(routed_to("candidate"), "");
  EXPECT_LT(exposed, 600) << "users who met the worse candidate";
}

}  // namespace
}  // namespace trimtab::tests
