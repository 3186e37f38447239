// `trimtab evidence NAME`: decisions from evidence, valid at any look.
#include <fmt/format.h>

#include <cmath>

#include "base/json.h"
#include "daemon/cli/evidence_rows.h"
#include "daemon/cli/offline.h"

namespace trimtab::cli {
namespace {

const EvidenceRow* find_row(std::string_view name) {
  for (const auto table : {stream_evidence(), count_evidence(), formula_evidence()}) {
    for (const EvidenceRow& row : table) {
      if (name == row.name) return &row;
    }
  }
  return nullptr;
}

std::string list_rows() {
  std::string text;
  for (const auto table : {stream_evidence(), count_evidence(), formula_evidence()}) {
    for (const EvidenceRow& row : table) text += fmt::format("{:<24} {}\n", row.name, row.doc);
  }
  return text;
}

std::string for_people(const OrderedJson& answer) {
  std::string text;
  for (const auto& [key, value] : answer.items()) {
    if (key == "params") continue;
    text +=
        (text.empty() ? "" : "\n") +
        fmt::format("{:<16} {}", key, value.is_string() ? value.get<std::string>() : value.dump());
  }
  return text;
}

}  // namespace

std::string stream_path(const OfflineArguments& arguments) {
  return arguments.files.empty() ? "-" : arguments.files.front();
}

Result<std::vector<double>> number_list(const drift::Parameters& parameters, const char* name) {
  std::vector<double> values;
  const std::string& text = parameters.text(name);
  for (std::size_t begin = 0;;) {
    const auto comma = text.find(',', begin);
    const auto value = drift::parse_number(std::string_view(text).substr(begin, comma - begin));
    if (!value) {
      return fail(Code::kInvalid,
                  fmt::format("--set {}={}: {}", name, text, value.error().message));
    }
    values.push_back(*value);
    if (comma == std::string::npos) return values;
    begin = comma + 1;
  }
}

Result<std::vector<std::uint64_t>> count_list(const drift::Parameters& parameters,
                                              const char* name) {
  TRIMTAB_TRY(const auto values, number_list(parameters, name));
  std::vector<std::uint64_t> counts;
  for (const double value : values) {
    if (value < 0.0 || value > 1e15 || value != std::floor(value)) {
      return fail(Code::kInvalid, fmt::format("--set {}: {} is not a count", name, value));
    }
    counts.push_back(static_cast<std::uint64_t>(value));
  }
  return counts;
}

Result<OfflineAnswer> run_evidence(const OfflineArguments& arguments) {
  if (arguments.list) return OfflineAnswer{.text = list_rows()};
  const EvidenceRow* row = find_row(arguments.name);
  if (row == nullptr) {
    return fail(Code::kInvalid,
                "no statistic '" + arguments.name + "'; see trimtab evidence --list");
  }
  if (arguments.help) {
    return OfflineAnswer{.text = fmt::format("{}: {}\n{}", row->name, row->doc,
                                             describe_parameters(row->parameters))};
  }
  if (arguments.files.size() > row->files || (row->files == 2 && arguments.files.size() < 2)) {
    return fail(Code::kInvalid, fmt::format("{} reads {} file{}, not {}", row->name, row->files,
                                            row->files == 1 ? "" : "s", arguments.files.size()));
  }
  TRIMTAB_TRY(const auto parameters, drift::Parameters::parse(row->parameters, arguments.set));
  TRIMTAB_TRY(const OrderedJson found, row->run(parameters, arguments));
  OrderedJson json = {{"statistic", row->name}};
  json.update(found);
  json["params"] = parameters_json(parameters);
  return OfflineAnswer{dump_json(json), for_people(json), false};
}

}  // namespace trimtab::cli
