// Chat lines (job data, COMMANDS.md and the job schema) as token ids with supervised positions.
//
// A line: {"id", "messages": [.., {"role": "assistant", "content": target}], "weight", "kind",
// "kl"}. The prompt is rendered by the base's own chat template with the generation prompt; the
// target's tokens and the end-of-sequence token are supervised, nothing else.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"
#include "retrain/model/chat_template.h"
#include "retrain/model/tokenizer.h"

namespace trimtab::model {

// One document to train on. A label counts where it is >= 0; label i is ids[i] itself (shifted when
// used: position i - 1 predicts it), so labels[0] never counts.
struct Example {
  std::string id;
  std::vector<std::int64_t> ids;
  std::vector<std::int64_t> labels;
  double weight = 1.0;
  bool replay = false;  // kind is replay, or "kl": true
  std::int64_t prompt_length = 0;
};

struct ChatCodec {
  Tokenizer tokenizer;
  ChatTemplate chat;
  std::int64_t eos = -1;
  // Tokens that end an answer when generating.
  std::vector<std::int64_t> stops;
  // Tokenizer, template and special tokens of a snapshot folder.
  [[nodiscard]] static Result<ChatCodec> load(const std::filesystem::path& folder);
};

struct ChatLine {
  Example example;
  std::string target;  // the assistant's text
};

// kInvalid as "FILE:LINE: what" for a malformed line; kInvalid "no_data" never: an empty file is an
// empty list. Lines longer than max_length are counted in `too_long` and left out.
[[nodiscard]] Result<std::vector<ChatLine>> read_chat(const std::filesystem::path& path,
                                                      const ChatCodec& codec,
                                                      std::int64_t max_length,
                                                      std::int64_t& too_long);

}  // namespace trimtab::model
