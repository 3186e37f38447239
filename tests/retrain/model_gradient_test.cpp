// The hand-written backward against central differences in fp64: every family's block, LoRA and
// full-parameter gradients, packed documents, checkpointing, dropout, DoRA, KL; by the kernels and
// by any_device.h; shared prefixes against documents apart. Over 400 lines because all share the
// families' configs and random weights.
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"
#include "retrain/model/any_device.h"
#include "retrain/model/backward.h"
#include "retrain/model/compat.h"
#include "retrain/model/decoder.h"
#include "retrain/model/shared_prefix.h"

namespace trimtab::model {
namespace {

at::Tensor random_tensor(std::vector<std::int64_t> shape, Random& random, double scale,
                         double offset = 0) {
  at::Tensor t = at::empty(shape, at::kDouble);
  for (std::int64_t i = 0; i < t.numel(); ++i)
    t.data_ptr<double>()[i] = offset + scale * random.normal();
  return t;
}

Weights random_weights(const ModelConfig& c, Random& random) {
  Weights w;
  const double norm_offset = c.norm_unit_offset ? 0.0 : 1.0;
  const auto norm = [&] { return random_tensor({c.hidden}, random, 0.1, norm_offset); };
  w.embedding = random_tensor({c.vocab, c.hidden}, random, 0.5);
  if (c.learned_positions) w.positions = random_tensor({c.max_positions, c.hidden}, random, 0.3);
  const std::array<std::pair<std::int64_t, std::int64_t>, 4> shapes = {
      {{c.qkv_width(), c.hidden},
       {c.hidden, c.q_width()},
       {(c.gated_mlp ? 2 : 1) * c.intermediate, c.hidden},
       {c.hidden, c.intermediate}}};
  const std::array<bool, 4> biased = {c.qkv_bias, c.o_bias, c.mlp_bias, c.mlp_bias};
  for (std::int64_t i = 0; i < c.layers; ++i) {
    LayerWeights layer;
    layer.norm1 = norm();
    if (c.norm_bias) layer.norm1_bias = random_tensor({c.hidden}, random, 0.1);
    if (!c.parallel_block) layer.norm2 = norm();
    if (c.norm_bias) layer.norm2_bias = random_tensor({c.hidden}, random, 0.1);
    if (c.sandwich_norms) layer.post_attention_norm = norm(), layer.post_mlp_norm = norm();
    if (c.qk_norm && c.family == "cohere") {
      layer.q_norm = random_tensor({c.heads, c.head_dim}, random, 0.1, 1.0);
      layer.k_norm = random_tensor({c.kv_heads, c.head_dim}, random, 0.1, 1.0);
    } else if (c.qk_norm) {
      layer.q_norm = random_tensor({c.head_dim}, random, 0.1, 1.0);
      layer.k_norm = random_tensor({c.head_dim}, random, 0.1, 1.0);
    }
    for (std::size_t g = 0; g < 4; ++g) {
      layer.weight[g] = random_tensor({shapes[g].first, shapes[g].second}, random, 0.25);
      if (biased[g]) layer.bias[g] = random_tensor({shapes[g].first}, random, 0.1);
    }
    w.layers.push_back(layer);
  }
  w.final_norm = norm();
  if (c.norm_bias) w.final_norm_bias = random_tensor({c.hidden}, random, 0.1);
  w.head = c.tied ? w.embedding : random_tensor({c.vocab, c.hidden}, random, 0.4);
  return w;
}

struct Named {
  std::string name;
  at::Tensor value;
  at::Tensor gradient;
};

// Every defined tensor of `w` beside a zero of its shape in `g`.
std::vector<Named> mirror(const Weights& w, Weights& g) {
  std::vector<Named> all;
  const auto pair = [&](const std::string& name, const at::Tensor& value, at::Tensor& gradient) {
    if (!value.defined()) return;
    gradient = at::zeros_like(value);
    all.push_back({name, value, gradient});
  };
  pair("embedding", w.embedding, g.embedding);
  pair("positions", w.positions, g.positions);
  g.layers.resize(w.layers.size());
  for (std::size_t i = 0; i < w.layers.size(); ++i) {
    const LayerWeights& a = w.layers[i];
    LayerWeights& b = g.layers[i];
    const std::string at = "layer " + std::to_string(i) + " ";
    pair(at + "norm1", a.norm1, b.norm1);
    pair(at + "norm1_bias", a.norm1_bias, b.norm1_bias);
    pair(at + "norm2", a.norm2, b.norm2);
    pair(at + "norm2_bias", a.norm2_bias, b.norm2_bias);
    pair(at + "post_attention", a.post_attention_norm, b.post_attention_norm);
    pair(at + "post_mlp", a.post_mlp_norm, b.post_mlp_norm);
    pair(at + "q_norm", a.q_norm, b.q_norm);
    pair(at + "k_norm", a.k_norm, b.k_norm);
    for (std::size_t k = 0; k < 4; ++k) {
      pair(at + "weight " + std::to_string(k), a.weight[k], b.weight[k]);
      pair(at + "bias " + std::to_string(k), a.bias[k], b.bias[k]);
    }
  }
  pair("final_norm", w.final_norm, g.final_norm);
  pair("final_norm_bias", w.final_norm_bias, g.final_norm_bias);
  if (w.head.is_same(w.embedding))
    g.head = g.embedding;
  else
    pair("head", w.head, g.head);
  return all;
}

struct Case {
  bool dora = false;
  double dropout = 0;
  bool checkpoint = false;
  bool kl = false;
  bool any_device = false;
};

// any_device.h instead of the kernels while it lives.
struct AnyDevice {
  explicit AnyDevice(bool on) { any_device_everywhere(on); }
  ~AnyDevice() { any_device_everywhere(false); }
  AnyDevice(const AnyDevice&) = delete;
  AnyDevice& operator=(const AnyDevice&) = delete;
};

std::vector<std::int64_t> random_ids(std::int64_t count, const ModelConfig& c, Random& random) {
  std::vector<std::int64_t> ids;
  for (std::int64_t t = 0; t < count; ++t)
    ids.push_back(static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(c.vocab))));
  return ids;
}

