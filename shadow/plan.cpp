#include "shadow/plan.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <utility>

#include "base/hash.h"
#include "base/json.h"

namespace trimtab::shadow {
namespace {

using config::DwellSettings;
using config::LiveMetric;
using config::PairScore;
using config::Ship;

constexpr std::array<std::pair<Ship, std::string_view>, 2> kShips = {
    {{Ship::kImprove, "improve"}, {Ship::kNonInferior, "non_inferior"}}};
constexpr std::array<std::pair<PairScore, std::string_view>, 8> kScores = {
    {{PairScore::kAuto, "auto"},
     {PairScore::kMatch, "match"},
     {PairScore::kLikelihood, "likelihood"},
     {PairScore::kJudge, "judge"},
     {PairScore::kTokenF1, "token_f1"},
     {PairScore::kRougeL, "rougeL"},
     {PairScore::kChrf, "chrf"},
     {PairScore::kBleu, "bleu"}}};
constexpr std::array<std::pair<LiveMetric, std::string_view>, 3> kLiveMetrics = {
    {{LiveMetric::kAuto, "auto"},
     {LiveMetric::kComplaint, "complaint"},
     {LiveMetric::kAccuracy, "accuracy"}}};
constexpr std::array<std::string_view, 5> kGuardrails = {"error", "refusal", "slow", "long",
                                                         "costly"};

// One list of a plan's fields for writing, reading and hashing.
template <typename S, typename V>
void plan_fields(S& p, V& visit) {
  visit("alpha", p.alpha);
  visit("alpha_harm", p.alpha_harm);
  visit("alpha_srm", p.alpha_srm);
  visit("margin", p.margin);
  visit("margin_live", p.margin_live);
  visit("ship", p.ship);
  visit("score", p.score);
  visit("short_answer_tokens", p.short_answer_tokens);
  visit("answer_tokens", p.answer_tokens);
  visit("live_metric", p.live_metric);
  visit("guardrails", p.guardrails);
  visit("slow_factor", p.slow_factor);
  visit("length_factor", p.length_factor);
  visit("cuped", p.cuped);
  visit("n_opt", p.n_opt);
  visit("seed", p.seed);
  visit("offline_max_records", p.offline_max_records);
  visit("offline_max_per_source", p.offline_max_per_source);
  visit("shadow_max_pairs", p.shadow_max_pairs);
  visit("shadow_batch_pairs", p.shadow_batch_pairs);
  visit("shadow_advisory_pairs", p.shadow_advisory_pairs);
  visit("shadow_max_tokens_per_hour", p.shadow_max_tokens_per_hour);
  visit("approval", p.approval);
  visit("ladder", p.ladder);
  visit("canary_min_dwell_ms", p.canary_min_dwell_ms);
  visit("canary_min_units", p.canary_min_units);
  visit("ab_min_dwell_ms", p.ab_min_dwell_ms);
  visit("ab_max_units", p.ab_max_units);
  visit("label_wait_ms", p.label_wait_ms);
  visit("label_wait_default_ms", p.label_wait_default_ms);
  visit("max_open_units", p.max_open_units);
  visit("holdback", p.holdback);
  visit("bake_ms", p.bake_ms);
  visit("bake_min_units", p.bake_min_units);
  visit("mirror_ppm", p.mirror_ppm);
  visit("no_data_pause_ms", p.no_data_pause_ms);
  visit("ack_timeout_ms", p.ack_timeout_ms);
  visit("supersede", p.supersede);
}
template <typename S, typename V>
void dwell_fields(S& d, V& visit) {
  visit("registered_ms", d.registered_ms);
  visit("offline_eval_ms", d.offline_eval_ms);
  visit("loading_ms", d.loading_ms);
  visit("shadow_ms", d.shadow_ms);
  visit("await_approval_ms", d.await_approval_ms);
  visit("canary_step_ms", d.canary_step_ms);
  visit("ab_ms", d.ab_ms);
  visit("promoting_ms", d.promoting_ms);
  visit("baking_ms", d.baking_ms);
  visit("rolling_back_ms", d.rolling_back_ms);
}

template <typename E, std::size_t N>
std::string_view name_in(const std::array<std::pair<E, std::string_view>, N>& table, E value) {
  for (const auto& [item, name] : table) {
    if (item == value) return name;
  }
  return "?";
}

struct Writer {
  Json json = Json::object();
  void operator()(const char* key, Ship value) { json[key] = name_in(kShips, value); }
  void operator()(const char* key, PairScore value) { json[key] = name_in(kScores, value); }
  void operator()(const char* key, LiveMetric value) { json[key] = name_in(kLiveMetrics, value); }
  template <typename T>
  void operator()(const char* key, const T& value) {
    json[key] = value;
  }
};

// Takes the keys that are there; what is left over at the end is unknown.
class Reader {
 public:
  explicit Reader(Json json) : json_(std::move(json)) {}
  template <typename T>
  void operator()(const char* key, T& into) {
    const auto it = json_.find(key);
    if (it == json_.end() || !error_.empty()) return;
    if (!take(*it, into)) error_ = std::string("plan: '") + key + "' has the wrong type or value";
    json_.erase(it);
  }
  [[nodiscard]] Status finish() const {
    if (!error_.empty()) return fail(Code::kInvalid, error_);
    if (json_.empty()) return {};
    return fail(Code::kInvalid, "plan: unknown key '" + json_.begin().key() +
                                    "'; the keys are those of GET promotions/{id} under plan");
  }

