#include "retrain/search.h"

#include <algorithm>
#include <cmath>

#include "base/hash.h"
#include "base/random.h"

namespace trimtab::retrain {
namespace {

constexpr std::int64_t kGridPoints = 4;  // of a key given as low..high
constexpr int kCandidates = 24;
// Optuna's defaults: the best tenth, at most 25, are the good ones; 10 random trials begin.
constexpr double kGoodShare = 0.1;
constexpr std::size_t kMostGood = 25;
constexpr std::size_t kStartTrials = 10;

// low..high as [0, 1] and back.
double to_unit(const JobSearchKey& key, double value) {
  if (key.log)
    return (std::log(value) - std::log(key.low)) / (std::log(key.high) - std::log(key.low));
  return (value - key.low) / (key.high - key.low);
}
double from_unit(const JobSearchKey& key, double unit) {
  const double value =
      key.log ? std::exp(std::log(key.low) + unit * (std::log(key.high) - std::log(key.low)))
              : key.low + unit * (key.high - key.low);
  const double kept = std::clamp(value, key.low, key.high);
  return key.integer ? std::round(kept) : kept;
}

double random_value(const JobSearchKey& key, Random& random) {
  if (!key.values.empty()) return key.values[random.below(key.values.size())];
  return from_unit(key, random.uniform());
}

// One dimension's density of the good or the bad: Bergstra's adaptive Parzen estimator. A Gaussian
// around each point that was seen and a broad one in the middle as the prior, cut at the ends. Each
// kernel is as wide as the way to its farther neighbour: narrow where points lie dense.
class Parzen {
 public:
  Parzen(const JobSearchKey& key, std::vector<double> seen) : key_(key), seen_(std::move(seen)) {
    if (!key_.values.empty()) return;
    for (const double value : seen_) kernels_.push_back({to_unit(key_, value), 0});
    kernels_.push_back({0.5, 1.0});
    std::sort(kernels_.begin(), kernels_.end(),
              [](const Kernel& a, const Kernel& b) { return a.center < b.center; });
    const std::size_t n = kernels_.size();
    const double least = 1.0 / static_cast<double>(std::min<std::size_t>(100, 1 + n));
    for (std::size_t i = 0; i < n; ++i) {
      if (kernels_[i].width > 0) continue;  // the prior
      const double left = i > 0 ? kernels_[i].center - kernels_[i - 1].center : 0.0;
      const double right = i + 1 < n ? kernels_[i + 1].center - kernels_[i].center : 0.0;
      kernels_[i].width = std::clamp(std::max(left, right), least, 1.0);
    }
  }

  double draw(Random& random) const {
    if (!key_.values.empty()) {
      const auto at = random.below(seen_.size() + 1);
      return at == seen_.size() ? random_value(key_, random) : seen_[at];
    }
    const Kernel& kernel = kernels_[random.below(kernels_.size())];
    for (int i = 0; i < 100; ++i) {
      const double unit = kernel.center + kernel.width * random.normal();
      if (unit >= 0 && unit <= 1) return from_unit(key_, unit);
    }
    return from_unit(key_, kernel.center);
  }

  double log_density(double value) const {
    if (!key_.values.empty()) {  // a prior of one point over all values
      const auto count = static_cast<double>(std::count(seen_.begin(), seen_.end(), value));
      return std::log((count + 1.0 / static_cast<double>(key_.values.size())) /
                      static_cast<double>(seen_.size() + 1));
    }
    const double unit = to_unit(key_, value);
    double total = 0;
    for (const Kernel& kernel : kernels_) {
      const double z = (unit - kernel.center) / kernel.width;
      const auto below = [&](double edge) {
        return 0.5 * std::erfc(-(edge - kernel.center) / kernel.width / std::sqrt(2.0));
      };
      total += std::exp(-0.5 * z * z) / (kernel.width * 2.5066282746310002 * (below(1) - below(0)));
    }
    return std::log(total / static_cast<double>(kernels_.size()));
  }

