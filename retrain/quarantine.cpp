#include "retrain/quarantine.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/hash.h"
#include "base/json.h"

namespace trimtab::retrain {
namespace {

constexpr const char* kAllSources = "*";

struct Point {
  std::int64_t ts_ms = 0;
  bool quarantined = false;
};

// Corrections of the random sample, by time. Nobody chose what they are about, so they say how
// wrong the answers really are: complaints that they bear out are news, not a burst.
class SampleCorrections {
 public:
  explicit SampleCorrections(const std::vector<CorrectionTime>& corrections) {
    for (const auto& correction : corrections) {
      if (correction.sampled) times_.push_back(correction.ts_ms);
    }
    std::sort(times_.begin(), times_.end());
  }
  // In (after, to].
  [[nodiscard]] double count(std::int64_t after, std::int64_t to) const {
    return static_cast<double>(std::upper_bound(times_.begin(), times_.end(), to) -
                               std::upper_bound(times_.begin(), times_.end(), after));
  }

 private:
  std::vector<std::int64_t> times_;
};

// The usual count of a window of all sources together, divided by the sources seen: what a source
// without history of its own is compared with. 0 when there is no history at all.
struct Usual {
  double per_window = 0;
  bool known = false;
};

// One stream of corrections (a source's, or everybody's), sorted by time.
class BurstFinder {
 public:
  // `sample`: what bears out this stream's corrections; null where nothing may.
  BurstFinder(const config::DataSettings& settings, const std::set<std::string>& released,
              const SampleCorrections* sample, std::string source)
      : settings_(settings),
        released_(released),
        sample_(sample),
        source_(std::move(source)),
        factor_(source_ == kAllSources ? settings.quarantine_factor_all
                                       : settings.quarantine_factor) {}

  // `fallback(start of the window)`: the usual rate where the stream has no history of its own.
  template <typename Fallback>
  std::vector<Burst> find(std::vector<Point> points, Fallback fallback) {
    const std::int64_t window = settings_.quarantine_window_ms;
    std::size_t window_from = 0, history_to = 0, history_from = 0;
    std::int64_t clean = 0;  // not quarantined, in the history
    for (std::size_t i = 0; i < points.size(); ++i) {
      const std::int64_t start = points[i].ts_ms - window;
      while (points[window_from].ts_ms <= start) ++window_from;
      for (; history_to < window_from; ++history_to)
        clean += points[history_to].quarantined ? 0 : 1;
      const std::int64_t oldest = start - kHistoryWindows * window;
      for (; history_from < history_to && points[history_from].ts_ms <= oldest; ++history_from) {
        clean -= points[history_from].quarantined ? 0 : 1;
      }
      const double count = static_cast<double>(i - window_from + 1);
      if (count < static_cast<double>(settings_.quarantine_minimum)) continue;
      const double spans = static_cast<double>(start - std::max(oldest, points.front().ts_ms)) /
                           static_cast<double>(window);
      const Usual usual = spans >= static_cast<double>(kMinHistory)
                              ? Usual{static_cast<double>(clean) / spans, true}
                              : fallback(start);
      if (!usual.known || count <= factor_ * usual.per_window) continue;
      if (sample_ != nullptr && count <= factor_ * sample_->count(start, points[i].ts_ms)) continue;
      extend(points[window_from].ts_ms, points[i].ts_ms, count, usual.per_window);
      const bool held = !released_.contains(bursts_.back().id);
      for (std::size_t j = window_from; j <= i; ++j) points[j].quarantined = held;
    }
    std::erase_if(bursts_, [&](const Burst& burst) { return released_.contains(burst.id); });
    for (Burst& burst : bursts_) burst.count = count_inside(points, burst);
    return std::move(bursts_);
  }

