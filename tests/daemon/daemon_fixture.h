// A daemon for tests of its surfaces: the App in this process on a port of the system's choice,
// with an embedded broker and a folder of its own. Its one target's base folder does not exist, so
// a registered candidate waits in REGISTERED, where commands can be tried at leisure.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <memory>
#include <string>

#include "base/files.h"
#include "base/json.h"
#include "base/net/client.h"
#include "config/load.h"
#include "daemon/app.h"
#include "daemon/embedded_broker.h"

namespace trimtab::daemon {

class DaemonTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto started = EmbeddedBroker::start(1);
    ASSERT_TRUE(started) << started.error().message;
    broker_ = std::move(*started);
    folder("adapter", "candidate");
    write_config("");
  }
  void TearDown() override { stop(); }

  // `more` stands at the top level of the file.
  void write_config(const std::string& more, const std::string& targets = "") {
    const std::string one = "targets:\n  - name: bot\n    base: " + path("no-such-base") +
                            "\n    serving: {driver: file}\n";
    ASSERT_TRUE(
        write_atomic(path("trimtab.yaml"),
                     "state: {dir: " + path("state") +
                                 ", journal_retention: 7000d}\nkafka: {brokers: \"" +
                         broker_->bootstrap() + "\"}\nmetrics: {port: 0}\n" +
                         (more.find("http:") == std::string::npos ? "http: {port: 0}\n" : "") +
                         more + (targets.empty() ? one : targets)));
  }
  void start() {
    auto settings = config::load_settings(path("trimtab.yaml"));
    ASSERT_TRUE(settings) << settings.error().message;
    const auto hash = config_hash_of(path("trimtab.yaml"));
    ASSERT_TRUE(hash);
    app_ =
        std::make_unique<App>(std::make_shared<config::Settings>(std::move(*settings)), *hash,
                              AppOptions{.config = path("trimtab.yaml"), .port_file = {}}, clock_);
    const auto started = app_->start();
    ASSERT_TRUE(started) << started.error().message;
  }
  void stop() { app_.reset(); }

  std::string path(const std::string& name) const { return (files_.path() / name).string(); }
  // A folder that looks like an adapter as far as registering it goes.
  std::string folder(const std::string& name, const std::string& weights) {
    EXPECT_TRUE(make_folders(path(name)));
    EXPECT_TRUE(write_atomic(path(name) + "/adapter_model.safetensors", weights));
    EXPECT_TRUE(write_atomic(path(name) + "/adapter_config.json", "{}"));
    return path(name);
  }
  std::string url(const std::string& where) const {
    return "http://127.0.0.1:" + std::to_string(app_->port()) + where;
  }
  net::Response ask(const std::string& method, const std::string& where,
                    const std::string& body = "", const net::Headers& headers = {}) {
    net::ClientRequest request;
    request.method = method;
    request.url = url(where);
    request.body = body;
    request.headers = headers;
    if (!body.empty()) request.headers.set("Content-Type", "application/json");
    auto answer = client_.send(request);
    EXPECT_TRUE(answer) << method << " " << where << ": " << answer.error().message;
    return answer ? *answer : net::Response{.status = 0, .headers = {}, .body = {}};
  }
  net::Response get(const std::string& where) { return ask("GET", where); }
  net::Response post(const std::string& where, const Json& body, const net::Headers& headers = {}) {
    return ask("POST", where, body.is_null() ? "{}" : dump_json(body), headers);
  }
  static Json json(const net::Response& response) {
    auto parsed = parse_json(response.body);
    EXPECT_TRUE(parsed) << response.body;
    return parsed ? *parsed : Json();
  }
  // Registers the adapter folder `name` and returns the promotion.
  Json open_trial(const std::string& name = "adapter") {
    const auto answer = post("/api/v1/promotions", {{"adapter", path(name)}, {"reason", "a test"}});
    EXPECT_EQ(answer.status, 202) << answer.body;
    return json(answer);
  }
  // Asks until `ready` or 30 s have passed.
  template <typename Ready>
  bool wait_for(Ready ready) {
    const auto began_ms = clock_.mono_ms();
    while (clock_.mono_ms() - began_ms < 30'000) {
      if (ready()) return true;
      clock_.sleep_ms(20);
    }
    return false;
  }

  SystemClock clock_;
  TempFolder files_{"trimtab-daemon"};
  std::unique_ptr<EmbeddedBroker> broker_;
  std::unique_ptr<App> app_;
  net::Client client_{{}, clock_};
};

}  // namespace trimtab::daemon