 private:
  struct Kernel {
    double center;  // on [0, 1]
    double width;
  };
  const JobSearchKey& key_;
  std::vector<double> seen_;
  std::vector<Kernel> kernels_;
};

bool beats(const Evaluation& a, const Evaluation& b) {
  const auto kept = [](double value) { return std::isnan(value) ? 0.0 : value; };
  const bool no_worse = a.new_loss <= b.new_loss && kept(a.forgetting) <= kept(b.forgetting) &&
                        a.seconds <= b.seconds;
  const bool better =
      a.new_loss < b.new_loss || kept(a.forgetting) < kept(b.forgetting) || a.seconds < b.seconds;
  return no_worse && better;
}

}  // namespace

Study::Study(JobSearch settings, std::uint64_t seed)
    : settings_(std::move(settings)), seed_(stable_hash("study", seed)) {}

std::int64_t Study::last_rung() const {
  return settings_.pruner == "asha" ? settings_.rungs - 1 : 0;
}

double Study::share(std::int64_t rung) const {
  return std::pow(static_cast<double>(settings_.eta), static_cast<double>(rung - last_rung()));
}

double Study::score(const Evaluation& e) const {
  if (!e.failure.empty() || !std::isfinite(e.new_loss))
    return std::numeric_limits<double>::infinity();
  const double forgetting = std::isnan(e.forgetting) ? 0.0 : std::max(0.0, e.forgetting);
  return settings_.weight_new * e.new_loss + settings_.weight_forgetting * forgetting +
         settings_.weight_seconds * e.seconds;
}

void Study::tell(Evaluation evaluation) { evaluations_.push_back(std::move(evaluation)); }

std::int64_t Study::started() const {
  std::int64_t most = 0;
  for (const Evaluation& e : evaluations_) most = std::max(most, e.trial + 1);
  return most;
}

// Best first; ties by trial.
std::vector<const Evaluation*> Study::at_rung(std::int64_t rung) const {
  std::vector<const Evaluation*> list;
  for (const Evaluation& e : evaluations_) {
    if (e.rung == rung) list.push_back(&e);
  }
  std::sort(list.begin(), list.end(), [&](const Evaluation* a, const Evaluation* b) {
    const double left = score(*a), right = score(*b);
    return left != right ? left < right : a->trial < b->trial;
  });
  return list;
}

// A trial that goes on to the next rung. `finish`: the best of the highest rung goes on whatever
// its rank, for an adapter has to come out.
std::optional<Study::Question> Study::promoted(bool finish) const {
  for (std::int64_t rung = last_rung() - 1; rung >= 0; --rung) {
    const auto here = at_rung(rung);
    const auto above = at_rung(rung + 1);
    const auto places =
        finish ? std::size_t{1} : here.size() / static_cast<std::size_t>(settings_.eta);
    for (std::size_t i = 0; i < std::min(places, here.size()); ++i) {
      if (!std::isfinite(score(*here[i]))) break;
      const bool gone_on = std::any_of(above.begin(), above.end(), [&](const Evaluation* e) {
        return e->trial == here[i]->trial;
      });
      if (!gone_on) return Question{here[i]->trial, rung + 1, here[i]->point};
    }
    if (finish && !here.empty() && std::isfinite(score(*here.front()))) break;
  }
  return std::nullopt;
}

std::optional<Study::Question> Study::next(bool out_of_budget) const {
  if (!out_of_budget) {
    if (auto question = promoted(false)) return question;
    const std::int64_t trial = started();
    if (trial < settings_.trials) {
      if (auto point = sample(trial)) return Question{trial, 0, std::move(*point)};
    }
  }
  if (best() != nullptr) return std::nullopt;
  if (evaluations_.empty()) {
    auto point = sample(0);
    if (point) return Question{0, 0, std::move(*point)};
  }
  return promoted(true);
}

std::optional<std::vector<double>> Study::sample(std::int64_t trial) const {
  if (settings_.sampler == "grid") return grid_point(trial);
  if (settings_.sampler == "tpe") return tpe_point(trial);
  Random random(seed_ + static_cast<std::uint64_t>(trial));
  std::vector<double> point;
  for (const JobSearchKey& key : settings_.space) point.push_back(random_value(key, random));
  return point;
}

// Mixed radix, the first key slowest.
std::optional<std::vector<double>> Study::grid_point(std::int64_t trial) const {
  std::vector<double> point(settings_.space.size());
  std::int64_t rest = trial;
  for (std::size_t i = settings_.space.size(); i-- > 0;) {
    const JobSearchKey& key = settings_.space[i];
    const std::int64_t count =
        key.values.empty() ? kGridPoints : static_cast<std::int64_t>(key.values.size());
    const std::int64_t digit = rest % count;
    rest /= count;
    point[i] = key.values.empty()
                   ? from_unit(key, static_cast<double>(digit) / static_cast<double>(count - 1))
                   : key.values[static_cast<std::size_t>(digit)];
  }
  if (rest > 0) return std::nullopt;
  return point;
}

std::vector<double> Study::tpe_point(std::int64_t trial) const {
  Random random(seed_ + static_cast<std::uint64_t>(trial));
  std::vector<const Evaluation*> seen;
  for (std::int64_t rung = last_rung(); rung >= 0 && seen.size() < kStartTrials; --rung)
    seen = at_rung(rung);
  std::vector<double> chosen;
  if (seen.size() < kStartTrials) {
    for (const JobSearchKey& key : settings_.space) chosen.push_back(random_value(key, random));
    return chosen;
  }
  const auto good =
      std::min(kMostGood,
               static_cast<std::size_t>(std::ceil(kGoodShare * static_cast<double>(seen.size()))));
  std::vector<Parzen> likely, unlikely;
  for (std::size_t i = 0; i < settings_.space.size(); ++i) {
    std::vector<double> high, low;
    for (std::size_t j = 0; j < seen.size(); ++j)
      (j < good ? high : low).push_back(seen[j]->point[i]);
    likely.emplace_back(settings_.space[i], std::move(high));
    unlikely.emplace_back(settings_.space[i], std::move(low));
  }
  double most = -std::numeric_limits<double>::infinity();
  for (int candidate = 0; candidate < kCandidates; ++candidate) {
    std::vector<double> point;
    double gain = 0;
    for (std::size_t i = 0; i < settings_.space.size(); ++i) {
      point.push_back(likely[i].draw(random));
      gain += likely[i].log_density(point[i]) - unlikely[i].log_density(point[i]);
    }
    if (gain <= most) continue;
    most = gain;
    chosen = std::move(point);
  }
  return chosen;
}

const Evaluation* Study::best() const {
  const auto list = at_rung(last_rung());
  return list.empty() || !std::isfinite(score(*list.front())) ? nullptr : list.front();
}

std::vector<const Evaluation*> Study::pareto() const {
  std::vector<const Evaluation*> list;
  for (const Evaluation* candidate : at_rung(last_rung())) {
    if (!std::isfinite(score(*candidate))) continue;
    const bool beaten = std::any_of(evaluations_.begin(), evaluations_.end(), [&](const auto& e) {
      return e.rung == last_rung() && std::isfinite(score(e)) && beats(e, *candidate);
    });
    if (!beaten) list.push_back(candidate);
  }
  std::sort(list.begin(), list.end(),
            [](const Evaluation* a, const Evaluation* b) { return a->trial < b->trial; });
  return list;
}

}  // namespace trimtab::retrain
