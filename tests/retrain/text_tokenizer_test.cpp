// Tokenizer and BPE trainer beyond the goldens: hostile files, streaming, long words, regexes.
#include <gtest/gtest.h>

#include <chrono>
#include <functional>

#include "base/json.h"
#include "base/random.h"
#include "retrain/model/bpe_trainer.h"
#include "retrain/model/tokenizer.h"
#include "retrain/model/tokenizer_regex.h"
#include "retrain/model/tokenizer_unicode.h"

namespace trimtab::model {
namespace {

std::string small_json() {
  const std::vector<std::string> texts = {
      "route my card to the bank", "the bank lost my card again", "my card, my bank, my route 66"};
  return train_bpe(texts, {.vocab_size = 300,
                           .min_frequency = 2,
                           .special_tokens = {"<|endoftext|>", "<|im_end|>"}})
      .value();
}

TEST(BpeTrainer, SameTextsSameFileAndRoundTrip) {
  EXPECT_EQ(small_json(), small_json());
  const auto tokenizer = Tokenizer::parse(small_json());
  ASSERT_TRUE(tokenizer) << tokenizer.error().message;
  for (const std::string text : {"my card", "naïve 日本 🎉\n\t x", "", "a<|im_end|>b"}) {
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(text, false).value(), false), text);
  }
  EXPECT_EQ(tokenizer->token_id("<|im_end|>"), 1);
  EXPECT_EQ(tokenizer->encode("<|im_end|>", false).value(), TokenIds{1});
  EXPECT_LT(tokenizer->encode(" my card", false).value().size(), 4U) << "frequent words are merged";
}

TEST(BpeTrainer, RefusesWhatCannotHold) {
  const std::vector<std::string> texts = {"a"};
  EXPECT_FALSE(train_bpe(texts, {.vocab_size = 256}));
  EXPECT_FALSE(train_bpe(texts, {.vocab_size = 400, .special_tokens = {"x", "x"}}));
  EXPECT_FALSE(train_bpe(texts, {.vocab_size = 400, .special_tokens = {""}}));
}

TEST(StreamDecoder, PiecesOfAnyIdsEqualTheWholeAndAreUtf8) {
  const auto tokenizer = Tokenizer::parse(small_json()).value();
  Random random(7);
  for (int round = 0; round < 300; ++round) {
    TokenIds ids;
    for (int i = 0; i < 12; ++i) ids.push_back(static_cast<TokenId>(random.below(300)));
    StreamDecoder stream(tokenizer, true);
    std::string all;
    for (const TokenId id : ids) {
      const std::string piece = stream.push(id);
      EXPECT_TRUE(valid_utf8(piece));
      all += piece;
    }
    all += stream.finish();
    EXPECT_EQ(all, tokenizer.decode(ids, true)) << "round " << round << " of seed 7";
  }
}

