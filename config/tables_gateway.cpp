#include "config/tables.h"

namespace trimtab::config {
namespace {

Table<GatewayTarget> target_table() {
  using T = GatewayTarget;
  Table<GatewayUpstream> upstream;
  upstream.text("url", &GatewayUpstream::url, "http://host:port").required().check(check_http_url);
  upstream.integer("weight", &GatewayUpstream::weight, 1, 1'000, "share of the requests");
  Table<T> t;
  t.text("name", &T::name, "the alias that clients ask for").required().check(check_name);
  t.sections("upstreams", &T::upstreams, upstream, "the model servers").required();
  t.text("served_base_name", &T::served_base_name,
         "upstream model name of the bare base; default: name");
  t.path("token_file", &T::token_file, "bearer token for the upstreams");
  return t;
}

Table<GatewayRouting> routing_table() {
  using R = GatewayRouting;
  Table<R> t;
  t.choice("source", &R::source, {"file", "url"}, "a folder of documents, or the daemon");
  t.path("dir", &R::dir, "source file: <dir>/<target>.json");
  t.text("url", &R::url, "source url: the daemon").check(check_http_url);
  t.path("token_file", &R::token_file, "bearer token for the daemon");
  t.path("keep_dir", &R::keep_dir,
         "source url: last documents over a restart");
  t.duration("poll_interval", &R::poll_interval_ms, 10, 600'000, "look again");
  t.duration("long_poll", &R::long_poll_ms, 100, 600'000, "below the daemon's http.long_poll");
  t.duration("acknowledge_every", &R::acknowledge_every_ms, 100, 3'600'000, "keeps the lease");
  return t;
}

Table<GatewayUnit> unit_table() {
  using U = GatewayUnit;
  Table<U> t;
  t.strings("session_headers", &U::session_headers, "looked at in order").check(check_header);
  t.strings("user_headers", &U::user_headers, "then these, then the body's user")
      .check(check_header);
  t.text("tenant_header", &U::tenant_header, "the record's tenant").check(check_header);
  return t;
}

Table<GatewayRecords> records_table() {
  using R = GatewayRecords;
  Table<R> t;
  t.boolean("enabled", &R::enabled, "false: somebody else logs");
  t.section("kafka", &R::kafka, kafka_connection_table(), "where records go");
  t.text("topic", &R::topic, "the daemon's kafka.topics.records").check(check_topic);
  t.integer("queue_records", &R::queue_records, 10, 10'000'000, "full: dropped and counted");
  t.size("max_record", &R::max_record_bytes, 1 << 10, 64 << 20, "longer texts are cut");
  t.duration("flush", &R::flush_ms, 0, 600'000, "at exit");
  return t;
}

Table<GatewaySettings> gateway_table() {
  using G = GatewaySettings;
  Table<G> t;
  t.text("host", &G::host, "address to listen on").check(check_host);
  t.integer("port", &G::port, 0, 65'535, "0 = any free one");
  t.text("instance", &G::instance, "in acknowledgements; default: host name and port");
  t.path("client_token_file", &G::client_token_file,
         "clients must send it; empty = whoever reaches the port");
  t.section("metrics", &G::metrics, metrics_table(), "health and /metrics");
  t.section("log", &G::log, log_table(), "the log on standard error");
  t.sections("targets", &G::targets, target_table(), "one alias each").required();
  t.section("routing", &G::routing, routing_table(), "who serves whom");
  t.section("unit", &G::unit, unit_table(), "whom a request belongs to");
  t.section("records", &G::records, records_table(), "what is logged");
  t.integer("threads", &G::threads, 1, 1'024, "requests in flight");
  t.integer("queue_requests", &G::queue_requests, 1, 100'000, "waiting; more get 503");
  t.size("max_body", &G::max_body_bytes, 1 << 10, 1 << 30, "larger bodies get 413");
  t.size("max_header", &G::max_header_bytes, 1 << 10, 1 << 20, "larger headers get 431");
  t.duration("connect_timeout", &G::connect_timeout_ms, 10, 600'000, "to an upstream");
  t.duration("first_byte_timeout", &G::first_byte_timeout_ms, 10, 3'600'000, "of an answer");
  t.duration("idle_timeout", &G::idle_timeout_ms, 10, 3'600'000, "between pieces of a stream");
  t.duration("request_deadline", &G::request_deadline_ms, 100, kDayInMs, "one request in all");
  t.integer("retries", &G::retries, 0, 10, "on another upstream, before the first byte");
  t.duration("health_interval", &G::health_interval_ms, 100, 600'000, "asking upstreams");
  t.duration("drain", &G::drain_ms, 0, 3'600'000, "answers in flight at exit");
  return t;
}

}  // namespace

const Section& gateway_section() {
  static const Section section = *gateway_table().shared();
  return section;
}

}  // namespace trimtab::config
