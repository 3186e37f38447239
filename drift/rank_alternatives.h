// The fixed alternatives of rank_e and their weights (rank_e.h says which and why); private to it.
#pragma once

#include <array>

#include "drift/rank_e.h"

namespace trimtab::drift {

struct Alternative {
  double shift;
  double scale;
  float weight;  // share of the evidence; with kPlugInWeight they sum to 1
  const char* name;
};
inline constexpr float kPlugInWeight = 0.095F;
inline constexpr std::array<Alternative, kFixedBets> kAlternatives = {{
    {-2.0, 1.0, 0.03F, "shift -2"},
    {-1.0, 1.0, 0.05F, "shift -1"},
    {-0.5, 1.0, 0.07F, "shift -.5"},
    {-0.25, 1.0, 0.165F, "shift -.25"},
    {0.25, 1.0, 0.165F, "shift +.25"},
    {0.5, 1.0, 0.07F, "shift +.5"},
    {1.0, 1.0, 0.05F, "shift +1"},
    {2.0, 1.0, 0.03F, "shift +2"},
    {0.0, 0.67, 0.035F, "scale .67"},
    {0.0, 0.8, 0.05F, "scale .8"},
    {0.0, 1.25, 0.05F, "scale 1.25"},
    {0.0, 1.5, 0.05F, "scale 1.5"},
    {0.0, 2.0, 0.03F, "scale 2"},
    {0.0, 3.0, 0.02F, "scale 3"},
    {-1.0, 1.5, 0.02F, "shift -1 scale 1.5"},
    {1.0, 1.5, 0.02F, "shift +1 scale 1.5"},
}};

alignas(64) inline constexpr std::array<float, kFixedBets> kWeights = [] {
  std::array<float, kFixedBets> weights{};
  for (std::size_t k = 0; k < kFixedBets; ++k) weights[k] = kAlternatives[k].weight;
  return weights;
}();
static_assert(
    [] {
      float sum = kPlugInWeight;
      for (const float weight : kWeights) sum += weight;
      return sum > 0.99999F && sum < 1.00001F;
    }(),
    "the evidence is a mean of the bets' wealth");

}  // namespace trimtab::drift
