// Internal to shadow/: one list of fields a struct, used for writing, strict reading and nothing
// else. `fields(value, visit)` calls visit("key", value.key) for each; FieldWriter makes JSON of
// them, FieldReader takes them back: every key must be there with the right type, and no other.
// Include from shadow/*.cpp only (it includes the JSON library).
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <type_traits>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "shadow/adapter_ref.h"
#include "shadow/routing.h"
#include "shadow/trial.h"
#include "shadow/verdicts.h"

namespace trimtab::shadow::detail {

// --- enums by their stable names
template <typename E>
struct EnumNames;  // static name(E), static parse(string_view)
#define TRIMTAB_ENUM_NAMES(E, name_fn, parse_fn)                             \
  template <>                                                                \
  struct EnumNames<E> {                                                      \
    static std::string_view name(E value) { return name_fn(value); }         \
    static Result<E> parse(std::string_view text) { return parse_fn(text); } \
  }
TRIMTAB_ENUM_NAMES(State, state_name, parse_state);
TRIMTAB_ENUM_NAMES(Reason, reason_name, parse_reason);
TRIMTAB_ENUM_NAMES(Pause, pause_name, parse_pause);
TRIMTAB_ENUM_NAMES(Origin, origin_name, parse_origin);
TRIMTAB_ENUM_NAMES(EffectKind, effect_name, parse_effect);
TRIMTAB_ENUM_NAMES(EffectStatus, effect_status_name, parse_effect_status);
#undef TRIMTAB_ENUM_NAMES

class FieldReader;

template <typename T>
Json encode(const T& value);
template <typename T>
Status decode(const Json& json, T& into);

class FieldWriter {
 public:
  template <typename T>
  void operator()(const char* key, const T& value) {
    json_[key] = encode(value);
  }
  [[nodiscard]] Json take() { return std::move(json_); }

 private:
  Json json_ = Json::object();
};

class FieldReader {
 public:
  explicit FieldReader(const Json& json) : json_(json) {
    if (!json.is_object()) error_ = "not an object";
  }
  template <typename T>
  void operator()(const char* key, T& into) {
    if (!error_.empty()) return;
    seen_.insert(key);
    const auto it = json_.find(key);
    if (it == json_.end()) {
      error_ = std::string("missing key '") + key + "'";
      return;
    }
    if (auto read = decode(*it, into); !read) {
      error_ = std::string("key '") + key + "': " + read.error().message;
    }
  }
  [[nodiscard]] Status finish() {
    if (error_.empty()) {
      for (const auto& [key, value] : json_.items()) {
        if (!seen_.count(key)) error_ = "unknown key '" + key + "'";
      }
    }
    if (error_.empty()) return {};
    return fail(Code::kInvalid, error_);
  }

