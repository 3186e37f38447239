#include "retrain/model/line_reader.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "base/files.h"

namespace trimtab::model {
namespace {

constexpr std::uint64_t kFileLimit = 8ULL << 30;

using OnLine = std::function<Status(const DataLine&)>;

Result<std::size_t> read_paragraphs(const std::filesystem::path& path, const std::string& content,
                                    const OnLine& f) {
  std::size_t count = 0;
  std::istringstream in(content);
  std::string text, document;
  std::size_t number = 0, first = 1;
  const auto flush = [&]() -> Status {
    if (document.empty()) return {};
    ++count;
    const DataLine line{{{"text", document}}, path.string() + ":" + std::to_string(first)};
    document.clear();
    return f(line);
  };
  while (std::getline(in, text)) {
    ++number;
    if (!text.empty() && text.back() == '\r') text.pop_back();
    if (text.find_first_not_of(" \t") == std::string::npos) {
      TRIMTAB_CHECK_OK(flush());
      continue;
    }
    if (document.empty()) first = number;
    document += (document.empty() ? "" : "\n") + text;
  }
  TRIMTAB_CHECK_OK(flush());
  return count;
}

Result<std::vector<std::int64_t>> id_list(const Json& json, const char* key,
                                          const ModelConfig& config, bool masked) {
  if (!json.is_array())
    return fail(Code::kInvalid, std::string("needs a list of token ids '") + key + "'");
  std::vector<std::int64_t> ids;
  ids.reserve(json.size());
  for (const Json& item : json) {
    if (!item.is_number_integer())
      return fail(Code::kInvalid, std::string("'") + key + "' must hold whole numbers");
    const auto id = item.get<std::int64_t>();
    if ((id < 0 && !(masked && id == -100)) || id >= config.vocab) {
      return fail(Code::kInvalid, "token id " + std::to_string(id) + " in '" + key +
                                      "' is outside the vocabulary of " +
                                      std::to_string(config.vocab));
    }
    ids.push_back(id);
  }
  return ids;
}

Json member(const Json& json, const char* key) { return json.contains(key) ? json[key] : Json(); }

Status check_length(const Example& example, const ModelConfig& config) {
  if (example.ids.empty()) return fail(Code::kInvalid, "an empty document");
  if (static_cast<std::int64_t>(example.ids.size()) > config.max_positions) {
    return fail(Code::kInvalid, std::to_string(example.ids.size()) +
                                    " tokens are more than the context of " +
                                    std::to_string(config.max_positions));
  }
  return {};
}

// "id", "weight", "kind", "kl", "task".
Status read_common(const Json& json, Item& item) {
  Example& example = item.example;
  example.id = json_or<std::string>(json, "id", "");
  if (json.contains("weight")) {
    if (!json["weight"].is_number()) return fail(Code::kInvalid, "'weight' must be a number");
    example.weight = json["weight"].get<double>();
    if (!(example.weight >= 0 && example.weight <= 1e6))
      return fail(Code::kInvalid, "'weight' is out of range");
  }
  const bool kl = json.contains("kl") && json["kl"].is_boolean() && json["kl"].get<bool>();
  example.replay = kl || member(json, "kind") == "replay";
  item.task = json_or<std::string>(json, "task", json_or<std::string>(json, "tenant", ""));
  return {};
}

// Token ids, or text in any form?
bool is_ids(const OrderedJson& value) {
  return value.is_array() && !value.empty() && value.front().is_number();
}

void supervise(Example& example, std::size_t prompt, bool whole) {
  example.prompt_length = static_cast<std::int64_t>(prompt);
  example.labels.assign(example.ids.begin(), example.ids.end());
  if (!whole) std::fill_n(example.labels.begin(), prompt, -100);
}

DataKind kind_of(const Json& json) {
  if (json.contains("messages")) return DataKind::kChat;
  if (json.contains("input_ids")) return DataKind::kTokens;
  if (json.contains("text")) return DataKind::kText;
  return DataKind::kPrompts;
}

}  // namespace

Result<std::size_t> for_each_data_line(const std::filesystem::path& path, DataKind kind,
                                       const OnLine& f) {
  TRIMTAB_TRY(const std::string content, read_file(path, kFileLimit));
  if (kind == DataKind::kText && path.extension() != ".jsonl")
    return read_paragraphs(path, content, f);
  std::istringstream in(content);
  std::size_t count = 0;
  std::string text;
  for (std::size_t number = 1; std::getline(in, text); ++number) {
    if (text.empty() || text == "\r") continue;
    const std::string where = path.string() + ":" + std::to_string(number);
    const auto checked = parse_json(text);  // bounds the nesting
    if (!checked) return fail_in(where, checked.error());
    if (!checked->is_object()) return fail(Code::kInvalid, where + ": not a JSON object");
    ++count;
    TRIMTAB_CHECK_OK(f({OrderedJson::parse(text, nullptr, false), where}));
  }
  return count;
}

LineReader::LineReader(std::filesystem::path base, const ModelConfig& config,
                       std::int64_t max_length, bool whole)
    : base_(std::move(base)),
      config_(config),
      max_length_(std::min(max_length, config.max_positions)),
      whole_(whole) {}

Status LineReader::load() {
  if (tokenizer_) return {};
  TRIMTAB_TRY(tokenizer_, Tokenizer::load(base_));
  if (tokenizer_->vocab_size() > config_.vocab) {
    return fail(Code::kInvalid,
                base_.string() + ": tokenizer.json has ids beyond the vocabulary of config.json");
  }
  TRIMTAB_TRY(const auto special, load_special_tokens(base_, *tokenizer_));
  eos_ = special.eos_id;
  auto chat = ChatTemplate::load(base_);
  if (chat)
    chat_ = std::move(*chat);
  else
    no_chat_ = chat.error().message;
  return {};
}

Status LineReader::add(const DataLine& line, DataKind kind, std::vector<Item>& items) {
  const Json json = Json(line.json);
  if (kind == DataKind::kAny) kind = kind_of(json);
  if (kind == DataKind::kText) {
    if (auto status = add_text(json, items); !status) return fail_in(line.where, status.error());
    return {};
  }
  text_line_ = false;
  auto item = item_of(line.json, json, kind);
  if (!item) return fail_in(line.where, item.error());
  if (auto status = read_common(json, *item); !status) return fail_in(line.where, status.error());
  const auto longest =
      static_cast<std::int64_t>(std::max(item->example.ids.size(), item->rejected.ids.size()));
  if (text_line_ && longest > max_length_) {
    ++too_long_;
    return {};
  }
  items.push_back(std::move(*item));
  return {};
}

Status LineReader::add_text(const Json& json, std::vector<Item>& items) {
  TRIMTAB_CHECK_OK(load());
  TRIMTAB_TRY(const auto text, json_get<std::string>(json, "text"));
  TRIMTAB_TRY(TokenIds ids, tokenizer_->encode(text, true));
  if (eos_ && (ids.empty() || ids.back() != *eos_)) ids.push_back(*eos_);
  const auto piece = static_cast<std::size_t>(max_length_);
  for (std::size_t begin = 0; begin + 1 < ids.size(); begin += piece) {
    const std::size_t end = std::min(ids.size(), begin + piece);
    Item item;
    TRIMTAB_CHECK_OK(read_common(json, item));
    item.example.ids.assign(ids.begin() + static_cast<std::ptrdiff_t>(begin),
                            ids.begin() + static_cast<std::ptrdiff_t>(end));
    supervise(item.example, 0, true);
    items.push_back(std::move(item));
  }
  return {};
}

Result<Item> LineReader::item_of(const OrderedJson& line, const Json& json, DataKind kind) {
  Item item;
  switch (kind) {
    case DataKind::kTokens: {
      TRIMTAB_TRY(item.example.ids,
                  id_list(member(json, "input_ids"), "input_ids", config_, false));
      TRIMTAB_TRY(item.example.labels, id_list(member(json, "labels"), "labels", config_, true));
      if (item.example.ids.size() != item.example.labels.size())
        return fail(Code::kInvalid, "input_ids and labels differ in length");
      TRIMTAB_CHECK_OK(check_length(item.example, config_));
      return item;
    }
    case DataKind::kChat: {
      TRIMTAB_TRY(item.example, chat_of(line));
      return item;
    }
    case DataKind::kPairs: {
      TRIMTAB_TRY(item.example, pair_of(line, "chosen"));
      TRIMTAB_TRY(item.rejected, pair_of(line, "rejected"));
      return item;
    }
    case DataKind::kThumbs: {
      TRIMTAB_TRY(item.example, pair_of(line, "completion"));
      TRIMTAB_TRY(item.good, json_get<bool>(json, json.contains("good") ? "good" : "label"));
      return item;
    }
    default: {
      TRIMTAB_TRY(item.example, pair_of(line, "completion"));
      supervise(item.example, static_cast<std::size_t>(item.example.prompt_length), whole_);
      return item;
    }
  }
}

Result<TokenIds> LineReader::prompt_ids(const OrderedJson& prompt) {
  text_line_ = true;
  TRIMTAB_CHECK_OK(load());
  if (prompt.is_string()) return tokenizer_->encode(prompt.get<std::string>(), true);
  if (!prompt.is_array() || prompt.empty() || !prompt.front().is_object())
    return fail(Code::kInvalid, "'prompt' must be token ids, a text or a list of messages");
  if (!chat_) return fail(Code::kInvalid, no_chat_);
  TRIMTAB_TRY(const std::string text, chat_->render(prompt, true));
  return tokenizer_->encode(text, false);
}

Result<TokenIds> LineReader::answer_ids(const OrderedJson& answer) {
  TRIMTAB_CHECK_OK(load());
  if (!eos_) {
    return fail(Code::kInvalid,
                base_.string() +
                    ": no eos_token in tokenizer_config.json: an answer's end cannot be taught");
  }
  const OrderedJson& message = answer.is_array() && answer.size() == 1 ? answer.front() : answer;
  const OrderedJson content =
      message.is_object() && message.contains("content") ? message["content"] : message;
  if (!content.is_string() || content.get<std::string>().empty())
    return fail(Code::kInvalid, "an answer must be token ids, a text or one message, not empty");
  TRIMTAB_TRY(TokenIds ids, tokenizer_->encode(content.get<std::string>(), false));
  ids.push_back(*eos_);
  return ids;
}

Result<Example> LineReader::pair_of(const OrderedJson& line, const char* answer) {
  const OrderedJson prompt = line.contains("prompt") ? line["prompt"] : OrderedJson();
  const OrderedJson value = line.contains(answer) ? line[answer] : OrderedJson();
  Example example;
  TokenIds completion;
  if (is_ids(prompt)) {
    TRIMTAB_TRY(example.ids, id_list(Json(prompt), "prompt", config_, false));
    TRIMTAB_TRY(completion, id_list(Json(value), answer, config_, false));
  } else {
    if (prompt.is_null()) return fail(Code::kInvalid, "missing key 'prompt'");
    if (value.is_null()) return fail(Code::kInvalid, std::string("missing key '") + answer + "'");
    TRIMTAB_TRY(example.ids, prompt_ids(prompt));
    TRIMTAB_TRY(completion, answer_ids(value));
  }
  if (example.ids.empty() || completion.empty())
    return fail(Code::kInvalid, "prompt and completion must not be empty");
  const std::size_t length = example.ids.size();
  example.ids.insert(example.ids.end(), completion.begin(), completion.end());
  supervise(example, length, false);
  if (is_ids(prompt)) TRIMTAB_CHECK_OK(check_length(example, config_));
  return example;
}

Result<Example> LineReader::chat_of(const OrderedJson& line) {
  if (!line.contains("messages") || !line["messages"].is_array() || line["messages"].empty())
    return fail(Code::kInvalid, "needs an object with a list 'messages'");
  OrderedJson messages = line["messages"];
  const OrderedJson last = messages.back();
  if (!last.is_object() || last.value("role", OrderedJson()) != "assistant" ||
      !last.contains("content") || !last["content"].is_string()) {
    return fail(Code::kInvalid,
                "the last message must be the assistant's, with its text as content");
  }
  if (last["content"].get<std::string>().empty())
    return fail(Code::kInvalid, "the assistant's text is empty");
  messages.erase(messages.size() - 1);
  text_line_ = true;
  TRIMTAB_CHECK_OK(load());
  if (!chat_) return fail(Code::kInvalid, no_chat_);
  TRIMTAB_TRY(const std::string prompt, chat_->render(messages, true));
  Example example;
  TRIMTAB_TRY(example.ids, tokenizer_->encode(prompt, false));
  TRIMTAB_TRY(const TokenIds target, answer_ids(last));
  const std::size_t length = example.ids.size();
  example.ids.insert(example.ids.end(), target.begin(), target.end());
  supervise(example, length, whole_);
  return example;
}

}  // namespace trimtab::model
