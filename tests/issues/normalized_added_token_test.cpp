// An added token with normalized=true decoded to its content; tokenizers 0.23 keeps what the
// normalizer makes of it, and does not skip it as special when that is another text.
#include <gtest/gtest.h>

#include "retrain/model/tokenizer.h"

namespace trimtab::model {
namespace {

constexpr const char* kJson = R"({"version": "1.0", "truncation": null, "padding": null,
  "added_tokens": [
    {"id": 3, "content": "Tag", "single_word": false, "lstrip": false, "rstrip": false,
     "normalized": true, "special": true},
    {"id": 4, "content": "END", "single_word": false, "lstrip": false, "rstrip": false,
     "normalized": false, "special": true}],
  "normalizer": {"type": "Lowercase"}, "pre_tokenizer": null, "post_processor": null,
  "decoder": {"type": "Fuse"},
  "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}})";

TEST(NormalizedAddedToken, DecodesToWhatTheNormalizerMadeOfIt) {  // expected: tokenizers 0.23.3
  const auto tokenizer = Tokenizer::parse(kJson);
  ASSERT_TRUE(tokenizer.has_value()) << tokenizer.error().message;
  EXPECT_EQ(tokenizer->encode("AbTAGaEND", false).value(), (TokenIds{2, 3, 0, 4}));
  EXPECT_EQ(tokenizer->decode(TokenIds{2, 3, 0, 4}, false), "abtagaEND");
  EXPECT_EQ(tokenizer->decode(TokenIds{2, 3, 0, 4}, true), "abtaga");
}

}  // namespace
}  // namespace trimtab::model
