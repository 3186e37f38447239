// Losses and what is added to their gradients, in fp64: preference losses and the orthogonal
// penalty against central differences, PiSSA's start and conversion, gradient surgery.
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/files.h"
#include "base/random.h"
#include "retrain/model/compat.h"
#include "retrain/model/decoder.h"
#include "retrain/model/many_tasks.h"
#include "retrain/model/pissa.h"
#include "retrain/model/safetensors.h"
#include "retrain/model/tensor_io.h"
#include "retrain/model/train_corpus.h"
#include "retrain/model/trainer.h"
#include "tests/retrain/train_fixture.h"

namespace trimtab::model {
namespace {

class LossTest : public testing::Test {
 protected:
  LossTest() {
    tests::write_tiny_base(root_.path());
    auto loaded = Decoder::load(root_.path(), {"float64", "cpu"});
    EXPECT_TRUE(loaded) << loaded.error().message;
    decoder_ = *loaded;
    Random random(3);
    for (int i = 0; i < 6; ++i) {
      Item item;
      item.example = example(random, 4, 3 + i % 3);
      item.rejected = item.example;
      for (std::size_t t = 4; t < item.rejected.ids.size(); ++t) {
        item.rejected.ids[t] = static_cast<std::int64_t>(random.below(tests::kTinyVocab));
        item.rejected.labels[t] = item.rejected.ids[t];
      }
      item.example.weight = 0.5 + i;
      item.good = i % 2 == 0;
      item.task = i % 2 == 0 ? "even" : "odd";
      pairs_.push_back(item);
      item.rejected = {};
      singles_.push_back(item);
    }
  }

  static Example example(Random& random, int prompt, int completion) {
    Example e;
    for (int t = 0; t < prompt + completion; ++t) {
      e.ids.push_back(static_cast<std::int64_t>(random.below(tests::kTinyVocab)));
      e.labels.push_back(t < prompt ? -100 : e.ids.back());
    }
    return e;
  }

  static LoraSpec spec() {
    LoraSpec s;
    s.r = 3;
    s.alpha = 6;
    return s;
  }

  // An adapter away from B = 0.
  std::shared_ptr<Adapter> adapter(std::uint64_t seed) const {
    const ComputeScope scope;
    auto made = make_adapter(spec(), *decoder_, seed);
    EXPECT_TRUE(made);
    Random random(seed + 100);
    double* values = (*made)->parameters.data_ptr<double>();
    for (std::int64_t i = 0; i < (*made)->parameters.numel(); ++i)
      values[i] += 0.1 * random.normal();
    return *made;
  }

  // Loss of one step at `parameters`, and its gradient when asked for.
  double loss_at(const at::Tensor& parameters, const std::vector<Item>& items,
                 const TrainerSettings& settings, at::Tensor* gradient) {
    const ComputeScope scope;
    auto moved = adapter(1);
    moved->parameters.copy_(parameters);
    auto trainer = Trainer::create(decoder_, moved, items, settings);
    EXPECT_TRUE(trainer) << trainer.error().message;
    const auto report = trainer->step({{0, 1, 2}, {3, 4, 5}}, 0.0);
    EXPECT_TRUE(report) << report.error().message;
    if (gradient != nullptr) *gradient = read_gradient(*trainer);
    return report->loss;
  }

  at::Tensor read_gradient(const Trainer& trainer) {
    const auto path = root_.path() / "gradients.safetensors";
    EXPECT_TRUE(trainer.save_gradients(path));
    const auto file = SafetensorsFile::open(path);
    EXPECT_TRUE(file);
    Adapter holder{trainer.adapter().layout, at::zeros_like(trainer.adapter().parameters), {}};
    for (const Site* site : holder.layout.sites()) {
      holder.a(*site).copy_(view_of(*file, *file->find(site->tensor_prefix() + ".lora_A.weight")));
      holder.b(*site).copy_(view_of(*file, *file->find(site->tensor_prefix() + ".lora_B.weight")));
    }
    return holder.parameters;
  }

