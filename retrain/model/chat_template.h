// ChatTemplate: a model's Jinja chat template, rendered as Jinja renders it for `transformers`
// (trim_blocks and lstrip_blocks on, keep_trailing_newline off, sandboxed).
//
// The template is a program from the model's files, so it is treated as hostile: no attribute
// reaches outside the values below, and steps, nesting, output and recursion are bounded. A
// construct that is not covered is refused by name when the template is loaded.
// Undefined names print as "", but a field of an undefined name is an error, as in Jinja.
//
// Thread-safety: immutable after loading; render() may be called from any thread.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace trimtab::model {

class ChatTemplate {
 public:
  // `folder`: with tokenizer_config.json (`chat_template`: a text, or a list of named ones of which
  // "default" is taken) or chat_template.jinja, which goes first. kNotFound when there is none.
  [[nodiscard]] static Result<ChatTemplate> load(const std::filesystem::path& folder);
  // `source` is the template's text.
  [[nodiscard]] static Result<ChatTemplate> parse(std::string_view source, std::string bos_token,
                                                  std::string eos_token);

  // `messages`: [{"role","content",..}, ..]; `variables`: an object of further names, such as
  // {"add_generation_prompt": true, "enable_thinking": false, "tools": [..]} (null: none). The
  // order of keys matters to templates that print objects, hence ordered_json. kInvalid with
  // raise_exception's own text when the template rejects the messages, or with what went wrong in
  // it.
  [[nodiscard]] Result<std::string> render(const nlohmann::ordered_json& messages,
                                           const nlohmann::ordered_json& variables) const;
  // The common call: messages and whether the assistant's turn is opened at the end.
  [[nodiscard]] Result<std::string> render(const nlohmann::ordered_json& messages,
                                           bool add_generation_prompt) const;

  struct Program;

 private:
  explicit ChatTemplate(std::shared_ptr<const Program> program) : program_(std::move(program)) {}
  std::shared_ptr<const Program> program_;
};

}  // namespace trimtab::model