std::vector<std::int64_t> joined(std::vector<std::int64_t> a, const std::vector<std::int64_t>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

class GradientTest : public testing::Test {
 protected:
  static ModelConfig config(const std::string& json) {
    auto parsed = parse_model_config(json);
    EXPECT_TRUE(parsed) << (parsed ? "" : parsed.error().message);
    return parsed.value_or(ModelConfig{});
  }

  void check(const std::string& json, const Case& setup = {}) {
    const ComputeScope scope;
    const AnyDevice path(setup.any_device);
    const std::uint64_t seed = 20261123;
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random random(seed);
    const ModelConfig c = config(json);
    const Weights weights = random_weights(c, random);
    const Decoder decoder(c, weights);
    LoraSpec spec;
    spec.r = 3;
    spec.alpha = 5;
    spec.use_dora = setup.dora;
    auto adapter = make_adapter(spec, decoder, 7);
    ASSERT_TRUE(adapter) << adapter.error().message;
    Adapter& a = **adapter;
    for (const Site* site : a.layout.sites())
      a.b(*site).copy_(random_tensor(a.b(*site).sizes().vec(), random, 0.2));
    refresh_dora(a, decoder);
    // DoRA holds the norms constant (as PEFT does), so the differences must too.
    Batch batch;
    std::vector<HeadRow> rows;
    std::vector<double> row_weights;
    for (const std::int64_t length : {7, 1, 70}) {  // 70: more than one attention block
      const auto ids = random_ids(length, c, random);
      const auto first = static_cast<std::int64_t>(batch.ids.size());
      batch.add(ids, &a);
      for (std::int64_t t = 1; t < length; t += 2) {
        rows.push_back({first + t - 1, ids[static_cast<std::size_t>(t)]});
        row_weights.push_back(0.02 + 0.03 * random.uniform());
      }
    }
    const at::Tensor reference =
        random_tensor({static_cast<std::int64_t>(rows.size()), c.hidden}, random, 0.7);
    const auto loss = [&](Tape& tape, Gradients* gradients) {
      tape.dropout = setup.dropout;
      tape.dropout_key = 99;
      tape.checkpoint = setup.checkpoint;
      const at::Tensor hidden = *decoder.forward(batch, &tape);
      at::Tensor d_hidden = at::zeros_like(hidden);
      Gradients none;
      Gradients& into = gradients != nullptr ? *gradients : none;
      double total = 0;
      const auto add = [&](const std::vector<double>& values) {
        for (std::size_t i = 0; i < values.size(); ++i) total += values[i] * row_weights[i];
      };
      add(cross_entropy(decoder, hidden, rows, row_weights, d_hidden, into));
      if (setup.kl)
        add(kl_divergence(decoder, hidden, rows, reference, row_weights, d_hidden, into));
      if (gradients != nullptr) backward(decoder, batch, &a, tape, d_hidden, into);
      return total;
    };
    Weights full;
    std::vector<Named> parameters = mirror(weights, full);
    Gradients gradients{at::zeros_like(a.parameters), &full};
    Tape tape;
    (void)loss(tape, &gradients);
    parameters.push_back({"lora", a.parameters, gradients.lora});
    for (const Named& p : parameters) {
      // The KL's reference is held constant, but here it is read through the same head, which a
      // difference would move: KL is trained with the base frozen, so the head is left out.
      if (setup.kl && (p.name == "embedding" || p.name == "head")) continue;
      compare(p, random, [&] {
        Tape scratch;
        return loss(scratch, nullptr);
      });
    }
  }

  template <typename Loss>
  static void compare(const Named& p, Random& random, const Loss& loss) {
    double* values = p.value.data_ptr<double>();
    const double* analytic = p.gradient.data_ptr<double>();
    const double largest = p.gradient.abs().max().item<double>();
    EXPECT_GT(largest, 0) << p.name << " has no gradient at all";
    const int probes = p.name == "lora" ? 24 : 3;
    for (int probe = 0; probe < probes; ++probe) {
      const auto i = random.below(static_cast<std::uint64_t>(p.value.numel()));
      const double kept = values[i];
      constexpr double kStep = 1e-5;
      values[i] = kept + kStep;
      const double up = loss();
      values[i] = kept - kStep;
      const double down = loss();
      values[i] = kept;
      EXPECT_NEAR(analytic[i], (up - down) / (2 * kStep), 1e-6 * largest + 1e-9)
          << p.name << "[" << i << "]";
    }
  }
};

// Losses and all gradients of documents that share trunks, laid out as a tree and apart.
class SharedPrefixTest : public GradientTest {
 protected:
  using Documents = std::vector<std::vector<std::int64_t>>;

  struct Outcome {
    std::vector<double> losses;
    std::vector<at::Tensor> gradients;
    std::size_t rows = 0;
  };

  static Outcome run(const Decoder& decoder, const Adapter& a, const Documents& documents,
                     bool share, bool checkpoint) {
    const SharedBatch laid = share_prefixes({documents.begin(), documents.end()}, &a, share);
    std::vector<HeadRow> rows;
    for (std::size_t d = 0; d < documents.size(); ++d) {
      EXPECT_EQ(laid.rows[d].size(), documents[d].size());
      for (std::size_t t = 1; t < documents[d].size(); ++t)
        rows.push_back({laid.rows[d][t - 1], documents[d][t]});
    }
    std::vector<double> weights;
    for (std::size_t i = 0; i < rows.size(); ++i)
      weights.push_back(0.01 + 0.001 * static_cast<double>(i % 7));
    Tape tape;
    tape.checkpoint = checkpoint;
    const at::Tensor hidden = *decoder.forward(laid.batch, &tape);
    at::Tensor d_hidden = at::zeros_like(hidden);
    Weights full;
    Outcome outcome;
    const auto named = mirror(decoder.weights(), full);
    Gradients gradients{at::zeros_like(a.parameters), &full};
    outcome.losses = cross_entropy(decoder, hidden, rows, weights, d_hidden, gradients);
    backward(decoder, laid.batch, &a, tape, d_hidden, gradients);
    for (const Named& n : named) outcome.gradients.push_back(n.gradient);
    outcome.gradients.push_back(gradients.lora);
    outcome.rows = laid.batch.ids.size();
    return outcome;
  }

  void check_shared(const std::string& json, bool any_device = false, bool checkpoint = false) {
    const ComputeScope scope;
    const AnyDevice path(any_device);
    Random random(20261125);
    const ModelConfig c = config(json);
    const Decoder decoder(c, random_weights(c, random));
    const auto adapter = make_adapter({.r = 3, .alpha = 5}, decoder, 7);
    ASSERT_TRUE(adapter) << adapter.error().message;
    Adapter& a = **adapter;
    for (const Site* site : a.layout.sites())
      a.b(*site).copy_(random_tensor(a.b(*site).sizes().vec(), random, 0.2));
    const auto trunk = random_ids(12, c, random);
    const auto limb = joined(trunk, random_ids(10, c, random));
    const Documents documents = {joined(limb, random_ids(40, c, random)),
                                 joined(trunk, random_ids(5, c, random)),
                                 random_ids(7, c, random),
                                 limb,
                                 joined(limb, random_ids(3, c, random)),
                                 limb};
    const Outcome apart = run(decoder, a, documents, false, checkpoint);
    const Outcome shared = run(decoder, a, documents, true, checkpoint);
    EXPECT_EQ(apart.rows, 62U + 17 + 7 + 22 + 25 + 22);
    EXPECT_EQ(shared.rows, 12U + 10 + 40 + 3 + 5 + 7);
    ASSERT_EQ(apart.losses.size(), shared.losses.size());
    for (std::size_t i = 0; i < apart.losses.size(); ++i)
      EXPECT_NEAR(apart.losses[i], shared.losses[i], 1e-10);
    for (std::size_t i = 0; i < apart.gradients.size(); ++i) {
      const double largest = apart.gradients[i].abs().max().item<double>();
      EXPECT_GT(largest, 0);
      EXPECT_LT(apart.gradients[i].sub(shared.gradients[i]).abs().max().item<double>(),
                1e-10 * (1 + largest));
    }
  }
};

constexpr const char* kLlama =
    R"({"model_type":"llama","vocab_size":29,"hidden_size":16,"num_hidden_layers":2,
  "num_attention_heads":4,"num_key_value_heads":2,"intermediate_size":20,
   "attention_bias":true,"mlp_bias":true,
  "tie_word_embeddings":true,"rms_norm_eps":1e-5})";
