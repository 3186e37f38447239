// Preflight: every way an adapter folder can be wrong has its own name (OPERATIONS.md section 5,
// fault 19; PROMOTION.md section 1).
#include "shadow/preflight.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"

namespace trimtab::shadow {
namespace {

namespace fs = std::filesystem;

struct Tensor {
  std::string name, dtype;
  std::vector<std::int64_t> shape;
  std::string data;
};

template <typename T>
std::string raw(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

std::string safetensors(const std::vector<Tensor>& tensors) {
  Json header = {{"__metadata__", {{"format", "pt"}}}};
  std::string data;
  for (const auto& tensor : tensors) {
    header[tensor.name] = {{"dtype", tensor.dtype},
                           {"shape", tensor.shape},
                           {"data_offsets", {data.size(), data.size() + tensor.data.size()}}};
    data += tensor.data;
  }
  std::string text = header.dump();
  while (text.size() % 8 != 0) text += ' ';
  const std::uint64_t length = text.size();
  std::string prefix(8, '\0');
  std::memcpy(prefix.data(), &length, 8);
  return prefix + text + data;
}

const std::string kModule = "base_model.model.model.layers.0.self_attn.q_proj";

std::vector<Tensor> healthy_tensors() {
  return {{kModule + ".lora_A.weight", "F32", {2, 3}, raw(std::vector<float>(6, 0.1F))},
          {kModule + ".lora_B.weight", "BF16", {4, 2}, raw(std::vector<std::uint16_t>(8, 0x3f80))}};
}

Json healthy_config() {
  return {{"peft_type", "LORA"},
          {"r", 2},
          {"lora_alpha", 4},
          {"bias", "none"},
          {"use_dora", false},
          {"modules_to_save", nullptr},
          {"rank_pattern", Json::object()},
          {"alpha_pattern", Json::object()}};
}

class Preflight : public ::testing::Test {
 protected:
  void write(const std::vector<Tensor>& tensors, const Json& config = healthy_config()) {
    write_weights(safetensors(tensors));
    ASSERT_TRUE(write_atomic(path() / "adapter_config.json", config.dump()));
    papers("base-1", "tok-1");
  }
  void write_weights(const std::string& bytes) {
    ASSERT_TRUE(write_atomic(path() / "adapter_model.safetensors", bytes));
  }
  void papers(const std::string& base, const std::string& tokenizer) {
    ASSERT_TRUE(write_atomic(path() / "provenance.json",
                             Json{{"base_sha256", base}, {"tokenizer_sha256", tokenizer}}.dump()));
  }
  PreflightFacts run() {
    PreflightInput input;
    input.folder = path().string();
    input.base_sha256 = "base-1";
    input.tokenizer_sha256 = "tok-1";
    input.sha256 = sha256;
    const auto facts = preflight(input);
    EXPECT_TRUE(facts) << facts.error().message;
    return *facts;
  }
  std::string failure() {
    const PreflightFacts facts = run();
    EXPECT_EQ(facts.verdict.passed, facts.verdict.failure.empty());
    EXPECT_FALSE(facts.verdict.message.empty());
    return facts.verdict.failure;
  }
  const fs::path& path() const { return folder_.path(); }
  std::string sha256;

 private:
  TempFolder folder_;
};

TEST_F(Preflight, AHealthyAdapterPasses) {
  write(healthy_tensors());
  const PreflightFacts facts = run();
  EXPECT_TRUE(facts.verdict.passed) << facts.verdict.failure << facts.verdict.message;
  EXPECT_EQ(2, facts.rank);
  EXPECT_EQ(2u, facts.tensors);
  EXPECT_EQ(14u, facts.parameters);
  sha256 = facts.sha256;
  EXPECT_EQ("", failure());
}

TEST_F(Preflight, MissingTruncatedAndGarbledFiles) {
  EXPECT_EQ("missing_file", failure());
  write(healthy_tensors());
  const std::string whole = safetensors(healthy_tensors());
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{5}, std::size_t{20}, whole.size() * 2 / 3, whole.size() - 1}) {
    write_weights(whole.substr(0, size));
    EXPECT_EQ("truncated", failure()) << size;
  }
  write_weights(whole + "x");
  EXPECT_EQ("bad_header", failure());
  std::string garbled = whole;
  garbled[10] = '\xff';
  write_weights(garbled);
  EXPECT_EQ("bad_header", failure());
  write_weights(std::string(8, '\xff') + whole);
  EXPECT_EQ("bad_header", failure());
}

TEST_F(Preflight, HolesDuplicatesAndWrongSizesInTheHeader) {
  write(healthy_tensors());
  const auto header_only = [](const std::string& text, std::size_t data) {
    const std::uint64_t length = text.size();
    std::string prefix(8, '\0');
    std::memcpy(prefix.data(), &length, 8);
    return prefix + text + std::string(data, '\0');
  };
  const std::string hole = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})";
  const std::string twice = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)"
                            R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  const std::string size = R"({"a":{"dtype":"F32","shape":[3],"data_offsets":[0,4]}})";
  const std::string huge =
      R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,4]}})";
  const std::string dtype = R"({"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}})";
  for (const auto& text : {hole, twice, size, huge, dtype, std::string("[]")}) {
    write_weights(header_only(text, 8));
    EXPECT_EQ("bad_header", failure()) << text;
  }
}

