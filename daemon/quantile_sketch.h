// ChampionNumbers: what the champion's answers usually cost, so that "slow", "long" and "costly"
// have a frozen yardstick when a live comparison starts (STATISTICS.md section 7: 2 x its p95).
//
// A histogram with buckets 5 % wide from 1e-4 to 1e7, faded by halving once it holds kFull values.
// A quantile is the upper edge of its bucket: at most 5 % too large. Fixed memory. One thread.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>

namespace trimtab::daemon {

class QuantileSketch {
 public:
  static constexpr int kBuckets = 520;  // 1e-4 * 1.05^520 = 1e7
  static constexpr double kLowest = 1e-4, kGrowth = 1.05;
  static constexpr std::uint64_t kFull = 20'000;
  static constexpr std::uint64_t kLeast = 30;  // fewer say nothing about a 95 % quantile

  void add(double value) {
    if (!std::isfinite(value) || value < 0) return;
    int bucket = 0;
    if (value > kLowest) {
      bucket = static_cast<int>(std::ceil(std::log(value / kLowest) / std::log(kGrowth)));
    }
    if (bucket >= kBuckets) bucket = kBuckets - 1;
    ++counts_[static_cast<std::size_t>(bucket)];
    if (++total_ >= kFull) halve();
  }
  [[nodiscard]] std::optional<double> quantile(double q) const {
    if (total_ < kLeast) return std::nullopt;
    const double wanted = q * static_cast<double>(total_);
    double sum = 0;
    for (int i = 0; i < kBuckets; ++i) {
      sum += static_cast<double>(counts_[static_cast<std::size_t>(i)]);
      if (sum >= wanted) return kLowest * std::pow(kGrowth, i);
    }
    return kLowest * std::pow(kGrowth, kBuckets);
  }
  [[nodiscard]] nlohmann::json save() const {
    auto saved = nlohmann::json::array();  // [bucket, count] of those that are not empty
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      if (counts_[i] > 0) saved.push_back({i, counts_[i]});
    }
    return saved;
  }
  void restore(const nlohmann::json& saved) {
    *this = {};
    for (const auto& entry : saved) {
      const auto bucket = entry.at(0).get<std::size_t>();
      if (bucket >= counts_.size()) continue;
      counts_[bucket] = entry.at(1).get<std::uint32_t>();
      total_ += counts_[bucket];
    }
  }

 private:
  void halve() {
    total_ = 0;
    for (auto& count : counts_) {
      count /= 2;
      total_ += count;
    }
  }
  std::array<std::uint32_t, kBuckets> counts_{};
  std::uint64_t total_ = 0;
};

struct ChampionNumbers {
  QuantileSketch latency_s, tokens_out, tokens_all;
};

}  // namespace trimtab::daemon