 private:
  void extend(std::int64_t from, std::int64_t to, double count, double usual) {
    if (bursts_.empty() || from > bursts_.back().end_ms) {
      Burst burst;
      burst.source = source_;
      burst.start_ms = from;
      burst.usual = usual;
      burst.id = "burst-" + sha256_hex(source_ + "\x1f" + std::to_string(from)).substr(0, 12);
      bursts_.push_back(std::move(burst));
    }
    bursts_.back().end_ms = to;
    bursts_.back().peak = std::max(bursts_.back().peak, count);
  }
  static std::int64_t count_inside(const std::vector<Point>& points, const Burst& burst) {
    const auto before = [](const Point& point, std::int64_t ts) { return point.ts_ms < ts; };
    const auto from = std::lower_bound(points.begin(), points.end(), burst.start_ms, before);
    const auto to = std::lower_bound(points.begin(), points.end(), burst.end_ms + 1, before);
    return to - from;
  }

  const config::DataSettings& settings_;
  const std::set<std::string>& released_;
  const SampleCorrections* sample_;
  std::string source_;
  double factor_;
  std::vector<Burst> bursts_;
};

// Mean corrections a source and window, up to a time: over all sources that were seen by then.
class PeerRate {
 public:
  PeerRate(const std::vector<std::pair<std::int64_t, std::string>>& sorted, std::int64_t window)
      : sorted_(sorted), window_(window) {}

  Usual operator()(std::int64_t start) {
    while (next_ < sorted_.size() && sorted_[next_].first <= start) {
      sources_.insert(sorted_[next_].second);
      ++next_;
    }
    if (next_ == 0) return {};
    const double spans =
        static_cast<double>(start - sorted_.front().first) / static_cast<double>(window_);
    if (spans < static_cast<double>(kMinHistory)) return {};
    const double per_source =
        static_cast<double>(next_) / (spans * static_cast<double>(sources_.size()));
    return {per_source, true};
  }

