// The daemon's own settings: everything that is not about one target (settings.h has the root and
// the targets). Plain values; the YAML keys, ranges and units are rows of config/tables_*.cpp.
// Durations are `_ms`, sizes `_bytes`; 0 means "off" only where the comment says so.
// Secrets are never values here: `*_file` names a file that the owner of the secret protects.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace trimtab::config {

struct KafkaTopics {
  std::string records = "trimtab.records";
  std::string feedback = "trimtab.feedback";
  std::string dead_letters = "trimtab.dead-letters";
};

enum class Isolation { kReadCommitted, kReadUncommitted };
// Eager `range` with static membership: librdkafka before 2.10 can hang or lose its assignment with
// cooperative-sticky (OPERATIONS.md section 1); Debian 12 has 2.0.2.
enum class Assignor { kRange, kCooperativeSticky };
// Dead letters hold people's words too: unchanged, with personal data masked, or not sent at all.
enum class DeadLetters { kRaw, kRedacted, kOff };
enum class OffsetReset { kEarliest, kLatest };

// The connection, shared by the daemon's consumer, its dead-letter producer and the gateway.
struct KafkaConnection {
  std::string brokers = "127.0.0.1:9092";         // bootstrap.servers
  std::map<std::string, std::string> properties;  // passed through to librdkafka as they are
  // librdkafka property -> file whose content (trimmed) is its value: sasl.password and the like.
  std::map<std::string, std::string> property_files;
};

struct KafkaSettings {
  KafkaConnection connection;  // its keys stand directly under `kafka:`
  KafkaTopics topics;
  std::string group = "trimtab";
  // Static membership: fences a second copy of this instance. Empty = dynamic membership.
  std::string group_instance_id = "trimtabd-1";
  Isolation isolation = Isolation::kReadCommitted;  // an aborted transaction was never said
  Assignor assignor = Assignor::kRange;
  OffsetReset first_offset = OffsetReset::kEarliest;  // only while there is no state yet
  DeadLetters dead_letters = DeadLetters::kRaw;
  std::int64_t session_timeout_ms = 45'000;     // librdkafka's default since KIP-735
  std::int64_t max_poll_interval_ms = 300'000;  // Kafka's default
  std::int64_t batch_records = 1'000;           // OPERATIONS.md section 1
  std::int64_t batch_wait_ms = 100;
  std::int64_t queued_max_bytes = 64LL << 20;  // queued.max.messages.kbytes
  std::int64_t queued_min_messages = 20'000;
  // Lag but no batch for so long: rebuild the consumer, and after a second time exit non-zero.
  std::int64_t no_progress_ms = 120'000;
  std::int64_t close_deadline_ms = 10'000;  // half of systemd's usual patience
};

struct StateSettings {
  std::string dir = "/var/lib/trimtab";
  // One SQLite transaction a batch. 250 ms = 4 commits/s of the 136-215 that a disk gave.
  std::int64_t commit_interval_ms = 250;
  std::int64_t min_free_bytes = 512LL << 20;  // below it: pause and alert, resume above
  std::int64_t journal_retention_ms = 365LL * 86'400'000;  // the life of the error budget
  std::int64_t keep_adapters = 10;  // per target, beside those that routing or a trial names
  std::int64_t keep_jobs = 20;      // job folders per target
};

enum class Mapping { kCanonical, kOtel, kLitellm, kLangfuse };

struct IngestSettings {
  Mapping mapping = Mapping::kCanonical;
  // One's own mapping on top: canonical field -> JSON pointer, e.g. {"id": "/response/id"}.
  std::map<std::string, std::string> pointers;
  // Where `target` is absent: value of `route` or `model_req` -> target name.
  std::map<std::string, std::string> target_by_route;
  std::map<std::string, std::string> target_by_model;
  std::int64_t threads = 1;            // one Kafka consumer and decoder each
  std::int64_t queue_records = 8'192;  // full: the partitions pause
  std::int64_t max_record_bytes = 1LL << 20;
  std::int64_t max_depth = 32;
  std::int64_t future_tolerance_ms =
      300'000;  // RECORDS.md section 1: 5 min ahead, else Kafka's time
  std::int64_t allowed_lateness_ms = 60'000;   // how far the watermark stays behind
  std::int64_t dedup_records = 1'000'000;      // ids remembered, 8 bytes each
  std::int64_t pending_feedback = 100'000;     // feedback that waits for its record, or the reverse
  std::int64_t pending_ms = 7LL * 86'400'000;  // a label later than a week trains nobody
};