 private:
  static bool take(const Json& json, bool& into) {
    if (json.is_boolean()) into = json.get<bool>();
    return json.is_boolean();
  }
  static bool take(const Json& json, double& into) {
    if (json.is_number()) into = json.get<double>();
    return json.is_number();
  }
  static bool take(const Json& json, int& into) {
    std::int64_t wide = 0;
    if (!take(json, wide) || wide < -2'000'000'000 || wide > 2'000'000'000) return false;
    into = static_cast<int>(wide);
    return true;
  }
  static bool take(const Json& json, std::int64_t& into) {
    if (json.is_number_integer()) into = json.get<std::int64_t>();
    return json.is_number_integer();
  }
  static bool take(const Json& json, std::uint64_t& into) {
    const bool whole =
        json.is_number_unsigned() || (json.is_number_integer() && json.get<std::int64_t>() >= 0);
    if (whole) into = json.get<std::uint64_t>();
    return whole;
  }
  template <typename T>
  static bool take_list(const Json& json, std::vector<T>& into) {
    if (!json.is_array()) return false;
    into.clear();
    for (const auto& item : json) {
      if constexpr (std::is_same_v<T, double>) {
        if (!item.is_number()) return false;
      } else {
        if (!item.is_string()) return false;
      }
      into.push_back(item.get<T>());
    }
    return true;
  }
  static bool take(const Json& json, std::vector<double>& into) { return take_list(json, into); }
  static bool take(const Json& json, std::vector<std::string>& into) {
    return take_list(json, into);
  }
  template <typename E, std::size_t N>
  static bool take_name(const Json& json, E& into,
                        const std::array<std::pair<E, std::string_view>, N>& table) {
    if (!json.is_string()) return false;
    for (const auto& [item, name] : table) {
      if (json.get_ref<const std::string&>() == name) {
        into = item;
        return true;
      }
    }
    return false;
  }
  static bool take(const Json& json, Ship& into) { return take_name(json, into, kShips); }
  static bool take(const Json& json, PairScore& into) { return take_name(json, into, kScores); }
  static bool take(const Json& json, LiveMetric& into) {
    return take_name(json, into, kLiveMetrics);
  }

