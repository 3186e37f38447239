// The online half of `trimtab` as a program, against a real daemon in this process.
#include <gmock/gmock.h>

#include <cstdlib>
#include <thread>

#include "tests/daemon/daemon_fixture.h"
#include "tests/daemon/run_program.h"
#include "tests/daemon/stub_model_server.h"
#include "tests/paths.h"

namespace trimtab::daemon {
namespace {

using testing::HasSubstr;

class CommandLineTest : public DaemonTest {
 protected:
  tests::Ran run(std::vector<std::string> words, const std::string& input = "") {
    words.insert(words.begin(), (tests::bin_dir() / "trimtab").string());
    return tests::run_program(words, files_.path(), input);
  }
  // Against the daemon. Expects success and nothing on standard error.
  std::string good(std::vector<std::string> words, const std::string& input = "") {
    words.insert(words.begin(), {"--url", url("")});
    const auto ran = run(words, input);
    EXPECT_EQ(ran.code, 0) << testing::PrintToString(words) << "\n" << ran.out << ran.err;
    EXPECT_EQ(ran.err, "") << testing::PrintToString(words);
    return ran.out;
  }
  Json good_json(std::vector<std::string> words) {
    words.push_back("--json");
    const auto text = good(words);
    const auto parsed = parse_json(text);
    EXPECT_TRUE(parsed) << testing::PrintToString(words) << "\n" << text;
    return parsed ? *parsed : Json();
  }
  // One line on standard error, nothing on standard output.
  std::string refused(std::vector<std::string> words, int code) {
    words.insert(words.begin(), {"--url", url("")});
    const auto ran = run(words);
    EXPECT_EQ(ran.code, code) << testing::PrintToString(words) << "\n" << ran.out << ran.err;
    EXPECT_EQ(ran.out, "") << testing::PrintToString(words);
    EXPECT_EQ(std::count(ran.err.begin(), ran.err.end(), '\n'), 1) << ran.err;
    return ran.err;
  }
};

TEST_F(CommandLineTest, EveryVerbHasHelpAndAnUnknownOneIsUsage) {
  const auto all = run({"--help"});
  EXPECT_EQ(all.code, 0);
  for (const char* verb :
       {"status",  "targets", "trials",       "jobs",    "top",         "events",  "explain",
        "retrain", "cancel",  "register",     "promote", "approve",     "advance", "pause",
        "resume",  "abort",   "rollback",     "replay",  "rereference", "reload",  "ingest",
        "erase",   "offsets", "check-config", "demo"}) {
    EXPECT_THAT(all.out, HasSubstr(std::string("  ") + verb + " ")) << verb;
    if (std::string(verb) == "demo") continue;  // a program of its own
    const auto help = run({verb, "--help"});
    EXPECT_EQ(help.code, 0) << verb;
    EXPECT_GT(help.out.size(), 80U) << verb;
  }
  EXPECT_EQ(run({"--version"}).code, 0);
  EXPECT_EQ(run({}).code, 2);
  EXPECT_EQ(run({"frobnicate"}).code, 2);
  EXPECT_EQ(run({"status", "--frobnicate"}).code, 2);
}

TEST_F(CommandLineTest, WithoutADaemonItSaysWhatToLookAt) {
  const auto ran = run({"--url", "http://127.0.0.1:1", "status"});
  EXPECT_EQ(ran.code, 1);
  EXPECT_THAT(ran.err, HasSubstr("is trimtabd running"));
  EXPECT_EQ(run({"--url", "nonsense", "status"}).code, 2);
}

TEST_F(CommandLineTest, LooksAtTheDaemon) {
  start();
  open_trial();
  EXPECT_THAT(good({"status"}), HasSubstr("bot"));
  EXPECT_EQ(good_json({"status"}).at("targets").size(), 1U);
  EXPECT_THAT(good({"targets"}), HasSubstr("the bare base"));
  EXPECT_EQ(good_json({"targets"}).at("targets")[0].value("name", ""), "bot");
  EXPECT_THAT(good({"top"}), HasSubstr("trial-1"));
  EXPECT_TRUE(good_json({"top", "bot"}).contains("signals"));
  EXPECT_THAT(good({"trials"}), HasSubstr("REGISTERED"));
  EXPECT_EQ(good_json({"trials", "--target", "bot"}).at("promotions").size(), 1U);
  EXPECT_EQ(good_json({"jobs"}).at("jobs").size(), 0U);
  EXPECT_THAT(good({"events", "--limit", "10"}), HasSubstr("trial-1"));
  EXPECT_THAT(good({"explain", "trial-1"}), HasSubstr("agrees"));
  EXPECT_TRUE(good_json({"explain", "trial-1"}).value("agrees", false));
  good({"offsets"});
  EXPECT_TRUE(good_json({"offsets"}).contains("offsets"));
  EXPECT_THAT(refused({"top", "other"}, 2), HasSubstr("there are: bot"));
  EXPECT_THAT(refused({"explain", "trial-77"}, 2), HasSubstr("trial-77"));
  EXPECT_THAT(refused({"events", "--target", "other"}, 2), HasSubstr("there are: bot"));
}

TEST_F(CommandLineTest, ChangesThingsOnce) {
  start();
  EXPECT_THAT(good({"register", path("adapter"), "--reason", "made by hand"}),
              HasSubstr("trial-1"));
  EXPECT_THAT(refused({"register", path("adapter")}, 1), HasSubstr("trial-1 is open"));
  EXPECT_THAT(refused({"register", path("nowhere")}, 2), HasSubstr("no such folder"));
  EXPECT_THAT(good({"pause", "trial-1", "--reason", "lunch"}), HasSubstr("accepted"));
  EXPECT_THAT(refused({"pause", "trial-1"}, 1), HasSubstr("paused already"));
  good({"resume", "trial-1"});
  EXPECT_THAT(refused({"approve", "trial-1"}, 1), HasSubstr("AWAIT_APPROVAL"));
  good({"promote", "trial-1"});
  EXPECT_THAT(refused({"advance", "trial-1"}, 1), HasSubstr("advance"));
  EXPECT_THAT(refused({"promote", "bot"}, 2), HasSubstr("trial-7"));
  EXPECT_THAT(refused({"retrain"}, 1), HasSubstr("trial-1 is open"));
  good({"rollback", "trial-1", "--reason", "enough"});
  ASSERT_TRUE(wait_for([&] {
    return json(get("/api/v1/promotions/trial-1")).value("state", "") == "ABORTED";
  }));
  EXPECT_THAT(refused({"abort", "trial-1"}, 1), HasSubstr("ended"));
  good({"pause", "bot"});
  EXPECT_THAT(good({"targets"}), HasSubstr("HELD BACK"));
  good({"resume", "bot"});
  EXPECT_THAT(good({"retrain", "bot", "--reason", "try"}), HasSubstr("accepted"));
  EXPECT_THAT(refused({"rollback", "bot", "--to", "nobody"}, 2), HasSubstr("nobody"));
  EXPECT_THAT(refused({"rollback", "bot"}, 2), HasSubstr("--to"));
  EXPECT_THAT(refused({"cancel", "job-9"}, 2), HasSubstr("job-9"));
  good({"rereference"});
  good({"reload"});
  good({"replay", "trial-1", "--set", "margin=.01"});
  EXPECT_TRUE(good_json({"replay", "trial-1", "--set", "margin=.01"}).contains("shadow"));
  EXPECT_THAT(refused({"replay", "trial-1", "--set", "margine=.01"}, 2), HasSubstr("margin"));
  const Json trial = good_json({"trials"}).at("promotions")[0];
  EXPECT_EQ(trial.value("state", ""), "ABORTED");
  EXPECT_THAT(good({"events"}), HasSubstr("enough"));
}

TEST_F(CommandLineTest, SendsPastLogsAndForgetsPeople) {
  start();
  std::string lines;
  for (int i = 0; i < 50; ++i) {
    lines += R"({"id":"r-)" + std::to_string(i) +
             R"(","target":"bot","ts":1700000000000,"user_id":"u-1","input":"hi","output":"yes"})"
             "\n";
  }
  EXPECT_THAT(good({"ingest", "-"}, lines), HasSubstr("50 accepted, 0 dead"));
  ASSERT_TRUE(write_atomic(path("bad.jsonl"), "nonsense\n" + lines + "{\"id\": 3}\n\n[1]\n"));
  const auto bad = run({"--url", url(""), "ingest", path("bad.jsonl")});
  EXPECT_EQ(bad.code, 2);
  EXPECT_THAT(bad.out, HasSubstr("50 accepted, 3 dead"));
  EXPECT_THAT(bad.err, HasSubstr("bad.jsonl:1: not_json"));
  EXPECT_THAT(bad.err, HasSubstr("bad.jsonl:52: "));
  EXPECT_THAT(bad.err, HasSubstr("bad.jsonl:54: "));
  EXPECT_EQ(good_json({"status"}).at("records").value("duplicates", 0), 50);
  EXPECT_THAT(good({"ingest", "--feedback"},
                   R"({"feedback_id":"f-1","id":"r-1","name":"thumb","score":1})"),
              HasSubstr("1 accepted"));
  EXPECT_THAT(refused({"ingest", path("nowhere.jsonl")}, 2), HasSubstr("cannot open"));
  EXPECT_THAT(good({"erase", "--user", "u-1", "--reason", "asked"}),
              HasSubstr("50 records and 1 pieces"));
  EXPECT_EQ(json(get("/api/v1/targets/bot/records")).at("records").size(), 0U);
  EXPECT_THAT(refused({"erase"}, 2), HasSubstr("--user"));
  EXPECT_THAT(good({"offsets", "reset", "--partition", "0", "--to", "latest"}),
              HasSubstr("goes on at"));
  EXPECT_THAT(refused({"offsets", "reset", "--partition", "0", "--to", "soon"}, 2),
              HasSubstr("earliest"));
}

