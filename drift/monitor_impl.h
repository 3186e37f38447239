// Monitor's inside: monitor.cpp has its life and what it tells, monitor_run.cpp how it takes many
// inputs at once. Private to the two.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "drift/harm.h"
#include "drift/label_free.h"
#include "drift/monitor.h"
#include "drift/monitor_settings.h"
#include "drift/recent.h"
#include "drift/segment.h"
#include "drift/segment_run.h"
#include "drift/sessions.h"

namespace trimtab::drift {

class Monitor::Impl {
 public:
  Impl(const config::DriftSettings& settings, SignalExtractor extractor)
      : settings_(settings),
        extractor_(std::move(extractor)),
        label_free_(loss_tolerance(settings)),
        sessions_(settings.session_window_ms) {
    const auto harm = harm_settings(settings);
    const double period = static_cast<double>(settings.false_alarms_per_ms) / settings.false_alarms;
    const double threshold =
        period * static_cast<double>(count_detectors(extractor_.signals(), settings, harm.size()));
    auto plan = std::make_shared<SegmentPlan>();
    plan->signals = extractor_.signals();
    plan->reference_size = settings.reference_size;
    plan->half_life_events = static_cast<double>(settings.half_life_events);
    plan->min_theta = settings.min_theta;
    plan->threshold_ms = threshold;
    plan->seasons = settings.seasons == config::Seasons::kAuto;
    plan->utc_offset_hours = settings.utc_offset_hours;
    plan_ = std::move(plan);
    segments_.push_back(std::make_unique<Segment>(plan_, "all", "segment/0/", true));
    for (std::size_t i = 0; i < harm.size(); ++i) {
      harm_names_.push_back(harm[i].name);
      harm_.emplace_back(harm[i], threshold, settings.harm_recovery_alpha,
                         "harm/" + std::to_string(i) + "/");
    }
    fingerprint_ = settings_fingerprint(extractor_, settings_, harm_names_);
    for (std::size_t i = 0; i < extractor_.signals().size(); ++i) {
      if (extractor_.signals()[i].source == Builtin::kMeanLogprob) logprob_ = i;
    }
    for (std::size_t i = 0; i < harm.size(); ++i) {
      if (harm[i].name == "label_loss") label_metric_ = i;
    }
  }

  std::optional<Alarm> observe(const Observation& event) {
    return observe(event, sessions_.counts(event.session_hash, event.ts_ms));
  }
  void take(std::span<const MonitorInput> inputs, std::vector<RaisedAlarm>& alarms);
  std::optional<Alarm> observe_outcome(const Outcome& outcome);
  void tick(std::int64_t now_ms);
  void rereference(std::string_view reason, bool renew_harm);
  [[nodiscard]] MonitorStatus status() const;
  [[nodiscard]] std::vector<SignalReport> reports() const;
  [[nodiscard]] std::vector<StatePiece> pieces(SaveMode mode) const;
  void mark_saved();
  [[nodiscard]] Status restore(const PieceMap& pieces);

  [[nodiscard]] Segment& all() { return *segments_[0]; }
  [[nodiscard]] const Segment& all() const { return *segments_[0]; }

  config::DriftSettings settings_;
  SignalExtractor extractor_;
  std::vector<std::string> harm_names_;
  std::vector<HarmWatch> harm_;
  LabelFree label_free_;

 private:
  // `counted`: it is the first of its session.
  std::optional<Alarm> observe(const Observation& event, bool counted);
  void see(const Observation& event);
  [[nodiscard]] RecentRecord& remember(const Observation& event);
  [[nodiscard]] std::optional<std::size_t> find_segment(std::size_t field, std::string_view value);
  [[nodiscard]] std::size_t segment_index(std::size_t field, std::string_view value);
  void describe(Alarm& alarm, std::size_t segment) const;
  void describe_text(Alarm& alarm, const std::vector<const RecentRecord*>& since) const;
  [[nodiscard]] double promise_ms() const {
    return static_cast<double>(settings_.false_alarms_per_ms) / settings_.false_alarms;
  }
  void after_alarm(std::size_t segment);

  // monitor_run.cpp
  struct Planned {
    bool counted = false;
    // Index + 1 in segments_ (0: none) and number of the event there: of "all", and of each field.
    std::array<std::size_t, 1 + kMaxSegmentFields> segments{};
    std::array<std::uint64_t, 1 + kMaxSegmentFields> events{};
  };
  [[nodiscard]] std::size_t plan(std::span<const MonitorInput> block, std::size_t from);
  [[nodiscard]] bool place(const Observation& event, Planned& planned);
  [[nodiscard]] SegmentRun& run_of(std::size_t segment);
  [[nodiscard]] bool foresee();
  void undo();
  void settle(std::span<const MonitorInput> block, std::size_t from, std::size_t to,
              std::vector<RaisedAlarm>& alarms);
  void settle(const Observation& event, const Planned& planned);
  [[nodiscard]] std::size_t one_by_one(std::span<const MonitorInput> block, std::size_t from,
                                       std::size_t to, std::vector<RaisedAlarm>& alarms);

  std::shared_ptr<const SegmentPlan> plan_;
  std::uint64_t fingerprint_ = 0;
  SessionWindow sessions_;
  std::vector<std::unique_ptr<Segment>> segments_;  // [0] is "all"
  std::unordered_map<std::uint64_t, std::size_t> segment_by_value_;  // of values looked up before
  RecentRecords recent_;
  std::uint64_t alarms_ = 0;
  std::uint64_t seen_ = 0;
  std::uint64_t counted_ = 0;
  std::int64_t latest_ts_ms_ = 0;
  std::int64_t now_ms_ = 0;
  std::string reason_ = "cold start";
  std::optional<std::size_t> logprob_;       // the signal that is the model's confidence
  std::optional<std::size_t> label_metric_;  // the harm metric that is a label's loss

  // Scratch of take().
  std::size_t taken_ = 0;                           // inputs before the block
  std::vector<Planned> planned_;                    // an input of the block
  std::vector<std::unique_ptr<SegmentRun>> runs_;   // the first runs_used_ are of the present run
  std::size_t runs_used_ = 0;
  std::vector<std::size_t> run_of_segment_;         // index + 1 in runs_; 0: none
  SegmentRun single_;                               // of observe()
};

}  // namespace trimtab::drift
