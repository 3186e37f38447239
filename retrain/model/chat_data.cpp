#include "retrain/model/chat_data.h"

#include <sstream>

#include "base/files.h"
#include "base/json.h"

namespace trimtab::model {

Result<ChatCodec> ChatCodec::load(const std::filesystem::path& folder) {
  TRIMTAB_TRY(auto tokenizer, Tokenizer::load(folder));
  TRIMTAB_TRY(auto chat, ChatTemplate::load(folder));
  TRIMTAB_TRY(const auto special, load_special_tokens(folder, tokenizer));
  if (!special.eos_id) {
    return fail(Code::kInvalid,
                folder.string() +
                    ": no eos_token in tokenizer_config.json: an answer's end cannot be taught");
  }
  return ChatCodec{std::move(tokenizer), std::move(chat), *special.eos_id, special.stop_ids};
}

namespace {

Result<ChatLine> parse_line(const std::string& text, const ChatCodec& codec) {
  OrderedJson json = OrderedJson::parse(text, nullptr, false);
  if (!json.is_object() || !json.contains("messages") || !json["messages"].is_array() ||
      json["messages"].empty()) {
    return fail(Code::kInvalid, "needs an object with a list 'messages'");
  }
  OrderedJson messages = json["messages"];
  const OrderedJson last = messages.back();
  if (!last.is_object() || last.value("role", "") != "assistant" || !last.contains("content") ||
      !last["content"].is_string()) {
    return fail(Code::kInvalid,
                "the last message must be the assistant's, with its text as content");
  }
  messages.erase(messages.size() - 1);
  ChatLine line;
  line.target = last["content"].get<std::string>();
  if (line.target.empty()) return fail(Code::kInvalid, "the assistant's text is empty");
  if (json.contains("id") && json["id"].is_string())
    line.example.id = json["id"].get<std::string>();
  if (json.contains("weight")) {
    if (!json["weight"].is_number()) return fail(Code::kInvalid, "'weight' must be a number");
    line.example.weight = json["weight"].get<double>();
    if (!(line.example.weight >= 0 && line.example.weight <= 1e6))
      return fail(Code::kInvalid, "'weight' is out of range");
  }
  const bool kl = json.contains("kl") && json["kl"].is_boolean() && json["kl"].get<bool>();
  line.example.replay = kl || (json.contains("kind") && json["kind"] == "replay");
  TRIMTAB_TRY(const std::string prompt, codec.chat.render(messages, true));
  TRIMTAB_TRY(line.example.ids, codec.tokenizer.encode(prompt, false));
  line.example.prompt_length = static_cast<std::int64_t>(line.example.ids.size());
  TRIMTAB_TRY(const TokenIds target, codec.tokenizer.encode(line.target, false));
  line.example.labels.assign(line.example.ids.size(), -100);
  line.example.ids.insert(line.example.ids.end(), target.begin(), target.end());
  line.example.labels.insert(line.example.labels.end(), target.begin(), target.end());
  line.example.ids.push_back(codec.eos);
  line.example.labels.push_back(codec.eos);
  return line;
}

}  // namespace

Result<std::vector<ChatLine>> read_chat(const std::filesystem::path& path, const ChatCodec& codec,
                                        std::int64_t max_length, std::int64_t& too_long) {
  TRIMTAB_TRY(const std::string content, read_file(path, 4ULL << 30));
  std::istringstream in(content);
  std::vector<ChatLine> lines;
  std::string text;
  for (std::size_t number = 1; std::getline(in, text); ++number) {
    if (text.empty()) continue;
    auto line = parse_line(text, codec);
    if (!line)
      return fail(Code::kInvalid,
                  path.string() + ":" + std::to_string(number) + ": " + line.error().message);
    if (static_cast<std::int64_t>(line->example.ids.size()) > max_length) {
      ++too_long;
      continue;
    }
    lines.push_back(std::move(*line));
  }
  return lines;
}

}  // namespace trimtab::model
