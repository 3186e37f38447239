#include "config/validate.h"

#include <array>
#include <set>
#include <string_view>

#include "config/units.h"

namespace trimtab::config {
namespace {

using Findings = std::vector<Finding>;

std::string at(const std::string& path, std::size_t index) {
  return path + "[" + std::to_string(index) + "]";
}

// librdkafka properties that the daemon's correctness hangs on, and those that hold secrets.
constexpr std::array<std::string_view, 13> kOwnProperties{
    "bootstrap.servers",  "metadata.broker.list", "group.id",
    "group.instance.id",  "enable.auto.commit",   "enable.auto.offset.store",
    "auto.offset.reset",  "isolation.level",      "partition.assignment.strategy",
    "session.timeout.ms", "max.poll.interval.ms", "queued.max.messages.kbytes",
    "queued.min.messages"};
constexpr std::array<std::string_view, 5> kSecretProperties{"sasl.password", "ssl.key.password",
                                                            "ssl.keystore.password", "ssl.key.pem",
                                                            "sasl.oauthbearer.client.secret"};

void validate_connection(const KafkaConnection& kafka, const std::string& path, Findings& out) {
  for (const auto& [key, value] : kafka.properties) {
    for (const auto own : kOwnProperties) {
      if (key == own) {
        out.push_back({path + ".properties",
                       "'" + key + "' is trimtab's own; use the key of this section or remove it"});
      }
    }
    for (const auto secret : kSecretProperties) {
      if (key == secret) {
        out.push_back(
            {path + ".properties", "'" + key +
                                       "' is a secret; put it into a file and name that under "
                                       "property_files"});
      }
    }
    if (kafka.property_files.contains(key)) {
      out.push_back({path + ".property_files", "'" + key + "' is also under properties"});
    }
  }
}

void validate_kafka(const KafkaSettings& kafka, Findings& out) {
  validate_connection(kafka.connection, "kafka", out);
  const KafkaTopics& topics = kafka.topics;
  if (topics.dead_letters == topics.records || topics.dead_letters == topics.feedback) {
    out.push_back({"kafka.topics.dead_letters", "'" + topics.dead_letters +
                                                    "' is read, too: dead letters would come back; "
                                                    "write another topic"});
  }
  if (kafka.session_timeout_ms > kafka.max_poll_interval_ms) {
    out.push_back({"kafka.session_timeout", "longer than kafka.max_poll_interval (" +
                                                format_duration(kafka.max_poll_interval_ms) +
                                                "); librdkafka refuses that"});
  }
}

void validate_listener(const std::string& path, const std::string& host, std::int64_t port,
                       const MetricsSettings& metrics, Findings& out) {
  if (port != 0 && port == metrics.port && host == metrics.host) {
    out.push_back({path, "the port " + std::to_string(port) +
                             " is also metrics.port; health needs a listener of its own"});
  }
}

void validate_http(const Settings& settings, Findings& out) {
  const HttpSettings& http = settings.http;
  validate_listener("http.port", http.host, http.port, settings.metrics, out);
  if (!is_loopback(http.host) && http.tokens.empty()) {
    out.push_back({"http.host", "'" + http.host +
                                    "' is not loopback and http.tokens is empty: "
                                    "anybody could promote; add a token or listen on 127.0.0.1"});
  }
  if (http.tls_cert_file.empty() != http.tls_key_file.empty()) {
    out.push_back({http.tls_cert_file.empty() ? "http.tls_key_file" : "http.tls_cert_file",
                   "tls_cert_file and tls_key_file go together; write both or neither"});
  }
  std::set<std::string> names;
  for (std::size_t i = 0; i < http.tokens.size(); ++i) {
    if (!names.insert(http.tokens[i].name).second) {
      out.push_back({at("http.tokens", i) + ".name",
                     "'" + http.tokens[i].name + "' is taken; an actor has one name"});
    }
  }
  if (http.long_poll_ms >= http.request_deadline_ms) {
    out.push_back({"http.long_poll", "not below http.request_deadline (" +
                                         format_duration(http.request_deadline_ms) + ")"});
  }
}

void validate_ingest(const Settings& settings, Findings& out) {
  for (const auto& [field, pointer] : settings.ingest.pointers) {
    if (pointer.empty() || pointer[0] != '/') {
      out.push_back({"ingest.pointers", "'" + pointer + "' of '" + field +
                                            "' is not a JSON pointer; write such as /response/id"});
    }
  }
  std::set<std::string> names;
  for (const TargetSettings& target : settings.targets) names.insert(target.name);
  const auto check_map = [&](const char* path, const std::map<std::string, std::string>& map) {
    for (const auto& [from, target] : map) {
      if (!names.contains(target)) {
        out.push_back({path, "'" + target + "' (of '" + from + "') is no target of this file"});
      }
    }
  };
  check_map("ingest.target_by_route", settings.ingest.target_by_route);
  check_map("ingest.target_by_model", settings.ingest.target_by_model);
}

void validate_drift(const DriftSettings& drift, const std::string& path, Findings& out) {
  std::set<std::string> names;
  for (std::size_t i = 0; i < drift.signals.size(); ++i) {
    const DriftSignalSettings& signal = drift.signals[i];
    const std::string where = at(path + ".signals", i);
    if (!signal.source.empty() && signal.source[0] == '/' && signal.kind == "auto") {
      out.push_back({where, "the source " + signal.source +
                                " is a JSON pointer; say kind: numeric or kind: categorical"});
    }
    const std::string& name = signal.name.empty() ? signal.source : signal.name;
    if (!names.insert(name).second) {
      out.push_back(
          {where, "a signal named '" + name + "' is there already; give it another name"});
    }
  }
  names.clear();
  for (std::size_t i = 0; i < drift.harm.size(); ++i) {
    const HarmMetricSettings& harm = drift.harm[i];
    if (!names.insert(harm.name).second) {
      out.push_back({at(path + ".harm", i), "'" + harm.name + "' is listed twice"});
    }
    if (harm.min_reference > harm.max_reference) {
      out.push_back({at(path + ".harm", i) + ".min_reference",
                     "above max_reference (" + std::to_string(harm.max_reference) + ")"});
    }
  }
}

void validate_retrain(const TargetSettings& target, const std::string& path, Findings& out) {
  const RetrainSettings& retrain = target.retrain;
  if (retrain.minimum_examples > retrain.data.max_examples) {
    out.push_back({path + ".retrain.minimum_examples",
                   "above data.max_examples (" + std::to_string(retrain.data.max_examples) +
                       "): no job could ever start"});
  }
  const TrainingSettings& training = retrain.training;
  if (training.batch_tokens < training.max_length) {
    out.push_back({path + ".retrain.training.batch_tokens",
                   "below max_length (" + std::to_string(training.max_length) +
                       "): the longest example would fit into no batch"});
  }
  if (training.lora.r > target.serving.max_lora_rank) {
    out.push_back({path + ".retrain.training.lora.r",
                   "above serving.max_lora_rank (" + std::to_string(target.serving.max_lora_rank) +
                       "): the fleet would refuse the adapter"});
  }
  if (retrain.limits.launcher == LauncherKind::kSpool && retrain.limits.spool_dir.empty()) {
    out.push_back({path + ".retrain.limits.spool_dir", "empty, but the launcher is spool"});
  }
}

void need_at_most(std::int64_t value, const std::string& path, std::int64_t bound,
                  const char* bound_name, Findings& out) {
  if (value <= bound) return;
  out.push_back({path, format_duration(value) + " is longer than " + bound_name + " (" +
                           format_duration(bound) + "): the state would always end by its dwell"});
}

void validate_plan(const PlanSettings& plan, const std::string& path, Findings& out) {
  if (plan.ladder.empty()) {
    out.push_back({path + ".ladder", "empty; write at least one share, the last is the A/B's"});
  }
  for (std::size_t i = 1; i < plan.ladder.size(); ++i) {
    if (plan.ladder[i] <= plan.ladder[i - 1]) {
      out.push_back({path + ".ladder", format_number(plan.ladder[i]) + " after " +
                                           format_number(plan.ladder[i - 1]) +
                                           ": a ladder only widens; write rising shares"});
      break;
    }
  }
  const DwellSettings& dwell = plan.max_dwell;
  need_at_most(plan.canary_min_dwell_ms, path + ".canary_min_dwell", dwell.canary_step_ms,
               "max_dwell.canary_step", out);
  need_at_most(plan.ab_min_dwell_ms, path + ".ab_min_dwell", dwell.ab_ms, "max_dwell.ab", out);
  need_at_most(plan.bake_ms, path + ".bake", dwell.baking_ms, "max_dwell.baking", out);
  need_at_most(plan.label_wait_ms, path + ".label_wait", dwell.canary_step_ms,
               "max_dwell.canary_step", out);
  if (plan.shadow_batch_pairs > plan.shadow_max_pairs) {
    out.push_back({path + ".shadow_batch_pairs", "above shadow_max_pairs"});
  }
}

void validate_judge(const PromotionSettings& promotion, const std::string& path, Findings& out) {
  const bool asked = promotion.plan.score == PairScore::kJudge;
  if (asked && promotion.judge.url.empty()) {
    out.push_back({path + ".plan.score", "judge needs promotion.judge.url and .model"});
  }
  if (!promotion.judge.url.empty() && promotion.judge.model.empty()) {
    out.push_back({path + ".judge.model", "which model of " + promotion.judge.url + " is asked?"});
  }
}

void validate_serving(const ServingSettings& serving, const std::string& path, Findings& out) {
  if (serving.driver == ServingDriver::kVllm) {
    if (serving.endpoints.empty()) {
      out.push_back({path + ".endpoints", "empty, but the driver is vllm; list the servers"});
    }
    if (serving.max_loras < 2) {
      out.push_back({path + ".max_loras",
                     "1 slot cannot hold champion and candidate; start the servers with "
                     "--max-loras 2 or more and say so here"});
    }
  }
  if (serving.driver == ServingDriver::kWebhook && serving.webhook_url.empty()) {
    out.push_back({path + ".webhook_url", "empty, but the driver is webhook"});
  }
  if (serving.router_lease_ms > serving.routing_expiry_ms / 2) {
    out.push_back({path + ".router_lease",
                   "above half of routing_expiry (" + format_duration(serving.routing_expiry_ms) +
                       "): documents would expire before a silent router is noticed"});
  }
  std::set<std::string> seen;
  for (std::size_t i = 0; i < serving.endpoints.size(); ++i) {
    if (!seen.insert(serving.endpoints[i].url).second) {
      out.push_back({at(path + ".endpoints", i) + ".url",
                     "'" + serving.endpoints[i].url + "' is listed twice"});
    }
  }
}

void validate_target(const TargetSettings& target, const std::string& path, Findings& out) {
  validate_drift(target.drift, path + ".drift", out);
  validate_retrain(target, path, out);
  validate_plan(target.promotion.plan, path + ".promotion.plan", out);
  validate_judge(target.promotion, path + ".promotion", out);
  validate_serving(target.serving, path + ".serving", out);
}

}  // namespace

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host == "[::1]" || host.starts_with("127.");
}

