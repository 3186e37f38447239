// rank_e: the rank e-detector, trimtab's default on every signal. It bets against "the signal still
// looks like its reference" and alarms when the bets have paid off; the promise, a mean run of at
// least c between false alarms, holds however often one looks.
//
// Each value falls into a bin b of the frozen reference (drift/reference.h) with mass p0(b).
//   e_k = q_k(b) / p0(b) / (1 + tau_k)      a fixed alternative q_k on the normal-score scale
//   M_k <- e_k (M_k + dt)                   Shiryaev-Roberts; dt = 1 (in events) or the gap in
//                                           event time before this event, known before its value
//   evidence = sum_k w_k M_k + w_p M_p      weights sum to 1: most to the small shifts, which need
//                                           the longest; .095 to the plug-in (DECISIONS.md)
//   alarm when evidence >= c                M minus elapsed time is a supermartingale: E[run] >= c
// Fixed alternatives (ordered signals): shifts of -+.25, .5, 1, 2 sigma; scales .67, .8, 1.25, 1.5,
// 2, 3; shift -+1 with scale 1.5; each mixed with 2 % of p0. The plug-in learns q_p: a Dirichlet
// with the prior's mean p0 and counts that are faded, half-life 5,000 events; it is the only bet of
// unordered signals. Bins of missing values keep their mass in the fixed alternatives.
// The reference is a sample of size N, so each bet pays a tax:
//   tau_k = z_.95 sqrt(chi2(q_k, p0) / N), chi2 = sum q^2/p0 - 1 (the sd of E[e_k] over
//   references); plug-in: the .995 quantile of chi-squared with K - 1 degrees of freedom, over N (K
//   filled bins).
// Where p0 is a floor (an unfilled bin) every bet keeps at least p0 there: mass that nobody ever
// sees must not be won (with a two-valued signal and N = 600 it broke the promise for 1 reference
// in 6). min_effect w (Cohen's w, chi2(p, p0) <= w^2) adds w sqrt(chi2(q, p0)) to the tax: by
// Cauchy-Schwarz no change smaller than w makes a bet grow on average.
// Sources: e-detectors, Shin, Ramdas, Rinaldo 2022; the tax and its quantiles: STATISTICS.md 1.
// Onset: per bet, the start k that maximizes its product of e-values from k on (the running maximum
// ln S <- max(ln S, 0) + ln e and its age); the alarming bet's age is reported, at most 32,767. It
// says where to look, it decides nothing: ln S of the fixed bets is kept to 1/256 in 16 bits.
// Memory: 216 bytes a signal (RankState); the tables belong to the reference.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "drift/detector.h"
#include "drift/reference.h"

namespace trimtab::drift {

inline constexpr std::size_t kFixedBets = 16;
inline constexpr std::size_t kBets = kFixedBets + 1;  // the last one is the plug-in

struct RankOptions {
  double half_life_events = 5'000.0;  // in [8, 20,000]: counts are 16 bits
  double min_effect = 0.0;
};

inline constexpr std::int16_t kMostAge = 32'767;

// What the bets win or lose when an event falls in one bin: two cache lines.
struct alignas(128) BetRow {
  std::array<float, kFixedBets> e{};             // q_k(b) / p0(b) / (1 + tau_k)
  std::array<std::int16_t, kFixedBets> log_e{};  // 256 ln of it
  float inverse_mass = 0.0F;                     // 1 / p0(b), for the plug-in
};

inline constexpr std::size_t kMostOfRun = 128;

// Some consecutive events of one detector, at most kMostOfRun.
struct RankRun {
  const std::uint8_t* bins = nullptr;
  const float* dts = nullptr;            // each after the event before it
  const std::uint16_t* steps = nullptr;  // what ages grow by, 1 .. kMostAge
  std::size_t count = 0;
  double* evidence = nullptr;            // after each event: filled in
};

// What changes with every event. Plain bytes without padding: copy it to save it.
struct RankState {
  std::array<float, kBets> wealth{};              // M_k
  float learned_best = 0.0F;                      // S of the plug-in
  float evidence = 0.0F;
  std::uint32_t total = 0;                        // sum of counts
  std::array<std::int16_t, kFixedBets> lead{};    // 256 ln S_k
  std::array<std::int16_t, kBets> age{};          // events since S_k started, that one included
  std::array<std::uint16_t, kMaxBins> counts{};   // faded, in units of 1/scale event
  std::uint16_t since_fade = 0;
  std::uint16_t no_padding = 0;

  void reset() { *this = RankState{}; }
};
static_assert(sizeof(RankState) == 216, "the house's figure is at most 300 bytes a signal");

// The bets against one reference: immutable, shared by everything that watches that signal.
class RankBets {
 public:
  RankBets(Reference reference, const RankOptions& options);

