#include "drift/adwin.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "drift/bytes.h"

namespace trimtab::drift {
namespace {

constexpr std::uint32_t kTag = make_tag("ADWN");
constexpr std::uint32_t kVersion = 1;
constexpr double kSurelyFinite = 1e300;  // beyond it the exact comparison decides

constexpr Parameter kParameters[] = {
    {"delta", Parameter::Type::kNumber, "0.002", 1e-300, 1.0,
     "significance of one cut: smaller is slower and calmer", "River 0.26.1"},
    {"clock", Parameter::Type::kInteger, "32", 1, 1e9, "values between two tests", "River 0.26.1"},
    {"max_buckets", Parameter::Type::kInteger, "5", 1, 1000,
     "buckets of one size before two are merged", "River 0.26.1"},
    {"min_window_length", Parameter::Type::kInteger, "5", 1, 1e9,
     "shortest part of the window that is compared", "River 0.26.1"},
    {"grace_period", Parameter::Type::kInteger, "10", 0, 1e9,
     "no test while the window is this short", "River 0.26.1"},
    {"reset", Parameter::Type::kFlag, "true", 0, 0,
     "false keeps the shrunken window after a detection", "River 0.26.1 (its update resets)"},
};

double bucket_size(std::size_t row) { return std::ldexp(1.0, static_cast<int>(row)); }

// Sum of squared deviations that appears when two groups are joined (Chan et al. 1979).
double joined(double n_a, double mean_a, double n_b, double mean_b) {
  return n_a * n_b * (mean_a - mean_b) * (mean_a - mean_b) / (n_a + n_b);
}

}  // namespace

Adwin::Adwin(const AdwinParameters& parameters)
    : parameters_(parameters),
      row_size_(static_cast<std::size_t>(parameters.max_buckets) + 1),
      buckets_(kMaxRows * row_size_) {}

std::span<const Parameter> Adwin::parameters() { return kParameters; }

Result<std::unique_ptr<Detector>> Adwin::make(const DetectorInput& input) {
  const Parameters& given = input.parameters;
  AdwinParameters chosen;
  chosen.delta = given.number("delta");
  chosen.clock = given.integer("clock");
  chosen.max_buckets = given.integer("max_buckets");
  chosen.min_window_length = given.integer("min_window_length");
  chosen.grace_period = given.integer("grace_period");
  return std::make_unique<Adwin>(chosen);
}

Verdict Adwin::update(double x) {
  if (!std::isfinite(x)) return {};
  insert(x);
  return {.drift = detect(), .warning = false};
}

void Adwin::reset() {
  used_.fill(0);
  rows_ = 1;
  width_ = total_ = variance_ = 0.0;
  tick_ = 0;
}

void Adwin::insert(double x) {
  at(0, used_[0]++) = {x, 0.0};
  width_ += 1.0;
  if (width_ > 1.0) {
    const double off = x - total_ / (width_ - 1.0);
    variance_ += (width_ - 1.0) * off * off / width_;
  }
  total_ += x;
  if (used_[0] == row_size_) compress();
}

void Adwin::compress() {
  for (std::size_t row = 0; row < rows_ && used_[row] == row_size_; ++row) {
    CHECK(row + 1 < kMaxRows, "adwin: more than 10^15 values in one window");
    if (row + 1 == rows_) ++rows_;
    const double n = bucket_size(row);
    const Bucket a = at(row, 0);
    const Bucket b = at(row, 1);
    const double between = joined(n, a.total / n, n, b.total / n);
    at(row + 1, used_[row + 1]++) = {a.total + b.total, a.variance + b.variance + between};
    used_[row] -= 2;
    for (std::size_t i = 0; i < used_[row]; ++i) at(row, i) = at(row, i + 2);
  }
}

bool Adwin::detect() {
  ++tick_;
  if (tick_ % parameters_.clock != 0 || width_ <= static_cast<double>(parameters_.grace_period)) {
    return false;
  }
  bool changed = false;
  while (width_ > 0.0 && cut_found()) {
    changed = true;
    drop_oldest();
  }
  return changed;
}

// One pass over all splits, oldest bucket first; true at the first that differs.
bool Adwin::cut_found() {
  double n0 = 0.0;
  double n1 = width_;
  double u0 = 0.0;
  double u1 = total_;
  const double least = static_cast<double>(parameters_.min_window_length);
  const double log_term = std::log(2.0 * std::log(width_) / parameters_.delta);
  const double spread = 2.0 * (variance_ / width_) * log_term;
  for (std::size_t row = rows_; row-- > 0;) {
    const double n = bucket_size(row);
    const Bucket* buckets = &at(row, 0);
    for (std::size_t i = 0; i < used_[row]; ++i) {
      const double u = buckets[i].total;
      n0 += n;
      n1 -= n;
      u0 += u;
      u1 -= u;
      if (row == 0 && i + 1 == used_[row]) return false;
      if (n1 < least || n0 < least) continue;
      if (surely_alike(n0, n1, u0, u1, spread)) continue;
      if (differs(n0, n1, u0 / n0 - u1 / n1, log_term)) return true;
    }
  }
  return false;
}

// Without a division or a root: |u0/n0 - u1/n1| is below the first term of eps alone. Most splits
// end here. With a = n0 - L + 1, b = n1 - L + 1: m = (a + b) / (a b), so that reads
// (u0 n1 - u1 n0)^2 a b < spread (a + b) (n0 n1)^2, here with a margin far above any rounding.
bool Adwin::surely_alike(double n0, double n1, double u0, double u1, double spread) const {
  const double shorter = static_cast<double>(parameters_.min_window_length) - 1.0;
  const double a = n0 - shorter;
  const double b = n1 - shorter;
  const double off = u0 * n1 - u1 * n0;
  const double size = n0 * n1;
  const double most = spread * (a + b) * size * size;
  return off * off * a * b <= 0.999999 * most && most <= kSurelyFinite;
}

bool Adwin::differs(double n0, double n1, double delta_mean, double log_term) const {
  const double least = static_cast<double>(parameters_.min_window_length);
  const double m = 1.0 / (n0 - least + 1.0) + 1.0 / (n1 - least + 1.0);
  const double window_variance = variance_ / width_;
  const double eps = std::sqrt(2.0 * m * window_variance * log_term) + 2.0 / 3.0 * log_term * m;
  return std::fabs(delta_mean) > eps;
}

void Adwin::drop_oldest() {
  const std::size_t row = rows_ - 1;
  const double n = bucket_size(row);
  const Bucket oldest = at(row, 0);
  width_ -= n;
  total_ -= oldest.total;
  if (width_ > 0.0) {
    variance_ -= oldest.variance + joined(n, oldest.total / n, width_, total_ / width_);
  } else {
    variance_ = 0.0;
  }
  --used_[row];
  for (std::size_t i = 0; i < used_[row]; ++i) at(row, i) = at(row, i + 1);
  while (rows_ > 1 && used_[rows_ - 1] == 0) --rows_;
}

std::vector<std::pair<std::string, double>> Adwin::state() const {
  return {{"width", width_}, {"total", total_}, {"variance", variance_}};
}

std::size_t Adwin::state_bytes() const { return sizeof(*this) + buckets_.size() * sizeof(Bucket); }

std::string Adwin::save() const {
  ByteWriter out(kTag, kVersion);
  out.put(static_cast<std::uint64_t>(row_size_));
  out.put(static_cast<std::uint64_t>(rows_));
  out.put(width_);
  out.put(total_);
  out.put(variance_);
  out.put(tick_);
  out.put(used_);
  for (std::size_t row = 0; row < rows_; ++row) {
    for (std::size_t i = 0; i < used_[row]; ++i) out.put(buckets_[row * row_size_ + i]);
  }
  return out.take();
}

Status Adwin::restore(std::string_view bytes) {
  ByteReader in(bytes, kTag, kVersion, "adwin");
  Adwin loaded(parameters_);
  if (in.get<std::uint64_t>() != row_size_) in.reject();
  loaded.rows_ = in.get<std::uint64_t>();
  in.get_into(loaded.width_);
  in.get_into(loaded.total_);
  in.get_into(loaded.variance_);
  in.get_into(loaded.tick_);
  in.get_into(loaded.used_);
  if (!in.ok() || loaded.rows_ < 1 || loaded.rows_ > kMaxRows) in.reject();
  for (std::size_t row = 0; in.ok() && row < loaded.rows_; ++row) {
    if (loaded.used_[row] > row_size_) in.reject();
    for (std::size_t i = 0; in.ok() && i < loaded.used_[row]; ++i) in.get_into(loaded.at(row, i));
  }
  TRIMTAB_CHECK_OK(in.finish());
  *this = std::move(loaded);
  return {};
}

}  // namespace trimtab::drift
