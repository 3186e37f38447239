#include "daemon/demo/watch.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>

#include "base/json.h"

namespace trimtab::demo {
namespace {

constexpr double kMaxLag = 2000;  // the embedded broker keeps 5 MiB a partition
constexpr std::size_t kShownSignals = 6;
std::atomic<bool> g_stop{false};

// What a trial's decisions wait for, and what would end it.
struct Curve {
  const char *name, *part, *metric, *log_e, *limit;
};
constexpr Curve kCurves[] = {
    {"shadow, new: superior", "shadow", "new", "log_e_superior", "log_threshold"},
    {"shadow, old: non-inferior", "shadow", "old", "log_e_non_inferior", "log_threshold"},
    {"shadow, new: harm", "shadow", "new", "log_e_harm", "log_threshold_harm"},
    {"shadow, old: harm", "shadow", "old", "log_e_harm", "log_threshold_harm"},
    {"live, accuracy: superior", "live", "accuracy", "log_e_superior", "log_threshold"},
    {"live, complaint: superior", "live", "complaint", "log_e_superior", "log_threshold"},
    {"live, complaint: harm", "live", "complaint", "log_e_harm", "log_threshold_harm"},
};

std::string bar(double share, int width) {
  const int full = static_cast<int>(std::clamp(share, 0.0, 1.0) * width + 0.5);
  std::string text;
  for (int i = 0; i < width; ++i) text += i < full ? "█" : "·";
  return text;
}

std::size_t terminal_width() {
  winsize size{};
  const bool known = ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20;
  return known ? size.ws_col : 80;
}

// The first `width` characters of UTF-8 text.
std::string cut_to(const std::string& line, std::size_t width) {
  std::size_t shown = 0;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const bool starts = (static_cast<unsigned char>(line[i]) & 0xC0) != 0x80;
    if (starts && ++shown > width) return line.substr(0, i);
  }
  return line;
}

}  // namespace

Watch::Watch(DemoHouse& house, DaemonView& daemon, Population& population, Clock& clock, bool live)
    : house_(house),
      daemon_(daemon),
      population_(population),
      clock_(clock),
      live_(live),
      start_ms_(clock.mono_ms()),
      start_wall_ms_(clock.now_ms()) {}

void Watch::request_stop() { g_stop = true; }

double Watch::seconds() const { return static_cast<double>(clock_.mono_ms() - start_ms_) / 1000; }

double Watch::seconds_at(std::int64_t wall_ms) const {
  return static_cast<double>(wall_ms - start_wall_ms_) / 1000;
}

void Watch::keep_series(const std::string& trial, const Json& series) {
  TrialCurves kept{trial, {}};
  for (const auto& point : series) {
    const double at_s = seconds_at(json_or<std::int64_t>(point, "ts_ms", start_wall_ms_));
    for (const auto& wanted : kCurves) {
      const Json part = json_or<Json>(point, wanted.part, Json::object());
      const Json row = json_or<Json>(part, wanted.metric, Json::object());
      const auto log_e = json_get<double>(row, wanted.log_e);
      const auto limit = json_get<double>(row, wanted.limit);
      if (!log_e || !limit || !(*limit > 0)) continue;
      kept.curves[wanted.name].push_back({at_s, *log_e / *limit});
    }
  }
  if (!kept.curves.empty()) timeline_.trials.push_back(std::move(kept));
}

void Watch::note(const std::string& kind, const std::string& text) {
  timeline_.events.push_back({seconds(), kind, text});
  for (; drawn_lines_ > 0; --drawn_lines_) std::fputs("\033[1A\033[2K", stdout);
  std::printf("%7.1f s  %-10s %s\n", seconds(), kind.c_str(), text.c_str());
  std::fflush(stdout);
}

Status Watch::look() {
  if (g_stop) return fail(Code::kUnavailable, "stopped by the user");
  TRIMTAB_CHECK_OK(house_.check());
  TRIMTAB_TRY(target_, daemon_.target());
  TRIMTAB_TRY(alarms_, daemon_.alarms());
  TRIMTAB_TRY(jobs_, daemon_.jobs());
  TRIMTAB_TRY(trials_, daemon_.trials());
  TRIMTAB_TRY(signals_, daemon_.signals());
  TRIMTAB_TRY(lag_, daemon_.lag());
  population_.pause(lag_ > kMaxLag);
  sample();
  announce();
  if (live_) draw();
  return {};
}

void Watch::sample() {
  const PopulationCounts counts = population_.counts();
  const std::int64_t now_ms = clock_.mono_ms();
  const double elapsed_s = static_cast<double>(now_ms - last_sample_ms_) / 1000;
  if (last_sample_ms_ != 0 && elapsed_s < 1.0) return;
  const std::uint64_t answered = counts.answered - last_counts_.answered;
  timeline_.points.push_back({seconds(), answered, counts.right - last_counts_.right,
                              last_sample_ms_ ? static_cast<double>(answered) / elapsed_s : 0});
  for (const auto& [signal, ratio] : signals_) {
    timeline_.evidence[signal].push_back({seconds(), ratio});
  }
  last_counts_ = counts;
  last_sample_ms_ = now_ms;
}

