#include "shadow/routing.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/json.h"

namespace trimtab::shadow {
namespace {

constexpr std::string_view kHashAlgorithm = "trimtab";
constexpr double kHalf = 0.5;

bool known_role(const std::string& role) {
  return role == kArmChampion || role == kArmCandidate || role == kArmControl ||
         role == kArmHoldback;
}

Json nullable(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

Json arm_json(const Arm& arm) {
  Json ranges = Json::array();
  for (const Range& range : arm.ranges) ranges.push_back({range.from, range.to});
  return {{"role", arm.role},
          {"adapter", nullable(arm.adapter.name)},
          {"sha256", nullable(arm.adapter.sha256)},
          {"uri", nullable(arm.adapter.uri)},
          {"base_revision", nullable(arm.adapter.base_revision)},
          {"tokenizer_digest", nullable(arm.adapter.tokenizer_digest)},
          {"ranges", std::move(ranges)},
          {"mirror_ppm", arm.mirror_ppm}};
}

Status only_keys(const Json& object, const std::set<std::string>& known, const char* where) {
  if (!object.is_object()) {
    return fail(Code::kInvalid, std::string("routing: ") + where + " is not an object");
  }
  for (const auto& [key, value] : object.items()) {
    if (!known.count(key)) {
      return fail(Code::kInvalid, std::string("routing: unknown key '") + key + "' in " + where);
    }
  }
  return {};
}

Result<std::string> text_or_null(const Json& object, const char* key) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return std::string();
  if (!it->is_string()) {
    return fail(Code::kInvalid, std::string("routing: '") + key + "' is not text");
  }
  return it->get<std::string>();
}

Result<std::uint64_t> whole_number(const Json& object, const char* key) {
  const auto it = object.find(key);
  if (it == object.end() || !it->is_number_integer() ||
      (!it->is_number_unsigned() && it->get<std::int64_t>() < 0)) {
    return fail(Code::kInvalid, std::string("routing: '") + key + "' is not a whole number");
  }
  return it->get<std::uint64_t>();
}

Result<std::vector<Range>> parse_ranges(const Json& json) {
  std::vector<Range> ranges;
  if (!json.is_array()) return fail(Code::kInvalid, "routing: ranges is not a list");
  for (const auto& pair : json) {
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_number() || !pair[1].is_number()) {
      return fail(Code::kInvalid, "routing: a range is [from, to]");
    }
    ranges.push_back({pair[0].get<double>(), pair[1].get<double>()});
  }
  return ranges;
}

Result<Arm> parse_arm(const Json& json) {
  TRIMTAB_CHECK_OK(only_keys(json,
                             {"role", "adapter", "sha256", "uri", "base_revision",
                              "tokenizer_digest", "ranges", "mirror_ppm"},
                             "an arm"));
  Arm arm;
  TRIMTAB_TRY(arm.role, text_or_null(json, "role"));
  if (!json.contains("adapter")) {
    return fail(Code::kInvalid, "routing: an arm without 'adapter' (null = the bare base)");
  }
  TRIMTAB_TRY(arm.adapter.name, text_or_null(json, "adapter"));
  TRIMTAB_TRY(arm.adapter.sha256, text_or_null(json, "sha256"));
  TRIMTAB_TRY(arm.adapter.uri, text_or_null(json, "uri"));
  TRIMTAB_TRY(arm.adapter.base_revision, text_or_null(json, "base_revision"));
  TRIMTAB_TRY(arm.adapter.tokenizer_digest, text_or_null(json, "tokenizer_digest"));
  if (!json.contains("ranges")) return fail(Code::kInvalid, "routing: an arm without 'ranges'");
  TRIMTAB_TRY(arm.ranges, parse_ranges(json["ranges"]));
  if (json.contains("mirror_ppm")) {
    TRIMTAB_TRY(const auto ppm, whole_number(json, "mirror_ppm"));
    if (ppm > 1'000'000) return fail(Code::kInvalid, "routing: mirror_ppm above 1000000");
    arm.mirror_ppm = static_cast<int>(ppm);
  }
  return arm;
}

Status parse_hash(const Json& json, Routing& into) {
  if (!json.contains("hash")) return fail(Code::kInvalid, "routing: missing key 'hash'");
  const Json& hash = json["hash"];
  TRIMTAB_CHECK_OK(only_keys(hash, {"algorithm", "seed", "unit_key"}, "hash"));
  TRIMTAB_TRY(const auto algorithm, text_or_null(hash, "algorithm"));
  if (algorithm != kHashAlgorithm) {
    return fail(Code::kInvalid, "routing: hash algorithm '" + algorithm + "': only trimtab");
  }
  TRIMTAB_TRY(into.seed, text_or_null(hash, "seed"));
  TRIMTAB_TRY(into.unit_key, text_or_null(hash, "unit_key"));
  return {};
}

Status check_coverage(const Routing& routing) {
  std::vector<Range> all;
  for (const Arm& arm : routing.arms) all.insert(all.end(), arm.ranges.begin(), arm.ranges.end());
  std::sort(all.begin(), all.end(), [](const Range& a, const Range& b) { return a.from < b.from; });
  double reached = 0.0;
  for (const Range& range : all) {
    if (!(range.from < range.to)) return fail(Code::kInvalid, "routing: an empty range");
    if (range.from != reached) {
      return fail(Code::kInvalid, range.from < reached
                                      ? "routing: ranges overlap: a unit would have two arms"
                                      : "routing: ranges leave a gap: a unit would have no arm");
    }
    reached = range.to;
  }
  if (reached != 1.0) return fail(Code::kInvalid, "routing: ranges do not reach 1");
  return {};
}

}  // namespace

