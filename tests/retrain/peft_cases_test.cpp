// Training against PEFT's own loss curves (make_peft_cases.py): LoRA+, PiSSA, rsLoRA, DoRA, rank
// and alpha patterns, layer subsets. The model and the data are the shared goldens'.
#include <ATen/ops/zeros.h>

#include <cmath>

#include "retrain/model/compat.h"
#include "retrain/model/decoder.h"
#include "tests/paths.h"
#include "tests/retrain/train_fixture.h"

namespace trimtab::tests {
namespace {

namespace fs = std::filesystem;

class PeftTest : public TrainTest {
 protected:
  void SetUp() override {
    const fs::path vectors = shared_dir() / "vectors" / "lora";
    if (!fs::exists(vectors)) GTEST_SKIP() << "SKIPPED: " << vectors << " is not there";
    const auto cases =
        parse_json(read_file(source_dir() / "tests/retrain/peft_cases.json").value_or(""));
    ASSERT_TRUE(cases);
    cases_ = *cases;
    const auto golden = parse_json(read_file(vectors / "train/llama/case.json").value_or(""));
    ASSERT_TRUE(golden);
    base_ = vectors / (*golden)["model"].get<std::string>();
    std::string lines;
    for (const Json& line : (*golden)["data"]) lines += line.dump() + "\n";
    data_ = file("data.jsonl", lines);
    plan_ = file("plan.json", (*golden)["plan"].dump());
  }

  // The adapter that the script begins with (filled() there), as a PEFT folder.
  std::string start_of(const Json& lora) {
    const model::ComputeScope scope;
    const auto decoder = model::Decoder::load(base_);
    EXPECT_TRUE(decoder);
    OrderedJson config = {{"peft_type", "LORA"}, {"target_modules", "all-linear"}};
    for (const auto& [key, value] : lora.items()) config[key] = value;
    const auto spec = model::parse_lora_spec(config.dump());
    EXPECT_TRUE(spec) << spec.error().message;
    auto adapter = model::make_adapter(*spec, **decoder, 1);
    EXPECT_TRUE(adapter);
    std::map<std::string, at::Tensor> parameters;
    for (const model::Site* site : (*adapter)->layout.sites()) {
      parameters[site->tensor_prefix() + ".lora_A.weight"] = (*adapter)->a(*site);
      parameters[site->tensor_prefix() + ".lora_B.weight"] = (*adapter)->b(*site);
      if (spec->use_dora)
        parameters[site->tensor_prefix() + ".lora_magnitude_vector"] = (*adapter)->magnitude(*site);
    }
    int p = 0;
    for (auto& [name, tensor] : parameters) {
      at::Tensor values = at::zeros({tensor.numel()}, at::kDouble);
      for (std::int64_t k = 0; k < tensor.numel(); ++k)
        values.data_ptr<double>()[k] = 0.05 * std::sin(0.7 * static_cast<double>(k) + p);
      if (name.find("magnitude") != std::string::npos)
        tensor.mul_(values.view(tensor.sizes()).add(1).to(at::kFloat));
      else
        tensor.copy_(values.view(tensor.sizes()));
      ++p;
    }
    const fs::path folder = root_.path() / "start";
    EXPECT_TRUE(make_folders(folder));
    EXPECT_TRUE(model::save_adapter(**adapter, folder, "base", (*decoder)->config()));
    return folder.string();
  }

  void compare(const Json& wanted) {
    const std::string name = wanted["name"];
    SCOPED_TRACE(name);
    const bool pissa = wanted["lora"].contains("init_lora_weights");
    Json lora = wanted["lora"];
    std::string job =
        "data: {tokens: " + data_ + "}\nplan: " + plan_ +
        "\nsteps: " + std::to_string(cases_["steps"].get<int>()) +
        "\nschedule: {name: constant, warmup_steps: 0}\noptimizer: {lr: " + cases_["lr"].dump() +
        ", weight_decay: " + Json(wanted.value("weight_decay", 0.0)).dump() +
        ", loraplus_lr_ratio: " + Json(wanted.value("loraplus_lr_ratio", 1.0)).dump() + "}\n";
    if (pissa)
      job += "lora: " + lora.dump() + "\n";
    else
      job += "init_adapter: " + start_of(lora) + "\n";
    const fs::path folder = make_job(name, job);
    const Ended ended = train(folder);
    ASSERT_EQ(ended.code, 0) << ended.err;
    const auto lines = metrics(folder);
    ASSERT_EQ(lines.size(), wanted["loss"].size());
    for (std::size_t i = 0; i < lines.size(); ++i) {
      const double loss = wanted["loss"][i];
      const double norm = wanted["grad_norm"][i];
      EXPECT_NEAR(lines[i]["loss"].get<double>(), loss, 1e-5 * loss) << "step " << i + 1;
      EXPECT_NEAR(lines[i]["grad_norm"].get<double>(), norm, 1e-4 * norm) << "step " << i + 1;
    }
  }

  Json cases_;
  std::string data_, plan_;
};

TEST_F(PeftTest, LossCurvesAreEqual) {
  ASSERT_FALSE(cases_["cases"].empty());
  for (const Json& wanted : cases_["cases"]) compare(wanted);
}

}  // namespace
}  // namespace trimtab::tests
