// Hundreds of sabotaged adapters, each from another seed: preflight finds every broken one and
// calls it by its name; those that are whole pass it, for only their answers can tell.
#include "daemon/demo/sabotage.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/random.h"
#include "shadow/preflight.h"

namespace trimtab::demo {
namespace {

constexpr std::uint64_t kSeeds = 15;
const std::string kBase = sha256_hex("the base");

// Two layers of a rank-4 adapter with PEFT's names, random and finite.
std::string weights() {
  Random random(7);
  nlohmann::ordered_json header;
  std::string data;
  const auto add = [&](const std::string& name, std::int64_t rows, std::int64_t columns) {
    const std::size_t begin = data.size();
    for (std::int64_t i = 0; i < rows * columns; ++i) {
      const auto value = static_cast<float>(random.normal());
      data.append(reinterpret_cast<const char*>(&value), sizeof value);
    }
    header[name] = {{"dtype", "F32"},
                    {"shape", {rows, columns}},
                    {"data_offsets", {begin, data.size()}}};
  };
  for (const char* layer : {"0", "1"}) {
    for (const char* module : {"self_attn.q_proj", "mlp.up_proj"}) {
      const std::string stem =
          std::string("base_model.model.model.layers.") + layer + "." + module + ".lora_";
      add(stem + "A.weight", 4, 24);
      add(stem + "B.weight", 32, 4);
    }
  }
  const std::string text = header.dump();
  const std::uint64_t length = text.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof length) + text + data;
}

class DemoSabotage : public ::testing::Test {
 protected:
  void SetUp() override {
    healthy_ = folder_.path() / "healthy";
    ASSERT_TRUE(make_folders(healthy_));
    const std::string bytes = weights();
    ASSERT_TRUE(write_atomic(healthy_ / "adapter_model.safetensors", bytes));
    ASSERT_TRUE(write_atomic(healthy_ / "adapter_config.json",
                             R"({"peft_type": "LORA", "r": 4, "lora_alpha": 8,
                                 "base_model_name_or_path": "the-base"})"));
    ASSERT_TRUE(write_atomic(healthy_ / "provenance.json",
                             dump_json(Json{{"adapter_sha256", sha256_hex(bytes)},
                                            {"base_sha256", kBase}})));
  }
  static std::string failure(const std::filesystem::path& folder) {
    shadow::PreflightInput input;
    input.folder = folder.string();
    input.base_sha256 = kBase;
    const auto facts = shadow::preflight(input);
    EXPECT_TRUE(facts) << facts.error().message;
    return facts ? facts->verdict.failure : "io";
  }

  TempFolder folder_;
  std::filesystem::path healthy_;
};

TEST_F(DemoSabotage, HundredsOfBrokenAdaptersAreFoundByName) {
  ASSERT_EQ(failure(healthy_), "");
  for (const Sabotage kind : all_sabotages()) {
    for (std::uint64_t seed = 0; seed < kSeeds; ++seed) {
      const auto out = folder_.path() / (sabotage_name(kind) + std::to_string(seed));
      const Status made = make_sabotaged(kind, seed, healthy_, out);
      ASSERT_TRUE(made) << made.error().message;
      EXPECT_EQ(failure(out), sabotage_failure(kind)) << sabotage_name(kind) << " seed " << seed;
    }
  }
}

TEST_F(DemoSabotage, WholeOnesHaveOtherWeights) {
  const auto before = read_file(healthy_ / "adapter_model.safetensors").value();
  for (const Sabotage kind : all_sabotages()) {
    if (!sabotage_failure(kind).empty()) continue;
    const auto out = folder_.path() / sabotage_name(kind);
    ASSERT_TRUE(make_sabotaged(kind, 1, healthy_, out));
    EXPECT_NE(read_file(out / "adapter_model.safetensors").value(), before) << sabotage_name(kind);
  }
}

}  // namespace
}  // namespace trimtab::demo
