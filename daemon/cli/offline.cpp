#include "daemon/cli/offline.h"

#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <set>

#include "base/json.h"

namespace trimtab::cli {
namespace {

struct Verb {
  const char* name;
  const char* usage;
  const char* options;  // beside --set, --json, --list and --help
  Result<OfflineAnswer> (*run)(const OfflineArguments& arguments);
};

constexpr Verb kVerbs[] = {
    {"detect", "detect NAME [--set k=v].. [--column C] [--reference FILE] [FILE|-]",
     "--column --reference", &run_detect},
    {"compare", "compare NAME|report [--set k=v].. [--column C] [--exit-code] REFERENCE CURRENT",
     "--column --exit-code", &run_compare},
    {"evidence", "evidence NAME [--set k=v].. [FILE|-] | [A B]",
     "--column", &run_evidence},
    {"score-text", "score-text METRIC [--set k=v].. --ref FILE [--ref FILE].. [FILE|-]",
     "--ref", &run_score_text},
    {"score-labels", "score-labels METRIC [--set k=v].. [FILE|-]",
     "", &run_score_labels},
};

const Verb* find_verb(std::string_view name) {
  for (const Verb& verb : kVerbs) {
    if (name == verb.name) return &verb;
  }
  return nullptr;
}

// The options of other verbs are none of this one's: swallowed, they would seem to count.
Status check_options(const Verb& verb, const std::vector<std::string>& words) {
  std::set<std::string> seen;
  for (const std::string& word : words) {
    if (word != "--column" && word != "--reference" && word != "--ref" && word != "--exit-code")
      continue;
    const std::string known = std::string(verb.options) + " ";
    if (known.find(word + " ") == std::string::npos) {
      return fail(Code::kInvalid,
                  std::string(verb.name) + " has no " + word + "; usage: trimtab " + verb.usage);
    }
    if (word != "--ref" && !seen.insert(word).second) {
      return fail(Code::kInvalid, word + " is given twice");
    }
  }
  return {};
}

}  // namespace

Result<OfflineArguments> parse_offline(const std::vector<std::string>& words) {
  OfflineArguments parsed;
  const auto value_of = [&](std::size_t& i) -> Result<std::string> {
    if (i + 1 >= words.size()) return fail(Code::kInvalid, words[i] + " needs a value");
    return words[++i];
  };
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "--json") {
      parsed.json = true;
    } else if (word == "--list") {
      parsed.list = true;
    } else if (word == "--help" || word == "-h") {
      parsed.help = true;
    } else if (word == "--exit-code") {
      parsed.exit_code = true;
    } else if (word == "--set") {
      TRIMTAB_TRY(const std::string pair, value_of(i));
      const auto equals = pair.find('=');
      if (equals == std::string::npos || equals == 0) {
        return fail(Code::kInvalid, "--set wants name=value, not '" + pair + "'");
      }
      parsed.set.emplace_back(pair.substr(0, equals), pair.substr(equals + 1));
    } else if (word == "--column") {
      TRIMTAB_TRY(parsed.column, value_of(i));
    } else if (word == "--reference") {
      TRIMTAB_TRY(parsed.reference, value_of(i));
    } else if (word == "--ref") {
      TRIMTAB_TRY(auto file, value_of(i));
      parsed.references.push_back(std::move(file));
    } else if (word.size() > 1 && word.starts_with('-')) {
      return fail(Code::kInvalid, "unknown option '" + word + "'; see --help");
    } else if (parsed.name.empty()) {
      parsed.name = word;
    } else {
      parsed.files.push_back(word);
    }
  }
  return parsed;
}

bool is_offline(std::string_view verb) { return find_verb(verb) != nullptr; }

int run_offline(std::string_view verb_name, const std::vector<std::string>& words) {
  const Verb* verb = find_verb(verb_name);
  auto arguments = parse_offline(words);
  if (const auto fitting = check_options(*verb, words); arguments && !fitting) {
    arguments = tl::unexpected<Error>(fitting.error());
  }
  Result<OfflineAnswer> answer = fail(Code::kInvalid, std::string("usage: trimtab ") + verb->usage);
  if (!arguments) {
    answer = tl::unexpected<Error>(arguments.error());
  } else if (arguments->help && arguments->name.empty()) {
    std::printf("usage: trimtab %s\n       trimtab %s --list | NAME --help\n", verb->usage,
                verb->name);
    return 0;
  } else if (arguments->list || !arguments->name.empty()) {
    answer = verb->run(*arguments);
  }
  if (!answer) {
    std::string line = answer.error().message;
    for (char& c : line) {
      if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = ' ';  // one line, readable
    }
    std::fprintf(stderr, "%s\n", line.c_str());
    return 2;
  }
  const bool as_json = arguments->json && !answer->json.empty();
  std::printf("%s\n", as_json ? answer->json.c_str() : answer->text.c_str());
  return arguments->exit_code && answer->drift ? 1 : 0;
}

std::string describe_parameters(std::span<const drift::Parameter> table) {
  std::string text;
  for (const auto& row : table) {
    text += fmt::format("  {:<24} {} ({})\n",
                        fmt::format("{}={}", row.name, *row.fallback ? row.fallback : "(none)"),
                        row.doc, row.source);
  }
  return text;
}

OrderedJson parameters_json(const drift::Parameters& parameters) {
  OrderedJson json = OrderedJson::object();
  for (const auto& [row, value] : parameters.values()) {
    using Type = drift::Parameter::Type;
    if (value.empty() && row->type != Type::kText) {
      json[row->name] = nullptr;
    } else if (row->type == Type::kNumber) {
      json[row->name] = parameters.number(row->name);
    } else if (row->type == Type::kInteger) {
      json[row->name] = parameters.integer(row->name);
    } else if (row->type == Type::kFlag) {
      json[row->name] = parameters.flag(row->name);
    } else {
      json[row->name] = value;
    }
  }
  return json;
}

OrderedJson number_json(double value) {
  return std::isfinite(value) ? OrderedJson(value) : OrderedJson(nullptr);
}

}  // namespace trimtab::cli