TEST_F(CommandLineTest, FollowsEvents) {
  start();
  std::string out;
  std::thread following([this, &out, where = url("")] {
    // Ends with the daemon: the stream is closed.
    out = run({"--url", where, "events", "--follow", "--json"}).out;
  });
  const std::string file = path("stdout");
  int sent = 0;
  EXPECT_TRUE(wait_for([&] {
    if (++sent % 10 == 1) post("/api/v1/targets/bot:pause", {{"reason", "hear me"}});
    const auto text = read_file(file);
    return text && text->find("hear me") != std::string::npos;
  }));
  stop();
  following.join();
  EXPECT_THAT(out, HasSubstr("hear me"));
}

TEST_F(CommandLineTest, ChecksConfigurations) {
  write_config("");
  const auto valid = run({"check-config", path("trimtab.yaml")});
  EXPECT_EQ(valid.code, 0) << valid.err;
  EXPECT_THAT(valid.out, HasSubstr("the configuration is valid"));
  EXPECT_THAT(valid.out, HasSubstr("units an arm"));
  ASSERT_TRUE(write_atomic(path("bad.yaml"), "kafka: {broker: x}\nhttp: {port: 99999}\nlogg: 1\n"));
  const auto bad = run({"check-config", path("bad.yaml")});
  EXPECT_EQ(bad.code, 78);
  EXPECT_EQ(bad.out, "");
  EXPECT_THAT(bad.err,
              HasSubstr("bad.yaml:1:9: kafka.broker: unknown key; did you mean 'brokers'"));
  EXPECT_THAT(bad.err, HasSubstr("bad.yaml:2:14: http.port"));
  EXPECT_THAT(bad.err, HasSubstr("bad.yaml:3:1: logg"));
  const auto as_json = run({"check-config", path("bad.yaml"), "--json"});
  EXPECT_EQ(as_json.code, 78);
  EXPECT_EQ(parse_json(as_json.out).value().at("problems").size(), 4U) << as_json.out;
  EXPECT_EQ(run({"check-config", path("nowhere.yaml")}).code, 78);
  EXPECT_EQ(run({"check-config"}).code, 2);
  for (const char* which : {"", "--gateway"}) {
    std::vector<std::string> words = {"check-config", "--schema"};
    if (*which != '\0') words.emplace_back(which);
    const auto schema = parse_json(run(words).out);
    ASSERT_TRUE(schema);
    EXPECT_EQ(schema->value("additionalProperties", true), false);
    EXPECT_TRUE(schema->at("properties").contains("targets"));
  }
  const std::string gateway = tests::source_dir() / "config/gateway.example.yaml";
  EXPECT_EQ(run({"check-config", "--gateway", gateway}).code, 0);
  EXPECT_THAT(run({"check-config", gateway}).err, HasSubstr("add --gateway"));
}