double Arm::share() const {
  double sum = 0.0;
  for (const Range& range : ranges) sum += range.size();
  return sum;
}
bool Arm::contains(double u) const {
  return std::any_of(ranges.begin(), ranges.end(),
                     [u](const Range& range) { return range.contains(u); });
}

double Routing::fraction(std::string_view unit) const { return assignment_fraction(seed, unit); }

const Arm& Routing::assign(std::string_view unit) const {
  const double u = fraction(unit);
  for (const Arm& one : arms) {
    if (one.contains(u)) return one;
  }
  CHECK(false, "validated routing documents cover [0, 1)");
}

const Arm& Routing::assign(std::string_view unit, std::int64_t now_ms) const {
  if (!expired(now_ms)) return assign(unit);
  const Arm* champion = arm(kArmChampion);
  CHECK(champion != nullptr, "validated routing documents have a champion");
  return *champion;
}

const Arm* Routing::arm(std::string_view role) const {
  for (const Arm& one : arms) {
    if (one.role == role) return &one;
  }
  return nullptr;
}

bool Routing::names(std::string_view adapter_name) const {
  return std::any_of(arms.begin(), arms.end(),
                     [&](const Arm& one) { return one.adapter.name == adapter_name; });
}

Status validate(const Routing& routing) {
  if (routing.target.empty()) return fail(Code::kInvalid, "routing: no target");
  if (routing.generation == 0) return fail(Code::kInvalid, "routing: generation starts at 1");
  if (routing.expected_previous >= routing.generation) {
    return fail(Code::kInvalid, "routing: generation must be above expected_previous");
  }
  if (routing.unit_key != "user_id" && routing.unit_key != "session_id" &&
      routing.unit_key != "request") {
    return fail(Code::kInvalid, "routing: unit_key is user_id, session_id or request");
  }
  std::set<std::string> roles;
  for (const Arm& arm : routing.arms) {
    if (!known_role(arm.role)) {
      return fail(Code::kInvalid,
                  "routing: arm '" + arm.role + "': use champion, candidate, control or holdback");
    }
    if (!roles.insert(arm.role).second) {
      return fail(Code::kInvalid, "routing: arm '" + arm.role + "' twice");
    }
  }
  if (!roles.count(std::string(kArmChampion))) {
    return fail(Code::kInvalid, "routing: no champion arm");
  }
  TRIMTAB_CHECK_OK(check_coverage(routing));
  const Arm* candidate = routing.arm(kArmCandidate);
  for (const auto role : {kArmControl, kArmHoldback}) {
    const Arm* compared = routing.arm(role);
    if (compared == nullptr) continue;
    if (candidate == nullptr || std::abs(candidate->share() - compared->share()) > 1e-9) {
      return fail(Code::kInvalid, "routing: compared arms must have equal size");
    }
  }
  return {};
}

Json to_json(const Routing& routing) {
  Json arms = Json::array();
  for (const Arm& arm : routing.arms) arms.push_back(arm_json(arm));
  return {{"schema", kRoutingSchema},
          {"target", routing.target},
          {"generation", routing.generation},
          {"expected_previous", routing.expected_previous},
          {"experiment", nullable(routing.experiment)},
          {"hash",
           {{"algorithm", kHashAlgorithm}, {"seed", routing.seed}, {"unit_key", routing.unit_key}}},
          {"arms", std::move(arms)},
          {"reason", routing.reason},
          {"actor", routing.actor},
          {"expires_at", routing.expires_at_ms > 0 ? Json(format_rfc3339(routing.expires_at_ms))
                                                   : Json(nullptr)}};
}

