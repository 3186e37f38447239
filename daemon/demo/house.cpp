#include "daemon/demo/house.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/files.h"

namespace trimtab::demo {
namespace fs = std::filesystem;
namespace {

constexpr int kPartitions = 8;

constexpr std::int64_t kMaxExamples = 900;  // of a job, replay apart, unless more are asked for
constexpr std::int64_t kMaxReplayed = 2000;  // the same

// An ordinary configuration; what differs from the defaults makes days into seconds.
constexpr const char* kDaemonConfig =
    R"(# Written by `trimtab demo`: the daemon's configuration of this run.
state: {{dir: {state}}}
kafka:
  brokers: {brokers}
  group: trimtab-demo
http: {{port: {port}}}
metrics: {{port: 0}}
ingest: {{allowed_lateness: 2s}}
control: {{tick: 250ms, reconcile_interval: 5s}}
targets:
  - name: {target}
    base: {base}
    unit_key: session_id
    serving:
      driver: vllm
      endpoints: [{{url: "{serve_url}"}}]
      served_base_name: {served_base}
      max_loras: 4
      max_lora_rank: 16
    drift:
      reference_size: {reference}
      session_window: 1h
      false_alarms: 1 per 30d
      harm:
        - {{name: label_loss, tolerance: 0.05}}
        - {{name: complaint, tolerance: 0.05}}
    retrain:
      triggers: [harm, drift_confirmed, manual]
      cooldown: 5s
      minimum_examples: {minimum_examples}
      max_jobs_per_day: 50
      data:
        quarantine_window: 10s
        max_examples: {max_examples}     # bounds a job's time: the newest teach
        replay_max: {replay_max}
      training:
        init_from: champion
        lora: {{r: 16, lora_alpha: 32}}
        lr: {lr}
        epochs: {epochs}
        batch_sequences: 32
        kl: {{weight: 1.0, reference: champion}}
      limits:
        worker: {worker}
        max_duration: {job_limit}s
        nice: 5
    promotion:
      reverse_shadow_dwell: 20s
      plan:
        margin: 0.05
        margin_live: 0.1
        ladder: [0.10, 0.50]
        canary_min_dwell: 3s
        canary_min_units: 40
        ab_min_dwell: 5s
        label_wait: 3s
        length_factor: 4      # answers are names of three to ten tokens
        holdback: 0.05
        bake: 5s
        bake_min_units: 10
        no_data_pause: 60s
        ack_timeout: 60s
)";

constexpr const char* kGatewayConfig =
    R"(# Written by `trimtab demo`: the gateway's configuration of this run.
port: 0
metrics: {{port: 0}}
targets:
  - name: {target}
    served_base_name: {served_base}
    upstreams: [{{url: "{serve_url}"}}]
routing:
  source: url
  url: "{daemon_url}"
  poll_interval: 200ms
records:
  kafka: {{brokers: "{brokers}"}}
  queue_records: 20000
)";

std::string url_of(int port) { return "http://127.0.0.1:" + std::to_string(port); }

}  // namespace

Result<std::unique_ptr<DemoHouse>> DemoHouse::open(const DemoOptions& options, Clock& clock) {
  auto house = std::unique_ptr<DemoHouse>(new DemoHouse(options, clock));
  TRIMTAB_CHECK_OK(house->start_all());
  return house;
}

// The door first, then those behind it, so that nothing is asked that nobody can answer.
DemoHouse::~DemoHouse() {
  for (auto* process : {&gateway_, &daemon_, &serve_}) {
    if (*process) (*process)->stop(clock_);
  }
}

Result<int> DemoHouse::start(std::optional<ChildProcess>& process, const std::string& name,
                             std::vector<std::string> argv) {
  const fs::path port_file = options_.out / "logs" / (name + ".port");
  argv[0] = (options_.bin / argv[0]).string();
  argv.insert(argv.end(), {"--port-file", port_file.string()});
  TRIMTAB_TRY(auto started,
              ChildProcess::start(name, argv, options_.out / "logs" / (name + ".log")));
  process.emplace(std::move(started));
  return wait_for_port(*process, port_file, clock_);
}

Status DemoHouse::write_configs(int serve_port) {
  serve_url_ = url_of(serve_port);
  const std::string text = fmt::format(
      kDaemonConfig, fmt::arg("state", state_dir().string()), fmt::arg("brokers", brokers()),
      fmt::arg("port", options_.port), fmt::arg("target", kTarget),
      fmt::arg("base", options_.base.string()), fmt::arg("serve_url", serve_url_),
      fmt::arg("served_base", kServedBase), fmt::arg("lr", options_.learning_rate),
      fmt::arg("reference", options_.reference_size),
      fmt::arg("epochs", options_.epochs), fmt::arg("minimum_examples", options_.minimum_examples),
      fmt::arg("max_examples", std::max(kMaxExamples, options_.minimum_examples * 5 / 4)),
      fmt::arg("replay_max", std::max(kMaxReplayed, options_.minimum_examples * 2)),
      fmt::arg("job_limit", options_.phase_limit_s),
      fmt::arg("worker", (options_.bin / "trimtab-worker").string()));
  return write_atomic(options_.out / "trimtab.yaml", text);
}

Status DemoHouse::start_all() {
  TRIMTAB_CHECK_OK(remove_tree(state_dir()));
  TRIMTAB_CHECK_OK(remove_tree(options_.out / "logs"));
  TRIMTAB_CHECK_OK(make_folders(options_.out / "logs"));
  TRIMTAB_CHECK_OK(make_folders(state_dir()));
  TRIMTAB_TRY(broker_, daemon::EmbeddedBroker::start(kPartitions));
  TRIMTAB_TRY(const int serve_port,
              start(serve_, "serve",
                    {"trimtab-worker", "serve", "--base", options_.base.string(),
                     "--served-model-name", kServedBase, "--host", "127.0.0.1", "--port", "0",
                     "--max-loras", "4", "--queue", "512"}));
  TRIMTAB_CHECK_OK(write_configs(serve_port));
  TRIMTAB_TRY(const int daemon_port,
              start(daemon_, "trimtabd",
                    {"trimtabd", "--config", (options_.out / "trimtab.yaml").string()}));
  daemon_url_ = url_of(daemon_port);
  TRIMTAB_CHECK_OK(write_atomic(
      options_.out / "gateway.yaml",
      fmt::format(kGatewayConfig, fmt::arg("target", kTarget), fmt::arg("served_base", kServedBase),
                  fmt::arg("serve_url", serve_url_), fmt::arg("daemon_url", daemon_url_),
                  fmt::arg("brokers", brokers()))));
  TRIMTAB_TRY(const int gateway_port,
              start(gateway_, "gateway",
                    {"trimtab-gateway", "--config", (options_.out / "gateway.yaml").string()}));
  gateway_url_ = url_of(gateway_port);
  return {};
}

Status DemoHouse::check() {
  for (auto* process : {&serve_, &daemon_, &gateway_}) {
    if (!(*process)->alive()) return fail(Code::kUnavailable, (*process)->obituary());
  }
  return {};
}

}  // namespace trimtab::demo
