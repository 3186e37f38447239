// `trimtab compare NAME`: two samples, do they differ?
#include <fmt/format.h>

#include <cctype>
#include <filesystem>
#include <map>

#include "base/json.h"
#include "daemon/cli/compare_report.h"
#include "daemon/cli/offline.h"
#include "daemon/cli/value_reader.h"
#include "drift/compare/counts.h"
#include "drift/compare/window_test.h"

namespace trimtab::cli {
namespace {

using drift::Sample;
using drift::SampleKind;
using drift::Samples;
using drift::WindowTest;

constexpr const char* kReport = "report";

std::string list_tests() {
  std::string text;
  for (const WindowTest& test : drift::window_test_table()) {
    text += fmt::format("{:<20} {}\n", test.name, test.doc);
  }
  return text;
}

bool wants_weights(const drift::Parameters& parameters) {
  for (const auto& [row, value] : parameters.values()) {
    if (std::string_view(row->name) == "weights") return value == "true";
  }
  return false;
}

Status read_weighted(const std::string& path, Sample& sample) {
  TRIMTAB_TRY(const auto rows, read_rows(path, 2));
  for (const auto& row : rows) {
    sample.numbers.push_back(row[0]);
    sample.weights.push_back(row[1]);
  }
  return {};
}

// Standard input and pipes give their values once.
bool reads_twice(const std::string& path) {
  std::error_code error;
  return path != "-" && std::filesystem::is_regular_file(path, error);
}

// What a file of values holds: numbers as long as all are; texts only where it cannot be read
// twice. A NaN or infinity among numbers is an error; among texts it is a text.
struct ValueColumn {
  std::vector<double> numbers;
  std::vector<std::string> texts;
  std::int64_t non_finite = 0;
  std::int64_t non_finite_line = 0;
  bool is_text = false;
};

Result<ValueColumn> scan_values(const std::string& path, const std::string& column) {
  const bool once = !reads_twice(path);
  ValueColumn values;
  TRIMTAB_CHECK_OK(each_item(path, column, [&](const Item& item) -> Status {
    if (once) values.texts.emplace_back(item.text);
    if (values.is_text) return {};
    if (const auto number = drift::parse_number(item.text)) {
      values.numbers.push_back(*number);
    } else if (!is_non_finite(item.text)) {
      values.is_text = true;
    } else if (values.non_finite++ == 0) {
      values.non_finite_line = item.line;
    }
    return {};
  }));
  if (!values.is_text && values.non_finite > 0) {
    return tl::unexpected<Error>(
        at_line(path, values.non_finite_line, "not a finite number; remove it"));
  }
  return values;
}

using TextCounts = std::map<std::string, std::pair<double, double>, std::less<>>;

void count_text(TextCounts& counts, std::string_view text, bool of_reference) {
  auto at = counts.find(text);
  if (at == counts.end()) at = counts.emplace(text, std::pair{0.0, 0.0}).first;
  (of_reference ? at->second.first : at->second.second) += 1.0;
}

Status count_texts(const std::string& path, const std::string& column, const ValueColumn& scanned,
                   bool of_reference, TextCounts& counts) {
  for (const auto& text : scanned.texts) count_text(counts, text, of_reference);
  if (!reads_twice(path)) return {};
  return each_item(path, column, [&](const Item& item) -> Status {
    count_text(counts, item.text, of_reference);
    return {};
  });
}

// Numbers when every value of both sides is one, else counts of texts.
Result<Samples> read_values(const OfflineArguments& arguments) {
  Samples samples;
  TRIMTAB_TRY(ValueColumn reference, scan_values(arguments.files[0], arguments.column));
  TRIMTAB_TRY(ValueColumn current, scan_values(arguments.files[1], arguments.column));
  if (!reference.is_text && !current.is_text) {
    samples.reference.numbers = std::move(reference.numbers);
    samples.current.numbers = std::move(current.numbers);
    return samples;
  }
  TextCounts texts;
  TRIMTAB_CHECK_OK(count_texts(arguments.files[0], arguments.column, reference, true, texts));
  TRIMTAB_CHECK_OK(count_texts(arguments.files[1], arguments.column, current, false, texts));
  drift::Counts counts;
  for (const auto& [text, pair] : texts) {
    counts.reference.push_back(pair.first);
    counts.current.push_back(pair.second);
    counts.reference_total += pair.first;
    counts.current_total += pair.second;
  }
  samples.reference.counted = static_cast<std::size_t>(counts.reference_total);
  samples.current.counted = static_cast<std::size_t>(counts.current_total);
  samples.counts = std::make_shared<const drift::Counts>(std::move(counts));
  return samples;
}

Result<Samples> read_samples(const WindowTest& test, const OfflineArguments& arguments,
                             const drift::Parameters& parameters) {
  if (test.kind == SampleKind::kValues) return read_values(arguments);
  Samples samples;
  const bool weighted = wants_weights(parameters);
  if ((weighted || test.kind == SampleKind::kVectors) && !arguments.column.empty()) {
    return fail(Code::kInvalid, "--column does not go with weights or vectors");
  }
  const std::pair<const std::string&, Sample&> sides[] = {{arguments.files[0], samples.reference},
                                                          {arguments.files[1], samples.current}};
  for (const auto& [path, side] : sides) {
    if (test.kind == SampleKind::kVectors) {
      TRIMTAB_TRY(side.vectors, read_vectors(path));
    } else if (weighted) {
      TRIMTAB_CHECK_OK(read_weighted(path, side));
    } else {
      TRIMTAB_TRY(side.numbers, read_numbers(path, arguments.column));
    }
  }
  return samples;
}

OrderedJson answer_json(const WindowTest& test, const Samples& samples,
                        const drift::TestResult& result, const drift::Parameters& parameters) {
  OrderedJson json = {{"test", test.name},
                      {"statistic", number_json(result.statistic)},
                      {"p_value", nullptr},
                      {"drift", result.drift},
                      {"n", {samples.reference.size(), samples.current.size()}}};
  if (result.p_value) json["p_value"] = number_json(*result.p_value);
  if (result.df) json["df"] = number_json(*result.df);
  if (result.reference) json["reference"] = number_json(*result.reference);
  if (result.components) json["components"] = *result.components;
  json["params"] = parameters_json(parameters);
  return json;
}

}  // namespace

Result<OfflineAnswer> run_compare(const OfflineArguments& arguments) {
  if (arguments.list) return OfflineAnswer{.text = list_tests()};
  const bool report = arguments.name == kReport;
  if (report && arguments.help) return OfflineAnswer{.text = report_help()};
  const WindowTest* test = drift::find_window_test(arguments.name);
  if (test == nullptr && !report) {
    return fail(Code::kInvalid, "no test '" + arguments.name + "'; see trimtab compare --list");
  }
  if (!report && arguments.help) {
    return OfflineAnswer{.text = fmt::format("{}: {}\n{}", test->name, test->doc,
                                             describe_parameters(test->parameters))};
  }
  if (arguments.files.size() != 2) {
    return fail(Code::kInvalid, "compare reads two files: REFERENCE CURRENT");
  }
  if (arguments.files[0] == "-" && arguments.files[1] == "-") {
    return fail(Code::kInvalid, "only one of the two files can be standard input");
  }
  if (report) return run_report(arguments);
  TRIMTAB_TRY(const auto parameters, drift::Parameters::parse(test->parameters, arguments.set));
  TRIMTAB_TRY(const Samples samples, read_samples(*test, arguments, parameters));
  const auto result = drift::compare_windows(*test, samples, parameters);
  if (!result) {
    return fail_in(arguments.files[0] + ", " + arguments.files[1], result.error());
  }
  const std::string p = result->p_value ? fmt::format(", p {:.4g}", *result->p_value) : "";
  return OfflineAnswer{dump_json(answer_json(*test, samples, *result, parameters)),
                       fmt::format("{}: statistic {:.6g}{}: {}", test->name, result->statistic, p,
                                   result->drift ? "drift" : "no drift"),
                       result->drift};
}

}  // namespace trimtab::cli
