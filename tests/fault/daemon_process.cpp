#include "tests/fault/daemon_process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "base/files.h"
#include "base/json.h"
#include "tests/paths.h"

namespace trimtab::tests {
namespace fs = std::filesystem;
namespace {

int code_of(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

}  // namespace

DaemonProcess::DaemonProcess(fs::path folder)
    : client_({.connect_ms = 2'000, .total_ms = 30'000}, clock_), folder_(std::move(folder)) {
  fs::create_directories(folder_);
}

DaemonProcess::~DaemonProcess() { kill(); }

void DaemonProcess::write_config(const std::string& yaml) const {
  if (!write_atomic(folder_ / "trimtab.yaml", yaml)) std::abort();
}

void DaemonProcess::start() {
  kill();
  ended_.reset();
  port_ = 0;
  fs::remove(folder_ / "port");
  const std::string program = bin_dir() / "trimtabd";
  const std::string config = folder_ / "trimtab.yaml", port = folder_ / "port";
  const std::string log = folder_ / "trimtabd.log";
  pid_ = ::fork();
  if (pid_ != 0) return;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int fd = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  ::dup2(fd, 1);
  ::dup2(fd, 2);
  for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
  ::execl(program.c_str(), program.c_str(), "--config", config.c_str(), "--port-file", port.c_str(),
          nullptr);
  ::_exit(127);
}

bool DaemonProcess::wait_started(std::int64_t patience_ms) {
  return eventually(
      [&] {
        const auto text = read_file(folder_ / "port");
        if (!text || text->empty()) return false;
        port_ = std::atoi(text->c_str());
        return port_ > 0;
      },
      patience_ms);
}

void DaemonProcess::signal(int number) const {
  if (pid_ > 0) ::kill(pid_, number);
}

void DaemonProcess::kill() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  int status = 0;
  ::waitpid(pid_, &status, 0);
  if (!ended_) ended_ = code_of(status);
  pid_ = -1;
}

std::optional<int> DaemonProcess::ended() {
  if (ended_ || pid_ <= 0) return ended_;
  int status = 0;
  if (::waitpid(pid_, &status, WNOHANG) != pid_) return std::nullopt;
  pid_ = -1;
  ended_ = code_of(status);
  return ended_;
}

int DaemonProcess::wait_ended(std::int64_t patience_ms) {
  const std::int64_t end = clock_.mono_ms() + patience_ms;
  while (!ended()) {
    if (clock_.mono_ms() > end) return -1;
    clock_.sleep_ms(10);
  }
  return *ended_;
}

std::string DaemonProcess::log() const {
  return read_file(folder_ / "trimtabd.log").value_or("no log");
}

int DaemonProcess::log_lines(const std::string& with) const {
  std::istringstream lines(log());
  int count = 0;
  for (std::string line; std::getline(lines, line);) {
    count += line.find(with) == std::string::npos ? 0 : 1;
  }
  return count;
}

std::int64_t DaemonProcess::rss_bytes() const {
  std::ifstream facts("/proc/" + std::to_string(pid_) + "/statm");
  std::int64_t total = 0, resident = 0;
  facts >> total >> resident;
  return resident * ::sysconf(_SC_PAGESIZE);
}

nlohmann::json DaemonProcess::get(const std::string& path) {
  const auto answer = client_.get("http://127.0.0.1:" + std::to_string(port_) + path);
  if (!answer) return Json::object();
  auto body = parse_json(answer->body);
  return body ? *body : Json(answer->body);
}

int DaemonProcess::status_of(const std::string& path) {
  const auto answer = client_.get("http://127.0.0.1:" + std::to_string(port_) + path);
  return answer ? answer->status : 0;
}

nlohmann::json DaemonProcess::post(const std::string& path, const nlohmann::json& body, int* status,
                                   const std::string& key) {
  net::ClientRequest request;
  request.method = "POST";
  request.url = "http://127.0.0.1:" + std::to_string(port_) + path;
  request.headers.set("Content-Type", "application/json");
  if (!key.empty()) request.headers.set("Idempotency-Key", key);
  request.body = dump_json(body);
  const auto answer = client_.send(request);
  if (status != nullptr) *status = answer ? answer->status : 0;
  if (!answer) return Json::object();
  auto json = parse_json(answer->body);
  return json ? *json : Json(answer->body);
}

std::string DaemonProcess::champion(const std::string& target) {
  const auto view = get("/api/v1/targets/" + target);
  const auto found = view.is_object() ? view.find("champion") : view.end();
  if (found == view.end()) return "?";
  return found->is_null() ? "base" : found->get<std::string>();
}

bool DaemonProcess::eventually(const std::function<bool()>& holds, std::int64_t patience_ms) {
  const std::int64_t end = clock_.mono_ms() + patience_ms;
  while (!holds()) {
    if (clock_.mono_ms() > end || ended()) return false;
    clock_.sleep_ms(20);
  }
  return true;
}

std::string daemon_config(const ConfigParts& parts) {
  return "state: {dir: " + parts.state.string() + ", min_free: 1MiB}\n" + "kafka:\n  brokers: \"" +
         parts.brokers + "\"\n  group: " + parts.group +
         "\n  session_timeout: 6s\n  batch_wait: 20ms\n  close_deadline: 5s\n" + parts.kafka +
         "http: {port: 0}\nmetrics: {port: 0}\n"
         "ingest: {allowed_lateness: 1s}\ncontrol: {tick: 100ms, reconcile_interval: 500ms}\n" +
         parts.top +
         "targets:\n  - name: bot\n    base: " + (source_dir() / "daemon/demo/base").string() +
         "\n    unit_key: session_id\n" + parts.target;
}

std::optional<double> metric(const std::string& text, const std::string& series) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with(series + " ")) return std::strtod(line.c_str() + series.size(), nullptr);
  }
  return std::nullopt;
}

}  // namespace trimtab::tests
