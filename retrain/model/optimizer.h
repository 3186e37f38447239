// AdamW on a flat vector, torch's form: p -= lr wd p; p -= lr m/(1-b1^t) / (sqrt(v)/sqrt(1-b2^t) +
// eps). Loshchilov and Hutter 2019. Owned by one thread.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace trimtab::model {

struct AdamSettings {
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
};

class AdamW {
 public:
  AdamW() = default;
  AdamW(std::int64_t parameters, AdamSettings settings, at::ScalarType type = at::kFloat);

  // Counts one step; then update() the ranges of the vector.
  void next_step() { ++step_; }
  // parameters[begin, end) with gradients * grad_scale (clipping).
  void update(at::Tensor& parameters, const at::Tensor& gradients, std::int64_t begin,
              std::int64_t end, double lr, double grad_scale, bool decay);

  // For checkpoints.
  [[nodiscard]] std::int64_t step() const { return step_; }
  void restore(std::int64_t step) { step_ = step; }
  [[nodiscard]] at::Tensor& first_moment() { return m_; }
  [[nodiscard]] at::Tensor& second_moment() { return v_; }

 private:
  AdamSettings settings_;
  std::int64_t step_ = 0;
  at::Tensor m_, v_;
};

// The 2-norm, accumulated in double.
[[nodiscard]] double gradient_norm(const at::Tensor& gradients);

}  // namespace trimtab::model
