#include "drift/kswin.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace trimtab::drift {
namespace {

constexpr std::uint32_t kTag = make_tag("KSWN");
constexpr std::uint32_t kVersion = 1;
constexpr double kSmallestDistance = 0.1;  // River's second condition

constexpr Parameter kParameters[] = {
    {"alpha", Parameter::Type::kNumber, "0.005", 0, 1, "significance of the test", "River 0.26.1"},
    {"window_size", Parameter::Type::kInteger, "100", 2, 1e7, "values in the window",
     "River 0.26.1"},
    {"stat_size", Parameter::Type::kInteger, "30", 1, 1e6, "values in each sample, at most half",
     "River 0.26.1"},
    {"seed", Parameter::Type::kInteger, "1", 0, 1e15, "of the draw from the older part",
     "PARAMETERS.md"},
    {"reset", Parameter::Type::kFlag, "true", 0, 0, "false: no restart after a detection",
     "COMMANDS.md"},
};

}  // namespace

// Alternating sum of path counts, nested so that no term overflows:
// P = 2 sum_k (-1)^(k-1) C(2n, n - k h) / C(2n, n).
double ks_equal_sizes_p(std::int64_t n, std::int64_t h) {
  if (h <= 0) return 1.0;
  double p = 0.0;
  for (std::int64_t k = n / h; k >= 1; --k) {
    double ratio = 1.0;  // C(2n, n - k h) / C(2n, n - (k - 1) h)
    for (std::int64_t j = 0; j < h; ++j) {
      const auto done = static_cast<double>((k - 1) * h + j);
      ratio *= (static_cast<double>(n) - done) / (static_cast<double>(n) + done + 1.0);
    }
    p = ratio * (1.0 - p);
  }
  return std::min(1.0, 2.0 * p);
}

Kswin::Kswin(const KswinParameters& parameters)
    : parameters_(parameters),
      window_(static_cast<std::size_t>(parameters.window_size)),
      random_(parameters.seed) {
  const std::int64_t n = parameters.stat_size;
  critical_ = n + 1;
  while (critical_ > 1 && ks_equal_sizes_p(n, critical_ - 1) <= parameters.alpha &&
         static_cast<double>(critical_ - 1) / static_cast<double>(n) > kSmallestDistance) {
    --critical_;
  }
  older_.resize(static_cast<std::size_t>(n));
  newest_.resize(static_cast<std::size_t>(n));
  order_.resize(static_cast<std::size_t>(parameters.window_size - n));
}

std::span<const Parameter> Kswin::parameters() { return kParameters; }

Result<std::unique_ptr<Detector>> Kswin::make(const DetectorInput& input) {
  const Parameters& given = input.parameters;
  KswinParameters chosen;
  chosen.alpha = given.number("alpha");
  chosen.window_size = given.integer("window_size");
  chosen.stat_size = given.integer("stat_size");
  chosen.seed = static_cast<std::uint64_t>(given.integer("seed"));
  if (chosen.window_size < 2 * chosen.stat_size) {
    return fail(Code::kInvalid, "window_size must be at least twice stat_size");
  }
  return std::make_unique<Kswin>(chosen);
}

void Kswin::reset() {
  window_.clear();
  random_ = Random(parameters_.seed);
  difference_ = 0;
}

// A partial Fisher-Yates shuffle of the older part's ages; all of it when it is just as large.
void Kswin::draw_older() {
  const std::size_t n = newest_.size();
  std::iota(order_.begin(), order_.end(), static_cast<std::uint32_t>(n));
  for (std::size_t i = 0; i < n; ++i) {
    if (order_.size() > n) std::swap(order_[i], order_[i + random_.below(order_.size() - i)]);
    older_[i] = window_.newest(order_[i]);
  }
}

// n times the Kolmogorov-Smirnov distance of the two samples.
std::int64_t Kswin::largest_difference() {
  std::sort(older_.begin(), older_.end());
  std::sort(newest_.begin(), newest_.end());
  std::int64_t largest = 0;
  std::size_t a = 0;
  std::size_t b = 0;
  while (a < older_.size() && b < newest_.size()) {
    const double x = std::min(older_[a], newest_[b]);
    while (a < older_.size() && older_[a] == x) ++a;
    while (b < newest_.size() && newest_[b] == x) ++b;
    largest =
        std::max(largest, std::abs(static_cast<std::int64_t>(a) - static_cast<std::int64_t>(b)));
  }
  return largest;
}

Verdict Kswin::update(double x) {
  if (!std::isfinite(x)) return {};
  window_.push(x);
  if (!window_.full()) return {};
  for (std::size_t age = 0; age < newest_.size(); ++age) newest_[age] = window_.newest(age);
  draw_older();
  difference_ = largest_difference();
  if (difference_ < critical_) return {};
  // The new concept's values stay, so that a detector that is not restarted goes on from them.
  std::vector<double> kept;
  for (std::size_t age = newest_.size(); age-- > 0;) kept.push_back(window_.newest(age));
  window_.clear();
  for (const double value : kept) window_.push(value);
  return {.drift = true, .warning = false};
}

std::vector<std::pair<std::string, double>> Kswin::state() const {
  const auto n = static_cast<double>(parameters_.stat_size);
  return {{"width", static_cast<double>(window_.size())},
          {"distance", static_cast<double>(difference_) / n},
          {"p_value", ks_equal_sizes_p(parameters_.stat_size, difference_)}};
}

std::size_t Kswin::state_bytes() const {
  return sizeof(*this) + (window_.capacity() + 2 * newest_.size()) * sizeof(double) +
         order_.size() * sizeof(std::uint32_t);
}

std::string Kswin::save() const {
  ByteWriter out(kTag, kVersion);
  out.put(random_.state());
  out.put(difference_);
  window_.save(out);
  return out.take();
}

Status Kswin::restore(std::string_view bytes) {
  ByteReader in(bytes, kTag, kVersion, "kswin");
  const auto random = in.get<Random::State>();
  const auto difference = in.get<std::int64_t>();
  SlidingWindow<double> window(window_.capacity());
  window.restore(in);
  if (difference < 0 || difference > parameters_.stat_size) in.reject();
  TRIMTAB_CHECK_OK(in.finish());
  random_.restore(random);
  difference_ = difference;
  window_ = std::move(window);
  return {};
}

}  // namespace trimtab::drift
