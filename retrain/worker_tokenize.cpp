#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <string>

#include "base/json.h"
#include "retrain/model/tokenizer.h"
#include "retrain/worker_command.h"
#include "retrain/worker_text.h"

namespace trimtab::retrain {
namespace {

tl::unexpected<Error> bad_line(std::size_t line, const std::string& what) {
  return fail(Code::kInvalid, "-:" + std::to_string(line) + ": " + what);
}

// ASCII only: readers that split at U+2028 or U+0085 still see one line for one.
Status write_line(std::ostream& out, const Json& value) {
  out << value.dump(-1, ' ', true, Json::error_handler_t::replace) << '\n';
  if (!out) return cannot_write_stdout();
  return {};
}

}  // namespace

Status tokenize_lines(const TokenizeOptions& options, std::istream& in, std::ostream& out) {
  TRIMTAB_TRY(const auto tokenizer, model::Tokenizer::load(options.base));
  std::string line;
  for (std::size_t number = 1; std::getline(in, line); ++number) {
    const auto json = parse_json(line);
    if (!json || !json->is_string()) {
      return bad_line(number, "not a JSON string; write one text a line, quoted");
    }
    const auto ids = tokenizer.encode(json->get_ref<const std::string&>(), options.special);
    if (!ids) return bad_line(number, ids.error().message);
    TRIMTAB_CHECK_OK(write_line(out, *ids));
  }
  return {};
}

Status detokenize_lines(const TokenizeOptions& options, std::istream& in, std::ostream& out) {
  TRIMTAB_TRY(const auto tokenizer, model::Tokenizer::load(options.base));
  std::string line;
  for (std::size_t number = 1; std::getline(in, line); ++number) {
    const auto json = parse_json(line);
    if (!json || !json->is_array()) return bad_line(number, "not a JSON array of ids");
    model::TokenIds ids;
    for (const auto& id : *json) {
      if (!id.is_number_integer()) return bad_line(number, "an id is no whole number");
      ids.push_back(id.get<model::TokenId>());
    }
    TRIMTAB_CHECK_OK(write_line(out, tokenizer.decode(ids, options.special)));
  }
  return {};
}

Run add_tokenize(CLI::App& app) {
  auto options = std::make_shared<TokenizeOptions>();
  app.add_option("--base", options->base, "Folder with tokenizer.json")->required();
  app.add_flag("--special", options->special,
               "Add the special tokens of the file's template (BOS)");
  return [options]() -> Result<int> {
    TRIMTAB_CHECK_OK(tokenize_lines(*options, std::cin, std::cout));
    return 0;
  };
}

Run add_detokenize(CLI::App& app) {
  auto options = std::make_shared<TokenizeOptions>();
  app.add_option("--base", options->base, "Folder with tokenizer.json")->required();
  app.add_flag("--skip-special", options->special, "Leave special tokens out of the text");
  return [options]() -> Result<int> {
    TRIMTAB_CHECK_OK(detokenize_lines(*options, std::cin, std::cout));
    return 0;
  };
}

}  // namespace trimtab::retrain
