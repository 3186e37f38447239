#include "drift/compare/domain_classifier.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/random.h"
#include "drift/compare/permutations.h"

namespace trimtab::drift {
namespace {

constexpr int kMostNewtonSteps = 30;
constexpr int kMostGradientSteps = 200;
constexpr Parameter kParameters[] = {
    {"folds", Parameter::Type::kInteger, "5", 2, 1000, "folds of the cross-validation",
     "PARAMETERS.md"},
    {"ridge", Parameter::Type::kNumber, "0.01", 1e-9, 1e9, "penalty of squared weights, a row",
     "keeps separable samples finite"},
    {"seed", Parameter::Type::kInteger, "1", 0, 9e15, "of the folds", "PARAMETERS.md"},
    threshold_row("0.55")};

using Vector = std::vector<double>;

// Rows of features, the last one the constant 1; label 1: current.
struct Dataset {
  std::vector<Vector> rows;
  std::vector<double> labels;
};

// Standardized columns, their standardized squares, a constant.
Dataset features_of(const Samples& samples) {
  const auto raw = pooled_rows(samples);
  const std::size_t width = raw.front()->size();
  Dataset data;
  data.rows.assign(raw.size(), Vector(2 * width + 1, 1.0));
  const auto standardize = [&](std::size_t column) {
    double mean = 0.0, square = 0.0;
    const auto n = static_cast<double>(raw.size());
    for (const Vector& row : data.rows) mean += row[column] / n;
    for (const Vector& row : data.rows) square += std::pow(row[column] - mean, 2) / n;
    const double scale = square > 0.0 ? 1.0 / std::sqrt(square) : 0.0;
    for (Vector& row : data.rows) row[column] = (row[column] - mean) * scale;
  };
  for (std::size_t k = 0; k < width; ++k) {
    for (std::size_t i = 0; i < raw.size(); ++i) data.rows[i][k] = (*raw[i])[k];
    standardize(k);
    for (Vector& row : data.rows) row[width + k] = row[k] * row[k];
    standardize(width + k);
  }
  data.labels.assign(raw.size(), 1.0);
  std::fill_n(data.labels.begin(), samples.reference.size(), 0.0);
  return data;
}

double dot(const Vector& a, const Vector& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0);
}

// Solves (X' W X / n + ridge I) step = gradient by conjugate gradients.
Vector newton_step(const Dataset& data, const std::vector<std::size_t>& chosen,
                   const Vector& curvature, double ridge, const Vector& gradient) {
  const auto n = static_cast<double>(chosen.size());
  Vector step(gradient.size(), 0.0), rest = gradient, direction = gradient;
  double square = dot(rest, rest);
  const double enough = 1e-16 * square;
  for (int i = 0; i < kMostGradientSteps && square > enough; ++i) {
    Vector image(direction.size(), 0.0);
    for (std::size_t c = 0; c < chosen.size(); ++c) {
      const Vector& row = data.rows[chosen[c]];
      const double scale = curvature[c] * dot(row, direction) / n;
      for (std::size_t k = 0; k < row.size(); ++k) image[k] += scale * row[k];
    }
    for (std::size_t k = 0; k < image.size(); ++k) image[k] += ridge * direction[k];
    const double length = square / dot(direction, image);
    for (std::size_t k = 0; k < step.size(); ++k) {
      step[k] += length * direction[k];
      rest[k] -= length * image[k];
    }
    const double next = dot(rest, rest);
    for (std::size_t k = 0; k < step.size(); ++k) {
      direction[k] = rest[k] + next / square * direction[k];
    }
    square = next;
  }
  return step;
}

// Ridge-penalized logistic regression; the objective is strictly convex and its steps are bounded.
Vector fit(const Dataset& data, const std::vector<std::size_t>& chosen, double ridge) {
  const auto n = static_cast<double>(chosen.size());
  Vector weights(data.rows.front().size(), 0.0);
  for (int step = 0; step < kMostNewtonSteps; ++step) {
    Vector gradient(weights.size(), 0.0), curvature;
    for (const std::size_t i : chosen) {
      const Vector& row = data.rows[i];
      const double p = 1.0 / (1.0 + std::exp(-dot(row, weights)));
      curvature.push_back(p * (1.0 - p));
      for (std::size_t k = 0; k < row.size(); ++k) gradient[k] += (data.labels[i] - p) * row[k] / n;
    }
    for (std::size_t k = 0; k < weights.size(); ++k) gradient[k] -= ridge * weights[k];
    Vector change = newton_step(data, chosen, curvature, ridge, gradient);
    const double size = std::sqrt(dot(change, change));
    const double damp = size > 4.0 ? 4.0 / size : 1.0;
    for (std::size_t k = 0; k < weights.size(); ++k) weights[k] += damp * change[k];
    if (size < 1e-8) break;
  }
  return weights;
}

// P(score of current > score of reference), ties half.
double area_under_curve(std::vector<std::pair<double, double>> scored) {
  std::sort(scored.begin(), scored.end());
  double below = 0.0, pairs = 0.0, positives = 0.0;
  for (std::size_t i = 0; i < scored.size();) {
    double tied_negative = 0.0, tied_positive = 0.0;
    const double score = scored[i].first;
    for (; i < scored.size() && scored[i].first == score; ++i) {
      (scored[i].second > 0.5 ? tied_positive : tied_negative) += 1.0;
    }
    pairs += tied_positive * (below + tied_negative / 2.0);
    below += tied_negative;
    positives += tied_positive;
  }
  return pairs / (below * positives);
}

// The fold of every row: both classes dealt out evenly after a shuffle.
std::vector<std::size_t> deal_folds(const Samples& samples, std::size_t folds, Random& random) {
  std::vector<std::size_t> fold_of;
  for (const Sample* side : {&samples.reference, &samples.current}) {
    std::vector<std::size_t> dealt(side->size());
    for (std::size_t i = 0; i < dealt.size(); ++i) dealt[i] = i % folds;
    random.shuffle(dealt);
    fold_of.insert(fold_of.end(), dealt.begin(), dealt.end());
  }
  return fold_of;
}

Result<TestResult> domain_classifier(const Samples& samples, const Parameters& parameters) {
  const auto folds = static_cast<std::size_t>(parameters.integer("folds"));
  if (std::min(samples.reference.size(), samples.current.size()) < folds) {
    return fail(Code::kInvalid, "domain_classifier wants " + std::to_string(folds) +
                                    " vectors a side at least, one a fold");
  }
  const Dataset data = features_of(samples);
  Random random(static_cast<std::uint64_t>(parameters.integer("seed")));
  const std::vector<std::size_t> fold_of = deal_folds(samples, folds, random);
  double sum = 0.0;
  for (std::size_t fold = 0; fold < folds; ++fold) {
    std::vector<std::size_t> chosen;
    for (std::size_t i = 0; i < fold_of.size(); ++i) {
      if (fold_of[i] != fold) chosen.push_back(i);
    }
    const Vector weights = fit(data, chosen, parameters.number("ridge"));
    std::vector<std::pair<double, double>> scored;
    for (std::size_t i = 0; i < fold_of.size(); ++i) {
      if (fold_of[i] == fold) scored.emplace_back(dot(data.rows[i], weights), data.labels[i]);
    }
    sum += area_under_curve(std::move(scored));
  }
  return TestResult{.statistic = sum / static_cast<double>(folds)};
}

constexpr WindowTest kTests[] = {{"domain_classifier",
                                  "cross-validated AUC of a classifier between the samples",
                                  SampleKind::kVectors, kParameters, &domain_classifier}};

}  // namespace

std::span<const WindowTest> classifier_tests() { return kTests; }

}  // namespace trimtab::drift
