// Hostile safetensors files: each refused with the file's name and the reason, none read past its
// end. The corpus (valid and broken headers, seeds of the mutations) is made here, so that it is
// replayed by every run; run under ASan it is the fuzz target's regression test.
#include "retrain/model/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/files.h"
#include "base/json.h"
#include "base/random.h"

namespace trimtab::model {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

std::string with_length(std::uint64_t length, const std::string& rest) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(length >> (8 * i) & 0xff);
  return bytes + rest;
}
std::string file_of(const std::string& header, std::size_t data) {
  return with_length(header.size(), header + std::string(data, '\1'));
}

class SafetensorsTest : public testing::Test {
 protected:
  std::string why(const std::string& bytes) {
    const auto path = root_.path() / "a.safetensors";
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;  // no fsync: thousands
    const auto opened = SafetensorsFile::open(path);
    if (opened) {
      // What is let through has to be readable to its last byte.
      unsigned sum = 0;
      for (const auto& [name, info] : opened->tensors()) {
        for (auto i = info.begin; i < info.end; ++i)
          sum += std::to_integer<unsigned>(opened->data(info)[i - info.begin]);
      }
      sum_ += sum;
      return "";
    }
    EXPECT_THAT(opened.error().message, StartsWith(path.string() + ": "));
    EXPECT_EQ(std::count(opened.error().message.begin(), opened.error().message.end(), '\n'), 0);
    return opened.error().message;
  }
  TempFolder root_;
  unsigned sum_ = 0;
};

constexpr const char* kGood = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                              R"("b":{"dtype":"BF16","shape":[2,2],"data_offsets":[8,16]}})";

TEST_F(SafetensorsTest, EveryKindOfLieIsNamed) {
  EXPECT_EQ(why(file_of(kGood, 16)), "");
  EXPECT_THAT(why(""), HasSubstr("too short"));
  EXPECT_THAT(why("12345"), HasSubstr("too short"));
  EXPECT_THAT(why(file_of(kGood, 12)), HasSubstr("truncated"));
  EXPECT_THAT(why(file_of(kGood, 20)), HasSubstr("after the last tensor"));
  EXPECT_THAT(why(with_length(~0ULL, kGood)), HasSubstr("header length"));
  EXPECT_THAT(why(with_length(200'000'000, kGood)), HasSubstr("header length"));
  EXPECT_THAT(why(file_of("[]", 0)), HasSubstr("not a JSON object"));
  EXPECT_THAT(why(file_of("{\"a\":", 0)), HasSubstr("not a JSON object"));
  const auto one = [&](const std::string& entry, std::size_t data) {
    return why(file_of("{\"a\":" + entry + "}", data));
  };
  EXPECT_THAT(one(R"({"dtype":"F33","shape":[2],"data_offsets":[0,8]})", 8), HasSubstr("F33"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[3],"data_offsets":[0,8]})", 8), HasSubstr("match"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[-2],"data_offsets":[0,8]})", 8), HasSubstr("shape"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]})", 8),
              HasSubstr("shape"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[2],"data_offsets":[8,0]})", 8), HasSubstr("offsets"));
  EXPECT_THAT(one(R"({"dtype":"F32","shape":[2],"data_offsets":[0]})", 8), HasSubstr("offsets"));
  EXPECT_THAT(one(R"({"shape":[2],"data_offsets":[0,8]})", 8), HasSubstr("dtype"));
  const auto two = [&](const std::string& second, std::size_t data) {
    return why(
        file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)" + second + "}", data));
  };
  EXPECT_THAT(two(R"("b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]})", 12),
              HasSubstr("overlap"));
  EXPECT_THAT(two(R"("b":{"dtype":"F32","shape":[1],"data_offsets":[12,16]})", 16),
              HasSubstr("hole"));
  EXPECT_THAT(two(R"("a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]})", 16),
              HasSubstr("duplicate"));
}

TEST_F(SafetensorsTest, MutatedFilesAreReadOrRefusedNeverCrashed) {
  const std::uint64_t seed = 31;
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random(seed);
  const std::vector<std::string> corpus = {
      file_of(kGood, 16), file_of("{}", 0),
      file_of(R"({"__metadata__":{"format":"pt"},"x":{"dtype":"I64","shape":[],"data_offsets":)"
              R"([0,8]}})",
              8),
      file_of(R"({"x":{"dtype":"F16","shape":[0,4],"data_offsets":[0,0]}})", 0)};
  int refused = 0, read = 0;
  for (int i = 0; i < 4'000; ++i) {
    std::string bytes = corpus[random.below(corpus.size())];
    for (std::uint64_t edits = 1 + random.below(4); edits > 0 && !bytes.empty(); --edits) {
      const auto at = random.below(bytes.size());
      switch (random.below(4)) {
        case 0: bytes[at] = static_cast<char>(random.below(256)); break;
        case 1: bytes.erase(at, 1 + random.below(8)); break;
        case 2: bytes.insert(at, bytes.substr(random.below(bytes.size()), random.below(20))); break;
        default: bytes.resize(at); break;
      }
    }
    (why(bytes).empty() ? read : refused)++;
  }
  EXPECT_GT(refused, 1'000);
  EXPECT_GT(read, 10);  // edits inside data or names change nothing that can be seen
}

TEST_F(SafetensorsTest, ADeepHeaderAndAMillionTensorsEnd) {
  std::string deep = "{\"a\":";
  for (int i = 0; i < 100'000; ++i) deep += "[";
  EXPECT_NE(why(file_of(deep, 0)), "");
  std::string many = "{";
  for (int i = 0; i < 200'000; ++i) {
    many += (i > 0 ? "," : "") + ("\"t" + std::to_string(i)) +
            R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  }
  EXPECT_EQ(why(file_of(many + "}", 0)), "");
}

}  // namespace
}  // namespace trimtab::model
