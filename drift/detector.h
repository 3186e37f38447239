// Detector: the contract of every streaming detector, and the one place where they are listed.
//
// update() takes one value and answers at once; after a drift verdict the caller decides whether to
// reset() (COMMANDS.md: a detection restarts the detector before the next value). Deterministic,
// memory bounded as each file states. A value that is not finite changes nothing and is never a
// pass for anything, except in detectors with a bin for missing values (rank_e). Not thread-safe.
//
// A new detector = one file pair, one test, one row in drift/detectors.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "drift/parameters.h"

namespace trimtab::drift {

struct Verdict {
  bool drift = false;
  bool warning = false;
};

class Detector {
 public:
  virtual ~Detector() = default;
  virtual Verdict update(double x) = 0;
  // kInvalid with the reason when `x` lies outside of what the parameters say values can be;
  // update() would leave it out.
  [[nodiscard]] virtual Status check(double /*x*/) const { return {}; }
  // One category by its text; only detectors whose input() is kCategory take it.
  virtual Verdict update_category(std::string_view category);
  // Forgets everything but the parameters (and the reference).
  virtual void reset() = 0;
  // Versioned bytes; restore() fails with kCorrupt on anything else. The parameters are not in it:
  // restore into a detector made with the same ones.
  [[nodiscard]] virtual std::string save() const = 0;
  [[nodiscard]] virtual Status restore(std::string_view bytes) = 0;
  // Named numbers for the `state` object of `trimtab detect`.
  [[nodiscard]] virtual std::vector<std::pair<std::string, double>> state() const { return {}; }
  // Bytes of state, the frozen reference not counted.
  [[nodiscard]] virtual std::size_t state_bytes() const = 0;
  // True once a detection has been made and the detector must not be restarted from outside
  // because it restarts itself (rddm).
  [[nodiscard]] virtual bool restarts_itself() const { return false; }
};

enum class InputKind : std::uint8_t { kNumber, kBinary, kCategory };

// What a factory gets: checked parameters and, for those that want one, the reference.
struct DetectorInput {
  const Parameters& parameters;
  const std::vector<double>* numbers = nullptr;          // reference values
  const std::vector<std::string>* categories = nullptr;  // reference categories
};

struct DetectorRow {
  const char* name;
  const char* doc;  // one line, for --list
  InputKind input;  // rank_e with kind=categorical takes kCategory (see input_kind)
  enum class Reference : std::uint8_t { kNone, kOptional, kRequired } reference;
  std::span<const Parameter> parameters;
  Result<std::unique_ptr<Detector>> (*make)(const DetectorInput& input);
};

// Every detector, in the order of COMMANDS.md.
[[nodiscard]] std::span<const DetectorRow> detector_table();
// nullptr when there is no such detector.
[[nodiscard]] const DetectorRow* find_detector(std::string_view name);
// The kind of values a detector wants under these parameters.
[[nodiscard]] InputKind input_kind(const DetectorRow& row, const Parameters& parameters);

}  // namespace trimtab::drift
