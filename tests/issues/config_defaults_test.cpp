// config.json without the key: transformers 5 takes 1e-5 for phi3's rms_norm_eps (1e-6 was taken)
// and 500000 for cohere's rope_theta (10000 was); partial_rotary_factor counts in phi3 alone (it
// was applied to every family).
#include <gtest/gtest.h>

#include "base/json.h"
#include "retrain/model/model_config.h"

namespace trimtab::model {
namespace {

Result<ModelConfig> config(const char* family, const Json& more = Json::object()) {
  Json json = {{"model_type", family},    {"vocab_size", 100},
               {"hidden_size", 32},       {"intermediate_size", 48},
               {"num_hidden_layers", 2},  {"num_attention_heads", 4},
               {"max_position_embeddings", 64}};
  json.update(more);
  return parse_model_config(dump_json(json));
}

TEST(ConfigDefaults, AreTheFamilysOwn) {
  EXPECT_EQ(config("phi3")->norm_eps, 1e-5);
  EXPECT_EQ(config("llama")->norm_eps, 1e-6);
  EXPECT_EQ(config("cohere")->rope.theta, 500000.0);
  EXPECT_EQ(config("llama")->rope.theta, 10000.0);
}

TEST(ConfigDefaults, PartialRotationIsPhi3s) {
  const Json half = {{"partial_rotary_factor", 0.5}};
  EXPECT_EQ(config("phi3", half)->rope.rotary_dim, 4);
  EXPECT_EQ(config("llama", half)->rope.rotary_dim, 8);
  Json scaled = half;
  scaled["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 2.0}};
  const auto refused = config("llama", scaled);
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().message.find("partial_rotary_factor"), std::string::npos);
}

}  // namespace
}  // namespace trimtab::model
