// The golden tokenizers and chat templates that Hugging Face's libraries made (exact).
#include <gtest/gtest.h>

#include <filesystem>

#include "base/files.h"
#include "base/json.h"
#include "retrain/model/chat_template.h"
#include "retrain/model/tokenizer.h"
#include "tests/paths.h"

namespace trimtab::model {
namespace {

std::filesystem::path goldens() { return tests::shared_dir() / "vectors/lora"; }

OrderedJson read(const std::filesystem::path& path) {
  return OrderedJson::parse(read_file(path).value());
}

std::vector<std::filesystem::path> folders(const std::filesystem::path& of) {
  std::vector<std::filesystem::path> found;
  for (const auto& entry : std::filesystem::directory_iterator(of)) {
    if (entry.is_directory()) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

TEST(TokenizerGolden, IdsAndTextsEqualHuggingFace) {
  if (!std::filesystem::exists(goldens())) GTEST_SKIP() << "../shared is absent";
  OrderedJson texts = read(goldens() / "tokenizers/texts.json");
  if (texts.is_object()) texts = OrderedJson(texts["texts"]);
  int compared = 0;
  for (const auto& folder : folders(goldens() / "tokenizers")) {
    const auto tokenizer = Tokenizer::load(folder);
    ASSERT_TRUE(tokenizer) << tokenizer.error().message;
    const OrderedJson document = read(folder / "cases.json");
    for (const auto& c : document["cases"]) {
      const auto text = texts[c["text"].get<std::size_t>()].get<std::string>();
      SCOPED_TRACE(folder.filename().string() + ": " + dump_json(Json(text)).substr(0, 80));
      const auto ids = c["ids"].get<TokenIds>();
      EXPECT_EQ(tokenizer->encode(text, false).value(), ids);
      EXPECT_EQ(tokenizer->encode(text, true).value(), c.value("ids_special", ids));
      const auto decoded = c.value("decoded", text);
      EXPECT_EQ(tokenizer->decode(ids, false), decoded);
      EXPECT_EQ(tokenizer->decode(ids, true), c.value("decoded_skip_special", decoded));
      for (const bool skip : {false, true}) {
        StreamDecoder stream(*tokenizer, skip);
        std::string pieces;
        for (const TokenId id : ids) pieces += stream.push(id);
        pieces += stream.finish();
        EXPECT_EQ(pieces, tokenizer->decode(ids, skip));
      }
      ++compared;
    }
  }
  EXPECT_GE(compared, 7 * 190);
}

TEST(ChatGolden, RenderedAsJinjaDoes) {
  if (!std::filesystem::exists(goldens())) GTEST_SKIP() << "../shared is absent";
  int compared = 0;
  for (const auto& folder : folders(goldens() / "chat")) {
    const auto chat = ChatTemplate::load(folder);
    ASSERT_TRUE(chat) << chat.error().message;
    const OrderedJson document = read(folder / "cases.json");
    for (const auto& c : document["cases"]) {
      SCOPED_TRACE(folder.filename().string() + " " + c.value("name", ""));
      OrderedJson variables = {{"add_generation_prompt", c.value("add_generation_prompt", false)}};
      for (const char* key : {"enable_thinking", "date_string"}) {
        if (c.contains(key)) variables[key] = c[key];
      }
      const auto text = chat->render(c["messages"], variables);
      if (c.contains("error")) {
        ASSERT_FALSE(text);
        EXPECT_EQ(text.error().message, c["error"].get<std::string>());
      } else {
        ASSERT_TRUE(text) << text.error().message;
        EXPECT_EQ(*text, c["rendered"].get<std::string>());
      }
      ++compared;
    }
  }
  EXPECT_GE(compared, 100);
}

}  // namespace
}  // namespace trimtab::model
