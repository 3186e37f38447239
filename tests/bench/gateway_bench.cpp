// gateway_bench [--seconds S] [--check]: what trimtab-gateway costs.
//
// Starts the real program (pinned to core 0) in front of a stub upstream and the embedded broker
// (on the other cores), and measures
//   - the median latency of one request at a time, straight to the stub and through the gateway;
//   - requests/s with 16 clients, and the gateway's CPU time a request: 1 / that is what one core
//     of the gateway carries, whatever the load generator needs for itself;
//   - the same for streams.
// --check: exits 1 unless the median grows by <= 2 ms and one core carries >= 500 requests/s.
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/clock.h"
#include "base/files.h"
#include "base/json.h"
#include "base/net/client.h"
#include "daemon/embedded_broker.h"
#include "tests/daemon/stub_model_server.h"
#include "tests/paths.h"

namespace trimtab {
namespace {

constexpr int kClients = 16;
constexpr std::size_t kPromptBytes = 2'000;

void pin(pid_t pid, int first, int last) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int i = first; i <= last; ++i) CPU_SET(static_cast<std::size_t>(i), &set);
  if (sched_setaffinity(pid, sizeof set, &set) != 0) std::perror("sched_setaffinity");
}

double now_s() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// User and system CPU seconds of a process so far.
double cpu_seconds(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string text((std::istreambuf_iterator<char>(stat)), {});
  std::istringstream rest(text.substr(text.rfind(')') + 2));
  std::string field;
  double ticks = 0;
  for (int i = 3; rest >> field && i <= 15; ++i) {
    if (i == 14 || i == 15) ticks += std::stod(field);
  }
  return ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

class GatewayProcess {
 public:
  GatewayProcess(const std::string& upstream, const std::string& brokers)
      : folder_("gateway-bench") {
    std::ofstream config(folder_.path() / "gateway.yaml");
    config << "port: 0\nmetrics: {port: 0}\nlog: {level: warning}\nthreads: 32\n"
           << "targets:\n  - name: bot\n    served_base_name: base-model\n    upstreams:\n"
           << "      - {url: \"" << upstream << "\"}\n"
           << "routing: {source: file, dir: \"" << folder_.path().string() << "\"}\n"
           << "records:\n  kafka: {brokers: \"" << brokers << "\"}\n";
    config.close();
    const std::string file = (folder_.path() / "gateway.yaml").string();
    const std::string port = (folder_.path() / "port").string();
    const std::string program = tests::bin_dir() / "trimtab-gateway";
    pid_ = fork();
    if (pid_ == 0) {
      pin(0, 0, 0);
      execl(program.c_str(), program.c_str(), "--config", file.c_str(), "--port-file", port.c_str(),
            nullptr);
      std::perror(program.c_str());
      _exit(127);
    }
    for (int i = 0; i < 500 && url_.empty(); ++i) {
      SystemClock().sleep_ms(20);
      const auto text = read_file(port);
      if (text) url_ = "http://127.0.0.1:" + std::to_string(std::stoi(*text));
    }
    if (url_.empty()) {
      std::fprintf(stderr, "gateway_bench: the gateway did not start\n");
      std::exit(1);
    }
  }
  ~GatewayProcess() {
    kill(pid_, SIGTERM);
    waitpid(pid_, nullptr, 0);
  }
  [[nodiscard]] const std::string& url() const { return url_; }
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  TempFolder folder_;
  pid_t pid_ = -1;
  std::string url_;
};

net::ClientRequest chat(const std::string& url, const std::string& model, bool stream) {
  net::ClientRequest request;
  request.method = "POST";
  request.url = url + "/v1/chat/completions";
  request.headers.set("Content-Type", "application/json");
  request.headers.set("X-Session-Id", "session");
  Json body = {{"model", model},
               {"messages", {{{"role", "user"}, {"content", std::string(kPromptBytes, 'x')}}}}};
  if (stream) body["stream"] = true;
  request.body = dump_json(body);
  return request;
}

struct Load {
  std::size_t requests = 0, failed = 0;
  double seconds = 0, median_ms = 0, p99_ms = 0;
};

Load run(net::Client& client, const net::ClientRequest& request, int clients, double seconds) {
  std::mutex mutex;
  std::vector<double> all;
  std::atomic<std::size_t> failed{0};
  const double began = now_s();
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < clients; ++i) {
      threads.emplace_back([&] {
        std::vector<double> mine;
        while (now_s() - began < seconds) {
          const double sent = now_s();
          const auto answer = client.send(request);
          if (!answer || answer->status != 200) ++failed;
          mine.push_back((now_s() - sent) * 1e3);
        }
        std::lock_guard lock(mutex);
        all.insert(all.end(), mine.begin(), mine.end());
      });
    }
  }
  std::sort(all.begin(), all.end());
  const auto at = [&](double q) {
    return all.empty() ? 0.0
                       : all[static_cast<std::size_t>(q * static_cast<double>(all.size() - 1))];
  };
  return {all.size(), failed.load(), now_s() - began, at(0.5), at(0.99)};
}

int bench(double seconds, bool check) {
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  if (cores > 1) pin(0, 1, cores - 1);
  daemon::StubModelServer stub;
  auto broker = daemon::EmbeddedBroker::start(4);
  if (!broker) {
    std::fprintf(stderr, "gateway_bench: %s\n", broker.error().message.c_str());
    return 1;
  }
  GatewayProcess gateway(stub.url(), (*broker)->bootstrap());
  SystemClock clock;
  net::Client client({.idle_per_origin = 2 * kClients}, clock);
  bool good = true;
  for (const bool stream : {false, true}) {
    const auto direct = chat(stub.url(), "base-model", stream);
    const auto through = chat(gateway.url(), "bot", stream);
    static_cast<void>(run(client, through, kClients, 0.5));  // warm up
    const Load straight = run(client, direct, 1, seconds);
    const Load single = run(client, through, 1, seconds);
    const double cpu_before = cpu_seconds(gateway.pid());
    const Load many = run(client, through, kClients, seconds);
    const double cpu = cpu_seconds(gateway.pid()) - cpu_before;
    const double a_core = static_cast<double>(many.requests) / std::max(cpu, 1e-9);
    const double added = single.median_ms - straight.median_ms;
    std::printf(
        "%s: median %.3f ms straight, %.3f ms through the gateway: adds %.3f ms (p99 %.3f)\n",
        stream ? "stream" : "whole ", straight.median_ms, single.median_ms, added, single.p99_ms);
    std::printf(
        "        %d clients: %.0f requests/s, median %.2f ms, failed %zu; gateway CPU %.0f us "
        "a request = %.0f requests/s a core\n",
        kClients, static_cast<double>(many.requests) / many.seconds, many.median_ms, many.failed,
        1e6 / a_core, a_core);
    good = good && added <= 2.0 && a_core >= 500 && many.failed == 0 && single.failed == 0;
  }
  return good || !check ? 0 : 1;
}

}  // namespace
}  // namespace trimtab

int main(int argc, char** argv) {
  double seconds = 3;
  bool check = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    if (flag == "--check") check = true;
    if (flag == "--seconds" && i + 1 < argc) seconds = std::atof(argv[++i]);
  }
  return trimtab::bench(seconds, check);
}