constexpr const char* kMistral =
    R"({"model_type":"mistral","vocab_size":29,"hidden_size":16,"num_hidden_layers":2,
   "num_attention_heads":2,
    "num_key_value_heads":1,"head_dim":6,"intermediate_size":20,"sliding_window":9})";
constexpr const char* kQwen3 =
    R"({"model_type":"qwen3","vocab_size":29,"hidden_size":16,"num_hidden_layers":2,
   "num_attention_heads":2,
    "num_key_value_heads":1,"head_dim":8,"intermediate_size":20})";
constexpr const char* kGemma2 =
    R"({"model_type":"gemma2","vocab_size":29,"hidden_size":16,"num_hidden_layers":2,
   "num_attention_heads":2,
    "num_key_value_heads":1,"head_dim":8,"intermediate_size":20,"sliding_window":9,
   "query_pre_attn_scalar":9,
    "attn_logit_softcapping":2.0,"final_logit_softcapping":3.0})";
constexpr const char* kGpt2 =
    R"({"model_type":"gpt2","vocab_size":29,"n_embd":16,"n_layer":2,"n_head":2,
   "n_positions":80})";
constexpr const char* kCohere =
    R"({"model_type":"cohere","vocab_size":29,"hidden_size":16,"num_hidden_layers":2,
   "num_attention_heads":4,
    "num_key_value_heads":2,"intermediate_size":20,"logit_scale":0.5,"use_qk_norm":true})";

