// How a run of events goes through rank_e's bets, at the widest vectors that the processor has:
// first what the plug-in bets, then the recursions, then the evidence, each over all events, so
// that no pass waits for another's divisions or sums.
#include <algorithm>

#include "drift/rank_alternatives.h"
#include "drift/rank_e.h"
#include "drift/rank_lanes.h"

namespace trimtab::drift {

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpsabi"  // wide vectors never leave the functions inlined here

void RankBets::fade(RankState& state) {
  state.since_fade = 0;
  state.total = 0;
  for (std::uint16_t& count : state.counts) {
    // x 2^(-1/8), rounded: after eight of them half is left.
    count = static_cast<std::uint16_t>((count * 60'097U + 32'768U) >> 16);
    state.total += count;
  }
}

// By value, so that they become one instruction and no branch.
[[gnu::always_inline]] inline float least(float a, float b) { return a < b ? a : b; }
[[gnu::always_inline]] inline float most(float a, float b) { return a > b ? a : b; }

// What goes from one pass over a run to the next.
struct RankBets::Passes {
  std::array<float, kMostOfRun> e;                   // the plug-in's
  std::array<std::int32_t, kMostOfRun> total;        // what it has learned from before each event
  alignas(16) std::array<float, kMostOfRun> wealth;  // the plug-in's
  alignas(64) std::array<float, kMostOfRun * kFixedBets> parts;
};

// The e-values of the plug-in: what it bets on an event is what it learned from those before. The
// quotients are taken afterwards, many at once.
template <std::size_t kBytes>
[[gnu::always_inline]] inline void RankBets::learn(RankState& state, const RankRun& run,
                                                   Passes& passes) const {
  const float prior = prior_, keep = plug_in_keep_;
  const std::uint32_t unit = unit_;
  for (std::size_t at = 0; at < run.count;) {
    const std::size_t to =
        std::min<std::size_t>(run.count, at + fade_every_ - std::size_t{state.since_fade});
    std::uint32_t total = state.total;
    state.since_fade = static_cast<std::uint16_t>(state.since_fade + (to - at));
    for (; at < to; ++at, total += unit) {
      const std::size_t bin = run.bins[at];
      const std::int32_t count = state.counts[bin];
      state.counts[bin] = static_cast<std::uint16_t>(static_cast<std::uint32_t>(count) + unit);
      passes.e[at] = static_cast<float>(count) * rows_[bin].inverse_mass + prior;
      passes.total[at] = static_cast<std::int32_t>(total);
    }
    state.total = total;
    if (state.since_fade >= fade_every_) fade(state);
  }
  using Floats = Lanes<float, kBytes>;
  using Wholes = Lanes<std::int32_t, kBytes>;
  constexpr std::size_t kAtOnce = kBytes / sizeof(float);
  std::size_t i = 0;
  for (; i + kAtOnce <= run.count; i += kAtOnce) {
    const Floats all =
        __builtin_convertvector(load<Wholes>(&passes.total[i]), Floats) + prior;
    store(&passes.e[i], load<Floats>(&passes.e[i]) / all * keep);
  }
  for (; i < run.count; ++i) {
    passes.e[i] = passes.e[i] / (static_cast<float>(passes.total[i]) + prior) * keep;
  }
}

// The same where small effects are ignored: the tax depends on what was learned before.
void RankBets::learn_taxed(RankState& state, const RankRun& run, Passes& passes) const {
  for (std::size_t i = 0; i < run.count; ++i) {
    const std::size_t bin = run.bins[i];
    passes.e[i] = plug_in_e(state, bin);
    state.counts[bin] = static_cast<std::uint16_t>(state.counts[bin] + unit_);
    state.total += unit_;
    if (++state.since_fade >= fade_every_) fade(state);
  }
}

// The recursions.
template <std::size_t kBytes, bool kOrdered>
[[gnu::always_inline]] inline void RankBets::grow(RankState& state, const RankRun& run,
                                                  Passes& passes) const {
  constexpr std::size_t p = kFixedBets;  // the plug-in's place
  FixedBets<kBytes> fixed(state, kWeights.data());
  float wealth = state.wealth[p], best = state.learned_best;
  int age = state.age[p];
  for (std::size_t i = 0; i < run.count; ++i) {
    const float e = passes.e[i], dt = run.dts[i];
    const int older = run.steps[i];
    wealth = least(e * (wealth + dt), kWealthCap);
    passes.wealth[i] = wealth;
    // Arithmetic, for it is a coin's toss.
    const int running = best > 1.0F ? -1 : 0;
    age = 1 + (running & (std::min(age + older, +kMostAge) - 1));
    best = least(most(e * best, e), kWealthCap);  // e max(best, 1), and no branch
    if (!kOrdered) continue;
    fixed.step(rows_[run.bins[i]], dt, static_cast<std::int16_t>(older),
               &passes.parts[i * kFixedBets]);
  }
  if (kOrdered) fixed.put(state);
  state.wealth[p] = wealth;
  state.learned_best = best;
  state.age[p] = static_cast<std::int16_t>(age);
}

// The evidence after each event. Returns the most.
template <bool kOrdered>
[[gnu::always_inline]] inline float RankBets::add_up(RankState& state, const RankRun& run,
                                                     const Passes& passes) const {
  Four most{};
  std::size_t i = 0;
  for (; i + 4 <= run.count; i += 4) {
    Four sum = load<Four>(&passes.wealth[i]) * plug_in_weight_;
    if (kOrdered) sum = sums_of_four(&passes.parts[i * kFixedBets]) + sum;
    most = sum > most ? sum : most;
    store(run.evidence + i, __builtin_convertvector(sum, Lanes<double, 32>));
    state.evidence = sum[3];
  }
  float all = std::max(std::max(most[0], most[1]), std::max(most[2], most[3]));
  for (; i < run.count; ++i) {
    float fixed = 0.0F;
    if (kOrdered) {
      const Four sum = quarters(&passes.parts[i * kFixedBets]);
      fixed = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    }
    state.evidence = fixed + plug_in_weight_ * passes.wealth[i];
    run.evidence[i] = static_cast<double>(state.evidence);
    all = std::max(all, state.evidence);
  }
  return all;
}

template <std::size_t kBytes, bool kOrdered>
[[gnu::always_inline]] inline float RankBets::go(RankState& state, const RankRun& run) const {
  Passes passes;
  if (options_.min_effect <= 0.0) {
    learn<kBytes>(state, run, passes);
  } else {
    learn_taxed(state, run, passes);
  }
  grow<kBytes, kOrdered>(state, run, passes);
  return add_up<kOrdered>(state, run, passes);
}

float RankBets::run_narrow(const RankBets& bets, RankState& state, const RankRun& run) {
  return bets.ordered_ ? bets.go<16, true>(state, run) : bets.go<16, false>(state, run);
}
#if defined(__x86_64__)
[[gnu::target("avx2")]] float RankBets::run_avx2(const RankBets& bets, RankState& state,
                                                 const RankRun& run) {
  return bets.ordered_ ? bets.go<32, true>(state, run) : bets.go<32, false>(state, run);
}
[[gnu::target("avx512f,avx512bw,avx512vl,avx512dq")]] float RankBets::run_avx512(
    const RankBets& bets, RankState& state, const RankRun& run) {
  return bets.ordered_ ? bets.go<64, true>(state, run) : bets.go<64, false>(state, run);
}
#endif

#pragma GCC diagnostic pop

std::vector<RankBets::Way> RankBets::ways() {
  std::vector<Way> all;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
      __builtin_cpu_supports("avx512dq")) {
    all.push_back(&run_avx512);
  }
  if (__builtin_cpu_supports("avx2")) all.push_back(&run_avx2);
#endif
  all.push_back(&run_narrow);
  return all;
}

float RankBets::update_run(RankState& state, const RankRun& run) const {
  static const Way kFastest = ways().front();
  return kFastest(*this, state, run);
}

}  // namespace trimtab::drift
