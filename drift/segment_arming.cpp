// How a segment arms: collected rows become frozen references, and each signal is calibrated on
// them before it may alarm (calibration.h), by hour of the week where a pooled reference does not
// hold (seasons.h).
#include <algorithm>
#include <bit>
#include <cmath>
#include <iterator>
#include <map>

#include "base/check.h"
#include "drift/segment.h"

namespace trimtab::drift {
namespace {

constexpr std::size_t kFitEvery = 3;  // every third row fits the projections, others make bins
constexpr double kGoodTheta = 0.8;    // a pooled reference that calibrates so well needs no seasons
constexpr double kNeverThreshold = 1e29;  // beyond what float wealth can reach

}  // namespace


void Segment::fit_text() {
  if (!text_) return;
  if (text_->wants_words) {
    std::vector<const WordRow*> rows;
    for (const WordRow& row : text_->word_rows) rows.push_back(&row);
    text_->words = WordModel::fit(rows);
    const std::vector<NamedWord> names(text_->dictionary.begin(), text_->dictionary.end());
    text_->words->keep_top(names);
  }
  if (text_->wants_vectors) {
    std::vector<const VectorRow*> rows;
    for (std::size_t i = 0; i < text_->vector_rows.size(); i += kFitEvery) {
      rows.push_back(&text_->vector_rows[i]);
    }
    constexpr std::uint64_t kSeed = 0x70726f6a;  // fixed: the same records give the same directions
    text_->projections = Projections::fit(rows, kSeed);
    text_->kept_vectors.clear();
    const std::size_t every = (text_->vector_rows.size() + kShiftVectors - 1) / kShiftVectors;
    std::size_t seen = 0;
    for (std::size_t i = 0; i < text_->vector_rows.size(); ++i) {
      // Rows that fitted the directions stand out along them: they are no sample of the reference.
      if (i % kFitEvery == 0 || !text_->vector_rows[i].present()) continue;
      if (seen++ % every == 0) text_->kept_vectors.push_back(text_->vector_rows[i]);
    }
  }
}

// Values of a numeric signal in order, one vector a channel. Rows that fitted the projections are
// left out of theirs; so are rows without a vector.
std::vector<std::vector<double>> Segment::channel_values(std::size_t signal) const {
  const SignalKind kind = plan_->signals[signal].kind;
  std::vector<std::vector<double>> values(kind == SignalKind::kEmbedding ? kProjections : 1);
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    if (kind == SignalKind::kNovelty) {
      const auto novelty = text_->words->novelty_within(text_->word_rows[i], i);
      if (novelty) values[0].push_back(*novelty);
    } else if (kind == SignalKind::kEmbedding) {
      if (i % kFitEvery == 0 || !text_->vector_rows[i].present()) continue;
      const Projections::Values projected = text_->projections->project(text_->vector_rows[i]);
      for (std::size_t c = 0; c < kProjections; ++c) {
        values[c].push_back(static_cast<double>(projected[c]));
      }
    } else {
      values[0].push_back(std::bit_cast<double>(rows_[i].cells[signal]));
    }
  }
  return values;
}

Reference Segment::category_reference(std::size_t signal, std::size_t from, std::size_t to,
                                      std::size_t step) const {
  std::map<std::uint64_t, CategoryCount> counts;
  std::int64_t missing = 0;
  for (std::size_t i = from; i < to; i += step) {
    const std::uint64_t hash = rows_[i].cells[signal];
    if (hash == 0) {
      ++missing;
    } else {
      CategoryCount& one = counts[hash];
      ++one.count;
      one.half += static_cast<std::int64_t>((i - from) / step % 2);
    }
  }
  for (const CategoryName& name : names_) {
    const auto at = counts.find(name.hash);
    if (name.signal == signal && at != counts.end()) at->second.label = name.label.view();
  }
  std::vector<CategoryCount> all;
  for (auto& [hash, entry] : counts) {
    entry.hash = hash;
    all.push_back(std::move(entry));
  }
  return Reference::from_categories(std::move(all), missing);
}

