// Projections: 32 fixed directions through the text vectors. Half are the principal directions of a
// part of the reference, half are random; each projection is a numeric signal for rank_e, and the
// mean of their 32 Shiryaev-Roberts statistics is one detector: a mean of e-values is an e-value
// under any dependence (STATISTICS.md 3).
//
// The principal directions are fitted on one third of the reference and the bins come from the
// other two: along directions fitted on the same records those records vary more than later ones.
// Subspace iteration (orthogonal iteration, Golub and Van Loan 8.2.4) on at most 2,048 vectors.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "drift/bytes.h"
#include "drift/observation.h"

namespace trimtab::drift {

inline constexpr std::size_t kProjections = 32;
inline constexpr std::size_t kPrincipal = 16;

// One text vector as observations carry it: x_i = scale q_i. scale 0: no vector.
struct VectorRow {
  std::array<std::int8_t, kEmbeddingSize> q{};
  float scale = 0.0F;

  [[nodiscard]] static VectorRow of(const Observation& event);
  [[nodiscard]] bool present() const { return scale > 0.0F; }
};

class Projections {
 public:
  using Values = std::array<float, kProjections>;

  // Fits on the present vectors of `rows`; with fewer than 32 of them all directions are random.
  [[nodiscard]] static Projections fit(const std::vector<const VectorRow*>& rows,
                                       std::uint64_t seed);
  // REQUIRES: row.present().
  [[nodiscard]] Values project(const VectorRow& row) const;

  void save(ByteWriter& out) const { out.put_all(directions_); }
  [[nodiscard]] static Projections load(ByteReader& in);

 private:
  std::vector<float> directions_;  // [kProjections, kEmbeddingSize], row-major, unit length
};

}  // namespace trimtab::drift
