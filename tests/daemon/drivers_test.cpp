// The serving drivers against stub fleets: what is asked twice, what lies, what is down.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/files.h"
#include "base/hash.h"
#include "daemon/drivers/publish_drivers.h"
#include "daemon/drivers/serving_driver.h"
#include "daemon/drivers/vllm_driver.h"
#include "tests/daemon/stub_model_server.h"

namespace trimtab::daemon {
namespace {

using ::testing::HasSubstr;

class DriversTest : public ::testing::Test {
 protected:
  void SetUp() override {
    settings_.endpoints = {{first_.url(), "one"}, {second_.url(), "two"}};
    settings_.path_map = {{"/var/lib/trimtab", "/mnt/trimtab"}};
    settings_.connect_timeout_ms = settings_.request_timeout_ms = settings_.load_timeout_ms = 1'000;
    adapter_.name = "bot-1";
    adapter_.uri = "/var/lib/trimtab/adapters/bot-1";
  }
  std::unique_ptr<ServingDriver> driver() {
    auto made = make_serving_driver(settings_, folder_.path(), "base-model", clock_);
    EXPECT_TRUE(made) << made.error().message;
    return std::move(*made);
  }
  static std::vector<CallOutcome> outcomes(const FleetResult& result) {
    std::vector<CallOutcome> list;
    for (const auto& endpoint : result.endpoints) list.push_back(endpoint.outcome);
    return list;
  }

