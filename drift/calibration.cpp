#include "drift/calibration.h"

#include <algorithm>
#include <array>
#include <boost/math/distributions/chi_squared.hpp>
#include <cmath>
#include <cstdio>
#include <memory>
#include <vector>

namespace trimtab::drift {
namespace {

constexpr std::array kThresholds = {10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0};
constexpr std::array<std::int64_t, 7> kLags = {2, 3, 4, 6, 8, 12, 16};
constexpr std::int64_t kLeastReplayed = 250;
constexpr double kGoodTheta = 0.8;  // a thinned series that reaches this needs no longer lag

// Upper 95 % bound of a Poisson mean after `count` events (Garwood 1936).
double poisson_upper(std::int64_t count) {
  const boost::math::chi_squared law(2.0 * static_cast<double>(count + 1));
  return 0.5 * boost::math::quantile(law, 0.95);
}

struct Replay {
  std::vector<double> thresholds;
  std::vector<std::int64_t> crossings;
  std::int64_t events = 0;
};

// Replays events [from, to) by `step` against bets built elsewhere, restarting at each crossing.
void replay_half(const CalibrationSample& sample,
                 const std::vector<std::unique_ptr<RankBets>>& bets, std::size_t from,
                 std::size_t to, std::size_t step, Replay& replay) {
  std::vector<RankState> states(sample.channels);
  std::vector<std::uint8_t> bins;
  for (std::size_t i = from; i < to; i += step) {
    for (std::size_t channel = 0; channel < sample.channels; ++channel) {
      bins.push_back(static_cast<std::uint8_t>(
          sample.bin(bets[channel]->reference(), channel, i)));
    }
    ++replay.events;
  }
  for (std::size_t t = 0; t < replay.thresholds.size(); ++t) {
    for (RankState& state : states) state.reset();
    for (std::size_t i = 0; i < bins.size(); i += sample.channels) {
      double evidence = 0.0;
      for (std::size_t channel = 0; channel < sample.channels; ++channel) {
        evidence += static_cast<double>(
            bets[channel]->update(states[channel], bins[i + channel], 1.0F));
      }
      if (evidence / static_cast<double>(sample.channels) < replay.thresholds[t]) continue;
      ++replay.crossings[t];
      for (RankState& state : states) state.reset();
    }
  }
}

Replay replay_both(const CalibrationSample& sample, const RankOptions& options, std::size_t step) {
  Replay replay;
  const double n = static_cast<double>(sample.size / step);
  for (const double c : kThresholds) {
    if (c <= n / 8.0) replay.thresholds.push_back(c);
  }
  replay.crossings.assign(replay.thresholds.size(), 0);
  const std::size_t half = sample.size / 2;
  const std::array<std::array<std::size_t, 2>, 2> halves = {{{0, half}, {half, sample.size}}};
  for (std::size_t h = 0; h < 2; ++h) {
    std::vector<std::unique_ptr<RankBets>> bets;
    for (std::size_t channel = 0; channel < sample.channels; ++channel) {
      bets.push_back(std::make_unique<RankBets>(
          sample.build(channel, halves[h][0], halves[h][1], step), options));
    }
    replay_half(sample, bets, halves[1 - h][0], halves[1 - h][1], step, replay);
  }
  return replay;
}

double fit_theta(const Replay& replay) {
  double num = 0.0;
  double den = 0.0;
  for (std::size_t t = 0; t < replay.thresholds.size(); ++t) {
    const double run =
        static_cast<double>(replay.events) / poisson_upper(replay.crossings[t]);
    const double log_c = std::log(replay.thresholds[t]);
    num += std::log(std::max(run, 1.0)) * log_c;
    den += log_c * log_c;
  }
  return den > 0.0 ? std::min(1.0, num / den) : 0.0;
}

std::string measured(const Replay& replay, double theta) {
  char text[160];
  const std::size_t last = replay.thresholds.empty() ? 0 : replay.thresholds.size() - 1;
  if (replay.thresholds.empty()) return "the reference is too short to calibrate on";
  const double run = static_cast<double>(replay.events) /
                     static_cast<double>(std::max<std::int64_t>(replay.crossings[last], 1));
  std::snprintf(text, sizeof text,
                "measured run %.0f%s at threshold %.0f, theta %.2f", run,
                replay.crossings[last] == 0 ? " or more" : "", replay.thresholds[last], theta);
  return text;
}

}  // namespace

Calibration calibrate(const CalibrationSample& sample, const RankOptions& options,
                      double min_theta) {
  Calibration result;
  const Replay plain = replay_both(sample, options, 1);
  result.theta = fit_theta(plain);
  if (result.theta >= min_theta) {
    result.armed = true;
    if (result.theta < 1.0) result.reason = measured(plain, result.theta) + ": threshold raised";
    return result;
  }
  double best = 0.0;
  for (const std::int64_t lag : kLags) {
    if (static_cast<std::int64_t>(sample.size) / lag < kLeastReplayed) break;
    const Replay thinned = replay_both(sample, options, static_cast<std::size_t>(lag));
    const double theta = fit_theta(thinned);
    if (theta >= min_theta && theta > best) {
      best = theta;
      result.armed = true;
      result.thin = lag;
      result.reason = measured(plain, result.theta) + ": every event no. " + std::to_string(lag) +
                      " is used, threshold raised";
    }
    if (theta >= kGoodTheta) break;
  }
  if (result.armed) {
    result.theta = best;
  } else {
    result.reason = measured(plain, result.theta) +
                    ": records depend on one another or the reference itself moves; log "
                    "session_id, lengthen session_window, or take a larger or calmer reference";
  }
  return result;
}

double raised_threshold(double target_ms, double theta, double gap_ms) {
  const double gap = std::max(gap_ms, 1e-3);
  const double events = target_ms / gap;
  if (events <= 1.0 || theta >= 1.0) return target_ms;
  return gap * std::pow(events, 1.0 / theta);
}

}  // namespace trimtab::drift
