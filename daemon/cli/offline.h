// The offline half of `trimtab` (design page COMMANDS): statistics from a shell, no daemon needed.
// One verb a kind of question, the statistic's name next, `--set`
// for its parameters, files last. A new verb is one function here and one row in offline.cpp.
// Exit codes: 0 done; 1 only with --exit-code and drift; 2 bad usage or input: one line on stderr,
// nothing on stdout.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "drift/parameters.h"

namespace trimtab::cli {

struct OfflineArguments {
  std::string name;                     // the statistic's; may be empty with --list or --help
  drift::ParameterPairs set;            // --set k=v, in order
  std::vector<std::string> files;       // "-" is standard input
  std::vector<std::string> references;  // --ref (score-text)
  std::string reference;                // --reference
  std::string column;                   // --column
  bool json = false, list = false, help = false, exit_code = false;
};
// kInvalid: an unknown option or one without its value.
[[nodiscard]] Result<OfflineArguments> parse_offline(const std::vector<std::string>& words);

// What a verb answers: the JSON object, a short text for people, and whether it found drift.
struct OfflineAnswer {
  std::string json;
  std::string text;
  bool drift = false;
};

[[nodiscard]] Result<OfflineAnswer> run_detect(const OfflineArguments& arguments);
[[nodiscard]] Result<OfflineAnswer> run_compare(const OfflineArguments& arguments);
[[nodiscard]] Result<OfflineAnswer> run_evidence(const OfflineArguments& arguments);
[[nodiscard]] Result<OfflineAnswer> run_score_text(const OfflineArguments& arguments);
[[nodiscard]] Result<OfflineAnswer> run_score_labels(const OfflineArguments& arguments);

// True when `verb` is one of the offline verbs; main hands those over here.
[[nodiscard]] bool is_offline(std::string_view verb);
// Runs it: prints, and returns the exit code.
[[nodiscard]] int run_offline(std::string_view verb, const std::vector<std::string>& words);

// --- for the verbs' own files
// "  name=default  doc (source)" a line.
[[nodiscard]] std::string describe_parameters(std::span<const drift::Parameter> table);
// Name -> typed value in force; absent ones are null.
[[nodiscard]] nlohmann::ordered_json parameters_json(const drift::Parameters& parameters);
// NaN and infinity are null: JSON has neither.
[[nodiscard]] nlohmann::ordered_json number_json(double value);

}  // namespace trimtab::cli
