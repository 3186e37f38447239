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

constexpr std::array kThresholds = {5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0};
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
  double correlation_time = 1.0;  // the largest of the series' integrated correlation times
};

constexpr std::size_t kMaxLag = 50;

// 1 + 2 sum of the autocorrelations, up to where a pair of them (Geyer 1992) drowns in its noise,
// plus one standard error (Madras and Sokal 1988).
double correlation_time(const std::vector<double>& series) {
  const std::size_t n = series.size();
  double mean = 0.0;
  for (const double x : series) mean += x / static_cast<double>(n);
  const auto covariance = [&](std::size_t lag) {
    double sum = 0.0;
    for (std::size_t i = lag; i < n; ++i) sum += (series[i] - mean) * (series[i - lag] - mean);
    return sum / static_cast<double>(n);
  };
  const double variance = covariance(0);
  if (variance <= 1e-12) return 1.0;
  // One standard deviation of a pair where nothing is correlated.
  const double noise = std::sqrt(2.0 / static_cast<double>(n));
  double time = 1.0;
  std::size_t lag = 1;
  for (; lag + 1 <= std::min(kMaxLag, n / 10); lag += 2) {
    const double pair = (covariance(lag) + covariance(lag + 1)) / variance;
    if (pair <= noise) break;
    time += 2.0 * pair;
  }
  const double error = std::sqrt(4.0 * static_cast<double>(lag) / static_cast<double>(n));
  return time * (1.0 + error);
}

using CellBets = std::vector<std::unique_ptr<RankBets>>;  // one a cell

// What the bets see of a series of bins: how it moves (a shift's score) and how it spreads (a
// scale's); for categories, each of the three heaviest.
std::vector<std::vector<double>> scores(const CellBets& cells,
                                        const std::vector<std::uint8_t>& bins,
                                        const std::vector<std::size_t>& cell_of,
                                        std::size_t channels, std::size_t channel) {
  constexpr std::size_t kShiftDown = 2;
  constexpr std::size_t kShiftUp = 5;
  constexpr std::size_t kWider = 11;
  const RankState fresh;
  const bool ordered = cells[0]->reference().ordered();
  std::vector<std::vector<double>> series(ordered ? 2 : 3);
  for (std::size_t i = channel; i < bins.size(); i += channels) {
    const std::size_t bin = bins[i];
    const RankBets& bets = *cells[cell_of[i / channels]];
    if (ordered) {
      series[0].push_back(bets.log_ratio(fresh, kShiftUp, bin) -
                          bets.log_ratio(fresh, kShiftDown, bin));
      series[1].push_back(bets.log_ratio(fresh, kWider, bin));
    } else {
      for (std::size_t b = 0; b < 3; ++b) series[b].push_back(bin == b ? 1.0 : 0.0);
    }
  }
  return series;
}