Result<Routing> parse_routing(const Json& json) {
  TRIMTAB_CHECK_OK(only_keys(json,
                             {"schema", "target", "generation", "expected_previous", "experiment",
                              "hash", "arms", "reason", "actor", "expires_at"},
                             "the document"));
  TRIMTAB_TRY(const auto schema, whole_number(json, "schema"));
  if (schema != kRoutingSchema) {
    return fail(Code::kInvalid, "routing: schema " + std::to_string(schema) +
                                    " is not known here: upgrade this reader");
  }
  Routing routing;
  TRIMTAB_TRY(routing.target, text_or_null(json, "target"));
  TRIMTAB_TRY(routing.generation, whole_number(json, "generation"));
  TRIMTAB_TRY(routing.expected_previous, whole_number(json, "expected_previous"));
  TRIMTAB_TRY(routing.experiment, text_or_null(json, "experiment"));
  TRIMTAB_TRY(routing.reason, text_or_null(json, "reason"));
  TRIMTAB_TRY(routing.actor, text_or_null(json, "actor"));
  TRIMTAB_CHECK_OK(parse_hash(json, routing));
  if (!json.contains("arms") || !json["arms"].is_array()) {
    return fail(Code::kInvalid, "routing: 'arms' is not a list");
  }
  for (const auto& arm : json["arms"]) {
    TRIMTAB_TRY(auto parsed, parse_arm(arm));
    routing.arms.push_back(std::move(parsed));
  }
  TRIMTAB_TRY(const auto expires_at, text_or_null(json, "expires_at"));
  if (!expires_at.empty()) {
    TRIMTAB_TRY(routing.expires_at_ms, parse_rfc3339(expires_at));
  }
  TRIMTAB_CHECK_OK(validate(routing));
  return routing;
}

Result<Routing> parse_routing(std::string_view text) {
  TRIMTAB_TRY(const auto json, parse_json(text));
  return parse_routing(json);
}

std::vector<Arm> champion_only_arms(const AdapterRef& champion) {
  return {{std::string(kArmChampion), champion, {{0.0, 1.0}}, 0}};
}

std::vector<Arm> ramp_arms(const AdapterRef& champion, const AdapterRef& candidate, double share,
                           int mirror_ppm) {
  CHECK(share > 0.0 && share <= kHalf, "a ramp's share lies in (0, .5]");
  std::vector<Range> rest;
  if (share < kHalf) rest = {{share, kHalf}, {kHalf + share, 1.0}};
  return {{std::string(kArmCandidate), candidate, {{0.0, share}}, mirror_ppm},
          {std::string(kArmControl), champion, {{kHalf, kHalf + share}}, 0},
          {std::string(kArmChampion), champion, rest, 0}};
}

std::vector<Arm> baking_arms(const AdapterRef& champion, const AdapterRef& former,
                             double holdback) {
  CHECK(holdback > 0.0 && holdback < kHalf, "a hold-back lies in (0, .5)");
  return {{std::string(kArmCandidate), champion, {{0.0, holdback}}, 0},
          {std::string(kArmHoldback), former, {{kHalf, kHalf + holdback}}, 0},
          {std::string(kArmChampion), champion, {{holdback, kHalf}, {kHalf + holdback, 1.0}}, 0}};
}

Status RoutingHistory::add(Routing routing) {
  TRIMTAB_CHECK_OK(validate(routing));
  if (!documents_.empty() && routing.generation <= documents_.back().generation) {
    return fail(Code::kConflict, "routing: generation " + std::to_string(routing.generation) +
                                     " is not above " +
                                     std::to_string(documents_.back().generation));
  }
  documents_.push_back(std::move(routing));
  if (documents_.size() > capacity_) documents_.erase(documents_.begin());
  return {};
}

const Routing* RoutingHistory::find(std::uint64_t generation) const {
  const auto it = std::lower_bound(
      documents_.begin(), documents_.end(), generation,
      [](const Routing& document, std::uint64_t wanted) { return document.generation < wanted; });
  return it != documents_.end() && it->generation == generation ? &*it : nullptr;
}
const Routing* RoutingHistory::latest() const {
  return documents_.empty() ? nullptr : &documents_.back();
}

Json RoutingHistory::save() const {
  Json list = Json::array();
  for (const Routing& document : documents_) list.push_back(to_json(document));
  return list;
}

Result<RoutingHistory> RoutingHistory::restore(const Json& saved, std::size_t capacity) {
  RoutingHistory history(capacity);
  if (!saved.is_array()) return fail(Code::kCorrupt, "routing history: not a list");
  for (const auto& document : saved) {
    TRIMTAB_TRY(auto routing, parse_routing(document));
    TRIMTAB_CHECK_OK(history.add(std::move(routing)));
  }
  return history;
}

}  // namespace trimtab::shadow
