#include "config/check.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "base/evidence/paired_betting.h"
#include "base/json.h"
#include "base/random.h"
#include "config/units.h"
#include "config/validate.h"

namespace trimtab::config {
namespace {

constexpr double kDayMs = 86'400'000.0;
constexpr double kNever = std::numeric_limits<double>::infinity();

// "about 3 d", "about 40 min": one figure that a person remembers.
std::string about(double days) {
  if (!std::isfinite(days) || days > 36'500) return "never";
  const double minutes = days * 1'440;
  const auto rounded = [](double value) { return std::to_string(std::llround(value)); };
  if (minutes < 1) return "under a minute";
  if (minutes < 90) return "about " + rounded(minutes) + " min";
  if (minutes < 48 * 60) return "about " + rounded(minutes / 60) + " h";
  return "about " + rounded(days) + " d";
}

std::string count(double value) { return std::to_string(std::llround(value)); }
std::string percent(double share) { return format_number(std::round(share * 1e4) / 100) + " %"; }
double days_for(double wanted, double per_day) { return per_day > 0 ? wanted / per_day : kNever; }
double in_days(std::int64_t duration_ms) { return static_cast<double>(duration_ms) / kDayMs; }

// The forecast of one target; notes in the order of the loop.
class Forecast {
 public:
  explicit Forecast(const TargetSettings& target) : t_(target), x_(target.expected) {}

  std::vector<Note> run() {
    drift();
    retrain();
    shadow();
    ladder();
    ab();
    bake();
    loop();
    return std::move(notes_);
  }

 private:
  void note(const char* topic, std::string text, bool warning = false) {
    notes_.push_back({warning, t_.name, topic, std::move(text)});
  }

  // One event a session and window feeds the detectors: at least as many as there are units.
  [[nodiscard]] double events_per_day() const {
    if (t_.drift.session_window_ms == 0) return x_.records_per_day;
    return std::min(x_.records_per_day, x_.units_per_day);
  }

  void drift() {
    constexpr double kBuiltInSignals = 20;  // drift_settings.h lists them
    const DriftSettings& d = t_.drift;
    double signals = d.signals.empty() ? kBuiltInSignals : 0;
    for (const auto& signal : d.signals) signals += signal.alarm ? 1 : 0;
    const double segments = d.segments.empty() ? 1 : 1 + static_cast<double>(d.max_segments);
    const double detectors = std::max(1.0, signals * segments);
    const double events = events_per_day();
    const auto reference = static_cast<double>(d.reference_size);
    reference_days_ = days_for(reference, events);
    const double run = in_days(d.false_alarms_per_ms) / d.false_alarms * detectors * events;
    note("drift", "armed after " + about(reference_days_) + " (" + count(reference) +
                      " events, then calibration); promised: " +
                      format_rate({d.false_alarms, d.false_alarms_per_ms}) + " over " +
                      count(detectors) + " detectors");
    std::string delays;
    for (const double sigma : {0.25, 0.5, 1.0, 2.0}) {
      const double delay = drift_delay_events(sigma, reference, run);
      delays += (delays.empty() ? "" : ", ") + format_number(sigma) + " sigma after " +
                count(delay) + " events (" + about(days_for(delay, events)) + ")";
    }
    delay_days_ = days_for(drift_delay_events(0.5, reference, run), events);
    note("drift", "a shift of " + delays);
    if (reference_days_ > 30) {
      note("drift",
           "the reference takes " + about(reference_days_) +
               " to fill; lower drift.reference_size (500 is the least), or build it "
               "from past logs with trimtab ingest",
           true);
    }
  }

  void retrain() {
    const double per_day = x_.units_per_day * x_.complaint_rate * (1 - t_.eval_share);
    const auto wanted = static_cast<double>(t_.retrain.minimum_examples);
    retrain_days_ = days_for(wanted, per_day);
    note("retrain", count(wanted) + " examples take " + about(retrain_days_) + " at " +
                        count(per_day) + " corrections a day outside the evaluation units");
    if (retrain_days_ > in_days(t_.retrain.wait_for_examples_ms) * 7) {
      note("retrain",
           "an alarm would wait " + about(retrain_days_) +
               " for its examples; lower retrain.minimum_examples or collect more "
               "corrections",
           true);
    }
  }

  // Independent errors at the same rate: how often one is right and the other wrong.
  static double discordance(double rate) { return std::max(0.002, 2 * rate * (1 - rate)); }

  void shadow() {
    const PlanSettings& plan = t_.promotion.plan;
    const double per_day = x_.records_per_day * x_.label_rate * t_.eval_share;
    const double discordant = discordance(x_.base_rate);
    const double gain = std::min(0.05, discordant);
    const SampleSize better = sample_size(Question::kSuperior, plan.alpha, plan.margin, gain,
                                          discordant, plan.shadow_max_pairs);
    const SampleSize equal = sample_size(Question::kNonInferior, plan.alpha, plan.margin, 0,
                                         discordant, plan.shadow_max_pairs);
    say_sizes("shadow", "superior on new at a true gain of " + format_number(gain), better, per_day,
              "pairs", plan.max_dwell.shadow_ms, "promotion.plan.max_dwell.shadow", shadow_days_);
    double unused = 0;
    say_sizes("shadow",
              "non-inferior on old at no true change (margin " + format_number(plan.margin) + ")",
              equal, kNever, "pairs", plan.max_dwell.shadow_ms, "promotion.plan.max_dwell.shadow",
              unused);
    if (per_day <= 0) {
      note("shadow",
           "no random-selected labels are expected: the shadow is advisory and the A/B "
           "decides",
           true);
    }
  }

  // `per_day` infinite: stored already, time does not matter.
  void say_sizes(const char* topic, const std::string& what, const SampleSize& size, double per_day,
                 const char* unit, std::int64_t dwell_ms, const char* dwell, double& days) {
    if (!size.median) {
      note(topic,
           what + ": undecided in most of the simulated runs within the plan's bound of " + unit +
               "; allow more, or a larger margin",
           true);
      days = kNever;
      return;
    }
    days = std::isinf(per_day) ? 0 : days_for(static_cast<double>(*size.median), per_day);
    const std::string most = size.p80 ? ", 80 % of runs within " + std::to_string(*size.p80) : "";
    const std::string time = std::isinf(per_day) ? "" : " (" + about(days) + ")";
    note(topic, what + ": after " + std::to_string(*size.median) + " " + unit + time + most);
    if (days > in_days(dwell_ms)) {
      note(topic,
           what + " would take " + about(days) + ", longer than " + dwell + " (" +
               format_duration(dwell_ms) + "): it would end INCONCLUSIVE",
           true);
    }
  }

  void ladder() {
    const PlanSettings& plan = t_.promotion.plan;
    double days = 0;
    for (std::size_t i = 0; i + 1 < plan.ladder.size(); ++i) {
      const double fill = days_for(plan.canary_min_units, x_.units_per_day * plan.ladder[i]);
      const double step = std::max(in_days(plan.canary_min_dwell_ms), fill);
      if (step > in_days(plan.max_dwell.canary_step_ms)) {
        note("canary",
             "the step of " + percent(plan.ladder[i]) + " would take " + about(step) +
                 " to fill, longer than promotion.plan.max_dwell.canary_step; start "
                 "wider or ask for fewer units",
             true);
      }
      days += step;
    }
    ladder_days_ = days;
    note("canary", count(static_cast<double>(plan.ladder.size()) - 1) + " steps before the A/B, " +
                       about(days));
  }

  void ab() {
    const PlanSettings& plan = t_.promotion.plan;
    if (plan.ladder.empty()) return;
    const bool labelled = plan.live_metric == LiveMetric::kAccuracy;
    const double share = plan.ladder.back();
    // Accuracy needs a random-selected label; a unit without a complaint is a zero already.
    const double per_arm = x_.units_per_day * share * (labelled ? x_.label_rate : 1.0);
    const double rate = labelled ? x_.base_rate : x_.complaint_rate;
    const double discordant = discordance(rate);
    const double gain = std::min(rate / 2, 0.05);
    const std::int64_t cap = plan.ab_max_units;
    double equal_days = 0;
    say_sizes("ab", "superior when the rate of " + percent(rate) + " is halved",
              sample_size(Question::kSuperior, plan.alpha, plan.margin_live, gain, discordant, cap),
              per_arm, "units an arm", plan.max_dwell.ab_ms, "promotion.plan.max_dwell.ab",
              ab_days_);
    say_sizes("ab",
              "guardrails non-inferior at no true change (margin_live " +
                  format_number(plan.margin_live) + ")",
              sample_size(Question::kNonInferior, plan.alpha, plan.margin_live, 0,
                          discordance(x_.complaint_rate), cap),
              x_.units_per_day * share, "units an arm", plan.max_dwell.ab_ms,
              "promotion.plan.max_dwell.ab", equal_days);
    ab_days_ = std::max({ab_days_, equal_days, in_days(plan.ab_min_dwell_ms)});
    honest_power(share);
  }

  // What labels can say live of a candidate that changes nothing (STATISTICS.md section 7).
  void honest_power(double share) {
    if (x_.label_rate <= 0) return;
    const PlanSettings& plan = t_.promotion.plan;
    const SampleSize size =
        sample_size(Question::kNonInferior, plan.alpha, plan.margin_live, 0,
                    discordance(x_.base_rate), std::numeric_limits<std::int64_t>::max());
    const std::string what = "labels alone: accuracy non-inferior at no true gain (margin_live " +
                             format_number(plan.margin_live) + ", error rate " +
                             percent(x_.base_rate) + ")";
    if (!size.median) {
      note("ab", what + " is out of reach of any traffic; allow a larger margin");
      return;
    }
    const double per_arm = x_.units_per_day * share * x_.label_rate;
    note("ab", what + " takes " + std::to_string(*size.median) + " labelled units an arm (" +
                   about(days_for(static_cast<double>(*size.median), per_arm)) + ")");
  }

  void bake() {
    const PlanSettings& plan = t_.promotion.plan;
    const double fill = days_for(plan.bake_min_units, x_.units_per_day * plan.holdback);
    bake_days_ = std::max(in_days(plan.bake_ms), fill);
    if (bake_days_ > in_days(plan.max_dwell.baking_ms)) {
      note("bake",
           "the hold-back would take " + about(bake_days_) +
               " to fill, longer than promotion.plan.max_dwell.baking: rolled back",
           true);
    }
  }

  void loop() {
    note("loop", "from a change of .5 sigma to PROMOTED: " +
                     about(delay_days_ + retrain_days_ + shadow_days_ + ladder_days_ + ab_days_ +
                           bake_days_) +
                     " and the training (drift " + about(delay_days_) + ", examples " +
                     about(retrain_days_) + ", shadow " + about(shadow_days_) + ", ramp " +
                     about(ladder_days_) + ", A/B " + about(ab_days_) + ", bake " +
                     about(bake_days_) + ")");
  }

  const TargetSettings& t_;
  const ExpectedTraffic& x_;
  std::vector<Note> notes_;
  double reference_days_ = 0, delay_days_ = 0, retrain_days_ = 0, shadow_days_ = 0;
  double ladder_days_ = 0, ab_days_ = 0, bake_days_ = 0;
};

// Legal, but seldom meant.
void add_daemon_notes(const Settings& settings, std::vector<Note>& notes) {
  const auto warn = [&](const char* topic, std::string text) {
    notes.push_back({true, "", topic, std::move(text)});
  };
  if (!is_loopback(settings.http.host) && settings.http.tls_cert_file.empty()) {
    warn("http", "http.host is " + settings.http.host +
                     " without TLS: tokens cross the network in the clear; put a proxy in front "
                     "or set tls_cert_file");
  }
  if (!settings.store.redact) warn("store", "store.redact is off: people's data reach the disk");
  for (const TargetSettings& target : settings.targets) {
    if (target.retrain.data.max_age_ms > settings.store.retention_age_ms) {
      notes.push_back({true, target.name, "retrain",
                       "retrain.data.max_age is longer than store.retention_age (" +
                           format_duration(settings.store.retention_age_ms) +
                           "): older texts are gone by then"});
    }
    if (target.promotion.plan.label_wait_ms > settings.ingest.pending_ms) {
      notes.push_back({true, target.name, "ab",
                       "promotion.plan.label_wait is longer than ingest.pending (" +
                           format_duration(settings.ingest.pending_ms) + ")"});
    }
  }
}

}  // namespace

double drift_delay_events(double sigma, double reference_size, double run_events) {
  // STATISTICS.md section 1: medians at one false alarm in 1e5 events, N_ref 10,000 and 1,500.
  struct Measured {
    double sigma, large, small;
  };
  constexpr std::array<Measured, 4> kTable{
      {{0.25, 347, 447}, {0.5, 92, 104}, {1, 26, 27}, {2, 9, 9}}};
  std::array<double, 4> delays{};
  // The price of a small reference goes with its inverse.
  const double inverse = 1 / std::max(1.0, reference_size);
  const double slope = 1 / (1 / 1'500.0 - 1 / 10'000.0);
  for (std::size_t i = 0; i < kTable.size(); ++i) {
    const double extra = (kTable[i].small - kTable[i].large) * slope * (inverse - 1 / 10'000.0);
    delays[i] = std::max(1.0, kTable[i].large + extra);
  }
  // Interpolated on the log-log scale; beyond the table with the square law of its end.
  std::size_t at = 0;
  while (at + 2 < kTable.size() && sigma > kTable[at + 1].sigma) ++at;
  const double power =
      std::log(delays[at + 1] / delays[at]) / std::log(kTable[at + 1].sigma / kTable[at].sigma);
  const double delay = delays[at] * std::pow(sigma / kTable[at].sigma, power);
  // Evidence grows geometrically: the delay goes with the logarithm of the threshold.
  return delay * std::max(0.2, std::log(std::max(2.0, run_events)) / std::log(1e5));
}

SampleSize sample_size(Question question, double alpha, double margin, double gain,
                       double discordant, std::int64_t cap) {
  constexpr std::int64_t kRuns = 40, kMostSteps = 60'000;
  cap = std::min(cap, kMostSteps);
  const double better = (discordant + gain) / 2;
  std::vector<std::int64_t> crossings;
  for (std::int64_t run = 0; run < kRuns; ++run) {
    Random random(static_cast<std::uint64_t>(run) + 1);
    evidence::PairedBetting betting({.alpha = alpha, .alpha_harm = alpha, .margin = margin});
    const evidence::Capital& capital =
        question == Question::kSuperior ? betting.superior() : betting.non_inferior();
    while (static_cast<std::int64_t>(betting.n()) < cap && !capital.crossed_at) {
      const double u = random.uniform();
      const double d = u < better ? 1.0 : u < discordant ? -1.0 : 0.0;
      if (!betting.update(d)) return {};
    }
    if (capital.crossed_at) crossings.push_back(static_cast<std::int64_t>(*capital.crossed_at) + 1);
  }
  std::sort(crossings.begin(), crossings.end());
  SampleSize size;
  const auto quantile = [&](double share) -> std::optional<std::int64_t> {
    const auto index = static_cast<std::size_t>(std::ceil(share * kRuns)) - 1;
    if (index >= crossings.size()) return std::nullopt;
    return crossings[index];
  };
  size.median = quantile(0.5);
  size.p80 = quantile(0.8);
  return size;
}

std::vector<Note> check_notes(const Settings& settings) {
  std::vector<Note> notes;
  for (const TargetSettings& target : settings.targets) {
    const auto own = Forecast(target).run();
    notes.insert(notes.end(), own.begin(), own.end());
  }
  add_daemon_notes(settings, notes);
  return notes;
}

std::string notes_text(const std::vector<Note>& notes) {
  std::string text;
  for (const Note& note : notes) {
    text += (note.target.empty() ? "" : note.target + ": ") + (note.warning ? "WARNING: " : "") +
            note.topic + ": " + note.text + "\n";
  }
  return text;
}

std::string notes_json(const std::vector<Note>& notes) {
  OrderedJson list = OrderedJson::array();
  for (const Note& note : notes) {
    list.push_back(OrderedJson{{"warning", note.warning},
                               {"target", note.target},
                               {"topic", note.topic},
                               {"text", note.text}});
  }
  return dump_json(list);
}

}  // namespace trimtab::config
