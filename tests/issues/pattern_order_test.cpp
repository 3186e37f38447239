// Two patterns of rank_pattern that fit one module: PEFT takes the first of the file; the first by
// the alphabet was taken, so an adapter had another rank (refused) or another scale (wrong logits).
#include <gtest/gtest.h>

#include "retrain/model/lora.h"

namespace trimtab::model {
namespace {

TEST(PatternOrder, IsTheFiles) {
  const auto spec = parse_lora_spec(
      R"({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"],
          "rank_pattern": {"q_proj": 2, "layers.0.self_attn.q_proj": 3},
          "alpha_pattern": {"q_proj": 5, "layers.1.self_attn.q_proj": 6}})");
  ASSERT_TRUE(spec.has_value()) << spec.error().message;
  ModelConfig config;
  config.family = "llama";
  config.hidden = 8;
  config.layers = 2;
  config.heads = config.kv_heads = 2;
  config.head_dim = 4;
  config.intermediate = 16;
  const auto layout = LoraLayout::build(*spec, config);
  ASSERT_TRUE(layout.has_value()) << layout.error().message;
  for (const Site* site : layout->sites()) {
    EXPECT_EQ(site->r, 2) << site->name.path;
    EXPECT_EQ(site->alpha, 5.0) << site->name.path;
  }
}

TEST(PatternOrder, BasesThatAnInitRewroteAreRefused) {
  const auto spec = parse_lora_spec(
      R"({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"],
          "init_lora_weights": "lora_ga"})");
  ASSERT_FALSE(spec.has_value());
  EXPECT_NE(spec.error().message.find("lora_ga"), std::string::npos);
}

}  // namespace
}  // namespace trimtab::model