TEST_F(Preflight, NotANumberInEveryFloatFormat) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float bad : {nan, infinity, -infinity}) {
    auto tensors = healthy_tensors();
    tensors[0].data = raw(std::vector<float>{0, 0, 0, 0, 0, bad});
    write(tensors);
    EXPECT_EQ("nan_weights", failure());
  }
  auto brain = healthy_tensors();
  brain[1].data = raw(std::vector<std::uint16_t>{0, 0, 0, 0, 0, 0, 0, 0x7fc0});
  write(brain);
  EXPECT_EQ("nan_weights", failure());
  auto half = healthy_tensors();
  half[1].dtype = "F16";
  half[1].data = raw(std::vector<std::uint16_t>{0, 0, 0, 0x7e00, 0, 0, 0, 0});
  write(half);
  EXPECT_EQ("nan_weights", failure());
}

TEST_F(Preflight, WrongBaseTokenizerAndDigest) {
  write(healthy_tensors());
  papers("base-2", "tok-1");
  EXPECT_EQ("wrong_base", failure());
  papers("", "tok-1");
  EXPECT_EQ("wrong_base", failure()) << "unknown is not a pass";
  fs::remove(path() / "provenance.json");
  EXPECT_EQ("wrong_base", failure());
  papers("base-1", "tok-2");
  EXPECT_EQ("wrong_tokenizer", failure());
  papers("base-1", "tok-1");
  sha256 = std::string(64, 'a');
  EXPECT_EQ("wrong_digest", failure());
}

TEST_F(Preflight, WhatServersCannotServe) {
  const auto with = [&](const char* key, const Json& value) {
    Json config = healthy_config();
    config[key] = value;
    write(healthy_tensors(), config);
    return failure();
  };
  EXPECT_EQ("unsupported_feature", with("use_dora", true));
  EXPECT_EQ("unsupported_feature", with("bias", "all"));
  EXPECT_EQ("unsupported_feature", with("modules_to_save", {"lm_head"}));
  EXPECT_EQ("unsupported_feature", with("rank_pattern", {{"q_proj", 4}}));
  EXPECT_EQ("rank_too_large", with("r", 64));
  EXPECT_EQ("bad_config", with("r", "two"));
  EXPECT_EQ("bad_config", with("lora_alpha", 0));
  EXPECT_EQ("bad_config", with("peft_type", "IA3"));
  EXPECT_EQ("bad_shapes", with("r", 3));
  auto tensors = healthy_tensors();
  tensors.pop_back();
  write(tensors);
  EXPECT_EQ("bad_tensor_names", failure());
  tensors = healthy_tensors();
  tensors[0].name = "model.layers.0.weight";
  write(tensors);
  EXPECT_EQ("bad_tensor_names", failure());
  write({});
  EXPECT_EQ("bad_tensor_names", failure());
  write(healthy_tensors(), Json::array());
  EXPECT_EQ("bad_config", failure());
}

}  // namespace
}  // namespace trimtab::shadow
