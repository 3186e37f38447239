// Metrics: what every program exposes to Prometheus, on prometheus-cpp's registry.
//
// A family is declared once with its label names and a bound on how many series it may grow; past
// the bound, values go to one series whose labels are all "overflow". Handles stay valid for the
// life of the Metrics object (series are never removed: prometheus-cpp 1.0 dangles references on
// Remove). Names carry the prefix `trimtab_` and base units. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace trimtab {

class Counter {
 public:
  virtual ~Counter() = default;
  virtual void add(double by = 1.0) = 0;
  [[nodiscard]] virtual double value() const = 0;
};
class Gauge {
 public:
  virtual ~Gauge() = default;
  virtual void set(double value) = 0;
  virtual void add(double by) = 0;
  [[nodiscard]] virtual double value() const = 0;
};
class Histogram {
 public:
  virtual ~Histogram() = default;
  virtual void observe(double value) = 0;
};

using LabelNames = std::vector<std::string>;
using LabelValues = std::vector<std::string>;

template <typename Kind>
class Family {
 public:
  virtual ~Family() = default;
  // REQUIRES: as many values as the family has label names.
  virtual Kind& with(const LabelValues& values = {}) = 0;
};

class Metrics {
 public:
  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // Declaring the same name twice returns the first family. A bad metric or label name is a bug.
  Family<Counter>& counter(std::string_view name, std::string_view help, LabelNames labels = {},
                           std::size_t max_series = 1000);
  Family<Gauge>& gauge(std::string_view name, std::string_view help, LabelNames labels = {},
                       std::size_t max_series = 1000);
  Family<Histogram>& histogram(std::string_view name, std::string_view help,
                               std::vector<double> buckets, LabelNames labels = {},
                               std::size_t max_series = 200);

  // Called at the start of every expose(), to refresh gauges that are read rather than pushed.
  void before_expose(std::function<void()> refresh);
  // The Prometheus text exposition format, for GET /metrics.
  [[nodiscard]] std::string expose() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// trimtab_build_info, and process_* read from /proc at each expose.
void add_process_metrics(Metrics& metrics, std::string_view program);

}  // namespace trimtab