  [[nodiscard]] const Reference& reference() const { return reference_; }
  [[nodiscard]] const RankOptions& options() const { return options_; }

  // One event in bin `bin`, `dt` after the one before it (1 when counting events). `step` is what
  // ages grow by: more than 1 where events in between were left out. Returns the evidence.
  // REQUIRES: bin < reference().bins(), dt >= 0.
  float update(RankState& state, std::size_t bin, float dt, std::uint32_t step = 1) const;
  // The same of some events in a row, so that the state is read and written once. Returns the most
  // evidence after any of them. REQUIRES: 0 < run.count <= kMostOfRun.
  float update_run(RankState& state, const RankRun& run) const;
  // update_run() for every vector width that this processor has, the widest first: same bits.
  using Way = float (*)(const RankBets& bets, RankState& state, const RankRun& run);
  [[nodiscard]] static std::vector<Way> ways();

  // The bet that holds most of the evidence.
  [[nodiscard]] std::size_t leader(const RankState& state) const;
  // Expected log growth of a bet in each bin, for attribution: ln q_k(b)/p0(b); the plug-in's q is
  // given by the state.
  [[nodiscard]] double log_ratio(const RankState& state, std::size_t bet, std::size_t bin) const;
  [[nodiscard]] static std::string bet_name(std::size_t bet);
  [[nodiscard]] double tau(std::size_t bet) const { return tau_[bet]; }

 private:
  void build_fixed();
  void build_plug_in();
  [[nodiscard]] float plug_in_e(const RankState& state, std::size_t bin) const;
  [[nodiscard]] float plug_in_tax(const RankState& state) const;
  struct Passes;
  static void fade(RankState& state);
  template <std::size_t kBytes>
  void learn(RankState& state, const RankRun& run, Passes& passes) const;
  void learn_taxed(RankState& state, const RankRun& run, Passes& passes) const;
  template <std::size_t kBytes, bool kOrdered>
  void grow(RankState& state, const RankRun& run, Passes& passes) const;
  template <bool kOrdered>
  float add_up(RankState& state, const RankRun& run, const Passes& passes) const;
  template <std::size_t kBytes, bool kOrdered>
  float go(RankState& state, const RankRun& run) const;
  static float run_narrow(const RankBets& bets, RankState& state, const RankRun& run);
  static float run_avx2(const RankBets& bets, RankState& state, const RankRun& run);
  static float run_avx512(const RankBets& bets, RankState& state, const RankRun& run);

  // What every event reads comes first.
  float plug_in_keep_ = 1.0F;     // floor_keep_ / (1 + tau of the plug-in)
  float prior_ = 0.0F;            // the prior's weight, in count units
  float plug_in_weight_ = 1.0F;
  std::uint16_t unit_ = 1;        // counts of one event
  std::uint16_t fade_every_ = 1;  // events between two fadings by 2^(-1/8)
  bool ordered_ = true;
  std::array<BetRow, kMaxBins> rows_{};
  RankOptions options_;
  Reference reference_;
  std::array<double, kBets> tau_{};
  double floor_keep_ = 1.0;  // 1 / (1 + what the floors added to the masses)
};

// The detector by name, in events: `trimtab detect rank_e --reference REF`.
class RankE final : public Detector {
 public:
  RankE(std::shared_ptr<const RankBets> bets, double arl) : bets_(std::move(bets)), arl_(arl) {}
  Verdict update(double x) override;
  Verdict update_category(std::string_view category) override;
  void reset() override { state_.reset(); }
  [[nodiscard]] std::string save() const override;
  [[nodiscard]] Status restore(std::string_view bytes) override;
  // evidence (after the last value), max_evidence (of the whole stream).
  [[nodiscard]] std::vector<std::pair<std::string, double>> state() const override;
  [[nodiscard]] std::size_t state_bytes() const override { return sizeof(RankState); }
  [[nodiscard]] const RankState& rank_state() const { return state_; }
  [[nodiscard]] const RankBets& bets() const { return *bets_; }

  [[nodiscard]] static std::span<const Parameter> parameters();
  // kInvalid without a reference, or with one of fewer than 500 values.
  [[nodiscard]] static Result<std::unique_ptr<Detector>> make(const DetectorInput& input);

 private:
  Verdict step(std::size_t bin);

  std::shared_ptr<const RankBets> bets_;
  double arl_;
  RankState state_;
  float max_evidence_ = 0.0F;
};

// Hash of a category's text as references and observations use it; never 0.
[[nodiscard]] std::uint64_t category_hash(std::string_view text);

}  // namespace trimtab::drift
