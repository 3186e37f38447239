#include "config/tables.h"

namespace trimtab::config {

Table<DriftSettings> drift_table() {
  using D = DriftSettings;
  using Signal = DriftSignalSettings;
  Table<Signal> signal;
  signal.text("name", &Signal::name, "default: the source");
  signal.text("source", &Signal::source, "a built-in signal, or a JSON pointer into the record")
      .required();
  signal.choice("kind", &Signal::kind, {"auto", "numeric", "categorical"},
                "a JSON pointer must say which");
  signal.number("min_effect", &Signal::min_effect, 0, 10,
                "smaller changes are ignored (Cohen's w)");
  signal.boolean("alarm", &Signal::alarm, "false: watched and reported, costs no budget");

  using Harm = HarmMetricSettings;
  Table<Harm> harm;
  harm.text("name", &Harm::name, "label_loss, complaint, error, refusal, judge_loss, own")
      .required();
  harm.number("tolerance", &Harm::tolerance, 0, 1, "worse by less than this is not harm");
  harm.integer("min_reference", &Harm::min_reference, 30, 1'000'000,
               "outcomes before the baseline is frozen");
  harm.integer("max_reference", &Harm::max_reference, 30, 10'000'000,
               "outcomes after which it is frozen in any case");

  Table<D> t;
  t.integer("reference_size", &D::reference_size, 500, 200'000,
            "events of the frozen reference; 500 is the least");
  t.duration("session_window", &D::session_window_ms, 0, 30 * kDayInMs,
             "one event a session and window");
  t.rate("false_alarms", &D::false_alarms, &D::false_alarms_per_ms,
         "promised over all signals and segments");
  t.integer("half_life_events", &D::half_life_events, 8, 20'000, "of the learned bet");
  t.sections("signals", &D::signals, signal, "empty: the built-in set");
  t.strings("segments", &D::segments, "fields watched value by value: tenant, route, ..")
      .check(check_not_empty);
  t.integer("max_segments", &D::max_segments, 1, 1'000, "values beyond fall into 'other'");
  t.number("embedding_rate", &D::embedding_rate, 0, 1,
           "share of records that get the hashed-text embedding");
  t.number("min_theta", &D::min_theta, 0.1, 1, "calibration refuses to arm below it");
  t.choice("seasons", &D::seasons, {"auto", "off"},
           "auto: references by hour of the week for signals that move with it");
  t.number("utc_offset_hours", &D::utc_offset_hours, -12, 14,
           "local time of the traffic, for day and night");
  t.sections("harm", &D::harm, harm, "empty: label_loss and complaint");
  t.number("harm_recovery_alpha", &D::harm_recovery_alpha, 1e-6, 0.5,
           "a harm alarm is latched until the rate is shown to be back");
  return t;
}

}  // namespace trimtab::config
