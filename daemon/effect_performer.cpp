#include "daemon/effect_performer.h"

#include <algorithm>
#include <filesystem>

#include "base/base_digest.h"
#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"
#include "daemon/score_annotate.h"
#include "daemon/worker_call.h"
#include "retrain/launcher.h"
#include "shadow/preflight.h"
#include "shadow/routing.h"
#include "shadow/scorer.h"

namespace trimtab::daemon {
namespace fs = std::filesystem;
namespace {

Result<shadow::AdapterRef> adapter_of(const Json& payload, const char* key = "adapter") {
  return shadow::parse_adapter_ref(payload.value(key, Json::object()));
}

int answer_tokens(const config::TargetSettings& settings, const Json& payload) {
  return json_or(payload, "answer_tokens", settings.promotion.plan.short_answer_tokens);
}

std::string adapter_argument(const shadow::AdapterRef& adapter) {
  return adapter.bare_base() ? "none" : adapter.uri;
}

}  // namespace

Result<std::string> fleet_answer(const FleetResult& result) {
  if (result.done()) return "{}";
  if (result.retryable()) return fail(Code::kUnavailable, result.message());
  const bool conflict =
      std::any_of(result.endpoints.begin(), result.endpoints.end(),
                  [](const auto& one) { return one.outcome == CallOutcome::kConflict; });
  return fail(conflict ? Code::kConflict : Code::kInvalid, result.message());
}

FleetPerformer::FleetPerformer(const config::Settings& settings, Clock& clock)
    : clock_(clock), state_dir_(settings.state.dir) {}

Result<std::unique_ptr<FleetPerformer>> FleetPerformer::create(const config::Settings& settings,
                                                               Clock& clock) {
  auto made = std::unique_ptr<FleetPerformer>(new FleetPerformer(settings, clock));
  const fs::path routing = made->state_dir_ / "routing";
  TRIMTAB_CHECK_OK(make_folders(routing));
  for (const auto& target : settings.targets) {
    auto driver = make_serving_driver(target.serving, routing.string(), target.base, clock);
    if (!driver) return fail_in("target " + target.name, driver.error());
    TargetParts parts{.settings = target, .driver = std::move(*driver), .judge = nullptr};
    if (!target.promotion.judge.url.empty()) {
      auto judge = Judge::create(target.promotion.judge, clock);
      if (!judge) return fail_in("target " + target.name, judge.error());
      parts.judge = std::move(*judge);
    }
    made->targets_[target.name] = std::move(parts);
  }
  return made;
}

Result<std::string> FleetPerformer::perform(const EffectOrder& order, std::stop_token stop) {
  const auto it = targets_.find(order.target);
  if (it == targets_.end()) return fail(Code::kNotFound, "unknown target " + order.target);
  const TargetParts& target = it->second;
  TRIMTAB_TRY(const Json payload, parse_json(order.payload));
  if (order.kind == "survey") return survey(target, payload);
  if (order.kind == "verify_files") return verify(target, payload);
  if (order.kind == "score") return score(target, order, payload, std::move(stop));
  if (order.kind == "write_routing") {
    const Json document = payload.value("routing", Json::object());
    return fleet_answer(target.driver->publish(
        order.target, json_or<std::uint64_t>(document, "generation", 0), dump_json(document)));
  }
  TRIMTAB_TRY(const auto adapter, adapter_of(payload));
  if (order.kind == "load_adapter") {
    if (adapter.bare_base() || !target.driver->loads()) return "{}";
    return fleet_answer(target.driver->load(adapter));
  }
  if (order.kind == "unload_adapter") {
    if (!target.driver->loads()) return "{}";
    return fleet_answer(target.driver->unload(adapter.name));
  }
  if (order.kind == "evict_adapter") {
    if (!target.driver->loads()) return "{}";
    return fleet_answer(target.driver->evict_impostor(adapter));
  }
  if (order.kind == "warm_up") {
    if (!target.driver->loads()) return "{}";
    return fleet_answer(target.driver->warm_up(adapter));
  }
  return fail(Code::kInternal, "unknown effect " + order.kind);
}

Result<FleetPerformer::Digests> FleetPerformer::digests(const std::string& base) {
  {
    std::lock_guard lock(mutex_);
    const auto known = digests_.find(base);
    if (known != digests_.end()) return known->second;
  }
  Digests made;
  TRIMTAB_TRY(made.base, base_digest(base));
  if (auto tokenizer = tokenizer_digest(base)) made.tokenizer = *tokenizer;
  std::lock_guard lock(mutex_);
  digests_[base] = made;
  return made;
}

Result<std::string> FleetPerformer::verify(const TargetParts& target, const Json& payload) {
  TRIMTAB_TRY(const auto adapter, adapter_of(payload));
  TRIMTAB_TRY(const auto known, digests(target.settings.base));
  TRIMTAB_TRY(auto facts, shadow::preflight({.folder = adapter.uri,
                                             .sha256 = adapter.sha256,
                                             .base_sha256 = known.base,
                                             .tokenizer_sha256 = known.tokenizer,
                                             .max_lora_rank = static_cast<int>(
                                                 target.settings.serving.max_lora_rank)}));
  if (facts.verdict.passed && target.driver->loads()) {
    // A live comparison needs the candidate beside the champion (PROMOTION.md section 2).
    constexpr std::int64_t kSlotsOfATrial = 2;
    for (const auto& endpoint : target.driver->describe()) {
      if (!endpoint.reachable || endpoint.slots <= 0 || endpoint.slots >= kSlotsOfATrial) continue;
      facts.verdict = {.passed = false,
                       .failure = "adapter_slots",
                       .message = endpoint.endpoint + " serves " + std::to_string(endpoint.slots) +
                                  " adapter at a time; a trial needs 2: raise its max_loras"};
    }
  }
  return dump_json(Json{{"verdict", shadow::to_json(facts.verdict)},
                        {"sha256", facts.sha256},
                        {"rank", facts.rank},
                        {"parameters", facts.parameters}});
}

// `right` says whether an adapter that we want there comes from where it should.
Result<std::string> FleetPerformer::survey(const TargetParts& target, const Json& payload) {
  std::map<std::string, std::string> roots;  // of what we want there
  for (const auto& wanted : payload.value("desired", Json::array())) {
    TRIMTAB_TRY(const auto adapter, shadow::parse_adapter_ref(wanted));
    roots[adapter.name] = target.driver->server_path(adapter);
  }
  const auto right = [&](const ServedModel& model) {
    const auto wanted = roots.find(model.id);
    std::string root = model.root;
    while (root.size() > 1 && root.ends_with('/')) root.pop_back();
    return wanted == roots.end() || wanted->second == root;
  };
  Json endpoints = Json::array();
  for (const auto& endpoint : target.driver->describe()) {
    Json adapters = Json::array();
    for (const auto& model : endpoint.models) {
      if (model.parent.empty()) continue;
      adapters.push_back({{"id", model.id}, {"root", model.root}, {"right", right(model)}});
    }
    endpoints.push_back({{"name", endpoint.endpoint},
                         {"ok", endpoint.reachable},
                         {"message", endpoint.problem},
                         {"adapters", adapters}});
  }
  return dump_json(Json{{"endpoints", endpoints}});
}

// Results lie beside their input under a name that says what was asked, so that an order that is
// repeated after a crash costs nothing.
Result<std::string> FleetPerformer::score(const TargetParts& target, const EffectOrder& order,
                                          const Json& payload, std::stop_token stop) {
  TRIMTAB_TRY(const auto champion, adapter_of(payload, "champion"));
  TRIMTAB_TRY(const auto candidate, adapter_of(payload, "candidate"));
  if (order.items.empty()) return "";
  TRIMTAB_TRY(const std::string input, shadow::score_input(order.items));
  const fs::path folder = state_dir_ / "scores" / order.subject;
  TRIMTAB_CHECK_OK(make_folders(folder));
  const fs::path stem =
      folder / sha256_hex(input + "\x1f" + champion.label() + "\x1f" + candidate.label() + "\x1f" +
                          std::to_string(answer_tokens(target.settings, payload)))
                   .substr(0, 16);
  const auto in = fs::path(stem).concat(".in.jsonl");
  if (!fs::exists(in)) TRIMTAB_CHECK_OK(write_atomic(in, input));
  TRIMTAB_TRY(const std::string lines, worker_scores(target, payload, stem, std::move(stop)));
  const auto score = static_cast<config::PairScore>(json_or(payload, "score", 0));
  if (!needs_annotation(score)) return lines;
  return annotate_scores(lines, order.items, score, target.judge.get(),
                         fs::path(stem).concat(".judge.jsonl"));
}

Result<std::string> FleetPerformer::worker_scores(const TargetParts& target, const Json& payload,
                                                  const fs::path& stem, std::stop_token stop) {
  TRIMTAB_TRY(const auto champion, adapter_of(payload, "champion"));
  TRIMTAB_TRY(const auto candidate, adapter_of(payload, "candidate"));
  const auto in = fs::path(stem).concat(".in.jsonl");
  const auto out = fs::path(stem).concat(".out.jsonl");
  const auto part = fs::path(stem).concat(".part.jsonl");
  if (auto done = read_file(out)) return *done;
  const auto& limits = target.settings.retrain.limits;
  TRIMTAB_TRY(const auto worker, retrain::find_worker(limits.worker));
  const WorkerCall call{
      .argv = {worker.string(), "score", "--base", target.settings.base, "--adapter",
               adapter_argument(champion), "--adapter", adapter_argument(candidate),
               "--max-new-tokens", std::to_string(answer_tokens(target.settings, payload)), "--out",
               part.string(), in.string()},
      .log = stem.parent_path() / "worker.log",
      .deadline_ms = limits.max_duration_ms,
      .grace_ms = limits.kill_grace_ms,
      .nice = static_cast<int>(limits.nice)};
  TRIMTAB_CHECK_OK(call_worker(call, clock_, std::move(stop)));
  TRIMTAB_CHECK_OK(rename_durable(part, out));
  return read_file(out);
}

}  // namespace trimtab::daemon