TEST_F(CommandLineTest, ChecksThePeersToo) {
  StubModelServer fleet("base-model");
  const auto with = [&](const std::string& served) {
    write_config("", "targets:\n  - name: bot\n    base: " + path("base") +
                         "\n    serving: {endpoints: [{url: \"" + fleet.url() +
                         "\"}], served_base_name: " + served + "}\n");
  };
  folder("base", "x");
  ASSERT_TRUE(write_atomic(path("base") + "/config.json", "{}"));
  with("base-model");
  const auto good = run({"check-config", path("trimtab.yaml"), "--connect"});
  EXPECT_EQ(good.code, 0) << good.out << good.err;
  EXPECT_THAT(good.out, HasSubstr("topic trimtab.records: 1 partitions"));
  EXPECT_THAT(good.out, HasSubstr("/v1/models: 1 models"));
  with("another-name");
  const auto wrong = run({"check-config", path("trimtab.yaml"), "--connect", "--json"});
  EXPECT_EQ(wrong.code, 1);
  EXPECT_THAT(wrong.out, HasSubstr("none is called another-name"));
  fleet.stop();
  const auto down = run({"check-config", path("trimtab.yaml"), "--connect"});
  EXPECT_EQ(down.code, 1);
  EXPECT_THAT(down.out, HasSubstr("FAIL  bot http://"));
}