 private:
  const Json& json_;
  std::set<std::string> seen_;
  std::string error_;
};

template <typename T>
struct IsOptional : std::false_type {};
template <typename T>
struct IsOptional<std::optional<T>> : std::true_type {};
template <typename T>
struct IsVector : std::false_type {};
template <typename T>
struct IsVector<std::vector<T>> : std::true_type {};
template <typename T>
struct IsMap : std::false_type {};
template <typename T>
struct IsMap<std::map<std::string, T>> : std::true_type {};

// --- the lists
template <typename S, typename V>
requires std::is_same_v<std::remove_const_t<S>, AdapterRef>
void fields(S& s, V& visit) {
  visit("name", s.name);
  visit("sha256", s.sha256);
  visit("uri", s.uri);
  visit("base_revision", s.base_revision);
  visit("tokenizer_digest", s.tokenizer_digest);
}
template <typename S, typename V>
requires std::is_same_v<std::remove_const_t<S>, Range>
void fields(S& s, V& visit) {
  visit("from", s.from);
  visit("to", s.to);
}
template <typename S, typename V>
requires std::is_same_v<std::remove_const_t<S>, Arm>
void fields(S& s, V& visit) {
  visit("role", s.role);
  visit("adapter", s.adapter);
  visit("ranges", s.ranges);
  visit("mirror_ppm", s.mirror_ppm);
}
template <typename S, typename V>
requires std::is_same_v<std::remove_const_t<S>, PreflightVerdict>
void fields(S& s, V& visit) {
  visit("passed", s.passed);
  visit("failure", s.failure);
  visit("message", s.message);
}
template <typename S, typename V>
requires std::is_same_v<std::remove_const_t<S>, OfflineVerdict>
void fields(S& s, V& visit) {
  visit("old_pairs", s.old_pairs);
  visit("new_pairs", s.new_pairs);
  visit("golden_pairs", s.golden_pairs);
  visit("old_mean_d", s.old_mean_d);
  visit("new_mean_d", s.new_mean_d);
  visit("harm", s.harm);
  visit("passed", s.passed);
  visit("failure", s.failure);
  visit("message", s.message);
}
template <typename S, typename V>
requires std::is_same_v<std::remove_const_t<S>, EvidenceRow>
void fields(S& s, V& visit) {
  visit("metric", s.metric);
  visit("pairs", s.pairs);
  visit("mean_d", s.mean_d);
  visit("log_e_non_inferior", s.log_e_non_inferior);
  visit("log_e_superior", s.log_e_superior);
  visit("log_e_harm", s.log_e_harm);
  visit("log_threshold", s.log_threshold);
  visit("log_threshold_harm", s.log_threshold_harm);
  visit("non_inferior", s.non_inferior);
  visit("superior", s.superior);
  visit("harm", s.harm);
  visit("mean_lower", s.mean_lower);
  visit("mean_upper", s.mean_upper);
  visit("adjusted", s.adjusted);
  visit("slope", s.slope);
}
template <typename S, typename V>
requires std::is_same_v<std::remove_const_t<S>, ShadowVerdict>
void fields(S& s, V& visit) {
  visit("strata", s.strata);
  visit("advisory", s.advisory);
  visit("pairs", s.pairs);
  visit("missing", s.missing);
  visit("ship", s.ship);
  visit("harm", s.harm);
  visit("harm_on", s.harm_on);
  visit("exhausted", s.exhausted);
  visit("scorer_down", s.scorer_down);
  visit("message", s.message);
}
template <typename S, typename V>
requires std::is_same_v<std::remove_const_t<S>, SrmRow>
void fields(S& s, V& visit) {
  visit("candidate", s.candidate);
  visit("control", s.control);
  visit("lower", s.lower);
  visit("upper", s.upper);
  visit("mismatch", s.mismatch);
}
template <typename S, typename V>
requires std::is_same_v<std::remove_const_t<S>, LiveVerdict>
void fields(S& s, V& visit) {
  visit("experiment", s.experiment);
  visit("primary", s.primary);
  visit("metrics", s.metrics);
  visit("closed_candidate", s.closed_candidate);
  visit("closed_control", s.closed_control);
  visit("open_units", s.open_units);
  visit("mismatched", s.mismatched);
  visit("unattested", s.unattested);
  visit("overflowed", s.overflowed);
  visit("late_feedback", s.late_feedback);
  visit("last_unit_ms", s.last_unit_ms);
  visit("exposed", s.exposed);
  visit("labelled", s.labelled);
  visit("slo_breach", s.slo_breach);
  visit("mismatch_hold", s.mismatch_hold);
  visit("ship", s.ship);
  visit("harm", s.harm);
  visit("harm_on", s.harm_on);
  visit("message", s.message);
}
template <typename S, typename V>
requires std::is_same_v<std::remove_const_t<S>, EffectRequest>
void fields(S& s, V& visit) {
  visit("key", s.key);
  visit("kind", s.kind);
  visit("target", s.target);
  visit("trial", s.trial);
  visit("adapter", s.adapter);
  visit("arms", s.arms);
  visit("experiment", s.experiment);
  visit("reason", s.reason);
  visit("batch", s.batch);
}
template <typename S, typename V>
requires std::is_same_v<std::remove_const_t<S>, EffectResult>
void fields(S& s, V& visit) {
  visit("status", s.status);
  visit("attempts", s.attempts);
  visit("generation", s.generation);
  visit("message", s.message);
}
template <typename S, typename V>
requires std::is_same_v<std::remove_const_t<S>, Evidence>
void fields(S& s, V& visit) {
  visit("effects", s.effects);
  visit("preflight", s.preflight);
  visit("offline", s.offline);
  visit("shadow", s.shadow);
  visit("live", s.live);
  visit("bake", s.bake);
  visit("acked_generation", s.acked_generation);
  visit("oldest_unacked_ms", s.oldest_unacked_ms);
  visit("slow_router", s.slow_router);
  visit("slo_breach", s.slo_breach);
  visit("newer_candidate", s.newer_candidate);
  visit("alpha_spent", s.alpha_spent);
  visit("error_budget", s.error_budget);
}
template <typename S, typename V>
requires std::is_same_v<std::remove_const_t<S>, Trial>
void fields(S& s, V& visit) {
  visit("id", s.id);
  visit("target", s.target);
  visit("seq", s.seq);
  visit("state", s.state);
  visit("step", s.step);
  visit("created_ms", s.created_ms);
  visit("entered_ms", s.entered_ms);
  visit("reason", s.reason);
  visit("detail", s.detail);
  visit("message", s.message);
  visit("actor", s.actor);
  visit("candidate", s.candidate);
  visit("champion", s.champion);
  visit("origin", s.origin);
  visit("alarm_id", s.alarm_id);
  visit("job_id", s.job_id);
  visit("data_size", s.data_size);
  visit("onset_ms", s.onset_ms);
  visit("primary_metric", s.primary_metric);
  visit("plan", s.plan);
  visit("plan_hash", s.plan_hash);
  visit("pause", s.pause);
  visit("pause_message", s.pause_message);
  visit("overridden", s.overridden);
  visit("approved", s.approved);
  visit("approved_by", s.approved_by);
  visit("skip_dwell", s.skip_dwell);
  visit("promote_requested", s.promote_requested);
  visit("routed", s.routed);
  visit("units_at_entry", s.units_at_entry);
  visit("forced", s.forced);
  visit("force_once", s.force_once);
  visit("ending", s.ending);
  visit("end_reason", s.end_reason);
  visit("end_detail", s.end_detail);
  visit("harm", s.harm);
}

template <typename T>
Json encode(const T& value) {
  if constexpr (std::is_enum_v<T>) {
    return std::string(EnumNames<T>::name(value));
  } else if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::string>) {
    return Json(value);
  } else if constexpr (IsOptional<T>::value) {
    return value ? encode(*value) : Json(nullptr);
  } else if constexpr (IsVector<T>::value) {
    Json list = Json::array();
    for (const auto& item : value) list.push_back(encode(item));
    return list;
  } else if constexpr (IsMap<T>::value) {
    Json map = Json::object();
    for (const auto& [key, item] : value) map[key] = encode(item);
    return map;
  } else if constexpr (std::is_same_v<T, Plan>) {
    return to_json(value);
  } else {
    FieldWriter writer;
    fields(value, writer);
    return writer.take();
  }
}

