// Characters newer than the libraries' Unicode, and those that `tokenizers` 0.23 takes otherwise:
// a joiner beside a single_word token, \p{Lu} of Unicode 16, compatibility forms that its tables
// lack. An added token that the normalizer empties cuts text everywhere there: refused here.
// Found by comparing every code point; expected: tokenizers 0.23.3.
#include <gtest/gtest.h>

#include "retrain/model/tokenizer.h"

namespace trimtab::model {
namespace {

// Byte-level symbols, so that what a stage made of the text can be read from the ids.
std::string file(const std::string& normalizer, const std::string& split,
                 const std::string& added) {
  return R"({"added_tokens": [)" + added + R"(], "normalizer": )" + normalizer +
         R"(, "pre_tokenizer": )" + split + R"(, "post_processor": null, "decoder": null,
  "model": {"type": "BPE", "unk_token": "?", "fuse_unk": false, "byte_fallback": false,
            "vocab": {"?": 0, "a": 1, "b": 2, "aa": 3, "i": 4},
            "merges": ["a a"]}})";
}
std::string single_word() {
  return R"({"id": 5, "content": "QQ", "single_word": true, "lstrip": false, "rstrip": false,
             "normalized": false, "special": false})";
}
TokenIds ids(const std::string& json, const char* text) {
  const auto tokenizer = Tokenizer::parse(json);
  EXPECT_TRUE(tokenizer.has_value()) << tokenizer.error().message;
  return tokenizer ? tokenizer->encode(text, false).value() : TokenIds{};
}

TEST(UnicodeOfTheReference, JoinersAndNewLettersBelongToWords) {
  const auto json = file("null", "null", single_word());
  EXPECT_EQ(ids(json, "QQ"), (TokenIds{5}));
  EXPECT_EQ(ids(json, "QQ\u200d"), (TokenIds{0, 0, 0}));
  EXPECT_EQ(ids(json, "QQ\u1c8a"), (TokenIds{0, 0, 0}));
}

TEST(UnicodeOfTheReference, CategoriesAreThoseOfUnicode16) {
  const auto split = R"({"type": "Split", "pattern": {"Regex": "\\p{Lu}"}, "behavior": "Removed",
                         "invert": false})";
  EXPECT_EQ(ids(file("null", split, ""), "a\u1c89a"), (TokenIds{1, 1}));
  EXPECT_EQ(ids(file("null", split, ""), "aa"), (TokenIds{3}));
}

TEST(UnicodeOfTheReference, ScriptsAreTheScriptsProper) {  // PCRE2: their extensions, too
  const auto han = R"({"type": "Split", "pattern": {"Regex": "\\p{Han}"}, "behavior": "Removed",
                       "invert": false})";
  EXPECT_EQ(ids(file("null", han, ""), "a\u4e00a"), (TokenIds{1, 1}));
  EXPECT_EQ(ids(file("null", han, ""), "a\u3002a"), (TokenIds{1, 0, 1}));
  const auto word = R"({"type": "Split", "pattern": {"Regex": "\\w"}, "behavior": "Removed",
                        "invert": false})";
  EXPECT_EQ(ids(file("null", word, ""), "\u00b2!"), (TokenIds{0}));
}

TEST(UnicodeOfTheReference, WhitespaceKeepsJoinersInWords) {
  const auto json = file("null", R"({"type": "Whitespace"})", "");
  EXPECT_EQ(ids(json, "a\u200da"), (TokenIds{1, 0, 1}));
  EXPECT_EQ(ids(json, "a!a a"), (TokenIds{1, 0, 1, 1}));
}

TEST(UnicodeOfTheReference, NormalFormsLeaveWhatItsTablesLack) {
  const auto json = file(R"({"type": "NFKC"})", "null", "");
  EXPECT_EQ(ids(json, "\u32ff"), (TokenIds{0}));  // utf8proc: two characters
  EXPECT_EQ(ids(json, "\u1d43"), (TokenIds{1}));
}

TEST(UnicodeOfTheReference, AnAddedTokenThatNormalizesToNothingIsRefused) {
  const auto tokenizer = Tokenizer::parse(
      file(R"({"type": "Strip", "strip_left": true, "strip_right": true})", "null",
           R"({"id": 5, "content": "  ", "single_word": false, "lstrip": false, "rstrip": false,
               "normalized": true, "special": false})"));
  ASSERT_FALSE(tokenizer.has_value());
  EXPECT_NE(tokenizer.error().message.find("nothing once normalized"), std::string::npos);
}

}  // namespace
}  // namespace trimtab::model
