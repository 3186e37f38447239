// One step of rank_e's sixteen fixed bets at a given vector width; private to rank_e.cpp, which
// compiles it once for every width that a processor may have.
//
// Every width gives the same bits (sums are added in one order, and the compiler may not contract:
// CMakeLists.txt), so an alarm is derived again exactly on another machine.
#pragma once

#include <algorithm>
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

// wealth <- e (wealth + dt); ln S <- max(ln S, 0) + ln e with its age. `step`: what ages grow by, in
// [1, kMostAge]. Returns the weighted sum of the wealths.
template <std::size_t kBytes>
[[gnu::always_inline]] inline float step_bets(const BetRow& row, const float* weights,
                                              RankState& state, float dt, std::int16_t step) {
  using Floats = Lanes<float, kBytes>;
  using Shorts = Lanes<std::int16_t, std::min<std::size_t>(kBytes, 32)>;
  using Four = Lanes<float, 16>;
  const Floats cap = Floats{} + kWealthCap;
  const Floats gap = Floats{} + dt;
  alignas(64) std::array<float, kFixedBets> parts;
  for (std::size_t k = 0; k < kFixedBets; k += sizeof(Floats) / sizeof(float)) {
    Floats wealth = load<Floats>(&row.e[k]) * (load<Floats>(&state.wealth[k]) + gap);
    wealth = wealth < cap ? wealth : cap;
    store(&parts[k], wealth * load<Floats>(weights + k));
    store(&state.wealth[k], wealth);
  }
  const Shorts zero = {};
  const Shorts one = zero + std::int16_t{1};
  const Shorts most = zero + kLeadCap;
  const Shorts oldest = zero + static_cast<std::int16_t>(kMostAge - step);
  for (std::size_t k = 0; k < kFixedBets; k += sizeof(Shorts) / sizeof(std::int16_t)) {
    Shorts lead = load<Shorts>(&state.lead[k]);
    Shorts age = load<Shorts>(&state.age[k]);
    const Shorts running = lead > zero;
    lead = lead < most ? lead : most;
    age = (age < oldest ? age : oldest) + step;
    store(&state.lead[k], (lead & running) + load<Shorts>(&row.log_e[k]));
    store(&state.age[k], running ? age : one);
  }
  const Four sum = ((load<Four>(&parts[0]) + load<Four>(&parts[4])) + load<Four>(&parts[8])) +
                   load<Four>(&parts[12]);
  return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

}  // namespace trimtab::drift

#pragma GCC diagnostic pop