// Replays events [from, to) by `step` against bets built elsewhere, restarting at each crossing.
void replay_half(const CalibrationSample& sample, const std::vector<CellBets>& bets,
                 std::size_t from, std::size_t to, std::size_t step, Replay& replay,
                 std::vector<double>& times) {
  std::vector<RankState> states(sample.channels);
  std::vector<std::uint8_t> bins;
  std::vector<std::size_t> cell_of;
  for (std::size_t i = from; i < to; i += step) {
    cell_of.push_back(sample.cells > 1 ? sample.cell(i) : 0);
    for (std::size_t channel = 0; channel < sample.channels; ++channel) {
      const Reference& reference = bets[channel][cell_of.back()]->reference();
      bins.push_back(static_cast<std::uint8_t>(sample.bin(reference, channel, i)));
    }
    ++replay.events;
  }
  for (std::size_t channel = 0; channel < sample.channels; ++channel) {
    for (const auto& series : scores(bets[channel], bins, cell_of, sample.channels, channel)) {
      times.push_back(correlation_time(series));
    }
  }
  for (std::size_t t = 0; t < replay.thresholds.size(); ++t) {
    for (RankState& state : states) state.reset();
    for (std::size_t i = 0; i < bins.size(); i += sample.channels) {
      double evidence = 0.0;
      for (std::size_t channel = 0; channel < sample.channels; ++channel) {
        const RankBets& mine = *bets[channel][cell_of[i / sample.channels]];
        evidence += static_cast<double>(mine.update(states[channel], bins[i + channel], 1.0F));
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
  std::array<std::vector<double>, 2> times;
  for (std::size_t h = 0; h < 2; ++h) {
    std::vector<CellBets> bets(sample.channels);
    for (std::size_t channel = 0; channel < sample.channels; ++channel) {
      for (auto& reference : sample.build(channel, halves[h][0], halves[h][1], step)) {
        bets[channel].push_back(std::make_unique<RankBets>(std::move(reference), options));
      }
    }
    replay_half(sample, bets, halves[1 - h][0], halves[1 - h][1], step, replay, times[h]);
  }
  // Score by score the mean of the two halves (and of the channels), then the worst score.
  const std::size_t kinds = times[0].size() / sample.channels;
  for (std::size_t kind = 0; kind < kinds; ++kind) {
    double sum = 0.0;
    for (const auto& half_times : times) {
      for (std::size_t i = kind; i < half_times.size(); i += kinds) sum += half_times[i];
    }
    replay.correlation_time =
        std::max(replay.correlation_time, sum / static_cast<double>(2 * sample.channels));
  }
  return replay;
}

struct Fit {
  double theta = 0.0;
  double last_threshold = 1.0;
  double last_run = 1.0;
};

// theta = 1 / correlation time; 0 when the last run itself is below c'^(1/2): the halves differ.
Fit fit_runs(const Replay& replay) {
  Fit fit;
  if (replay.thresholds.empty()) return fit;
  const std::size_t last = replay.thresholds.size() - 1;
  const auto events = static_cast<double>(replay.events);
  fit.last_threshold = replay.thresholds[last];
  fit.last_run = std::max(1.0, events / poisson_upper(replay.crossings[last]));
  if (fit.last_run < std::sqrt(fit.last_threshold)) return fit;
  fit.theta = std::min(1.0, 1.0 / replay.correlation_time);
  return fit;
}

std::string measured(const Replay& replay, double theta) {
  char text[160];
  const std::size_t last = replay.thresholds.empty() ? 0 : replay.thresholds.size() - 1;
  if (replay.thresholds.empty()) return "the reference is too short to calibrate on";
  const double run = static_cast<double>(replay.events) /
                     static_cast<double>(std::max<std::int64_t>(replay.crossings[last], 1));
  std::snprintf(text, sizeof text, "measured run %.0f%s at threshold %.0f, theta %.2f", run,
                replay.crossings[last] == 0 ? " or more" : "", replay.thresholds[last], theta);
  return text;
}

}  // namespace

Calibration calibrate(const CalibrationSample& sample, const RankOptions& options,
                      double min_theta) {
  Calibration result;
  const auto take = [&result](const Fit& fit, std::int64_t thin) {
    result.armed = true;
    result.theta = fit.theta;
    result.last_threshold = fit.last_threshold;
    result.last_run = fit.last_run;
    result.thin = thin;
  };
  const Replay plain = replay_both(sample, options, 1);
  const Fit fit = fit_runs(plain);
  result.theta = fit.theta;
  const std::string said = measured(plain, fit.theta);
  if (fit.theta >= min_theta) {
    take(fit, 1);
    if (fit.theta < kGoodTheta) result.reason = said + ": threshold raised";
    return result;
  }
  for (const std::int64_t lag : kLags) {
    if (static_cast<std::int64_t>(sample.size) / lag < kLeastReplayed) break;
    const Fit thinned = fit_runs(replay_both(sample, options, static_cast<std::size_t>(lag)));
    if (thinned.theta >= min_theta && (!result.armed || thinned.theta > result.theta)) {
      take(thinned, lag);
      result.reason =
          said + ": every event no. " + std::to_string(lag) + " is used, threshold raised";
    }
    if (thinned.theta >= kGoodTheta) break;
  }
  if (!result.armed) {
    result.reason = said +
                    ": records depend on one another or the reference itself moves; log "
                    "session_id, lengthen session_window, or take a larger or calmer "
                    "reference";
  }
  return result;
}

double raised_threshold(const Calibration& calibration, double target_ms, double gap_ms) {
  const double gap = std::max(gap_ms, 1e-3);
  const double events = target_ms / gap;
  if (events <= calibration.last_run || calibration.theta <= 0.0) return target_ms;
  const double needed =
      calibration.last_threshold * std::pow(events / calibration.last_run, 1.0 / calibration.theta);
  return gap * std::max(events, needed);
}

}  // namespace trimtab::drift
