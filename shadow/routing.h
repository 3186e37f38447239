// The routing document: who serves which unit (RECORDS.md section 5). The gateway, webhooks and
// every foreign router follow it; trimtabd alone writes it.
//
// Assignment is assignment_fraction(seed, unit) in [0, 1) (base/hash.h), looked up in the arms'
// half-open ranges. Compared arms have equal size and are not adjacent: candidate [0, c), control
// [.5, .5 + c); everyone else is served by `champion`. Widening c keeps everybody who is in an arm
// in that arm. While baking the candidate is the champion of most: candidate [0, h), holdback (the
// old champion) [.5, .5 + h), champion (the new one) the rest.
// Plain values; thread-safe when const. Invalid documents never become a Routing: parse() and
// validate() refuse ranges that overlap, leave a gap or name an arm twice.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "shadow/adapter_ref.h"

namespace trimtab::shadow {

inline constexpr int kRoutingSchema = 1;
inline constexpr std::string_view kArmChampion = "champion";
inline constexpr std::string_view kArmCandidate = "candidate";
inline constexpr std::string_view kArmControl = "control";
inline constexpr std::string_view kArmHoldback = "holdback";

// Half-open [from, to) of the unit interval.
struct Range {
  double from = 0.0;
  double to = 1.0;
  [[nodiscard]] bool contains(double u) const { return from <= u && u < to; }
  [[nodiscard]] double size() const { return to - from; }
  bool operator==(const Range&) const = default;
};

struct Arm {
  std::string role;  // champion | candidate | control | holdback
  AdapterRef adapter;
  std::vector<Range> ranges;
  int mirror_ppm = 0;  // requests per million copied to this arm's adapter; nobody sees the copy
  [[nodiscard]] double share() const;
  [[nodiscard]] bool contains(double u) const;
  bool operator==(const Arm&) const = default;
};

struct Routing {
  std::string target;
  std::uint64_t generation = 0;         // monotonic per target
  std::uint64_t expected_previous = 0;  // compare-and-swap: the generation it replaces
  std::string experiment;               // trial id while units are compared, else empty
  std::string seed;                     // of the assignment hash
  std::string unit_key = "user_id";     // user_id | session_id | request
  std::vector<Arm> arms;
  std::string reason, actor;
  std::int64_t expires_at_ms = 0;  // epoch; from then on champion only. 0: never

  // The champion's arm when the document has expired at `now_ms`. REQUIRES: validate(*this).
  [[nodiscard]] const Arm& assign(std::string_view unit, std::int64_t now_ms) const;
  // Not looking at the clock; for attestation under the record's own generation.
  [[nodiscard]] const Arm& assign(std::string_view unit) const;
  [[nodiscard]] const Arm* arm(std::string_view role) const;  // nullptr: no such arm
  [[nodiscard]] double fraction(std::string_view unit) const;
  [[nodiscard]] bool names(std::string_view adapter_name) const;
  [[nodiscard]] bool expired(std::int64_t now_ms) const {
    return expires_at_ms > 0 && now_ms >= expires_at_ms;
  }
  bool operator==(const Routing&) const = default;
};

// Every rule of the header of this file; kInvalid names the first that is broken.
[[nodiscard]] Status validate(const Routing& routing);
[[nodiscard]] nlohmann::json to_json(const Routing& routing);
// Strict: unknown schema, unknown keys, wrong types and anything validate() refuses are errors.
[[nodiscard]] Result<Routing> parse_routing(const nlohmann::json& json);
[[nodiscard]] Result<Routing> parse_routing(std::string_view text);

// --- the arms of each phase; the caller fills target, generation, seed, reason, actor, expiry
[[nodiscard]] std::vector<Arm> champion_only_arms(const AdapterRef& champion);
// REQUIRES: 0 < share <= .5.
[[nodiscard]] std::vector<Arm> ramp_arms(const AdapterRef& champion, const AdapterRef& candidate,
                                         double share, int mirror_ppm);
// REQUIRES: 0 < holdback < .5. `champion` is the new one (the promoted candidate).
[[nodiscard]] std::vector<Arm> baking_arms(const AdapterRef& champion, const AdapterRef& former,
                                           double holdback);

// The last documents of one target, for attestation: a record is judged by the document of its own
// generation. Bounded: the oldest is forgotten, and records of a forgotten generation do not count.
class RoutingHistory {
 public:
  explicit RoutingHistory(std::size_t capacity = 64) : capacity_(capacity) {}
  // kConflict when the generation does not grow.
  [[nodiscard]] Status add(Routing routing);
  [[nodiscard]] const Routing* find(std::uint64_t generation) const;  // nullptr: unknown
  [[nodiscard]] const Routing* latest() const;
  [[nodiscard]] nlohmann::json save() const;
  [[nodiscard]] static Result<RoutingHistory> restore(const nlohmann::json& saved,
                                                      std::size_t capacity = 64);

 private:
  std::size_t capacity_;
  std::vector<Routing> documents_;  // by growing generation
};

}  // namespace trimtab::shadow
