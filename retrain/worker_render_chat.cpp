#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <string>

#include "base/json.h"
#include "retrain/model/chat_template.h"
#include "retrain/worker_command.h"
#include "retrain/worker_text.h"

namespace trimtab::retrain {
namespace {

// Keeps the order of keys, which templates print.
Result<OrderedJson> parse_ordered(const std::string& text) {
  TRIMTAB_CHECK_OK(parse_json(text));  // bounds the nesting
  OrderedJson json = OrderedJson::parse(text, nullptr, false);
  if (json.is_discarded()) return fail(Code::kInvalid, "not JSON");
  return json;
}

Result<OrderedJson> read_variables(const RenderChatOptions& options) {
  OrderedJson variables = {{"add_generation_prompt", options.generation_prompt}};
  for (const auto& entry : options.set) {
    const std::size_t equals = entry.find('=');
    if (equals == std::string::npos || equals == 0) {
      return fail(Code::kInvalid, "--set " + entry + ": give name=value");
    }
    const std::string name = entry.substr(0, equals), text = entry.substr(equals + 1);
    auto value = parse_ordered(text);
    variables[name] = value ? *value : OrderedJson(text);
  }
  return variables;
}

}  // namespace

Status render_chat_lines(const RenderChatOptions& options, std::istream& in, std::ostream& out) {
  TRIMTAB_TRY(const auto chat, model::ChatTemplate::load(options.base));
  TRIMTAB_TRY(const OrderedJson variables, read_variables(options));
  std::string line;
  for (std::size_t number = 1; std::getline(in, line); ++number) {
    const auto messages = parse_ordered(line);
    if (!messages || !messages->is_array()) {
      return fail(Code::kInvalid,
                  "-:" + std::to_string(number) +
                      ": not a JSON list of messages; write one conversation a line");
    }
    const auto text = chat.render(*messages, variables);
    const Json answer = text ? Json(*text) : Json{{"error", text.error().message}};
    out << answer.dump(-1, ' ', true, Json::error_handler_t::replace) << '\n';
    if (!out) return cannot_write_stdout();
  }
  return {};
}

Run add_render_chat(CLI::App& app) {
  auto options = std::make_shared<RenderChatOptions>();
  app.add_option("--base", options->base, "Folder with tokenizer_config.json")->required();
  app.add_flag("--generation-prompt", options->generation_prompt, "Open the assistant's turn");
  app.add_option("--set", options->set,
                 "A variable of the template, name=value (value: JSON or text)");
  return [options]() -> Result<int> {
    TRIMTAB_CHECK_OK(render_chat_lines(*options, std::cin, std::cout));
    return 0;
  };
}

}  // namespace trimtab::retrain
