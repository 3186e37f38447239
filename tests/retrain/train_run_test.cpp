// Runs that are more than one process or more than one run: data parallel, studies; and what a job
// asks of servers: MLflow, rewording.
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <mutex>

#include "base/hash.h"
#include "base/net/server.h"
#include "base/random.h"
#include "tests/retrain/train_fixture.h"

namespace trimtab::tests {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class RunTest : public TrainTest {
 protected:
  void SetUp() override { write_tiny_base(root_.path() / "base"); }

  // Sequences x, f(x), f(f(x)) ..: something to learn. `rule` names the task.
  std::string sequences(const std::string& name, int lines, int rule, std::uint64_t seed) {
    Random random(seed);
    std::string text;
    for (int i = 0; i < lines; ++i) {
      std::vector<int> ids = {rule, 4 + static_cast<int>(random.below(kTinyVocab - 4))};
      while (ids.size() < 8)
        ids.push_back(4 + (ids.back() * (rule == 1 ? 7 : 5) + rule) % (kTinyVocab - 4));
      std::vector<int> labels = ids;
      labels[0] = labels[1] = -100;
      text += Json{{"input_ids", ids}, {"labels", labels}}.dump() + "\n";
    }
    return file(name, text);
  }

  // A port that nobody listens on at the moment.
  static int free_port() {
    SystemClock clock;
    net::Server server({.name = "port"}, clock);
    EXPECT_TRUE(server.start());
    return server.port();
  }
  Environment rank(int rank, int size, int port) {
    return {{"MASTER_ADDR", "127.0.0.1"},
            {"MASTER_PORT", std::to_string(port)},
            {"RANK", std::to_string(rank)},
            {"WORLD_SIZE", std::to_string(size)}};
  }
};

TEST_F(RunTest, TwoProcessesAreOneWithTheDoubledBatch) {
  const std::string data = "data: {tokens: " + sequences("d.jsonl", 64, 1, 1) +
                           ", eval: " + sequences("e.jsonl", 16, 1, 2) +
                           "}\nsteps: 12\nlora: {r: 4}\noptimizer: {lr: 0.005}\n"
                           "checkpoint_every_steps: 5\n";
  const fs::path one = make_job("one", data + "batch_sequences: 16\n");
  ASSERT_EQ(train(one).code, 0) << read_file(one / "stderr").value_or("");
  const fs::path two = make_job("two", data + "batch_sequences: 8\n");
  const int port = free_port();
  const fs::path second = root_.path() / "second";  // its stdout and stderr
  ASSERT_TRUE(make_folders(second));
  const std::vector<std::string> words = {"train", (two / "job.yaml").string()};
  const pid_t a = start(words, two, rank(0, 2, port));
  const pid_t b = start(words, second, rank(1, 2, port));
  const Ended ended_a = finish(a, two), ended_b = finish(b, second);
  if (ended_a.err.find("no gloo") != std::string::npos)
    GTEST_SKIP() << "SKIPPED: this build has no gloo";
  ASSERT_EQ(ended_a.code, 0) << ended_a.err;
  ASSERT_EQ(ended_b.code, 0) << ended_b.err;
  const auto expected = metrics(one), got = metrics(two);
  ASSERT_EQ(got.size(), 12U);
  ASSERT_EQ(expected.size(), got.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    for (const char* key : {"loss", "grad_norm"}) {
      const double wanted = expected[i][key];
      EXPECT_NEAR(got[i][key].get<double>(), wanted, 1e-6 * wanted * (i < 4 ? 1 : 20)) << key << i;
    }
    EXPECT_EQ(got[i]["tokens"], expected[i]["tokens"]);
    EXPECT_EQ(got[i]["supervised_tokens"], expected[i]["supervised_tokens"]);
  }
}

TEST_F(RunTest, ALostPeerEndsTheJobByName) {
  const fs::path folder =
      make_job("lost", "data: {tokens: " + sequences("d.jsonl", 64, 1, 1) +
                           "}\nsteps: 100000\nlora: {r: 4}\npeer_timeout_s: 20\n");
  const int port = free_port();
  const fs::path second = root_.path() / "second";
  ASSERT_TRUE(make_folders(second));
  const std::vector<std::string> words = {"train", (folder / "job.yaml").string()};
  const pid_t a = start(words, folder, rank(0, 2, port));
  const pid_t b = start(words, second, rank(1, 2, port));
  // Both are at work once there are metrics.
  const fs::path lines = folder / "out.tmp" / "metrics.jsonl";
  for (int i = 0; i < 6000 && read_file(lines).value_or("").empty(); ++i) {
    if (fs::exists(folder / "result.json")) break;  // ended: the reason is looked at below
    clock_.sleep_ms(10);
  }
  signal_it(b, SIGKILL);
  (void)finish(b, second);
  const Ended ended = finish(a, folder);
  if (ended.err.find("no gloo") != std::string::npos)
    GTEST_SKIP() << "SKIPPED: this build has no gloo";
  EXPECT_EQ(ended.code, 3) << ended.err;
  EXPECT_EQ(result(folder)["reason"], "lost_peer") << ended.err;
  EXPECT_FALSE(fs::exists(folder / "out"));
}

TEST_F(RunTest, ContradictoryVariablesAreRefused) {
  const fs::path folder =
      make_job("bad", "data: {tokens: " + sequences("d.jsonl", 8, 1, 1) + "}\nsteps: 1\n");
  const Ended ended = train(folder, {{"WORLD_SIZE", "2"}, {"RANK", "5"}});
  EXPECT_EQ(ended.code, 2);
  EXPECT_THAT(ended.err, testing::AnyOf(HasSubstr("RANK is '5'"), HasSubstr("no gloo")));
}

// The trainer's papers lacked what preflight holds the weights against: a weight changed afterwards
// was found by nobody (found by `trimtab-demo --sabotaged 200`).
TEST_F(RunTest, ThePapersHaveTheDigestOfTheWeights) {
  const fs::path folder =
      make_job("papers", "data: {tokens: " + sequences("d.jsonl", 8, 1, 1) + "}\nsteps: 1\n");
  ASSERT_EQ(train(folder).code, 0) << read_file(folder / "stderr").value_or("");
  const auto papers = parse_json(read_file(folder / "out" / "provenance.json").value());
  ASSERT_TRUE(papers);
  EXPECT_EQ((*papers)["adapter_sha256"],
            sha256_file_hex(folder / "out" / "adapter_model.safetensors").value());
  EXPECT_EQ((*papers)["adapter_sha256"], result(folder)["adapter_sha256"]);
}

class StudyTest : public RunTest {
 protected:
  fs::path study(const std::string& name, const std::string& search) {
    return make_job(name, "data: {tokens: " + sequences("d.jsonl", 96, 1, 1) +
                              ", eval: " + sequences("e.jsonl", 32, 1, 2) +
                              ", keep: " + sequences("k.jsonl", 32, 2, 3) +
                              "}\nsteps: 36\nbatch_sequences: 16\nlora: {r: 4}\n"
                              "early_stop_patience: 0\nsearch:\n" +
                              search +
                              "  space:\n"
                              "    - {key: optimizer.lr, low: 0.00001, high: 0.05, log: true}\n"
                              "    - {key: lora.r, values: [2, 8]}\n");
  }
  static Ended search(const fs::path& folder) {
    return run({"search", (folder / "job.yaml").string()}, folder);
  }
};

TEST_F(StudyTest, AshaFindsAGoodRateResumesAndPublishesTheBest) {
  const std::string how = "  sampler: tpe\n  pruner: asha\n  trials: 9\n";
  const fs::path whole = study("whole", how);
  const Ended ended = search(whole);
  ASSERT_EQ(ended.code, 0) << ended.err;
  const auto report = parse_json(read_file(whole / "out" / "search.json").value_or(""));
  ASSERT_TRUE(report);
  EXPECT_FALSE((*report)["pareto"].empty());
  double best = 1e9, worst = 0;
  for (const Json& e : (*report)["evaluations"]) {
    if (e["rung"] != 2) continue;
    best = std::min(best, e["new_loss"].get<double>());
    worst = std::max(worst, e["new_loss"].get<double>());
    EXPECT_TRUE(e["forgetting"].is_number());
  }
  EXPECT_LT(result(whole)["eval_loss_after"].get<double>(),
            0.8 * result(whole)["eval_loss_before"].get<double>());
  EXPECT_TRUE(fs::exists(whole / "out" / "adapter_config.json"));
  EXPECT_EQ(result(whole)["adapter_dir"], (whole / "out").string());

  // Killed in the middle and started again: the same points, the same adapter.
  const fs::path killed = study("killed", how);
  const pid_t pid = start({"search", (killed / "job.yaml").string()}, killed);
  for (int i = 0; i < 6000; ++i) {
    const std::string told = read_file(killed / "study.jsonl").value_or("");
    if (std::count(told.begin(), told.end(), '\n') >= 4) break;
    clock_.sleep_ms(5);
  }
  signal_it(pid, SIGKILL);
  (void)finish(pid, killed);
  ASSERT_FALSE(fs::exists(killed / "result.json"));
  ASSERT_EQ(search(killed).code, 0) << read_file(killed / "stderr").value_or("");
  EXPECT_EQ(adapter(killed), adapter(whole));
  const auto again = parse_json(read_file(killed / "out" / "search.json").value_or(""));
  ASSERT_TRUE(again);
  EXPECT_EQ((*again)["best"], (*report)["best"]);

  // Another study's answers are not taken.
  const fs::path other = study("other", "  sampler: random\n");
  fs::copy_file(whole / "study.jsonl", other / "study.jsonl");
  const Ended refused = search(other);
  EXPECT_EQ(refused.code, 3);
  EXPECT_THAT(refused.err, HasSubstr("checkpoint_mismatch"));
}

TEST_F(StudyTest, TheBudgetEndsItWithAnAdapter) {
  const fs::path folder =
      study("budget", "  sampler: random\n  pruner: asha\n  trials: 1000\n  budget_s: 0.2\n");
  const Ended ended = search(folder);
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_FALSE(adapter(folder).empty());
  const auto report = parse_json(read_file(folder / "out" / "search.json").value_or(""));
  ASSERT_TRUE(report);
  EXPECT_LT((*report)["evaluations"].size(), 200U);
}

TEST_F(StudyTest, AStudyOfAJobWithoutASearchIsRefused) {
  const fs::path folder =
      make_job("plain", "data: {tokens: " + sequences("d.jsonl", 8, 1, 1) + "}\nsteps: 1\n");
  const Ended ended = search(folder);
  EXPECT_EQ(ended.code, 2);
  EXPECT_THAT(ended.err, HasSubstr("search.sampler"));
  const fs::path typo = study("typo", "  sampler: random\n");
  std::string text = read_file(typo / "job.yaml").value();
  text.replace(text.find("lora.r,"), 7, "lora.rr,");
  ASSERT_TRUE(write_atomic(typo / "job.yaml", text));
  EXPECT_THAT(search(typo).err, HasSubstr("did you mean 'r'?"));
}

// A tracking server that keeps what it is told, with MLflow's answers.
class RecordedServer {
 public:
  explicit RecordedServer(Clock& clock) : server_({.name = "mlflow"}, clock) {
    const auto at = [](const char* path) { return std::string("/api/2.0/mlflow/") + path; };
    const auto keep = [this](const net::Request& request) {
      const std::lock_guard lock(mutex_);
      requests_.emplace_back(request.path, request.body);
    };
    server_.get(at("experiments/get-by-name"), [=](const net::Request& request) {
      keep(request);
      return net::json_text_response(404, R"({"error_code": "RESOURCE_DOES_NOT_EXIST"})");
    });
    const auto answer = [&](const char* path, const std::string& body) {
      server_.post(at(path), [=](const net::Request& request) {
        keep(request);
        return net::json_text_response(200, body);
      });
    };
    answer("experiments/create", R"({"experiment_id": "7"})");
    answer("runs/create", R"({"run": {"info": {"run_id": "r1", "artifact_uri":)"
                          R"( "mlflow-artifacts:/7/r1/artifacts"}}})");
    answer("runs/log-batch", "{}");
    answer("runs/update", "{}");
    for (const char* name : {"adapter_config.json", "adapter_model.safetensors", "README.md",
                             "metrics.jsonl", "provenance.json", "data_manifest.json",
                             "folded/adapter_config.json", "folded/adapter_model.safetensors"}) {
      server_.route(
          "PUT", std::string("/api/2.0/mlflow-artifacts/artifacts/7/r1/artifacts/adapter/") + name,
          [=](const net::Request& request) {
            keep(request);
            return net::json_text_response(200, "{}");
          });
    }
    server_.post("/v1/chat/completions", [=](const net::Request& request) {
      keep(request);
      const auto body = parse_json(request.body);
      const std::string words = body ? (*body)["messages"][1]["content"].get<std::string>() : "";
      const Json answered = {
          {"choices", {{{"message", {{"role", "assistant"}, {"content", "so: " + words}}}}}}};
      return net::json_response(200, answered);
    });
    EXPECT_TRUE(server_.start());
  }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(server_.port()); }
  // Bodies sent to paths that end in `path`.
  std::vector<std::string> bodies(const std::string& path) {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> list;
    for (const auto& [where, body] : requests_) {
      if (where.size() >= path.size() &&
          where.compare(where.size() - path.size(), path.size(), path) == 0)
        list.push_back(body);
    }
    return list;
  }

