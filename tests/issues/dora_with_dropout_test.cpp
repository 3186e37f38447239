// A DoRA trained elsewhere with lora_dropout could not be merged, scored or served: dropout only
// matters in training, and only there is it refused.
#include <gtest/gtest.h>

#include "retrain/model/lora.h"

namespace trimtab::model {
namespace {

TEST(DoraWithDropout, IsReadAsAnyOther) {
  const auto spec = parse_lora_spec(
      R"({"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"],
          "use_dora": true, "lora_dropout": 0.05})");
  ASSERT_TRUE(spec.has_value()) << spec.error().message;
  ModelConfig config;
  config.family = "llama";
  config.hidden = 8;
  config.layers = 1;
  config.heads = config.kv_heads = 2;
  config.head_dim = 4;
  config.intermediate = 16;
  const auto layout = LoraLayout::build(*spec, config);
  EXPECT_TRUE(layout.has_value()) << layout.error().message;
}

}  // namespace
}  // namespace trimtab::model
