// `trimtab compare NAME`: two samples, do they differ?
#include <fmt/format.h>

#include <cctype>

#include "base/json.h"
#include "daemon/cli/offline.h"
#include "daemon/cli/value_reader.h"
#include "drift/compare/window_test.h"

namespace trimtab::cli {
namespace {

using drift::Sample;
using drift::SampleKind;
using drift::Samples;
using drift::WindowTest;

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

// "nan", "-Infinity": a number that is none, as programs print it.
bool is_non_finite(std::string_view text) {
  if (text.starts_with('-') || text.starts_with('+')) text.remove_prefix(1);
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return lower == "nan" || lower == "inf" || lower == "infinity";
}

// What a column of values holds. A NaN or infinity among numbers is an error; among other texts it
// is a text like any.
struct ValueColumn {
  std::vector<std::string> texts;
  std::int64_t numbers = 0;
  std::int64_t non_finite = 0;
  std::int64_t non_finite_line = 0;
};

Status read_values(const std::string& path, const std::string& column, Sample& sample) {
  ValueColumn values;
  TRIMTAB_CHECK_OK(each_item(path, column, [&](const Item& item) -> Status {
    values.texts.emplace_back(item.text);
    if (drift::parse_number(item.text)) {
      ++values.numbers;
    } else if (is_non_finite(item.text) && values.non_finite++ == 0) {
      values.non_finite_line = item.line;
    }
    return {};
  }));
  const auto all = static_cast<std::int64_t>(values.texts.size());
  if (values.numbers > 0 && values.non_finite > 0 && values.numbers + values.non_finite == all) {
    return tl::unexpected<Error>(
        at_line(path, values.non_finite_line, "not a finite number among numbers; remove it"));
  }
  sample.categories = std::move(values.texts);
  return {};
}

// Numbers when every text of both sides is one, else categories.
void numbers_if_all_are(Samples& samples) {
  for (const Sample* side : {&samples.reference, &samples.current}) {
    if (!all_numbers(side->categories)) return;
  }
  for (Sample* side : {&samples.reference, &samples.current}) {
    side->numbers.reserve(side->categories.size());
    for (const auto& text : side->categories) {
      side->numbers.push_back(drift::parse_number(text).value());
    }
    side->categories.clear();
  }
}

Result<Samples> read_samples(const WindowTest& test, const OfflineArguments& arguments,
                             const drift::Parameters& parameters) {
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
    } else if (test.kind == SampleKind::kNumbers) {
      TRIMTAB_TRY(side.numbers, read_numbers(path, arguments.column));
    } else {
      TRIMTAB_CHECK_OK(read_values(path, arguments.column, side));
    }
  }
  if (test.kind == SampleKind::kValues) numbers_if_all_are(samples);
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
  const WindowTest* test = drift::find_window_test(arguments.name);
  if (test == nullptr) {
    return fail(Code::kInvalid, "no test '" + arguments.name + "'; see trimtab compare --list");
  }
  if (arguments.help) {
    return OfflineAnswer{.text = fmt::format("{}: {}\n{}", test->name, test->doc,
                                             describe_parameters(test->parameters))};
  }
  if (arguments.files.size() != 2) {
    return fail(Code::kInvalid, "compare reads two files: REFERENCE CURRENT");
  }
  if (arguments.files[0] == "-" && arguments.files[1] == "-") {
    return fail(Code::kInvalid, "only one of the two files can be standard input");
  }
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
