#include "daemon/cli/compare_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <thread>

#include "base/json.h"
#include "daemon/cli/line_reader.h"
#include "daemon/cli/table_reader.h"
#include "drift/compare/counts.h"
#include "drift/compare/window_test.h"

namespace trimtab::cli {
namespace {

using drift::SampleKind;
using drift::Samples;
using drift::WindowTest;

// Tests of categories; on numbers without end they would count distinct values.
constexpr std::string_view kOfCategories[] = {"chi2", "g", "fisher", "cramers_v", "z"};
constexpr std::string_view kOfTwo[] = {"fisher", "z"};  // want exactly two categories

template <std::size_t N>
bool is_in(const std::string_view (&names)[N], std::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

struct Planned {
  const WindowTest* test;
  drift::Parameters parameters;
};

struct ReportPlan {
  TableRequest request;
  std::vector<Planned> tests;
};

struct ColumnTest {
  const WindowTest* test;
  Result<drift::TestResult> result;
};

struct ColumnReport {
  std::string name;
  bool numeric = false;
  std::size_t reference = 0, current = 0;
  std::vector<ColumnTest> tests;
};

std::vector<std::string> split_list(const std::string& text) {
  std::vector<std::string> names;
  std::size_t at = 0;
  while (at <= text.size()) {
    const std::size_t end = std::min(text.find(',', at), text.size());
    if (end > at) names.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return names;
}

// columns=, categorical=, tests=, and TEST.PARAMETER= of any test.
Result<ReportPlan> make_plan(const drift::ParameterPairs& given) {
  ReportPlan plan;
  std::vector<std::string> names;
  std::map<std::string, drift::ParameterPairs> of_test;
  std::set<std::string> seen;
  for (const auto& [name, value] : given) {
    if (!seen.insert(name).second)
      return fail(Code::kInvalid, "--set " + name + ": given twice");
    const auto dot = name.find('.');
    if (name == "columns") {
      plan.request.columns = split_list(value);
    } else if (name == "categorical") {
      plan.request.categorical = split_list(value);
    } else if (name == "tests") {
      names = split_list(value);
    } else if (dot != std::string::npos) {
      of_test[name.substr(0, dot)].emplace_back(name.substr(dot + 1), value);
    } else {
      return fail(Code::kInvalid, "--set " + name +
                                      ": no such parameter; known: columns, categorical, tests, "
                                      "TEST.PARAMETER");
    }
  }
  if (names.empty()) {
    for (const WindowTest& test : drift::window_test_table()) {
      if (test.kind != SampleKind::kVectors) names.emplace_back(test.name);
    }
  }
  for (const auto& name : names) {
    const WindowTest* test = drift::find_window_test(name);
    if (test == nullptr || test->kind == SampleKind::kVectors) {
      return fail(Code::kInvalid,
                  "no test '" + name + "' of one column; see trimtab compare --list");
    }
    TRIMTAB_TRY(auto parameters, drift::Parameters::parse(test->parameters, of_test[name]));
    if (name == "wasserstein" && parameters.flag("weights")) {
      return fail(Code::kInvalid, "report has no weights; use trimtab compare wasserstein");
    }
    plan.tests.push_back({test, std::move(parameters)});
    of_test.erase(name);
  }
  for (const auto& [name, pairs] : of_test) {
    if (!pairs.empty())
      return fail(Code::kInvalid, "--set " + name + ".: '" + name + "' is not run");
  }
  return plan;
}

bool fits(const WindowTest& test, const Samples& samples) {
  if (samples.numeric()) return !is_in(kOfCategories, test.name);
  if (test.kind != SampleKind::kValues) return false;
  return !is_in(kOfTwo, test.name) || samples.counts->categories() == 2;
}

std::shared_ptr<const drift::Counts> joined_counts(const TableColumn& reference,
                                                   const TableColumn& current) {
  drift::Counts counts;
  auto a = reference.counts.begin();
  auto b = current.counts.begin();
  while (a != reference.counts.end() || b != current.counts.end()) {
    const bool from_a =
        b == current.counts.end() || (a != reference.counts.end() && a->first <= b->first);
    const bool both = from_a && b != current.counts.end() && a->first == b->first;
    counts.reference.push_back(from_a ? static_cast<double>((a++)->second) : 0.0);
    counts.current.push_back(both || !from_a ? static_cast<double>((b++)->second) : 0.0);
    counts.reference_total += counts.reference.back();
    counts.current_total += counts.current.back();
  }
  return std::make_shared<const drift::Counts>(std::move(counts));
}

// Takes the column's values; they are freed when it is done.
ColumnReport report_column(const ReportPlan& plan, TableColumn& reference, TableColumn& current) {
  ColumnReport report{.name = reference.name, .numeric = reference.numeric};
  Samples samples;
  if (report.numeric) {
    samples.reference.numbers = std::move(reference.numbers);
    samples.current.numbers = std::move(current.numbers);
    drift::put_in_order(samples);
  } else {
    samples.counts = joined_counts(reference, current);
    samples.reference.counted = static_cast<std::size_t>(samples.counts->reference_total);
    samples.current.counted = static_cast<std::size_t>(samples.counts->current_total);
  }
  report.reference = samples.reference.size();
  report.current = samples.current.size();
  for (const Planned& planned : plan.tests) {
    if (!fits(*planned.test, samples)) continue;
    report.tests.push_back(
        {planned.test, drift::compare_windows(*planned.test, samples, planned.parameters)});
  }
  return report;
}

// Runs work(0) .. work(count - 1) on two threads.
void share_out(std::size_t count, const std::function<void(std::size_t)>& work) {
  std::atomic<std::size_t> next{0};
  const auto take = [&] {
    for (std::size_t i = next++; i < count; i = next++) work(i);
  };
  std::jthread second(take);
  take();
}

Status check_alike(const std::string& path, const Table& reference, const Table& current) {
  std::size_t shared = 0;
  for (const TableColumn& column : reference.columns) {
    if (!column.wanted) continue;
    for (const TableColumn& other : current.columns) {
      if (other.name != column.name) continue;
      ++shared;
      if (other.numeric == column.numeric) continue;
      return fail(Code::kInvalid, path + ":2: column '" + column.name + "' holds " +
                                      (other.numeric ? "numbers, text in the reference"
                                                     : "text, numbers in the reference") +
                                      "; mend it, or --set categorical=" + column.name);
    }
  }
  std::size_t wanted = 0;
  for (const TableColumn& column : current.columns) wanted += column.wanted ? 1 : 0;
  std::size_t expected = 0;
  for (const TableColumn& column : reference.columns) expected += column.wanted ? 1 : 0;
  if (shared == expected && shared == wanted) return {};
  return fail(Code::kInvalid, path +
                                  ":1: the header differs from the reference's; compare the "
                                  "columns in common with --set columns=a,b");
}

OrderedJson test_json(const ColumnTest& done) {
  OrderedJson json = {{"test", done.test->name}};
  if (!done.result) {
    json["error"] = done.result.error().message;
    json["drift"] = nullptr;
    return json;
  }
  json["statistic"] = number_json(done.result->statistic);
  json["p_value"] = done.result->p_value ? number_json(*done.result->p_value) : nullptr;
  json["drift"] = done.result->drift;
  return json;
}

std::string test_text(const ColumnTest& done) {
  if (!done.result)
    return fmt::format("  {:<18} undefined: {}\n", done.test->name, done.result.error().message);
  const std::string p =
      done.result->p_value ? fmt::format("{:<12.4g}", *done.result->p_value) : "-           ";
  return fmt::format("  {:<18} {:<14.6g} {} {}\n", done.test->name, done.result->statistic, p,
                     done.result->drift ? "drift" : "");
}

OfflineAnswer answer_of(const OfflineArguments& arguments, const Table& reference,
                        const Table& current, const std::vector<ColumnReport>& columns) {
  OrderedJson list = OrderedJson::array();
  std::string text;
  std::size_t drifted = 0;
  for (const ColumnReport& column : columns) {
    OrderedJson tests = OrderedJson::array();
    std::string lines;
    std::size_t found = 0;
    for (const ColumnTest& done : column.tests) {
      tests.push_back(test_json(done));
      lines += test_text(done);
      found += done.result && done.result->drift ? 1 : 0;
    }
    drifted += found > 0 ? 1 : 0;
    list.push_back({{"column", column.name},
                    {"kind", column.numeric ? "numeric" : "categorical"},
                    {"n", {column.reference, column.current}},
                    {"drifting_tests", found},
                    {"tests", tests}});
    text +=
        fmt::format("{} ({}): {} of {} tests say drift\n{}", column.name,
                    column.numeric ? "numeric" : "categorical", found, column.tests.size(), lines);
  }
  text += fmt::format("{} of {} columns drift by at least one test", drifted, columns.size());
  const OrderedJson json = {{"report", "compare"},           {"reference", arguments.files[0]},
                            {"current", arguments.files[1]}, {"n", {reference.rows, current.rows}},
                            {"drifting_columns", drifted},   {"columns", list}};
  return OfflineAnswer{dump_json(json), text, drifted > 0};
}

}  // namespace

std::string report_help() {
  return "report: every column of two CSV or TSV files with a header, by every test of one column\n"
         "  columns=(all)            comma-separated names to compare\n"
         "  categorical=(none)       columns of numbers to count as categories\n"
         "  tests=(all)              tests to run; numbers: psi js kl hellinger tvd linf ks "
         "kuiper\n"
         "                           mann_whitney cvm anderson_darling epps_singleton t cohens_d\n"
         "                           wasserstein energy; text: the divergences, chi2 g cramers_v,\n"
         "                           and of two categories z fisher\n"
         "  TEST.PARAMETER=VALUE     a parameter of one test, such as ks.alpha=.01\n"
         "A test that is undefined for a column (a constant, say) says so and is never 'no "
         "drift'.\n"
         "With --exit-code: 1 when any test of any column says drift. Memory: 8 bytes a number.\n";
}

Result<OfflineAnswer> run_report(const OfflineArguments& arguments) {
  TRIMTAB_TRY(const ReportPlan plan, make_plan(arguments.set));
  if (!arguments.column.empty()) {
    return fail(Code::kInvalid, "report takes --set columns=a,b instead of --column");
  }
  for (const auto& path : arguments.files) {
    if (ends_with(path, ".csv") || ends_with(path, ".tsv")) continue;
    return fail(Code::kInvalid, path + ":1: report reads .csv or .tsv files with a header");
  }
  std::optional<Result<Table>> sides[2];
  share_out(2, [&](std::size_t i) { sides[i] = read_table(arguments.files[i], plan.request); });
  for (const auto& side : sides) TRIMTAB_CHECK_OK(*side);
  Table& reference = **sides[0];
  Table& current = **sides[1];
  TRIMTAB_CHECK_OK(check_alike(arguments.files[1], reference, current));
  std::vector<std::pair<TableColumn*, TableColumn*>> pairs;
  for (TableColumn& column : reference.columns) {
    if (!column.wanted) continue;
    const auto other =
        std::find_if(current.columns.begin(), current.columns.end(),
                     [&](const TableColumn& each) { return each.name == column.name; });
    pairs.emplace_back(&column, &*other);
  }
  std::vector<ColumnReport> columns(pairs.size());
  share_out(pairs.size(), [&](std::size_t i) {
    columns[i] = report_column(plan, *pairs[i].first, *pairs[i].second);
  });
  const bool any = std::any_of(columns.begin(), columns.end(),
                               [](const ColumnReport& each) { return !each.tests.empty(); });
  if (!any) {
    return fail(Code::kInvalid,
                arguments.files[0] + ":1: none of the tests fits a column; leave --set tests out");
  }
  return answer_of(arguments, reference, current, columns);
}

}  // namespace trimtab::cli
