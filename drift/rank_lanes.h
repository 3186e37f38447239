// rank_e's sixteen fixed bets at a given vector width; private to rank_e.cpp, which
// compiles it once for every width that a processor may have.
//
// Every width gives the same bits (sums are added in one order, and the compiler may not contract:
// CMakeLists.txt), so an alarm is derived again exactly on another machine.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

#include "drift/rank_e.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"  // wide vectors never leave these inlined functions

namespace trimtab::drift {

inline constexpr float kWealthCap = 1e30F;  // only reached where nobody restarts (reset=false)
inline constexpr std::int16_t kLeadCap = 16'384;  // e^64; with one more ln e it fits 16 bits

// The compiler's portable vectors (SSE, AVX, NEON), kBytes wide.
template <typename T, std::size_t kBytes>
using Lanes __attribute__((vector_size(kBytes))) = T;

template <typename Vector>
[[gnu::always_inline]] inline Vector load(const void* from) {
  Vector value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
template <typename Vector>
[[gnu::always_inline]] inline void store(void* to, const Vector& value) {
  std::memcpy(to, &value, sizeof value);
}

// The sixteen fixed bets of one detector while a run of events goes by: in registers.
template <std::size_t kBytes>
class FixedBets {
 public:
  [[gnu::always_inline]] FixedBets(const RankState& state, const float* weights) {
#pragma GCC unroll 4
    for (std::size_t i = 0; i < kWealths; ++i) {
      wealth_[i] = load<Floats>(&state.wealth[i * kFloats]);
      weight_[i] = load<Floats>(weights + i * kFloats);
    }
#pragma GCC unroll 2
    for (std::size_t i = 0; i < kLeads; ++i) {
      lead_[i] = load<Shorts>(&state.lead[i * kShorts]);
      age_[i] = load<Shorts>(&state.age[i * kShorts]);
    }
  }
  [[gnu::always_inline]] void put(RankState& state) const {
#pragma GCC unroll 4
    for (std::size_t i = 0; i < kWealths; ++i) store(&state.wealth[i * kFloats], wealth_[i]);
#pragma GCC unroll 2
    for (std::size_t i = 0; i < kLeads; ++i) {
      store(&state.lead[i * kShorts], lead_[i]);
      store(&state.age[i * kShorts], age_[i]);
    }
  }

  // wealth <- e (wealth + dt); ln S <- max(ln S, 0) + ln e with its age. `older`: what ages grow
  // by, in [1, kMostAge]. Fills in the weighted wealths.
  [[gnu::always_inline]] void step(const BetRow& row, float dt, std::int16_t older,
                                   float* parts) {
    const Wholes cap = Wholes{} + std::bit_cast<std::int32_t>(kWealthCap);
    const Floats gap = Floats{} + dt;
#pragma GCC unroll 4
    for (std::size_t i = 0; i < kWealths; ++i) {
      const Floats grown = load<Floats>(&row.e[i * kFloats]) * (wealth_[i] + gap);
      // Of numbers that are not negative the least is that of their bits: one instruction at every
      // width, where the least of floats, which must mind NaN, is a comparison and a blend.
      const Wholes bits = reinterpret_cast<Wholes>(grown);
      wealth_[i] = reinterpret_cast<Floats>(bits <= cap ? bits : cap);
      store(parts + i * kFloats, wealth_[i] * weight_[i]);
    }
    const Shorts zero = {};
    const Shorts one = zero + std::int16_t{1};
    const Shorts most = zero + kLeadCap;
    const Shorts oldest = zero + static_cast<std::int16_t>(kMostAge - older);
#pragma GCC unroll 2
    for (std::size_t i = 0; i < kLeads; ++i) {
      const Shorts running = lead_[i] > zero;
      const Shorts lead = lead_[i] <= most ? lead_[i] : most;  // `<` would be no minimum to g++ 12
      const Shorts age = (age_[i] < oldest ? age_[i] : oldest) + older;
      lead_[i] = (lead & running) + load<Shorts>(&row.log_e[i * kShorts]);
      age_[i] = running ? age : one;
    }
  }

 private:
  using Floats = Lanes<float, kBytes>;
  using Wholes = Lanes<std::int32_t, kBytes>;
  using Shorts = Lanes<std::int16_t, std::min<std::size_t>(kBytes, 32)>;
  static constexpr std::size_t kFloats = sizeof(Floats) / sizeof(float);
  static constexpr std::size_t kShorts = sizeof(Shorts) / sizeof(std::int16_t);
  static constexpr std::size_t kWealths = kFixedBets / kFloats;
  static constexpr std::size_t kLeads = kFixedBets / kShorts;

  Floats wealth_[kWealths];
  Floats weight_[kWealths];
  Shorts lead_[kLeads];
  Shorts age_[kLeads];
};

using Four = Lanes<float, 16>;

// The four quarters of sixteen, added up in one order.
[[gnu::always_inline]] inline Four quarters(const float* parts) {
  return ((load<Four>(parts) + load<Four>(parts + 4)) + load<Four>(parts + 8)) +
         load<Four>(parts + 12);
}

// The sums of 16 parts each of four events: (s0 + s1) + (s2 + s3) of their quarters, turned round.
[[gnu::always_inline]] inline Four sums_of_four(const float* parts) {
  using Places = Lanes<std::int32_t, 16>;
  constexpr Places kLow = {0, 4, 1, 5}, kHigh = {2, 6, 3, 7};
  constexpr Places kFirst = {0, 1, 4, 5}, kSecond = {2, 3, 6, 7};
  const Four a = quarters(parts), b = quarters(parts + kFixedBets);
  const Four c = quarters(parts + 2 * kFixedBets), d = quarters(parts + 3 * kFixedBets);
  const Four ab01 = __builtin_shuffle(a, b, kLow), ab23 = __builtin_shuffle(a, b, kHigh);
  const Four cd01 = __builtin_shuffle(c, d, kLow), cd23 = __builtin_shuffle(c, d, kHigh);
  const Four s0 = __builtin_shuffle(ab01, cd01, kFirst);
  const Four s1 = __builtin_shuffle(ab01, cd01, kSecond);
  const Four s2 = __builtin_shuffle(ab23, cd23, kFirst);
  const Four s3 = __builtin_shuffle(ab23, cd23, kSecond);
  return (s0 + s1) + (s2 + s3);
}

}  // namespace trimtab::drift

#pragma GCC diagnostic pop
