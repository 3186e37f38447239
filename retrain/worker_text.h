// The worker's text commands: tokenize, detokenize, render-chat (COMMANDS.md, trimtab-worker).
//
// Each reads JSON lines and writes one JSON line for each. A line that is not what the command
// takes ends it with kInvalid and "-:LINE: what". No libtorch here, so they start in milliseconds.
#pragma once

#include <filesystem>
#include <iosfwd>
#include <string>
#include <vector>

#include "base/result.h"

namespace trimtab::retrain {

struct TokenizeOptions {
  std::filesystem::path base;  // a folder with tokenizer.json
  bool special = false;        // tokenize: with BOS and so on; detokenize: leave special tokens out
};
// A JSON string a line -> a JSON array of ids a line.
[[nodiscard]] Status tokenize_lines(const TokenizeOptions& options, std::istream& in,
                                    std::ostream& out);
// The other way.
[[nodiscard]] Status detokenize_lines(const TokenizeOptions& options, std::istream& in,
                                      std::ostream& out);

struct RenderChatOptions {
  std::filesystem::path base;  // a folder with tokenizer_config.json
  bool generation_prompt = false;
  // "name=value": further variables; a value that is JSON is taken as JSON, else as text.
  std::vector<std::string> set;
};
// A JSON list of messages a line -> a JSON string a line, or {"error": ".."} when the template
// rejects them.
[[nodiscard]] Status render_chat_lines(const RenderChatOptions& options, std::istream& in,
                                       std::ostream& out);

}  // namespace trimtab::retrain