struct StoreSettings {
  double rate = 1.0;                       // hash-sampled share of the units whose texts are kept
  std::int64_t max_records_per_s = 1'000;  // HOUSE.md section 3; 0 = no bound
  std::int64_t retention_age_ms = 30LL * 86'400'000;
  std::int64_t retention_bytes = 10LL << 30;
  std::int64_t segment_bytes = 16LL << 20;  // erase rewrites a segment: small enough to be quick
  bool redact = true;                       // personal data is masked before it reaches the disk
  // Words that redaction must leave alone although they look like an identifier.
  std::vector<std::string> redact_keep;
};

enum class Role { kViewer, kOperator };

struct HttpToken {
  std::string name;  // the actor in the journal
  Role role = Role::kViewer;
  std::string token_file;
};

struct HttpSettings {
  std::string host = "127.0.0.1";  // loopback only by default
  std::int64_t port = 8500;        // 0 = any free port (with --port-file)
  std::vector<HttpToken> tokens;   // none: only legal on a loopback address, everyone is operator
  std::vector<std::string> allowed_hosts;  // Host header values beside the listen address
  std::string tls_cert_file;               // both or neither
  std::string tls_key_file;
  std::int64_t threads = 4;
  std::int64_t queue_requests = 64;
  std::int64_t max_body_bytes = 8LL << 20;  // POST records takes batches
  std::int64_t max_header_bytes = 16LL << 10;
  std::int64_t request_deadline_ms = 30'000;
  std::int64_t command_deadline_ms = 5'000;  // how long a call waits for the control thread
  std::int64_t streams = 32;                 // SSE and long polls; more get 503
  std::int64_t long_poll_ms = 25'000;        // below common proxy time-outs of 30 s
};

// Health and metrics have a listener of their own, so that slow clients cannot starve them.
struct MetricsSettings {
  std::string host = "127.0.0.1";
  std::int64_t port = 8501;
};

enum class LogLevel { kTrace, kDebug, kInfo, kWarning, kError };
struct LogSettings {
  LogLevel level = LogLevel::kInfo;
};

struct ControlSettings {
  std::int64_t step_observations = 4'096;  // HOUSE.md section 3: <= N a step
  std::int64_t tick_ms = 1'000;
  std::int64_t reconcile_interval_ms = 10'000;  // PROMOTION.md section 2
  std::int64_t effect_threads = 2;
  std::int64_t watchdog_ms = 20'000;  // a loop without progress for so long is not fed (unit: 30 s)
  std::int64_t events_kept = 10'000;  // for GET events and SSE replay
};

// How trimtab drives the fleet that serves one target (PROMOTION.md section 4).
enum class ServingDriver { kVllm, kFile, kWebhook };

struct ServingEndpoint {
  std::string url;   // http://host:port
  std::string name;  // in metrics and messages; default: the URL's host:port
};

// The server's path of an adapter: the longest `from` that prefixes our path becomes `to`.
struct PathMap {
  std::string from;
  std::string to;
};

struct ServingSettings {
  ServingDriver driver = ServingDriver::kVllm;
  std::vector<ServingEndpoint> endpoints;  // driver vllm: every server of the fleet
  std::string served_base_name;  // upstream model name of the bare base; default: the target's base
  std::vector<PathMap> path_map;
  std::string token_file;           // bearer token for endpoints and webhook
  std::string webhook_url;          // driver webhook: routing documents are posted here
  std::string webhook_secret_file;  // HMAC-SHA256 over the body, header X-Trimtab-Signature
  std::int64_t max_loras = 2;       // slots per server; vLLM's own default of 1 cannot do a trial
  std::int64_t max_lora_rank = 16;  // vLLM's default
  std::int64_t keep_loaded = 3;     // champion, candidate, predecessor
  std::int64_t connect_timeout_ms = 2'000;
  std::int64_t load_timeout_ms = 60'000;
  std::int64_t request_timeout_ms = 30'000;
  std::int64_t retry_backoff_ms = 1'000;  // doubled up to a minute
  std::int64_t router_lease_ms = 60'000;  // a router without acknowledgement or records drops out
  std::int64_t routing_expiry_ms = 3'600'000;  // after it a router serves the champion only
};

}  // namespace trimtab::config