TEST(Tokenizer, TwentyThousandCharactersInNearLinearTime) {
  const auto tokenizer = Tokenizer::parse(small_json()).value();
  const auto seconds = [&](std::size_t n) {
    std::string text;
    while (text.size() < n) text += "mycardbank";  // one word, many merges
    const auto begin = std::chrono::steady_clock::now();
    for (const auto& one : {text, std::string(n, ' '), std::string(n, '!'), std::string(n, '7')}) {
      EXPECT_EQ(tokenizer.decode(tokenizer.encode(one, false).value(), false), one);
    }
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  EXPECT_LT(seconds(20'000), 2.0);
  EXPECT_LT(seconds(200'000), 20.0) << "ten times the text is about ten times the work";
}

TEST(Tokenizer, InvalidUtf8IsReplacedNotCrashed) {
  const auto tokenizer = Tokenizer::parse(small_json()).value();
  const std::string bad = "a\xff\xe4\xb8 b\xf0\x9f";
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(bad, false).value(), false), lossy_utf8(bad));
}

// A change to a valid file that must be refused with one line that holds `word`.
void expect_refused(const std::function<void(Json&)>& change, const std::string& word) {
  Json json = Json::parse(small_json());
  change(json);
  const auto tokenizer = Tokenizer::parse(json.dump());
  ASSERT_FALSE(tokenizer) << word;
  EXPECT_NE(tokenizer.error().message.find(word), std::string::npos) << tokenizer.error().message;
  EXPECT_EQ(tokenizer.error().message.find('\n'), std::string::npos);
}

TEST(Tokenizer, HostileFilesAreRefusedByName) {
  expect_refused([](Json& j) { j.erase("model"); }, "model");
  expect_refused([](Json& j) { j["model"]["type"] = "Unigram"; }, "Unigram");
  expect_refused([](Json& j) { j["model"]["vocab"] = 3; }, "vocab");
  expect_refused([](Json& j) { j["model"]["vocab"]["a"] = "x"; }, "vocab");
  expect_refused([](Json& j) { j["model"]["vocab"]["a"] = -1; }, "vocab");
  expect_refused([](Json& j) { j["model"]["vocab"]["zzz"] = 4'000'000'000U; }, "vocab");
  expect_refused([](Json& j) { j["model"]["vocab"]["zzz"] = 5; }, "twice");
  expect_refused([](Json& j) { j["model"]["merges"].push_back(7); }, "merge");
  expect_refused([](Json& j) { j["model"]["merges"].push_back("no-space"); }, "merge");
  expect_refused([](Json& j) { j["model"]["merges"].push_back({"qqq", "zzz"}); }, "not in 'vocab'");
  expect_refused(
      [](Json& j) {
        j["model"]["vocab"][""] = 300;
        j["model"]["merges"].push_back({"a", ""});
      },
      "cycle");
  expect_refused([](Json& j) { j["normalizer"] = {{"type", "Precompiled"}}; }, "Precompiled");
  expect_refused([](Json& j) { j["pre_tokenizer"] = {{"type", "Magic"}}; }, "Magic");
  expect_refused([](Json& j) { j["decoder"] = {{"type", "WordPiece"}}; }, "WordPiece");
  expect_refused([](Json& j) { j["post_processor"] = {{"type", "Odd"}}; }, "Odd");
  expect_refused([](Json& j) { j["added_tokens"][0]["id"] = 77; }, "77");
  expect_refused([](Json& j) { j["added_tokens"] = "x"; }, "added_tokens");
  expect_refused([](Json& j) { j["model"]["dropout"] = 0.5; }, "dropout");
  expect_refused(
      [](Json& j) {
        Json deep = {{"type", "NFC"}};
        for (int i = 0; i < 25; ++i)
          deep = {{"type", "Sequence"}, {"normalizers", Json::array({deep})}};
        j["normalizer"] = deep;
      },
      "deep");
  expect_refused(
      [](Json& j) {
        j["pre_tokenizer"] = {
            {"type", "Split"}, {"pattern", {{"Regex", "(a"}}}, {"behavior", "Isolated"}};
      },
      "(a");
  EXPECT_FALSE(Tokenizer::parse(""));
  EXPECT_FALSE(Tokenizer::parse("[]"));
  EXPECT_FALSE(Tokenizer::parse(std::string(100'000, '[')));
}

TEST(Tokenizer, AMillionMergesAreRefusedQuickly) {
  std::string merges = "[";
  for (int i = 0; i < 1'000'000; ++i) merges += i == 0 ? "\"a b\"" : ",\"a b\"";
  const std::string json =
      R"({"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":)" + merges + "]}}";
  const auto tokenizer = Tokenizer::parse(json);
  ASSERT_FALSE(tokenizer);
  EXPECT_NE(tokenizer.error().message.find("1000000"), std::string::npos)
      << tokenizer.error().message;
}

TEST(TokenRegex, CatastrophicPatternsEndInAnError) {
  const auto regex = TokenRegex::compile("(a+)+(?!a)b");
  ASSERT_TRUE(regex);
  std::vector<TokenRegex::Span> spans;
  const auto done = regex->find_all(std::string(40, 'a'), spans);
  if (!done) {
    EXPECT_NE(done.error().message.find("steps"), std::string::npos);
  }
}

TEST(TokenRegex, OnigurumasMeaningIsKept) {
  EXPECT_TRUE(translate_oniguruma("\\d+").value().starts_with("[\\p{Nd}\\x{"));  // and newer ones
  EXPECT_EQ(translate_oniguruma("(?m:.)").value(), "(?s:.)");
  for (const auto* refused : {"\\h", "[a&&b]", "[a[b]]", "a{1,2}+", "\\p", "abc\\"}) {
    EXPECT_FALSE(translate_oniguruma(refused)) << refused;
  }
  const auto space = TokenRegex::compile("\\s").value();
  std::vector<TokenRegex::Span> spans;
  ASSERT_TRUE(space.find_all("\u180e", spans));  // no White_Space since Unicode 6.3
  ASSERT_EQ(spans.size(), 1U);
  EXPECT_FALSE(spans[0].matched);
  ASSERT_TRUE(space.find_all("\u0085", spans));
  EXPECT_TRUE(spans[0].matched);
}

}  // namespace
}  // namespace trimtab::model