TEST_F(CommandLineTest, ProgramsExitWithTheRightCodes) {
  const auto daemon = (tests::bin_dir() / "trimtabd").string();
  const auto run_daemon = [&](std::vector<std::string> words) {
    words.insert(words.begin(), daemon);
    return tests::run_program(words, files_.path());
  };
  ASSERT_TRUE(write_atomic(path("bad.yaml"), "targets: []\nhttp: {prot: 1}\n"));
  const auto bad = run_daemon({"--config", path("bad.yaml")});
  EXPECT_EQ(bad.code, 78);
  EXPECT_THAT(bad.err, HasSubstr("did you mean 'port'"));
  EXPECT_EQ(run_daemon({"--config", path("nowhere.yaml")}).code, 78);
  const auto worker = (tests::bin_dir() / "trimtab-worker").string();
  for (const std::vector<std::string>& flags : std::vector<std::vector<std::string>>{
           {"--base", path("nowhere")}, {"--base", path("base"), "--adapter", "nonsense"}}) {
    std::vector<std::string> words = {worker, "serve", "--port", "0"};
    words.insert(words.end(), flags.begin(), flags.end());
    const auto serve = tests::run_program(words, files_.path());
    EXPECT_EQ(serve.code, 78) << serve.err;
    EXPECT_EQ(std::count(serve.err.begin(), serve.err.end(), '\n'), 1) << serve.err;
  }
  EXPECT_EQ(run_daemon({}).code, 2);
  EXPECT_EQ(run_daemon({"--help"}).code, 0);
  start();
  write_config("http: {port: " + std::to_string(app_->port()) + "}\n");
  std::string text = read_file(path("trimtab.yaml")).value();
  text.replace(text.find(path("state")), path("state").size(), path("state2"));
  ASSERT_TRUE(write_atomic(path("busy.yaml"), text));
  const auto busy = run_daemon({"--config", path("busy.yaml")});
  EXPECT_EQ(busy.code, 1);
  EXPECT_THAT(busy.err, HasSubstr("address in use"));
  const auto twice = run_daemon({"--config", path("trimtab.yaml")});
  EXPECT_EQ(twice.code, 1) << "a second daemon on the same state";
}

}  // namespace
}  // namespace trimtab::daemon