TEST_F(GradientTest, Llama) { check(kLlama); }
TEST_F(GradientTest, LlamaCheckpointed) { check(kLlama, {.checkpoint = true}); }
TEST_F(GradientTest, LlamaDropoutAndKl) { check(kLlama, {.dropout = 0.3, .kl = true}); }
TEST_F(GradientTest, MistralWindow) { check(kMistral); }
TEST_F(GradientTest, Qwen3) { check(kQwen3); }
TEST_F(GradientTest, Gemma2) { check(kGemma2, {.kl = true}); }
TEST_F(GradientTest, Gpt2) { check(kGpt2); }
TEST_F(GradientTest, CohereWithHeadNorms) { check(kCohere); }
// DoRA's norm is held constant in the gradient, so A and B are compared with the norms frozen.
TEST_F(GradientTest, Dora) { check(kLlama, {.dora = true}); }

TEST_F(GradientTest, AnyDeviceLlama) {
  check(kLlama, {.dropout = 0.3, .kl = true, .any_device = true});
}
TEST_F(GradientTest, AnyDeviceMistral) { check(kMistral, {.any_device = true}); }
TEST_F(GradientTest, AnyDeviceQwen3) { check(kQwen3, {.checkpoint = true, .any_device = true}); }
TEST_F(GradientTest, AnyDeviceGemma2) { check(kGemma2, {.kl = true, .any_device = true}); }
TEST_F(GradientTest, AnyDeviceGpt2) { check(kGpt2, {.any_device = true}); }
TEST_F(GradientTest, AnyDeviceCohere) { check(kCohere, {.any_device = true}); }

TEST_F(SharedPrefixTest, Llama) { check_shared(kLlama); }
TEST_F(SharedPrefixTest, Checkpointed) { check_shared(kLlama, false, true); }
TEST_F(SharedPrefixTest, MistralWindow) { check_shared(kMistral); }
TEST_F(SharedPrefixTest, Qwen3) { check_shared(kQwen3); }
TEST_F(SharedPrefixTest, Gemma2) { check_shared(kGemma2); }
TEST_F(SharedPrefixTest, Gpt2) { check_shared(kGpt2); }
TEST_F(SharedPrefixTest, Cohere) { check_shared(kCohere); }
TEST_F(SharedPrefixTest, AnyDevice) { check_shared(kMistral, true); }

}  // namespace
}  // namespace trimtab::model
