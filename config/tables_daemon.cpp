// Rows of the daemon's own sections. Ranges are what the code was written and tested for, or what
// the peer (Kafka, TCP) allows; the defaults and their reasons stand in daemon_settings.h.
#include "config/tables.h"

namespace trimtab::config {
namespace {

Table<KafkaTopics> topics_table() {
  Table<KafkaTopics> t;
  t.text("records", &KafkaTopics::records, "inference records").check(check_topic);
  t.text("feedback", &KafkaTopics::feedback, "feedback; may be the same topic").check(check_topic);
  t.text("dead_letters", &KafkaTopics::dead_letters, "what could not be used, unchanged")
      .check(check_topic);
  return t;
}

Table<KafkaSettings> kafka_table() {
  using K = KafkaSettings;
  Table<K> t;
  t.inlined(&K::connection, kafka_connection_table());
  t.section("topics", &K::topics, topics_table(), "topic names");
  t.text("group", &K::group, "consumer group; this daemon is its only writer")
      .check(check_not_empty);
  t.text("group_instance_id", &K::group_instance_id,
         "static membership: a second instance with this id is fenced; empty = dynamic");
  t.choice("isolation", &K::isolation, {"read_committed", "read_uncommitted"},
           "whether aborted transactions are read");
  t.choice("assignor", &K::assignor, {"range", "cooperative-sticky"},
           "cooperative-sticky needs librdkafka >= 2.10");
  t.choice("first_offset", &K::first_offset, {"earliest", "latest"},
           "where to begin while there is no state yet");
  t.choice("dead_letters", &K::dead_letters, {"raw", "redacted", "off"},
           "dead letters hold people's words too");
  t.duration("session_timeout", &K::session_timeout_ms, 1'000, 3'600'000,
             "the group coordinator's patience");
  t.duration("max_poll_interval", &K::max_poll_interval_ms, 1'000, kDayInMs,
             "at most so long between two polls");
  t.integer("batch_records", &K::batch_records, 1, 100'000, "records of one batch at most");
  t.duration("batch_wait", &K::batch_wait_ms, 1, 60'000, "how long a batch waits to fill");
  t.size("queued_max", &K::queued_max_bytes, 1 << 20, 2147483647.0, "prefetched bytes at most");
  t.integer("queued_min_messages", &K::queued_min_messages, 1, 10'000'000,
            "prefetched messages a partition, aimed at");
  t.duration("no_progress", &K::no_progress_ms, 1'000, kDayInMs,
             "lag and no batch for so long: the consumer is rebuilt, then the daemon exits");
  t.duration("close_deadline", &K::close_deadline_ms, 100, 600'000, "leaving the group");
  return t;
}

Table<StateSettings> state_table() {
  using S = StateSettings;
  Table<S> t;
  t.path("dir", &S::dir, "state folder: database, records, adapters, jobs, routing")
      .check(check_not_empty);
  t.duration("commit_interval", &S::commit_interval_ms, 10, 60'000,
             "state and offsets are committed together so often");
  t.size("min_free", &S::min_free_bytes, 0, 1LL << 50, "less free disk: pause and alert");
  t.duration("journal_retention", &S::journal_retention_ms, kDayInMs, 20 * kYearInMs,
             "how long decisions can be explained");
  t.integer("keep_adapters", &S::keep_adapters, 3, 10'000,
            "adapters kept a target, beside those that routing or a trial names");
  t.integer("keep_jobs", &S::keep_jobs, 1, 10'000, "job folders kept a target");
  return t;
}

Table<IngestSettings> ingest_table() {
  using I = IngestSettings;
  Table<I> t;
  t.choice("mapping", &I::mapping, {"canonical", "otel", "litellm", "langfuse"},
           "how records are spelled");
  t.string_map("pointers", &I::pointers, "canonical field -> JSON pointer, over the mapping");
  t.string_map("target_by_route", &I::target_by_route, "route -> target, where target is absent");
  t.string_map("target_by_model", &I::target_by_model,
               "model_req -> target, where target is absent");
  t.integer("threads", &I::threads, 1, 64, "consumers with a decoder each");
  t.integer("queue_records", &I::queue_records, 16, 10'000'000, "full: partitions pause");
  t.size("max_record", &I::max_record_bytes, 1 << 10, 64 << 20, "larger ones are dead-lettered");
  t.integer("max_depth", &I::max_depth, 4, 256, "deeper JSON is dead-lettered");
  t.duration("future_tolerance", &I::future_tolerance_ms, 0, kDayInMs,
             "further ahead than this: Kafka's time is taken and counted");
  t.duration("allowed_lateness", &I::allowed_lateness_ms, 0, 30 * kDayInMs,
             "how far the watermark stays behind the newest event");
  t.integer("dedup_records", &I::dedup_records, 1'000, 100'000'000, "ids remembered, 8 bytes each");
  t.integer("pending_feedback", &I::pending_feedback, 100, 10'000'000,
            "feedback waiting for its record");
  t.duration("pending", &I::pending_ms, 1'000, kYearInMs, "and for how long");
  return t;
}

Table<StoreSettings> store_table() {
  using S = StoreSettings;
  Table<S> t;
  t.number("rate", &S::rate, 0, 1, "share of the units whose texts are kept (stable hash)");
  t.integer("max_records_per_s", &S::max_records_per_s, 0, 10'000'000, "texts kept; 0 = no bound");
  t.duration("retention_age", &S::retention_age_ms, 1'000, 20 * kYearInMs, "older texts go");
  t.size("retention", &S::retention_bytes, 1 << 20, 1LL << 50, "beyond it the oldest texts go");
  t.size("segment", &S::segment_bytes, 64 << 10, 1 << 30, "one append-only file");
  t.boolean("redact", &S::redact, "mask personal data before it reaches the disk");
  t.strings("redact_keep", &S::redact_keep, "words that redaction leaves alone");
  return t;
}

Table<ControlSettings> control_table() {
  using C = ControlSettings;
  Table<C> t;
  t.integer("step_observations", &C::step_observations, 1, 1'000'000, "drained a step at most");
  t.duration("tick", &C::tick_ms, 10, 60'000, "timers run so often");
  t.duration("reconcile_interval", &C::reconcile_interval_ms, 100, 3'600'000,
             "how often the fleet is asked what it serves");
  t.integer("effect_threads", &C::effect_threads, 1, 32, "HTTP to fleets and worker starts");
  t.duration("watchdog", &C::watchdog_ms, 1'000, 3'600'000,
             "a loop without progress for so long is not fed");
  t.integer("events_kept", &C::events_kept, 100, 10'000'000, "for GET events and SSE replay");
  return t;
}

Table<HttpToken> token_table() {
  Table<HttpToken> t;
  t.text("name", &HttpToken::name, "the actor in the journal").required();
  t.choice("role", &HttpToken::role, {"viewer", "operator"}, "what it may do");
  t.path("token_file", &HttpToken::token_file, "file that holds the token").required();
  return t;
}

Table<HttpSettings> http_table() {
  using H = HttpSettings;
  Table<H> t;
  t.text("host", &H::host, "address to listen on").check(check_host);
  t.integer("port", &H::port, 0, 65'535, "0 = any free one");
  t.sections("tokens", &H::tokens, token_table(), "bearer tokens; needed off loopback");
  t.strings("allowed_hosts", &H::allowed_hosts, "Host headers beside the listen address")
      .check(check_host);
  t.path("tls_cert_file", &H::tls_cert_file, "certificate chain, PEM");
  t.path("tls_key_file", &H::tls_key_file, "its key, PEM");
  t.integer("threads", &H::threads, 1, 256, "requests answered at once");
  t.integer("queue_requests", &H::queue_requests, 1, 100'000, "waiting; more get 503");
  t.size("max_body", &H::max_body_bytes, 1 << 10, 1 << 30, "larger bodies get 413");
  t.size("max_header", &H::max_header_bytes, 1 << 10, 1 << 20, "larger headers get 431");
  t.duration("request_deadline", &H::request_deadline_ms, 100, 3'600'000, "one request in all");
  t.duration("command_deadline", &H::command_deadline_ms, 10, 600'000,
             "waiting for the control thread");
  t.integer("streams", &H::streams, 1, 10'000, "SSE and long polls at once; more get 503");
  t.duration("long_poll", &H::long_poll_ms, 100, 600'000, "?wait= at most");
  return t;
}

Table<ExpectedTraffic> expected_table() {
  using X = ExpectedTraffic;
  Table<X> t;
  t.number("records_per_day", &X::records_per_day, 0, 1e12, "inference records");
  t.number("units_per_day", &X::units_per_day, 0, 1e12, "users or sessions, by unit_key");
  t.number("label_rate", &X::label_rate, 0, 1, "share of records with a random-selected label");
  t.number("complaint_rate", &X::complaint_rate, 0, 1, "share of units that complain");
  t.number("base_rate", &X::base_rate, 0, 1, "error rate on the labelled metric");
  return t;
}

Table<TargetSettings> target_table() {
  using T = TargetSettings;
  Table<T> t;
  t.text("name", &T::name, "the alias that clients ask for").required().check(check_name);
  t.path("base", &T::base, "folder of the base snapshot, Hugging Face format").required();
  t.path("golden", &T::golden, "JSONL of {input, output}; a screen, never trained on");
  t.choice("unit_key", &T::unit_key, {"user_id", "session_id", "request"},
           "hashed for assignment and evaluation units; falls through in this order");
  t.number("eval_share", &T::eval_share, 0.05, 0.95, "share of the units no job trains on");
  t.section("expected", &T::expected, expected_table(), "traffic, for check-config's forecast");
  t.section("drift", &T::drift, drift_table(), "signals, reference, promised false alarms");
  t.section("retrain", &T::retrain, retrain_table(), "when, on what, within which limits");
  t.section("promotion", &T::promotion, promotion_table(), "how a candidate is tried");
  t.section("serving", &T::serving, serving_table(), "the fleet that serves it");
  return t;
}

Table<Settings> settings_table() {
  using S = Settings;
  Table<S> t;
  t.section("state", &S::state, state_table(), "where state lives");
  t.section("kafka", &S::kafka, kafka_table(), "where records come from");
  t.section("ingest", &S::ingest, ingest_table(), "how they are read");
  t.section("store", &S::store, store_table(), "which texts are kept");
  t.section("control", &S::control, control_table(), "the control loop's bounds");
  t.section("http", &S::http, http_table(), "REST and the web page");
  t.section("metrics", &S::metrics, metrics_table(), "health and /metrics, a listener of its own");
  t.section("log", &S::log, log_table(), "the log on standard error");
  t.sections("targets", &S::targets, target_table(), "one alias each").required();
  return t;
}

}  // namespace

Table<KafkaConnection> kafka_connection_table() {
  using C = KafkaConnection;
  Table<C> t;
  t.text("brokers", &C::brokers, "bootstrap servers, host:port").check(check_brokers);
  t.string_map("properties", &C::properties, "passed through to librdkafka");
  t.string_map("property_files", &C::property_files,
               "librdkafka property -> file with its value: sasl.password and the like");
  return t;
}

Table<MetricsSettings> metrics_table() {
  using M = MetricsSettings;
  Table<M> t;
  t.text("host", &M::host, "address to listen on").check(check_host);
  t.integer("port", &M::port, 0, 65'535, "0 = any free one");
  return t;
}

Table<LogSettings> log_table() {
  Table<LogSettings> t;
  t.choice("level", &LogSettings::level, {"trace", "debug", "info", "warning", "error"},
           "least level that is written");
  return t;
}

const Section& settings_section() {
  static const Section section = *settings_table().shared();
  return section;
}

}  // namespace trimtab::config
