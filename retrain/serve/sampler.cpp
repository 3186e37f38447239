#include "retrain/serve/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace trimtab::serve {
namespace {

double log_sum_exp(std::span<const float> logits) {
  const float highest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - highest);
  return highest + std::log(sum);
}

// Ids by falling logit, the first `count` in order.
std::vector<std::int64_t> most_likely(std::span<const float> logits, std::size_t count) {
  std::vector<std::int64_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const auto before = [&](std::int64_t a, std::int64_t b) {
    const float x = logits[static_cast<std::size_t>(a)], y = logits[static_cast<std::size_t>(b)];
    return x != y ? x > y : a < b;
  };
  count = std::min(count, ids.size());
  std::partial_sort(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count), ids.end(),
                    before);
  ids.resize(count);
  return ids;
}

std::int64_t draw(std::span<const float> logits, const Sampling& sampling, Random& random) {
  const double highest = *std::max_element(logits.begin(), logits.end());
  const auto weight = [&](std::int64_t id) {
    return std::exp((static_cast<double>(logits[static_cast<std::size_t>(id)]) - highest) /
                    sampling.temperature);
  };
  const bool cut = sampling.top_k > 0 || sampling.top_p < 1.0;
  std::vector<std::int64_t> ids;
  if (cut) {
    ids = most_likely(
        logits, sampling.top_k > 0 ? static_cast<std::size_t>(sampling.top_k) : logits.size());
  } else {
    ids.resize(logits.size());
    std::iota(ids.begin(), ids.end(), 0);
  }
  std::vector<double> weights(ids.size());
  double total = 0;
  for (std::size_t i = 0; i < ids.size(); ++i) total += weights[i] = weight(ids[i]);
  if (sampling.top_p < 1.0) {
    double kept = 0;
    std::size_t count = 0;
    while (count < ids.size() && kept < sampling.top_p * total) kept += weights[count++];
    ids.resize(std::max<std::size_t>(count, 1));
    total = count > 0 ? kept : weights[0];
  }
  double at = random.uniform() * total;
  for (std::size_t i = 0; i + 1 < ids.size(); ++i) {
    at -= weights[i];
    if (at < 0) return ids[i];
  }
  return ids.back();
}

}  // namespace

double log_probability(std::span<const float> logits, std::int64_t id) {
  return logits[static_cast<std::size_t>(id)] - log_sum_exp(logits);
}

Chosen choose(std::span<const float> logits, const Sampling& sampling, Random& random) {
  constexpr double kGreedyBelow = 1e-5;  // vLLM's bound for "no randomness"
  Chosen chosen;
  if (sampling.temperature < kGreedyBelow) {
    chosen.id = std::max_element(logits.begin(), logits.end()) - logits.begin();
  } else {
    chosen.id = draw(logits, sampling, random);
  }
  if (!sampling.logprobs) return chosen;
  const double norm = log_sum_exp(logits);
  chosen.logprob = logits[static_cast<std::size_t>(chosen.id)] - norm;
  for (const std::int64_t id :
       most_likely(logits, static_cast<std::size_t>(std::max(0, sampling.top_logprobs)))) {
    chosen.top.emplace_back(id, logits[static_cast<std::size_t>(id)] - norm);
  }
  return chosen;
}

}  // namespace trimtab::serve
