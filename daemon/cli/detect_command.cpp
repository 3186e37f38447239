// `trimtab detect NAME`: one stream, where did it change?
#include <fmt/format.h>

#include "base/json.h"
#include "daemon/cli/offline.h"
#include "daemon/cli/value_reader.h"
#include "drift/detector.h"

namespace trimtab::cli {
namespace {

using drift::Detector;
using drift::DetectorRow;
using drift::InputKind;

std::string list_detectors() {
  std::string text;
  for (const auto& row : drift::detector_table())
    text += fmt::format("{:<14} {}\n", row.name, row.doc);
  return text;
}

struct Reference {
  std::vector<double> numbers;
  std::vector<std::string> categories;
};

// Reads the reference where the detector wants one; an unexpected or a missing one is an error.
Status read_reference(const DetectorRow& row, InputKind kind, const OfflineArguments& arguments,
                      Reference& reference) {
  using Need = DetectorRow::Reference;
  if (arguments.reference.empty()) {
    if (row.reference != Need::kRequired) return {};
    return fail(Code::kInvalid, std::string(row.name) + " needs --reference FILE");
  }
  if (row.reference == Need::kNone) {
    return fail(Code::kInvalid, std::string(row.name) + " takes no --reference");
  }
  if (kind == InputKind::kCategory) {
    TRIMTAB_TRY(reference.categories, read_texts(arguments.reference, arguments.column));
  } else {
    TRIMTAB_TRY(reference.numbers, read_numbers(arguments.reference, arguments.column));
  }
  return {};
}

struct Findings {
  std::int64_t n = 0;
  OrderedJson detections = OrderedJson::array();
  OrderedJson warnings = OrderedJson::array();
  double evidence = 0, max_evidence = 0;
};

Result<drift::Verdict> feed(Detector& detector, InputKind kind, std::string_view text) {
  if (kind == InputKind::kCategory) return detector.update_category(text);
  TRIMTAB_TRY(const double x, drift::parse_number(text));
  if (kind == InputKind::kBinary && x != 0.0 && x != 1.0) {
    return fail(Code::kInvalid, "'" + std::string(text) + "' is neither 0 nor 1");
  }
  TRIMTAB_CHECK_OK(detector.check(x));
  return detector.update(x);
}

double evidence_of(const Detector& detector) {
  for (const auto& [name, value] : detector.state()) {
    if (name == "evidence") return value;
  }
  return 0.0;
}

Status stream(Detector& detector, InputKind kind, bool reset, bool has_evidence,
              const OfflineArguments& arguments, Findings& found) {
  const std::string path = arguments.files.empty() ? "-" : arguments.files.front();
  bool warned = false;
  bool restart = false;
  return each_item(path, arguments.column, [&](const Item& item) -> Status {
    if (restart) detector.reset();
    restart = false;
    TRIMTAB_TRY(const drift::Verdict verdict, feed(detector, kind, item.text));
    if (has_evidence) {
      found.evidence = evidence_of(detector);
      found.max_evidence = std::max(found.max_evidence, found.evidence);
    }
    if (verdict.warning && !warned) found.warnings.push_back(found.n);
    warned = verdict.warning;
    if (verdict.drift) {
      found.detections.push_back(found.n);
      restart = reset && !detector.restarts_itself();
      if (restart) warned = false;
    }
    ++found.n;
    return {};
  });
}

bool wants_reset(const drift::Parameters& parameters) {
  for (const auto& [row, value] : parameters.values()) {
    if (std::string_view(row->name) == "reset") return value != "false";
  }
  return true;
}

}  // namespace

Result<OfflineAnswer> run_detect(const OfflineArguments& arguments) {
  if (arguments.list) return OfflineAnswer{.text = list_detectors()};
  const DetectorRow* row = drift::find_detector(arguments.name);
  if (row == nullptr) {
    return fail(Code::kInvalid, "no detector '" + arguments.name + "'; see trimtab detect --list");
  }
  if (arguments.help) {
    return OfflineAnswer{.text = fmt::format("{}: {}\n{}", row->name, row->doc,
                                             describe_parameters(row->parameters))};
  }
  if (arguments.files.size() > 1) return fail(Code::kInvalid, "detect reads one file");
  TRIMTAB_TRY(const auto parameters, drift::Parameters::parse(row->parameters, arguments.set));
  const InputKind kind = drift::input_kind(*row, parameters);
  Reference reference;
  TRIMTAB_CHECK_OK(read_reference(*row, kind, arguments, reference));
  const bool given = !arguments.reference.empty();
  TRIMTAB_TRY(
      const auto detector,
      row->make(
          {.parameters = parameters,
           .numbers = given && kind != InputKind::kCategory ? &reference.numbers : nullptr,
           .categories = given && kind == InputKind::kCategory ? &reference.categories : nullptr}));
  const bool has_evidence = row->reference != DetectorRow::Reference::kNone;
  Findings found;
  TRIMTAB_CHECK_OK(
      stream(*detector, kind, wants_reset(parameters), has_evidence, arguments, found));
  OrderedJson json = {{"detector", row->name},
                      {"n", found.n},
                      {"detections", found.detections},
                      {"warnings", found.warnings}};
  if (has_evidence) {
    json["evidence"] = number_json(found.evidence);
    json["max_evidence"] = number_json(found.max_evidence);
  }
  json["params"] = parameters_json(parameters);
  OrderedJson state = OrderedJson::object();
  for (const auto& [name, value] : detector->state()) state[name] = number_json(value);
  json["state"] = state;
  const std::string text =
      found.detections.empty()
          ? fmt::format("{}: no change in {} values", row->name, found.n)
          : fmt::format("{}: {} of {} values: change detected at {}", row->name,
                        found.detections.size(), found.n, dump_json(found.detections));
  return OfflineAnswer{dump_json(json), text, !found.detections.empty()};
}

}  // namespace trimtab::cli