  Json json_;
  std::string error_;
};

Status need(bool holds, const char* what) {
  if (holds) return {};
  return fail(Code::kInvalid, std::string("plan: ") + what);
}
bool probability(double value) { return value > 0.0 && value < 1.0; }

Status check_live(const Plan& plan) {
  TRIMTAB_CHECK_OK(need(!plan.ladder.empty() && plan.ladder.size() <= 32,
                        "ladder: 1 to 32 shares, such as [0.1, 0.5]"));
  double before = 0.0;
  for (const double share : plan.ladder) {
    TRIMTAB_CHECK_OK(need(share > before && share <= 0.5,
                          "ladder: growing shares in (0, 0.5]: the control arm is as large"));
    before = share;
  }
  TRIMTAB_CHECK_OK(need(plan.holdback > 0.0 && plan.holdback < 0.5,
                        "holdback: in (0, 0.5), usually .01 to .05"));
  TRIMTAB_CHECK_OK(
      need(plan.mirror_ppm >= 0 && plan.mirror_ppm <= 1'000'000, "mirror_ppm: 0 to 1000000"));
  TRIMTAB_CHECK_OK(need(plan.canary_min_units >= 1 && plan.bake_min_units >= 1,
                        "canary_min_units, bake_min_units: at least 1"));
  TRIMTAB_CHECK_OK(need(plan.ab_max_units >= 2, "ab_max_units: at least 2"));
  TRIMTAB_CHECK_OK(need(plan.max_open_units >= 2, "max_open_units: at least 2"));
  TRIMTAB_CHECK_OK(need(plan.label_wait_ms >= 0 && plan.label_wait_default_ms > 0,
                        "label_wait_ms: 0 (automatic) or more; its default more than 0"));
  for (std::size_t i = 0; i < plan.guardrails.size(); ++i) {
    const auto& name = plan.guardrails[i];
    TRIMTAB_CHECK_OK(
        need(std::find(kGuardrails.begin(), kGuardrails.end(), name) != kGuardrails.end(),
             "guardrails: any of error, refusal, slow, long, costly"));
    TRIMTAB_CHECK_OK(need(std::count(plan.guardrails.begin(), plan.guardrails.end(), name) == 1,
                          "guardrails: each at most once"));
  }
  return {};
}

struct AllPositive {
  const char* first_bad = nullptr;
  void operator()(const char* key, std::int64_t value) {
    if (value <= 0 && first_bad == nullptr) first_bad = key;
  }
};

}  // namespace

Status validate_plan(const Plan& plan) {
  TRIMTAB_CHECK_OK(need(probability(plan.alpha), "alpha: in (0, 1), usually .05"));
  TRIMTAB_CHECK_OK(need(probability(plan.alpha_harm), "alpha_harm: in (0, 1), usually .05"));
  TRIMTAB_CHECK_OK(need(probability(plan.alpha_srm), "alpha_srm: in (0, 1), usually .001"));
  TRIMTAB_CHECK_OK(need(plan.margin >= 0.0 && plan.margin <= 0.5, "margin: in [0, 0.5]"));
  TRIMTAB_CHECK_OK(
      need(plan.margin_live >= 0.0 && plan.margin_live <= 0.5, "margin_live: in [0, 0.5]"));
  TRIMTAB_CHECK_OK(need(plan.short_answer_tokens >= 0, "short_answer_tokens: 0 or more"));
  TRIMTAB_CHECK_OK(need(plan.slow_factor >= 1.0 && std::isfinite(plan.slow_factor) &&
                            plan.length_factor >= 1.0 && std::isfinite(plan.length_factor),
                        "slow_factor, length_factor: at least 1"));
  TRIMTAB_CHECK_OK(need(plan.n_opt >= 1, "n_opt: at least 1"));
  TRIMTAB_CHECK_OK(need(plan.offline_max_records >= 1 && plan.offline_max_per_source >= 1,
                        "offline_max_records, offline_max_per_source: at least 1"));
  TRIMTAB_CHECK_OK(need(plan.shadow_max_pairs >= 1 && plan.shadow_batch_pairs >= 1 &&
                            plan.shadow_advisory_pairs >= 1 && plan.shadow_max_tokens_per_hour >= 1,
                        "shadow_*: at least 1"));
  TRIMTAB_CHECK_OK(need(plan.canary_min_dwell_ms >= 0 && plan.ab_min_dwell_ms >= 0 &&
                            plan.bake_ms >= 0 && plan.no_data_pause_ms > 0 &&
                            plan.ack_timeout_ms > 0,
                        "minimal dwells: 0 or more; pause time-outs: more than 0"));
  TRIMTAB_CHECK_OK(check_live(plan));
  AllPositive dwells;
  dwell_fields(plan.max_dwell, dwells);
  if (dwells.first_bad != nullptr) {
    return fail(Code::kInvalid,
                std::string("plan: max_dwell.") + dwells.first_bad + ": more than 0");
  }
  const auto& most = plan.max_dwell;
  TRIMTAB_CHECK_OK(need(plan.canary_min_dwell_ms < most.canary_step_ms &&
                            plan.ab_min_dwell_ms < most.ab_ms && plan.bake_ms < most.baking_ms,
                        "a minimal dwell must be shorter than its max_dwell"));
  return {};
}

Json to_json(const Plan& plan) {
  Writer writer;
  plan_fields(plan, writer);
  Writer dwells;
  dwell_fields(plan.max_dwell, dwells);
  writer.json["max_dwell"] = std::move(dwells.json);
  return std::move(writer.json);
}

Result<Plan> parse_plan(const Plan& defaults, const Json& overrides) {
  if (!overrides.is_object()) return fail(Code::kInvalid, "plan: not an object");
  Plan plan = defaults;
  Json rest = overrides;
  if (rest.contains("max_dwell")) {
    if (!rest["max_dwell"].is_object()) {
      return fail(Code::kInvalid, "plan: max_dwell is not an object");
    }
    Reader dwells(rest["max_dwell"]);
    dwell_fields(plan.max_dwell, dwells);
    if (auto read = dwells.finish(); !read) return fail_in("max_dwell", read.error());
    rest.erase("max_dwell");
  }
  Reader reader(std::move(rest));
  plan_fields(plan, reader);
  TRIMTAB_CHECK_OK(reader.finish());
  TRIMTAB_CHECK_OK(validate_plan(plan));
  return plan;
}

std::string config_hash(const Plan& plan) { return sha256_hex(dump_json(to_json(plan))); }

int canary_steps(const Plan& plan) { return std::max(1, static_cast<int>(plan.ladder.size()) - 1); }

double ladder_share(const Plan& plan, int step) {
  const int last = static_cast<int>(plan.ladder.size()) - 1;
  return plan.ladder[static_cast<std::size_t>(std::clamp(step, 0, last))];
}

double trial_alpha(const Plan& plan) { return plan.alpha; }

}  // namespace trimtab::shadow