 private:
  std::mutex mutex_;
  std::vector<std::pair<std::string, std::string>> requests_;
  net::Server server_;
};

TEST_F(RunTest, AFinishedRunIsLoggedToMlflow) {
  RecordedServer server(clock_);
  const fs::path folder =
      make_job("logged", "id: job-9\ndata: {tokens: " + sequences("d.jsonl", 16, 1, 1) +
                             "}\nsteps: 3\nlora: {r: 2}\nmlflow: {url: " + server.url() +
                             ", experiment: nightly}\n");
  const Ended ended = train(folder);
  ASSERT_EQ(ended.code, 0) << ended.err;
  EXPECT_EQ(result(folder)["message"], "");
  ASSERT_EQ(server.bodies("experiments/create").size(), 1U);
  EXPECT_THAT(server.bodies("experiments/create")[0], HasSubstr("nightly"));
  EXPECT_THAT(server.bodies("runs/create").at(0), HasSubstr("job-9"));
  const auto batch = parse_json(server.bodies("runs/log-batch").at(0));
  ASSERT_TRUE(batch);
  int losses = 0;
  for (const Json& metric : (*batch)["metrics"]) losses += metric["key"] == "loss" ? 1 : 0;
  EXPECT_EQ(losses, 3);
  EXPECT_FALSE((*batch)["params"].empty());
  EXPECT_EQ(server.bodies("/adapter/adapter_model.safetensors").at(0), adapter(folder));
  EXPECT_EQ(server.bodies("runs/update").size(), 1U);

  // A server that is not there does not undo the adapter, and it is said.
  const fs::path alone =
      make_job("alone", "data: {tokens: " + (root_.path() / "d.jsonl").string() +
                            "}\nsteps: 3\nlora: {r: 2}\nmlflow: {url: 'http://127.0.0.1:" +
                            std::to_string(free_port()) + "'}\n");
  EXPECT_EQ(train(alone).code, 0);
  EXPECT_THAT(result(alone)["message"].get<std::string>(), HasSubstr("mlflow:"));
  EXPECT_EQ(adapter(alone), adapter(folder));
}