std::vector<Finding> validate(const Settings& settings) {
  Findings out;
  validate_kafka(settings.kafka, out);
  validate_http(settings, out);
  validate_ingest(settings, out);
  if (settings.targets.empty()) {
    out.push_back({"targets", "empty; trimtab needs at least one target to look after"});
  }
  std::set<std::string> names;
  for (std::size_t i = 0; i < settings.targets.size(); ++i) {
    const std::string path = at("targets", i);
    if (!names.insert(settings.targets[i].name).second) {
      out.push_back({path + ".name", "'" + settings.targets[i].name +
                                         "' is taken by another target; all state goes by it"});
    }
    validate_target(settings.targets[i], path, out);
  }
  return out;
}

std::vector<Finding> validate(const GatewaySettings& settings) {
  Findings out;
  validate_listener("port", settings.host, settings.port, settings.metrics, out);
  validate_connection(settings.records.kafka, "records.kafka", out);
  if (settings.targets.empty()) out.push_back({"targets", "empty; name at least one alias"});
  std::set<std::string> names;
  for (std::size_t i = 0; i < settings.targets.size(); ++i) {
    const std::string path = at("targets", i);
    if (!names.insert(settings.targets[i].name).second) {
      out.push_back({path + ".name", "'" + settings.targets[i].name + "' is listed twice"});
    }
    if (settings.targets[i].upstreams.empty()) {
      out.push_back({path + ".upstreams", "empty; list at least one model server"});
    }
  }
  const GatewayRouting& routing = settings.routing;
  if (routing.source == RoutingSource::kFile && routing.dir.empty()) {
    out.push_back({"routing.dir", "empty, but the source is file"});
  }
  if (routing.source == RoutingSource::kUrl && routing.url.empty()) {
    out.push_back({"routing.url", "empty, but the source is url"});
  }
  if (settings.first_byte_timeout_ms > settings.request_deadline_ms) {
    out.push_back({"first_byte_timeout", "longer than request_deadline (" +
                                             format_duration(settings.request_deadline_ms) + ")"});
  }
  return out;
}

}  // namespace trimtab::config