 private:
  const std::vector<std::pair<std::int64_t, std::string>>& sorted_;
  std::int64_t window_;
  std::size_t next_ = 0;
  std::set<std::string> sources_;
};

}  // namespace

std::vector<Burst> find_bursts(const std::vector<CorrectionTime>& corrections,
                               const config::DataSettings& settings,
                               const std::set<std::string>& released) {
  std::vector<std::pair<std::int64_t, std::string>> sorted;
  for (const auto& correction : corrections) {
    if (!correction.sampled) sorted.emplace_back(correction.ts_ms, correction.source_id);
  }
  std::sort(sorted.begin(), sorted.end());
  std::map<std::string, std::vector<Point>> by_source;
  std::vector<Point> all;
  for (const auto& [ts, source] : sorted) {
    by_source[source].push_back({ts});
    all.push_back({ts});
  }
  const SampleCorrections sample(corrections);
  std::vector<Burst> bursts;
  for (auto& [source, points] : by_source) {
    // Corrections without a name are everybody's.
    auto found = BurstFinder(settings, released, source.empty() ? &sample : nullptr, source)
                     .find(std::move(points), PeerRate(sorted, settings.quarantine_window_ms));
    bursts.insert(bursts.end(), found.begin(), found.end());
  }
  auto together = BurstFinder(settings, released, &sample, kAllSources)
                      .find(std::move(all), [](std::int64_t) { return Usual{}; });
  bursts.insert(bursts.end(), together.begin(), together.end());
  std::sort(bursts.begin(), bursts.end(), [](const Burst& a, const Burst& b) {
    return std::pair(a.start_ms, a.source) < std::pair(b.start_ms, b.source);
  });
  return bursts;
}

Json to_json(const std::vector<Burst>& bursts) {
  Json list = Json::array();
  for (const Burst& burst : bursts) {
    list.push_back({{"id", burst.id},
                    {"source", burst.source},
                    {"start_ms", burst.start_ms},
                    {"end_ms", burst.end_ms},
                    {"count", burst.count},
                    {"usual", burst.usual},
                    {"peak", burst.peak}});
  }
  return list;
}

Result<std::vector<Burst>> parse_bursts(const Json& list) {
  std::vector<Burst> bursts;
  for (const auto& json : list) {
    Burst burst;
    TRIMTAB_TRY(burst.id, json_get<std::string>(json, "id"));
    TRIMTAB_TRY(burst.source, json_get<std::string>(json, "source"));
    TRIMTAB_TRY(burst.start_ms, json_get<std::int64_t>(json, "start_ms"));
    TRIMTAB_TRY(burst.end_ms, json_get<std::int64_t>(json, "end_ms"));
    TRIMTAB_TRY(burst.count, json_get<std::int64_t>(json, "count"));
    TRIMTAB_TRY(burst.usual, json_get<double>(json, "usual"));
    TRIMTAB_TRY(burst.peak, json_get<double>(json, "peak"));
    bursts.push_back(std::move(burst));
  }
  return bursts;
}

// A label that was asked for at random comes at the sampler's rate, whatever the answers are: it is
// no complaint, and a topic that arrives must not quarantine what the sample says about it.
bool in_burst(const CorrectionTime& correction, const std::vector<Burst>& bursts) {
  if (correction.sampled) return false;
  for (const Burst& burst : bursts) {
    const bool same = burst.source == kAllSources || burst.source == correction.source_id;
    if (same && correction.ts_ms >= burst.start_ms && correction.ts_ms <= burst.end_ms) return true;
  }
  return false;
}

bool in_burst(const Example& example, const std::vector<Burst>& bursts) {
  if (bursts.empty() || example.kind != ExampleKind::kCorrection) return false;
  const std::int64_t ts_ms = example.feedback_ts_ms > 0 ? example.feedback_ts_ms : example.ts_ms;
  return in_burst(CorrectionTime{ts_ms, example.source_id, example.selection == "random"}, bursts);
}

// ---- when to look ----------------------------------------------------------------------------

namespace {

constexpr std::int64_t kMarks = 64;

std::int64_t a_mark(std::int64_t minimum) { return std::max<std::int64_t>(1, minimum / kMarks); }

}  // namespace

void BurstHint::note(std::int64_t ts_ms, const config::DataSettings& settings) {
  ++unseen_;
  const std::int64_t minimum = settings.quarantine_minimum;
  if (++since_mark_ < a_mark(minimum)) return;
  since_mark_ = 0;
  newest_ms_.push_back(ts_ms);
  while (static_cast<std::int64_t>(newest_ms_.size()) > minimum / a_mark(minimum)) {
    newest_ms_.pop_front();
  }
}

bool BurstHint::due(const config::DataSettings& settings) const {
  const std::int64_t minimum = settings.quarantine_minimum;
  if (unseen_ < std::max<std::int64_t>({1, minimum / 2, held_ / kRecountShare})) return false;
  if (unseen_ >= INT64_MAX / 2) return true;
  if (static_cast<std::int64_t>(newest_ms_.size()) < minimum / a_mark(minimum)) return false;
  const auto [oldest, newest] = std::minmax_element(newest_ms_.begin(), newest_ms_.end());
  return *newest - *oldest < settings.quarantine_window_ms;
}

Json BurstHint::save() const {
  return {{"newest_ms", newest_ms_},
          {"since_mark", since_mark_},
          {"unseen", unseen_},
          {"held", held_}};
}

Result<BurstHint> BurstHint::restore(const Json& saved) {
  BurstHint hint;
  TRIMTAB_TRY(hint.newest_ms_, json_get<std::deque<std::int64_t>>(saved, "newest_ms"));
  TRIMTAB_TRY(hint.since_mark_, json_get<std::int64_t>(saved, "since_mark"));
  TRIMTAB_TRY(hint.unseen_, json_get<std::int64_t>(saved, "unseen"));
  TRIMTAB_TRY(hint.held_, json_get<std::int64_t>(saved, "held"));
  return hint;
}

}  // namespace trimtab::retrain