  void check_gradient(const std::vector<Item>& items, const TrainerSettings& settings) {
    const ComputeScope scope;
    const at::Tensor start = adapter(1)->parameters.clone();
    at::Tensor gradient;
    (void)loss_at(start, items, settings, &gradient);
    Random random(9);
    for (int probe = 0; probe < 4; ++probe) {
      at::Tensor direction = at::zeros_like(start);
      for (std::int64_t i = 0; i < start.numel(); ++i)
        direction.data_ptr<double>()[i] = random.normal();
      const double step = 1e-5;
      const double up = loss_at(start + direction * step, items, settings, nullptr);
      const double down = loss_at(start - direction * step, items, settings, nullptr);
      const double wanted = (gradient * direction).sum().item<double>();
      EXPECT_NEAR((up - down) / (2 * step), wanted, 1e-5 * std::abs(wanted) + 1e-7);
    }
  }

  TempFolder root_;
  std::shared_ptr<const Decoder> decoder_;
  std::vector<Item> pairs_, singles_;
};

TEST_F(LossTest, GradientsAreTheDifferences) {
  TrainerSettings settings;
  settings.beta = 0.7;
  settings.lanes = 2;
  for (const LossKind loss : {LossKind::kDpo, LossKind::kOrpo}) {
    SCOPED_TRACE(loss == LossKind::kDpo ? "dpo" : "orpo");
    settings.loss = loss;
    check_gradient(pairs_, settings);
  }
  settings.loss = LossKind::kApoZeroUnpaired;
  settings.undesirable_weight = 1.5;
  check_gradient(singles_, settings);
}

// ORPO's value from its definition (Hong et al. 2024, equations 6 and 7), by item_losses alone.
TEST_F(LossTest, OrpoIsItsFormula) {
  TrainerSettings settings;
  settings.loss = LossKind::kOrpo;
  settings.beta = 0.25;
  for (Item& item : pairs_) item.example.weight = 1;
  const auto start = adapter(1);
  const double loss = loss_at(start->parameters.clone(), pairs_, settings, nullptr);
  std::vector<Item> rejected = pairs_;
  for (Item& item : rejected) item.example = item.rejected;
  const auto chosen_nll = item_losses(*decoder_, start.get(), pairs_, 1);
  const auto rejected_nll = item_losses(*decoder_, start.get(), rejected, 1);
  ASSERT_TRUE(chosen_nll && rejected_nll);
  double nll = 0, tokens = 0, ratio = 0;
  for (std::size_t i = 0; i < pairs_.size(); ++i) {
    const auto n = static_cast<double>(supervised(pairs_[i].example));
    nll += n * (*chosen_nll)[i];
    tokens += n;
    const double p = std::exp(-(*chosen_nll)[i]), q = std::exp(-(*rejected_nll)[i]);
    ratio += -std::log(1 / (1 + std::exp(-std::log((p / (1 - p)) / (q / (1 - q))))));
  }
  EXPECT_NEAR(loss, nll / tokens + 0.25 * ratio / 6.0, 1e-9);
}

TEST_F(LossTest, OrthogonalPenaltyIsItsFormulaAndFalls) {
  const ComputeScope scope;
  const auto earlier = adapter(2);
  auto penalty = OrthogonalPenalty::build(adapter(1)->layout, {earlier}, 0.3);
  ASSERT_TRUE(penalty);
  TrainerSettings settings;
  settings.orthogonal = std::make_shared<const OrthogonalPenalty>(std::move(*penalty));
  check_gradient(singles_, settings);
  const auto overlap = [&](const Adapter& a) {
    double total = 0;
    for (const Site* site : a.layout.sites())
      total += at::mm(earlier->a(*site), a.a(*site).t()).square().sum().item<double>();
    return total;
  };
  const auto train = [&](bool with) {
    auto moved = adapter(1);
    TrainerSettings how = settings;
    if (!with) how.orthogonal = nullptr;
    auto trainer = Trainer::create(decoder_, moved, singles_, how);
    EXPECT_TRUE(trainer);
    for (int step = 0; step < 60; ++step) EXPECT_TRUE(trainer->step({{0, 1, 2, 3, 4, 5}}, 0.01));
    return overlap(trainer->adapter());
  };
  EXPECT_LT(train(true), 0.3 * train(false));
}

TEST_F(LossTest, PissaIsTheBaseAtTheStartAndALoraAtTheEnd) {
  const ComputeScope scope;
  for (const std::int64_t iterations : {0, 6}) {
    SCOPED_TRACE(iterations);
    const auto start = make_pissa(spec(), *decoder_, iterations, 4, 2);
    ASSERT_TRUE(start) << start.error().message;
    Batch bare, with;
    bare.add({1, 2, 3, 4, 5, 6});
    with.add({1, 2, 3, 4, 5, 6}, start->adapter.get());
    const at::Tensor wanted = *decoder_->forward(bare);
    EXPECT_LT((*start->residual->forward(with) - wanted).abs().max().item<double>(), 1e-9);
    // The residual holds none of the r largest singular values: its norm is what the rest leave.
    const Site& site = *start->adapter->layout.sites().front();
    const auto weight = [&](const Decoder& d) {
      return d.weights().layers[0].weight[0].narrow(0, site.name.begin,
                                                    site.name.end - site.name.begin);
    };
    const at::Tensor whole = weight(*decoder_), rest = weight(*start->residual);
    const at::Tensor part = whole - rest;
    EXPECT_NEAR(rest.square().sum().item<double>() + part.square().sum().item<double>(),
                whole.square().sum().item<double>(), iterations == 0 ? 1e-8 : 1e-3);
    // Moved, the converted LoRA on the unchanged base is the residual with the moved one.
    auto moved = std::make_shared<Adapter>(
        Adapter{start->adapter->layout, start->adapter->parameters.clone(), {}});
    moved->parameters.add_(adapter(3)->parameters, 0.1);
    const auto lora = pissa_to_lora(*moved, *start->adapter, decoder_->config());
    ASSERT_TRUE(lora);
    EXPECT_EQ((*lora)->layout.largest_rank(), 6);
    Batch trained, plain;
    trained.add({1, 2, 3, 4, 5, 6}, moved.get());
    plain.add({1, 2, 3, 4, 5, 6}, lora->get());
    const at::Tensor a = *start->residual->forward(trained), b = *decoder_->forward(plain);
    EXPECT_LT((a - b).abs().max().item<double>(), 1e-9);
    EXPECT_GT((a - wanted).abs().max().item<double>(), 1e-3);
  }
}

TEST_F(LossTest, OutliersAmongTheNewAreLeftOut) {
  Corpus corpus;
  std::vector<double> losses;
  for (int i = 0; i < 30; ++i) {
    corpus.items.push_back(singles_[0]);
    corpus.items.back().example.replay = i % 10 == 9;
    losses.push_back(2.0 + 0.01 * (i % 7));
  }
  losses[3] = 9.0;   // new, far off
  losses[19] = 9.0;  // replayed: not judged
  losses[5] = std::numeric_limits<double>::quiet_NaN();
  drop_outliers(corpus, losses, 6);
  EXPECT_EQ(corpus.items.size(), 29U);
  EXPECT_EQ(corpus.left_out["outlier"], 1);
}

TEST_F(LossTest, ConflictsAreProjectedAway) {
  const ComputeScope scope;
  const auto vector = [](double x, double y) {
    at::Tensor v = at::zeros({2}, at::kDouble);
    v.data_ptr<double>()[0] = x;
    v.data_ptr<double>()[1] = y;
    return v;
  };
  // (1, 0) and (-1, 1) fight: each keeps only what is orthogonal to the other.
  const at::Tensor sum = project_conflicts({vector(1, 0), vector(-1, 1)}, 1);
  EXPECT_NEAR(sum.data_ptr<double>()[0], 0.5, 1e-12);
  EXPECT_NEAR(sum.data_ptr<double>()[1], 0.5 + 1.0, 1e-12);
  // No conflict: the plain sum.
  const at::Tensor plain = project_conflicts({vector(1, 0), vector(1, 1)}, 1);
  EXPECT_NEAR(plain.data_ptr<double>()[0], 2, 1e-12);
  TrainerSettings settings;
  settings.pcgrad = true;
  const auto moved = adapter(1);
  auto trainer = Trainer::create(decoder_, moved, singles_, settings);
  ASSERT_TRUE(trainer);
  const auto report = trainer->step({{0, 1, 2, 3, 4, 5}}, 0.0);
  ASSERT_TRUE(report);
  settings.pcgrad = false;
  EXPECT_NEAR(report->loss, loss_at(adapter(1)->parameters.clone(), singles_, settings, nullptr),
              1e-9);
}

}  // namespace
}  // namespace trimtab::model