  SystemClock clock_;
  TempFolder folder_{"drivers"};
  StubModelServer first_, second_;
  config::ServingSettings settings_;
  shadow::AdapterRef adapter_;
};

using Outcomes = std::vector<CallOutcome>;
constexpr auto kDone = CallOutcome::kDone;
constexpr auto kAlready = CallOutcome::kAlready;
constexpr auto kRetry = CallOutcome::kRetry;
constexpr auto kRefused = CallOutcome::kRefused;
constexpr auto kConflict = CallOutcome::kConflict;

TEST_F(DriversTest, LoadAndUnloadAreIdempotent) {
  const auto vllm = driver();
  EXPECT_EQ(outcomes(vllm->load(adapter_)), (Outcomes{kDone, kDone}));
  EXPECT_EQ(outcomes(vllm->load(adapter_)), (Outcomes{kAlready, kAlready}));
  const auto states = vllm->describe();
  ASSERT_EQ(states.size(), 2U);
  for (const auto& state : states) {
    EXPECT_TRUE(state.reachable) << state.problem;
    ASSERT_EQ(state.models.size(), 2U);
    EXPECT_EQ(state.models[1].id, "bot-1");
    EXPECT_EQ(state.models[1].root, "/mnt/trimtab/adapters/bot-1");
    EXPECT_EQ(state.models[1].parent, "base-model");
    EXPECT_EQ(state.slots, 2);
  }
  EXPECT_EQ(outcomes(vllm->warm_up(adapter_)), (Outcomes{kDone, kDone}));
  EXPECT_EQ(outcomes(vllm->unload("bot-1")), (Outcomes{kDone, kDone}));
  EXPECT_EQ(outcomes(vllm->unload("bot-1")), (Outcomes{kAlready, kAlready}));
  EXPECT_EQ(outcomes(vllm->warm_up(adapter_)), (Outcomes{kRetry, kRetry}));  // lost: load again
  EXPECT_EQ(outcomes(vllm->warm_up({})), (Outcomes{kDone, kDone}));          // the bare base
  EXPECT_EQ(outcomes(vllm->load({})), (Outcomes{kAlready, kAlready}));
}

TEST_F(DriversTest, AnotherRootUnderTheNameIsAConflict) {
  first_.add_adapter("bot-1", "/mnt/trimtab/adapters/other");
  const auto vllm = driver();
  const auto result = vllm->load(adapter_);
  EXPECT_EQ(outcomes(result), (Outcomes{kConflict, kDone}));
  EXPECT_FALSE(result.done());
  EXPECT_FALSE(result.retryable());
  EXPECT_THAT(result.message(), HasSubstr("one: lists the adapter with root"));
  second_.lose_adapters();
  second_.load_corrupt_root = true;  // says 200, but loaded something else
  EXPECT_EQ(outcomes(vllm->load(adapter_))[1], kConflict);
}

TEST_F(DriversTest, AServerThatAnswersAsAnotherIsAConflict) {
  const auto vllm = driver();
  ASSERT_TRUE(vllm->load(adapter_).done());
  second_.lie = true;
  EXPECT_EQ(outcomes(vllm->warm_up(adapter_)), (Outcomes{kDone, kConflict}));
}

TEST_F(DriversTest, DownIsRetriedRefusedIsNot) {
  const auto vllm = driver();
  second_.stop();
  auto result = vllm->load(adapter_);
  EXPECT_EQ(outcomes(result), (Outcomes{kDone, kRetry}));
  EXPECT_TRUE(result.retryable());
  EXPECT_FALSE(vllm->describe()[1].reachable);
  EXPECT_THAT(vllm->describe()[1].problem, HasSubstr("refused"));
  first_.slots = 1;
  adapter_.name = "bot-2";
  result = vllm->load(adapter_);
  EXPECT_EQ(outcomes(result), (Outcomes{kRefused, kRetry}));
  EXPECT_THAT(result.message(), HasSubstr("too many LoRA adapters"));
  first_.slots = 8;
  adapter_.uri = "/var/lib/trimtab/missing";
  EXPECT_EQ(outcomes(vllm->load(adapter_))[0], kRefused);
}

TEST_F(DriversTest, AHangingServerCostsItsDeadlineOnly) {
  const auto vllm = driver();
  ASSERT_TRUE(vllm->load(adapter_).done());
  first_.hang = second_.hang = true;
  const auto before = clock_.mono_ms();
  EXPECT_EQ(outcomes(vllm->warm_up(adapter_)), (Outcomes{kRetry, kRetry}));
  EXPECT_LT(clock_.mono_ms() - before, 1'900);  // both at once
}

TEST_F(DriversTest, AServerOfAnotherBaseIsNotTrusted) {
  settings_.served_base_name = "other-base";
  const auto states = driver()->describe();
  EXPECT_FALSE(states[0].reachable);
  EXPECT_THAT(states[0].problem, HasSubstr("served_base_name"));
}

TEST_F(DriversTest, TokensAreSent) {
  const auto file = folder_.path() / "token";
  ASSERT_TRUE(write_atomic(file, "secret\n"));
  first_.token = second_.token = "secret";
  EXPECT_FALSE(driver()->describe()[0].reachable);
  settings_.token_file = file;
  EXPECT_TRUE(driver()->describe()[0].reachable);
  settings_.token_file = "/no/such/file";
  EXPECT_FALSE(make_serving_driver(settings_, folder_.path(), "base-model", clock_));
}

TEST_F(DriversTest, PathsMapByTheLongestWholePrefix) {
  const std::vector<config::PathMap> map = {{"/a", "/x"}, {"/a/b/", "/y"}, {"/a/bc", "/z"}};
  EXPECT_EQ(map_path(map, "/a/q"), "/x/q");
  EXPECT_EQ(map_path(map, "/a/b"), "/y");
  EXPECT_EQ(map_path(map, "/a/b/c"), "/y/c");
  EXPECT_EQ(map_path(map, "/a/bc/d"), "/z/d");
  EXPECT_EQ(map_path(map, "/a/bcd"), "/x/bcd");
  EXPECT_EQ(map_path(map, "/ab"), "/ab");
  EXPECT_EQ(map_path({{"/", "/host"}}, "/a"), "/host/a");
}

TEST_F(DriversTest, TheFileIsReplacedWholeAndNeverGoesBack) {
  settings_.driver = config::ServingDriver::kFile;
  const auto file = driver();
  EXPECT_FALSE(file->loads());
  EXPECT_TRUE(file->load(adapter_).done());
  EXPECT_EQ(outcomes(file->publish("bot", 2, R"({"generation":2})")), Outcomes{kDone});
  EXPECT_EQ(outcomes(file->publish("bot", 2, R"({"generation":2})")), Outcomes{kAlready});
  EXPECT_EQ(outcomes(file->publish("bot", 1, R"({"generation":1})")), Outcomes{kConflict});
  EXPECT_EQ(*read_file(folder_.path() / "bot.json"), R"({"generation":2})");
  ASSERT_TRUE(write_atomic(folder_.path() / "bot.json", "torn"));
  EXPECT_EQ(outcomes(file->publish("bot", 3, R"({"generation":3})")), Outcomes{kDone});
}

TEST_F(DriversTest, TheWebhookIsSignedAndItsAnswerCounts) {
  const auto secret = folder_.path() / "secret";
  ASSERT_TRUE(write_atomic(secret, "s3"));
  std::atomic<int> status{202};
  net::Request seen;
  std::uint64_t held = 0;
  net::Server hook({}, clock_);
  hook.post("/hook", [&](const net::Request& request) {
    seen = request;
    return net::json_response(status, {{"generation", held}});
  });
  ASSERT_TRUE(hook.start());
  settings_.driver = config::ServingDriver::kWebhook;
  settings_.webhook_url = "http://127.0.0.1:" + std::to_string(hook.port()) + "/hook";
  settings_.webhook_secret_file = secret;
  const auto webhook = driver();
  const std::string document = R"({"generation":4})";
  EXPECT_EQ(outcomes(webhook->publish("bot", 4, document)), (Outcomes{kDone, kDone}));
  EXPECT_EQ(seen.body, document);
  EXPECT_EQ(seen.headers.get("Idempotency-Key"), "bot/4");
  unsigned char digest[32];
  unsigned size = 0;
  HMAC(EVP_sha256(), "s3", 2, reinterpret_cast<const unsigned char*>(document.data()),
       document.size(), digest, &size);
  EXPECT_EQ(seen.headers.get("X-Trimtab-Signature"), "sha256=" + to_hex(digest, size));
  status = 409;
  held = 4;
  EXPECT_EQ(outcomes(webhook->publish("bot", 4, document)), (Outcomes{kAlready, kAlready}));
  held = 5;
  EXPECT_EQ(outcomes(webhook->publish("bot", 4, document)), (Outcomes{kAlready, kConflict}));
  status = 503;
  EXPECT_EQ(outcomes(webhook->publish("bot", 4, document)), (Outcomes{kAlready, kRetry}));
  status = 422;
  EXPECT_EQ(outcomes(webhook->publish("bot", 4, document)), (Outcomes{kAlready, kRefused}));
  hook.stop();
  EXPECT_EQ(outcomes(webhook->publish("bot", 4, document)), (Outcomes{kAlready, kRetry}));
  settings_.webhook_url = "ftp://x";
  EXPECT_FALSE(make_serving_driver(settings_, folder_.path(), "base-model", clock_));
}

}  // namespace
}  // namespace trimtab::daemon
