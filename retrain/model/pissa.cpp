#include "retrain/model/pissa.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

#include "base/hash.h"
#include "base/random.h"
#include "retrain/model/compat.h"
#include "retrain/model/lanes.h"
#include "retrain/model/merge.h"

namespace trimtab::model {
namespace {

struct Factors {
  at::Tensor u, s, vt;  // [out, k], [k], [k, in]
};

constexpr std::int64_t kOversampling = 8;

Factors randomised_svd(const at::Tensor& w, std::int64_t r, std::int64_t iterations,
                       std::uint64_t seed) {
  const std::int64_t width = std::min({r + kOversampling, w.size(0), w.size(1)});
  at::Tensor probe = at::empty({w.size(1), width}, at::kDouble);
  Random random(seed);
  for (std::int64_t i = 0; i < probe.numel(); ++i) probe.data_ptr<double>()[i] = random.normal();
  at::Tensor basis = std::get<0>(at::linalg_qr(at::mm(w, probe.to(w.device(), w.scalar_type()))));
  for (std::int64_t i = 0; i < iterations; ++i) {
    const at::Tensor back = std::get<0>(at::linalg_qr(at::mm(w.t(), basis)));
    basis = std::get<0>(at::linalg_qr(at::mm(w, back)));
  }
  const auto [u, s, vt] = at::linalg_svd(at::mm(basis.t(), w), false);
  return {at::mm(basis, u), s, vt};
}

Factors principal(const at::Tensor& w, std::int64_t r, std::int64_t iterations,
                  std::uint64_t seed) {
  Factors f;
  if (iterations > 0) {
    f = randomised_svd(w, r, iterations, seed);
  } else {
    const auto [u, s, vt] = at::linalg_svd(w, false);
    f = {u, s, vt};
  }
  f = {f.u.narrow(1, 0, r).clone(), f.s.narrow(0, 0, r).clone(), f.vt.narrow(0, 0, r).clone()};
  // The sign of a pair is free: make the largest entry of each right vector positive, so that the
  // library's choice does not matter.
  for (std::int64_t i = 0; i < r; ++i) {
    const at::Tensor row = f.vt.select(0, i);
    const auto at = row.abs().argmax().item<std::int64_t>();
    if (row.select(0, at).item<double>() < 0) {
      row.neg_();
      f.u.select(1, i).neg_();
    }
  }
  return f;
}

}  // namespace

Result<PissaStart> make_pissa(const LoraSpec& spec, const Decoder& base,
                              std::int64_t power_iterations, std::uint64_t seed, int lanes) {
  const ComputeScope scope;
  if (spec.use_dora) return fail(Code::kInvalid, "pissa with use_dora is not supported");
  PissaStart start;
  TRIMTAB_TRY(start.adapter, make_adapter(spec, base, seed));
  Adapter& adapter = *start.adapter;
  const auto sites = adapter.layout.sites();
  for (const Site* site : sites) {
    if (site->r > std::min(site->name.inputs, site->name.end - site->name.begin)) {
      return fail(Code::kInvalid, "pissa: r " + std::to_string(site->r) + " is more than " +
                                      site->name.path + " has singular values");
    }
  }
  run_lanes(lanes, [&](int lane) {
    const ComputeScope lane_scope;
    for (std::size_t i = static_cast<std::size_t>(lane); i < sites.size();
         i += static_cast<std::size_t>(lanes)) {
      const Site& site = *sites[i];
      const at::Tensor w = base.weights()
                               .layers[static_cast<std::size_t>(site.layer)]
                               .weight[static_cast<std::size_t>(site.name.group)]
                               .narrow(0, site.name.begin, site.name.end - site.name.begin)
                               .to(at::kDouble);  // close singular values: float's vectors vary
      const Factors f =
          principal(w, site.r, power_iterations, stable_hash(site.name.path, seed ^ 0x7069737361));
      const at::Tensor root = (f.s / site.scale).sqrt();
      adapter.a(site).copy_(root.unsqueeze(1) * f.vt);
      adapter.b(site).copy_(f.u * root.unsqueeze(0));
    }
  });
  Adapter negative{adapter.layout, adapter.parameters.clone(), {}};
  for (const Site* site : sites) negative.b(*site).neg_();
  TRIMTAB_TRY(start.residual, merged(base, negative));
  return start;
}

Result<std::shared_ptr<Adapter>> pissa_to_lora(const Adapter& trained, const Adapter& initial,
                                               const ModelConfig& config) {
  const ComputeScope scope;
  LoraSpec spec = trained.layout.spec();
  // Twice the rank at the same scale: alpha / r, or alpha / sqrt r.
  const double more = spec.use_rslora ? std::sqrt(2.0) : 2.0;
  spec.r *= 2;
  spec.alpha *= more;
  for (auto& [key, r] : spec.rank_pattern) r *= 2;
  for (auto& [key, alpha] : spec.alpha_pattern) alpha *= more;
  auto lora = std::make_shared<Adapter>();
  TRIMTAB_TRY(lora->layout, LoraLayout::build(spec, config));
  lora->parameters = at::zeros({lora->layout.parameters()}, trained.parameters.scalar_type());
  const auto from = trained.layout.sites();
  const auto to = lora->layout.sites();
  for (std::size_t i = 0; i < from.size(); ++i) {
    lora->a(*to[i]).copy_(at::cat({trained.a(*from[i]), initial.a(*from[i])}, 0));
    lora->b(*to[i]).copy_(at::cat({trained.b(*from[i]), initial.b(*from[i]).neg()}, 1));
  }
  return lora;
}

}  // namespace trimtab::model
