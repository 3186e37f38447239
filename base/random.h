// A small seeded generator whose stream is part of our reproducibility promise (std's distributions
// differ between standard libraries). xoshiro256** (Blackman and Vigna 2018), seeded by SplitMix64.
// Not thread-safe, not for security.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <utility>

namespace trimtab {

class Random {
 public:
  using State = std::array<std::uint64_t, 4>;

  explicit Random(std::uint64_t seed) {
    for (auto& word : state_) {
      seed += 0x9e3779b97f4a7c15ULL;
      std::uint64_t z = seed;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
      z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
      word = z ^ (z >> 31);
    }
  }

  std::uint64_t next() {
    const auto rotl = [](std::uint64_t x, int k) { return (x << k) | (x >> (64 - k)); };
    const std::uint64_t result = rotl(state_[1] * 5, 7) * 9;
    const std::uint64_t t = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= t;
    state_[3] = rotl(state_[3], 45);
    return result;
  }
  // [0, 1)
  double uniform() { return static_cast<double>(next() >> 11) * (1.0 / 9007199254740992.0); }
  // [0, n), unbiased (Lemire's multiply with rejection). REQUIRES: n > 0.
  std::uint64_t below(std::uint64_t n) {
    __extension__ using Wide = unsigned __int128;
    for (;;) {
      const Wide product = static_cast<Wide>(next()) * n;
      if (static_cast<std::uint64_t>(product) >= (0 - n) % n) {
        return static_cast<std::uint64_t>(product >> 64);
      }
    }
  }
  bool chance(double p) { return uniform() < p; }
  // Standard normal, Box-Muller without a kept spare, so that the state is just four words.
  double normal() {
    const double u = 1.0 - uniform();
    return std::sqrt(-2.0 * std::log(u)) * std::cos(6.283185307179586 * uniform());
  }
  template <typename Container>
  void shuffle(Container& items) {
    for (std::size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[below(i)]);
  }
  [[nodiscard]] const State& state() const { return state_; }
  void restore(const State& state) { state_ = state; }

 private:
  State state_{};
};

}  // namespace trimtab