TEST_F(RunTest, RewordedCopiesComeFromTheServedModelOnce) {
  write_text_base(root_.path() / "base");
  RecordedServer server(clock_);
  std::string lines;
  for (int i = 0; i < 10; ++i)
    lines += Json{{"prompt", "question " + std::to_string(i)}, {"completion", "yes"}}.dump() + "\n";
  const std::string how =
      "data: {prompts: " + file("p.jsonl", lines) +
      "}\nsteps: 2\nlora: {r: 2}\nfilters: {paraphrases: 0.5, paraphrase_model: m, "
      "paraphrase_url: " +
      server.url() + "/v1}\n";
  const fs::path folder = make_job("reworded", how);
  ASSERT_EQ(train(folder).code, 0) << read_file(folder / "stderr").value_or("");
  EXPECT_EQ(result(folder)["added"]["paraphrases"], 5);
  EXPECT_EQ(result(folder)["examples"], 15);
  EXPECT_EQ(server.bodies("chat/completions").size(), 5U);
  const std::string first = adapter(folder);
  ASSERT_TRUE(remove_tree(folder / "out"));
  ASSERT_EQ(train(folder).code, 0);  // asked no second time
  EXPECT_EQ(server.bodies("chat/completions").size(), 5U);
  EXPECT_EQ(adapter(folder), first);

  const fs::path down = make_job("down", "data: {prompts: " + (root_.path() / "p.jsonl").string() +
                                             "}\nsteps: 2\nfilters: {paraphrases: 0.5, "
                                             "paraphrase_model: m, paraphrase_url: "
                                             "'http://127.0.0.1:" +
                                             std::to_string(free_port()) + "/v1'}\n");
  const Ended ended = train(down);
  EXPECT_EQ(ended.code, 3);
  EXPECT_EQ(result(down)["reason"], "paraphrase");
}

}  // namespace
}  // namespace trimtab::tests