// Not in the template below: g++ 12 fails (internal error) on the assignment there.
inline Status decode_plan(const Json& json, Plan& into) {
  TRIMTAB_TRY(into, parse_plan(Plan{}, json));
  return {};
}

template <typename T>
Status decode_number(const Json& json, T& into) {
  if constexpr (std::is_same_v<T, bool>) {
    if (!json.is_boolean()) return fail(Code::kInvalid, "not a boolean");
  } else if constexpr (std::is_integral_v<T>) {
    if (!json.is_number_integer()) return fail(Code::kInvalid, "not an integer");
    if (std::is_unsigned_v<T> && !json.is_number_unsigned() && json.get<std::int64_t>() < 0) {
      return fail(Code::kInvalid, "negative");
    }
  } else {
    if (!json.is_number()) return fail(Code::kInvalid, "not a number");
  }
  into = json.get<T>();
  return {};
}

template <typename T>
Status decode(const Json& json, T& into) {
  if constexpr (std::is_enum_v<T>) {
    if (!json.is_string()) return fail(Code::kInvalid, "not a string");
    auto parsed = EnumNames<T>::parse(json.get_ref<const std::string&>());
    if (!parsed) return tl::unexpected<Error>(parsed.error());
    into = parsed.value();
  } else if constexpr (std::is_arithmetic_v<T>) {
    return decode_number(json, into);
  } else if constexpr (std::is_same_v<T, std::string>) {
    if (!json.is_string()) return fail(Code::kInvalid, "not a string");
    into = json.get<std::string>();
  } else if constexpr (IsOptional<T>::value) {
    into.reset();
    if (json.is_null()) return {};
    return decode(json, into.emplace());
  } else if constexpr (IsVector<T>::value) {
    if (!json.is_array()) return fail(Code::kInvalid, "not a list");
    into.clear();
    for (const auto& item : json) {
      Status read = decode(item, into.emplace_back());
      if (!read) return read;
    }
  } else if constexpr (IsMap<T>::value) {
    if (!json.is_object()) return fail(Code::kInvalid, "not an object");
    into.clear();
    for (auto it = json.begin(); it != json.end(); ++it) {
      Status read = decode(it.value(), into[it.key()]);
      if (!read) return read;
    }
  } else if constexpr (std::is_same_v<T, Plan>) {
    return decode_plan(json, into);
  } else {
    FieldReader reader(json);
    fields(into, reader);
    return reader.finish();
  }
  return {};
}

// A whole value; the error says what it was meant to be.
template <typename T>
Result<T> decode_as(const Json& json, std::string_view what) {
  T value;
  if (auto read = decode(json, value); !read) return fail_in(what, read.error());
  return value;
}

}  // namespace trimtab::shadow::detail
