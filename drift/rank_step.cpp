#include "drift/rank_step.h"

#include <algorithm>
#include <cstring>

namespace trimtab::drift {
namespace {

#pragma GCC diagnostic ignored "-Wpsabi"  // wide vectors never leave these inlined functions
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

// One step of all fixed bets: their wealth by one row of e-values, running maxima and ages by its
// logarithms.
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

float step_narrow(const BetRow& row, const float* weights, RankState& state, float dt,
                  std::int16_t step) {
  return step_bets<16>(row, weights, state, dt, step);
}
#if defined(__x86_64__)
[[gnu::target("avx2")]] float step_avx2(const BetRow& row, const float* weights, RankState& state,
                                        float dt, std::int16_t step) {
  return step_bets<32>(row, weights, state, dt, step);
}
[[gnu::target("avx512f,avx512bw,avx512vl,avx512dq")]] float step_avx512(const BetRow& row,
                                                                        const float* weights,
                                                                        RankState& state, float dt,
                                                                        std::int16_t step) {
  return step_bets<64>(row, weights, state, dt, step);
}
#endif

}  // namespace

std::vector<StepBets> step_bets_ways() {
  std::vector<StepBets> ways;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    ways.push_back(&step_avx512);
  }
  if (__builtin_cpu_supports("avx2")) ways.push_back(&step_avx2);
#endif
  ways.push_back(&step_narrow);
  return ways;
}

}  // namespace trimtab::drift