CalibrationSample Segment::sample_of(std::size_t signal,
                                     std::vector<std::vector<double>>& values) const {
  CalibrationSample sample;
  if (plan_->signals[signal].kind == SignalKind::kCategorical) {
    sample.size = rows_.size();
    sample.build = [this, signal](std::size_t, std::size_t from, std::size_t to, std::size_t step) {
      return std::vector<Reference>{category_reference(signal, from, to, step)};
    };
    sample.bin = [this, signal](const Reference& reference, std::size_t, std::size_t event) {
      return reference.bin_of_category(rows_[event].cells[signal]);
    };
    return sample;
  }
  values = channel_values(signal);
  sample.size = values[0].size();
  sample.channels = values.size();
  sample.build = [&values](std::size_t channel, std::size_t from, std::size_t to,
                           std::size_t step) {
    std::vector<double> part;
    for (std::size_t i = from; i < to; i += step) part.push_back(values[channel][i]);
    return std::vector<Reference>{Reference::from_numbers(std::move(part))};
  };
  sample.bin = [&values](const Reference& reference, std::size_t channel, std::size_t event) {
    return reference.bin_of(values[channel][event]);
  };
  return sample;
}

// Events of even days, then those of odd days: either half has all hours, and each day stays whole.
std::vector<std::size_t> Segment::alternate_days() const {
  constexpr std::int64_t kDayMs = 86'400'000;
  std::vector<std::size_t> order;
  for (const std::int64_t parity : {0, 1}) {
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      if (((rows_[i].ts_ms - rows_[0].ts_ms) / kDayMs & 1) == parity) order.push_back(i);
    }
  }
  return order;
}

Reference Segment::numeric_reference(std::size_t signal,
                                     const std::vector<std::size_t>& events) const {
  std::vector<double> part;
  for (const std::size_t i : events) {
    part.push_back(std::bit_cast<double>(rows_[i].cells[signal]));
  }
  return Reference::from_numbers(std::move(part));
}

// A signal's events by cell of the week; `order` maps the sample's events to rows. Numbers get bins
// of equal mass in every cell, so that the learned bet reads ranks; categories keep the pooled
// bins.
CalibrationSample Segment::seasonal_sample(std::size_t signal,
                                           const std::vector<std::size_t>& order) const {
  const bool categorical = plan_->signals[signal].kind == SignalKind::kCategorical;
  CalibrationSample sample;
  sample.size = order.size();
  sample.cells = seasons_.cells();
  sample.cell = [this, &order](std::size_t event) {
    return seasons_.cell_of(rows_[order[event]].ts_ms);
  };
  sample.build = [this, &order, signal, categorical](std::size_t, std::size_t from, std::size_t to,
                                                     std::size_t step) {
    std::vector<std::vector<std::size_t>> by_cell(seasons_.cells());
    for (std::size_t i = from; i < to; i += step) {
      by_cell[0].push_back(order[i]);
      const std::size_t cell = seasons_.cell_of(rows_[order[i]].ts_ms);
      if (cell > 0) by_cell[cell].push_back(order[i]);
    }
    std::vector<Reference> references;
    for (const auto& events : by_cell) {
      // A cell that this part of the reference hardly saw is compared with all hours.
      const bool few = events.size() < static_cast<std::size_t>(kLeastOfGroup) / 4;
      const auto& used = few ? by_cell[0] : events;
      if (!categorical) {
        references.push_back(numeric_reference(signal, used));
        continue;
      }
      if (references.empty()) references.push_back(category_reference(signal, from, to, step));
      std::vector<std::int64_t> counts(references[0].bins(), 0);
      for (const std::size_t i : used) {
        ++counts[references[0].bin_of_category(rows_[i].cells[signal])];
      }
      Reference part = references[0].recounted(std::move(counts));
      if (&events == &by_cell[0]) {
        references[0] = std::move(part);
      } else {
        references.push_back(std::move(part));
      }
    }
    return references;
  };
  sample.bin = [this, &order, signal, categorical](const Reference& reference, std::size_t,
                                                   std::size_t event) {
    const std::uint64_t value = rows_[order[event]].cells[signal];
    return categorical ? reference.bin_of_category(value)
                       : reference.bin_of(std::bit_cast<double>(value));
  };
  return sample;
}

Segment::Built Segment::build(std::size_t signal, const CalibrationSample& sample) const {
  const RankOptions options{.half_life_events = plan_->half_life_events,
                            .min_effect = plan_->signals[signal].min_effect};
  Built built;
  if (sample.size < static_cast<std::size_t>(kMinReference) / 2) {
    built.calibration.reason = "only " + std::to_string(sample.size) +
                               " reference records carry it; at least 250 are needed";
    return built;
  }
  built.calibration = calibrate(sample, options, plan_->min_theta);
  built.threshold_ms = raised_threshold(built.calibration, plan_->threshold_ms,
                                        gap_ms_ * static_cast<double>(built.calibration.thin));
  if (built.calibration.armed && built.threshold_ms >= kNeverThreshold) {
    built.calibration.armed = false;
    built.calibration.reason += "; the raised threshold is out of reach";
  }
  built.channels = sample.channels;
  built.cells = sample.cells;
  std::vector<std::vector<Reference>> of_channel;
  for (std::size_t c = 0; c < sample.channels; ++c) {
    of_channel.push_back(sample.build(c, 0, sample.size, 1));
  }
  for (std::size_t cell = 0; cell < sample.cells; ++cell) {
    for (auto& references : of_channel) {
      built.bets.push_back(std::make_shared<const RankBets>(std::move(references[cell]), options));
    }
  }
  return built;
}

