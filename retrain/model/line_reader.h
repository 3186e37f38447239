// A job's data files, in every shape a job may name, as items to train on.
//
//   tokens   {"input_ids", "labels"}
//   text     {"text"} a line (.jsonl), else documents parted by blank lines; cut at max_length
//   prompts  {"prompt", "completion"}: texts
//   chat     {"messages": [.., {"role": "assistant", "content": target}]}
//   pairs    {"prompt", "chosen", "rejected"};  thumbs {"prompt", "completion", "good"}: each part
//            token ids, a text, or (prompt: a list, answers: one) chat messages
// Any line may have "id", "weight" (0..1e6), "kind": "replay" or "kl": true (KL is asked of it),
// and "task" (else "tenant"): whose gradient it is in gradient surgery. Texts end with the
// end-of-sequence token, which is supervised; token ids are taken as they are. The prompt of chat
// lines is rendered by the base's own template with the generation prompt. Owned by one thread.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "retrain/model/chat_data.h"
#include "retrain/model/train_data.h"

namespace trimtab::model {

enum class DataKind {
  kTokens,
  kText,
  kPrompts,
  kPairs,
  kThumbs,
  kChat,
  kAny  // tokens, text, prompts or chat, by what the line has
};

// One line of a file, not yet tokenised: what augmentation works on.
struct DataLine {
  OrderedJson json;
  std::string where;  // FILE:LINE
};
// Calls `f` with each line, in order; its error ends the reading. kInvalid "FILE:LINE: what" for a
// line that is no JSON object. Answers how many there were.
[[nodiscard]] Result<std::size_t> for_each_data_line(
    const std::filesystem::path& path, DataKind kind,
    const std::function<Status(const DataLine&)>& f);

class LineReader {
 public:
  // `max_length` in tokens (at most the context counts); `whole`: prompts count in SFT, too.
  LineReader(std::filesystem::path base, const ModelConfig& config, std::int64_t max_length,
             bool whole);

  // Appends the line's items (text: one a piece). Lines of text that are too long are counted in
  // too_long() and left out; token ids beyond the context are an error.
  [[nodiscard]] Status add(const DataLine& line, DataKind kind, std::vector<Item>& items);
  [[nodiscard]] std::int64_t too_long() const { return too_long_; }

 private:
  [[nodiscard]] Status load();
  [[nodiscard]] Status add_text(const Json& json, std::vector<Item>& items);
  [[nodiscard]] Result<Item> item_of(const OrderedJson& line, const Json& json, DataKind kind);
  [[nodiscard]] Result<TokenIds> prompt_ids(const OrderedJson& prompt);
  [[nodiscard]] Result<TokenIds> answer_ids(const OrderedJson& answer);
  [[nodiscard]] Result<Example> pair_of(const OrderedJson& line, const char* answer);
  [[nodiscard]] Result<Example> chat_of(const OrderedJson& line);

  std::filesystem::path base_;
  ModelConfig config_;
  std::int64_t max_length_;
  bool whole_;
  std::int64_t too_long_ = 0;
  bool text_line_ = false;  // the line at hand is text, not token ids
  // Loaded when the first text comes: token ids need no tokenizer.
  std::optional<Tokenizer> tokenizer_;
  std::optional<ChatTemplate> chat_;
  std::string no_chat_;  // why there is no template
  std::optional<TokenId> eos_;
};

}  // namespace trimtab::model
