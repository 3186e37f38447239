#include "drift/projections.h"

#include <algorithm>
#include <cmath>

#include "base/random.h"

namespace trimtab::drift {
namespace {

constexpr std::size_t kMaxFitted = 2048;
constexpr std::size_t kLeastFitted = 32;
constexpr int kIterations = 24;

using Direction = std::array<double, kEmbeddingSize>;

double dot(const Direction& a, const Direction& b) {
  double sum = 0.0;
  for (std::size_t i = 0; i < kEmbeddingSize; ++i) sum += a[i] * b[i];
  return sum;
}

// Makes `vectors` orthonormal, in order; one that vanishes is drawn anew.
void orthonormalize(std::vector<Direction>& vectors, Random& random) {
  for (std::size_t k = 0; k < vectors.size(); ++k) {
    for (int attempt = 0; attempt < 8; ++attempt) {
      for (int pass = 0; pass < 2; ++pass) {
        for (std::size_t j = 0; j < k; ++j) {
          const double along = dot(vectors[k], vectors[j]);
          for (std::size_t i = 0; i < kEmbeddingSize; ++i) vectors[k][i] -= along * vectors[j][i];
        }
      }
      const double norm = std::sqrt(dot(vectors[k], vectors[k]));
      if (norm > 1e-9) {
        for (double& x : vectors[k]) x /= norm;
        break;
      }
      for (double& x : vectors[k]) x = random.normal();
    }
  }
}

std::vector<Direction> centred(const std::vector<const VectorRow*>& rows) {
  const std::size_t step = (rows.size() + kMaxFitted - 1) / kMaxFitted;
  std::vector<Direction> data;
  Direction mean{};
  for (std::size_t r = 0; r < rows.size(); r += step) {
    Direction& x = data.emplace_back();
    for (std::size_t i = 0; i < kEmbeddingSize; ++i) {
      x[i] = static_cast<double>(rows[r]->scale) * rows[r]->q[i];
      mean[i] += x[i];
    }
  }
  for (double& m : mean) m /= static_cast<double>(data.size());
  for (Direction& x : data) {
    for (std::size_t i = 0; i < kEmbeddingSize; ++i) x[i] -= mean[i];
  }
  return data;
}

// The kPrincipal leading eigenvectors of the covariance of `data`.
std::vector<Direction> principal(const std::vector<Direction>& data, Random& random) {
  std::vector<Direction> basis(kPrincipal);
  for (Direction& v : basis) {
    for (double& x : v) x = random.normal();
  }
  orthonormalize(basis, random);
  for (int iteration = 0; iteration < kIterations; ++iteration) {
    std::vector<Direction> next(kPrincipal, Direction{});
    for (const Direction& x : data) {
      for (std::size_t k = 0; k < kPrincipal; ++k) {
        const double along = dot(x, basis[k]);
        for (std::size_t i = 0; i < kEmbeddingSize; ++i) next[k][i] += along * x[i];
      }
    }
    basis = std::move(next);
    orthonormalize(basis, random);
  }
  return basis;
}

}  // namespace

VectorRow VectorRow::of(const Observation& event) {
  VectorRow row;
  if (!event.has_embedding) return row;
  row.q = event.embedding;
  row.scale = event.embedding_scale;
  return row;
}

Projections Projections::fit(const std::vector<const VectorRow*>& rows, std::uint64_t seed) {
  Random random(seed);
  std::vector<const VectorRow*> present;
  for (const VectorRow* row : rows) {
    if (row->present()) present.push_back(row);
  }
  std::vector<Direction> directions;
  if (present.size() >= kLeastFitted) directions = principal(centred(present), random);
  while (directions.size() < kProjections) {
    Direction& v = directions.emplace_back();
    for (double& x : v) x = random.normal();
    const double norm = std::sqrt(dot(v, v));
    for (double& x : v) x /= norm;
  }
  Projections result;
  result.directions_.reserve(kProjections * kEmbeddingSize);
  for (const Direction& v : directions) {
    for (const double x : v) result.directions_.push_back(static_cast<float>(x));
  }
  return result;
}

Projections::Values Projections::project(const VectorRow& row) const {
  alignas(16) std::array<float, kEmbeddingSize> x;
  for (std::size_t i = 0; i < kEmbeddingSize; ++i) x[i] = static_cast<float>(row.q[i]);
  Values values{};
  for (std::size_t k = 0; k < kProjections; ++k) {
    const float* direction = directions_.data() + k * kEmbeddingSize;
    std::array<float, 8> sums{};
    for (std::size_t i = 0; i < kEmbeddingSize; i += 8) {
      for (std::size_t j = 0; j < 8; ++j) sums[j] += direction[i + j] * x[i + j];
    }
    float sum = 0.0F;
    for (const float s : sums) sum += s;
    values[k] = sum * row.scale;
  }
  return values;
}

Projections Projections::load(ByteReader& in) {
  Projections result;
  result.directions_ = in.get_all<float>();
  if (result.directions_.size() != kProjections * kEmbeddingSize) {
    in.reject();
    result.directions_.assign(kProjections * kEmbeddingSize, 0.0F);
  }
  return result;
}

}  // namespace trimtab::drift