// Each new fact once: alarms, the states of jobs and trials, the champion.
void Watch::announce() {
  const auto once = [&](const std::string& key, const char* kind, const std::string& text) {
    if (announced_.insert(key).second) note(kind, text);
  };
  for (const auto& alarm : alarms_) {
    once("alarm " + alarm.id, "alarm",
         fmt::format("{} {} after {} records: {}", alarm.kind, alarm.signal, alarm.delay_records,
                     alarm.summary));
  }
  for (const auto& job : jobs_) {
    once("job " + job.id + job.state, "job",
         fmt::format("{} {}{}{}", job.id, job.state,
                     job.examples > 0 ? fmt::format(", {} examples", job.examples) : "",
                     job.message.empty() ? "" : ": " + job.message));
  }
  for (const auto& trial : trials_) {
    once("trial " + trial.id + trial.state + trial.reason, "trial",
         fmt::format("{} {} ({}{}{})", trial.id, trial.state, trial.reason,
                     trial.detail.empty() ? "" : ": ", trial.detail));
  }
  once("champion " + target_.champion + std::to_string(target_.generation), "routing",
       fmt::format("generation {}: champion {}", target_.generation,
                   target_.champion.empty() ? "the bare base" : target_.champion));
}

// What flows, which evidence grows, what is being waited for.
std::vector<std::string> Watch::screen() const {
  std::vector<std::string> lines;
  const auto& points = timeline_.points;
  const TimelinePoint now = points.empty() ? TimelinePoint{} : points.back();
  const double right =
      now.answered ? static_cast<double>(now.right) / static_cast<double>(now.answered) : 0;
  const PopulationCounts counts = population_.counts();
  lines.push_back(fmt::format("  {:4.0f} requests/s   right {} {:3.0f} %   failed {}   lag {:.0f}",
                              now.requests_per_s, bar(right, 20), 100 * right, counts.failed,
                              lag_));
  lines.push_back(fmt::format(
      "  champion {}   drift {}{}", target_.champion.empty() ? "the bare base" : target_.champion,
      target_.drift_state, target_.provisional ? " on a provisional reference" : ""));
  std::vector<std::pair<double, std::string>> top;
  for (const auto& [signal, ratio] : signals_) top.emplace_back(ratio, signal);
  std::sort(top.rbegin(), top.rend());
  for (std::size_t i = 0; i < std::min(top.size(), kShownSignals); ++i) {
    lines.push_back(fmt::format("  evidence {:<28} {} 10^{:+.1f} of its threshold", top[i].second,
                                bar(1 + top[i].first / 12, 24), top[i].first));
  }
  for (const auto& job : jobs_) {
    if (job.state != "running") continue;
    const auto steps = static_cast<double>(std::max<std::int64_t>(job.steps, 1));
    const double done = static_cast<double>(job.step) / steps;
    lines.push_back(fmt::format("  {} trains {} step {} of {}, loss {:.3f}", job.id, bar(done, 24),
                                job.step, job.steps, job.loss));
  }
  for (const auto& trial : trials_) {
    if (trial.ended) continue;
    lines.push_back(fmt::format("  {} {} of the units {:.0f} %", trial.id,
                                bar(trial.share, 24), 100 * trial.share));
    lines.push_back("  " + trial.waits_for);
  }
  if (!target_.waits_for.empty() && target_.open_trial.empty()) {
    lines.push_back("  waits for: " + target_.waits_for);
  }
  return lines;
}

// A block of lines that replaces itself; each is cut to the terminal, or it would not be.
void Watch::draw() {
  for (; drawn_lines_ > 0; --drawn_lines_) std::fputs("\033[1A\033[2K", stdout);
  const std::size_t width = terminal_width();
  for (const auto& line : screen()) {
    std::printf("%s\n", cut_to(line, width).c_str());
    ++drawn_lines_;
  }
  std::fflush(stdout);
}

Status Watch::until(const std::string& what, double limit_s, const std::function<bool()>& done) {
  const double deadline_s = seconds() + limit_s;
  for (;;) {
    TRIMTAB_CHECK_OK(look());
    if (done()) return {};
    if (seconds() > deadline_s) {
      return fail(Code::kTimeout, fmt::format("{} did not happen within {:.0f} s", what, limit_s));
    }
    clock_.sleep_ms(500);
  }
}

const TrialView* Watch::trial_of(const std::function<bool(const TrialView&)>& which) const {
  const auto found = std::find_if(trials_.rbegin(), trials_.rend(), which);
  return found == trials_.rend() ? nullptr : &*found;
}

}  // namespace trimtab::demo
