// PlainDetector: what every detector whose whole state is one flat struct has in common: reset,
// save, restore, size. A Derived names its tag and version; State is its struct of numbers, whose
// default member values are the state of a detector that has seen nothing.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "drift/bytes.h"
#include "drift/detector.h"

namespace trimtab::drift {

template <typename Derived, typename State>
class PlainDetector : public Detector {
 public:
  void reset() override { state_ = State{}; }
  [[nodiscard]] std::string save() const override {
    ByteWriter out(Derived::kTag, kVersion);
    out.put(state_);
    return out.take();
  }
  [[nodiscard]] Status restore(std::string_view bytes) override {
    ByteReader in(bytes, Derived::kTag, kVersion, Derived::kName);
    const auto loaded = in.template get<State>();
    TRIMTAB_CHECK_OK(in.finish());
    state_ = loaded;
    return {};
  }
  [[nodiscard]] std::size_t state_bytes() const override { return sizeof(State); }

 protected:
  State state_{};

 private:
  static constexpr std::uint32_t kVersion = 1;
};

// The running mean as River and Frouros compute it (Welford 1962): m += (x - m) / n.
struct RunningMean {
  std::int64_t n = 0;
  double mean = 0.0;
  void update(double x) {
    ++n;
    mean += (x - mean) / static_cast<double>(n);
  }
};

// Mean and variance (n - 1 in the denominator; 0 below two values).
struct RunningVariance {
  RunningMean mean;
  double squares = 0.0;
  void update(double x) {
    const double before = mean.mean;
    mean.update(x);
    squares += (x - before) * (x - mean.mean);
  }
  [[nodiscard]] double variance() const {
    return mean.n > 1 ? squares / static_cast<double>(mean.n - 1) : 0.0;
  }
};

// The exponentially weighted mean, started at the first value (River's EWMean).
struct FadingMean {
  double mean = 0.0;
  std::int64_t started = 0;
  void update(double x, double alpha) {
    mean = started != 0 ? alpha * x + (1.0 - alpha) * mean : x;
    started = 1;
  }
};

// The last `capacity` values.
template <typename T>
class SlidingWindow {
 public:
  explicit SlidingWindow(std::size_t capacity) : values_(capacity) {}
  // Returns what fell out, or 0 while the window fills.
  T push(T x) {
    T gone{};
    if (size_ == values_.size()) {
      gone = values_[next_];
    } else {
      ++size_;
    }
    values_[next_] = x;
    next_ = (next_ + 1) % values_.size();
    return gone;
  }
  void clear() { size_ = next_ = 0; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::size_t capacity() const { return values_.size(); }
  [[nodiscard]] bool full() const { return size_ == values_.size(); }
  // 0 is the newest. REQUIRES: age < size().
  [[nodiscard]] T newest(std::size_t age) const {
    return values_[(next_ + values_.size() - 1 - age) % values_.size()];
  }
  void save(ByteWriter& out) const {
    out.put(static_cast<std::uint64_t>(size_));
    for (std::size_t age = size_; age-- > 0;) out.put(newest(age));
  }
  void restore(ByteReader& in) {
    const auto size = in.get<std::uint64_t>();
    clear();
    if (size > values_.size()) return in.reject();
    for (std::uint64_t i = 0; i < size && in.ok(); ++i) push(in.get<T>());
  }

 private:
  std::vector<T> values_;
  std::size_t size_ = 0;
  std::size_t next_ = 0;
};

}  // namespace trimtab::drift