Segment::Built Segment::build(std::size_t signal) {
  std::vector<std::vector<double>> values;
  Built pooled = build(signal, sample_of(signal, values));
  const bool holds = pooled.calibration.armed && pooled.calibration.thin == 1 &&
                     pooled.calibration.theta >= kGoodTheta;
  if (holds || !plan_->seasons || seasons_.cells() == 1 || is_text(plan_->signals[signal])) {
    return pooled;
  }
  const auto order = alternate_days();
  Built seasonal = build(signal, seasonal_sample(signal, order));
  if (!seasonal.calibration.armed || seasonal.threshold_ms >= pooled.threshold_ms) {
    if (pooled.calibration.armed || !seasonal.calibration.armed) return pooled;
  }
  const std::string said = seasonal.calibration.reason;
  seasonal.calibration.reason = "references by hour of the week, " +
                                std::to_string(seasonal.cells) + " cells" +
                                (said.empty() ? "" : "; " + said);
  return seasonal;
}

// What the plan says of the signal.
Segment::Watch Segment::plain_watch(std::size_t signal) const {
  static_assert(kMaxSignals <= 255 && kProjections <= 255 && kHoursOfWeek + 5 <= 255);
  Watch watch;
  watch.signal = static_cast<std::uint8_t>(signal);
  watch.kind = plan_->signals[signal].kind;
  watch.about_output = plan_->signals[signal].about_output;
  return watch;
}

void Segment::add_watch(std::size_t signal, Built built) {
  Watch watch = plain_watch(signal);
  watch.channels = static_cast<std::uint8_t>(built.channels);
  watch.cells = static_cast<std::uint8_t>(built.cells);
  watch.armed = built.calibration.armed;
  watch.alarms = watch.armed && plan_->signals[signal].alarm;
  watch.first_channel = static_cast<std::uint32_t>(channels_.size());
  watch.first_bets = static_cast<std::uint32_t>(bets_.size());
  watch.thin = static_cast<std::uint32_t>(built.calibration.thin);
  watch.theta = static_cast<float>(built.calibration.theta);
  watch.threshold_ms = built.threshold_ms;
  watch.last_ts_ms = watch.checkpoint_last_ts_ms = reference_ts_ms_;
  watch.last_event = watch.checkpoint_last_event = watch.checkpoint_event = events();
  if (!built.calibration.reason.empty()) {
    watch.reason = std::make_unique<const std::string>(std::move(built.calibration.reason));
  }
  channels_.resize(channels_.size() + built.channels);
  std::move(built.bets.begin(), built.bets.end(), std::back_inserter(bets_));
  watches_.push_back(std::move(watch));
}

void Segment::arm() {
  CHECK(!rows_.empty(), "arming without rows");
  gap_ms_ = gap_ms().value_or(0.0);
  reference_size_ = collected();
  reference_ts_ms_ = rows_[0].ts_ms;
  for (const Row& row : rows_) reference_ts_ms_ = std::max(reference_ts_ms_, row.ts_ms);
  fit_text();
  std::vector<std::int64_t> times;
  for (const Row& row : rows_) times.push_back(row.ts_ms);
  seasons_ = plan_->seasons ? Seasons::plan(times, plan_->utc_offset_hours) : Seasons();
  watches_.clear();
  channels_.clear();
  bets_.clear();
  bool any = false;
  for (std::size_t i = 0; i < plan_->signals.size(); ++i) {
    if (is_text(plan_->signals[i]) && !text_) continue;
    add_watch(i, build(i));
    any |= watches_.back().alarms;
  }
  watches_.shrink_to_fit();  // they stay as they are until the next reference
  channels_.shrink_to_fit();
  bets_.shrink_to_fit();
  state_ = any ? MonitorState::kArmed : MonitorState::kRefused;
  armed_at_ = events();
  history_every_ = 16;
  reference_changed_ = true;
  forget_rows();
}

}  // namespace trimtab::drift
