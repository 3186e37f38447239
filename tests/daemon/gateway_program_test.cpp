// trimtab-gateway as a process: exit codes, one line an error, signals.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <thread>

#include "base/files.h"
#include "base/net/client.h"
#include "tests/daemon/stub_model_server.h"
#include "tests/paths.h"

namespace trimtab::gateway {
namespace {

using ::testing::HasSubstr;

class GatewayProgramTest : public ::testing::Test {
 protected:
  void TearDown() override {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
  }
  std::string config_text(const std::string& port) const {
    return "port: " + port + "\nmetrics: {port: 0}\nrecords: {enabled: false}\n" +
           "targets:\n  - name: bot\n    served_base_name: base-model\n    upstreams:\n" +
           "      - {url: \"" + stub_.url() + "\"}\n" + "routing: {source: file, dir: \"" +
           folder_.path().string() + "\"}\n";
  }
  void write_config(const std::string& text) {
    ASSERT_TRUE(write_atomic(folder_.path() / "gateway.yaml", text));
  }
  void spawn() {
    const std::string program = tests::bin_dir() / "trimtab-gateway";
    const std::string config = folder_.path() / "gateway.yaml";
    const std::string port_file = folder_.path() / "port";
    const std::string log = folder_.path() / "log";
    pid_ = fork();
    if (pid_ == 0) {
      static_cast<void>(std::freopen(log.c_str(), "w", stderr));
      execl(program.c_str(), program.c_str(), "--config", config.c_str(), "--port-file",
            port_file.c_str(), nullptr);
      _exit(127);
    }
  }
  void start() {
    spawn();
    const auto before = clock_.mono_ms();
    while (clock_.mono_ms() - before < 20'000) {
      const auto text = read_file(folder_.path() / "port");
      if (text) {
        url_ = "http://127.0.0.1:" + std::to_string(std::stoi(*text));
        return;
      }
      clock_.sleep_ms(10);
    }
    FAIL() << "no port file; " << log();
  }
  int exit_code() {
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  }
  std::string log() const { return read_file(folder_.path() / "log").value_or(""); }
  Result<net::Response> ask() {
    return client_.post(url_ + "/v1/chat/completions",
                        R"({"model":"bot","messages":[{"role":"user","content":"hi"}]})");
  }

  SystemClock clock_;
  TempFolder folder_{"gateway-program"};
  daemon::StubModelServer stub_;
  net::Client client_{{}, clock_};
  pid_t pid_ = -1;
  std::string url_;
};

TEST_F(GatewayProgramTest, ABadConfigurationIs78AndNamesThePlace) {
  write_config(config_text("0") + "no_such_key: 1\n");
  spawn();
  EXPECT_EQ(exit_code(), 78);
  EXPECT_THAT(log(), HasSubstr("gateway.yaml:"));
  EXPECT_THAT(log(), HasSubstr("no_such_key"));
}

TEST_F(GatewayProgramTest, ATakenPortIsOneLineAndExit1) {
  write_config(config_text(std::to_string(stub_.port())));
  spawn();
  EXPECT_EQ(exit_code(), 1);
  const std::string text = log();
  EXPECT_THAT(text, HasSubstr("address in use"));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
}

TEST_F(GatewayProgramTest, SigtermLetsAnAnswerFinish) {
  write_config(config_text("0"));
  start();
  stub_.hang = true;
  Result<net::Response> answer = fail(Code::kInternal, "not asked");
  std::thread asking([&] { answer = ask(); });
  while (stub_.calls == 0) clock_.sleep_ms(5);
  kill(pid_, SIGTERM);
  clock_.sleep_ms(100);
  stub_.release = true;
  asking.join();
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->status, 200);
  EXPECT_EQ(exit_code(), 0);
}

TEST_F(GatewayProgramTest, SighupReloadsAndKeepsTheOldOnAnError) {
  write_config(config_text("0"));
  start();
  write_config("broken: [");
  for (int i = 0; i < 20; ++i) kill(pid_, SIGHUP);
  const auto wait_for_log = [&](const std::string& text) {
    const auto before = clock_.mono_ms();
    while (log().find(text) == std::string::npos && clock_.mono_ms() - before < 10'000) {
      clock_.sleep_ms(10);
    }
    EXPECT_THAT(log(), HasSubstr(text));
  };
  wait_for_log("not reloaded, the old one stays");
  EXPECT_EQ(ask()->status, 200);
  write_config(config_text("0"));
  kill(pid_, SIGHUP);
  wait_for_log("configuration reloaded");
  EXPECT_EQ(ask()->status, 200);
}

}  // namespace
}  // namespace trimtab::gateway
