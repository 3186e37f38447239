#include "base/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "base/check.h"
#include "base/clock.h"

namespace trimtab {
namespace {

bool legal_name(std::string_view name) {
  if (name.empty() || (name[0] >= '0' && name[0] <= '9')) return false;
  for (const char c : name) {
    const bool ok =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    if (!ok) return false;
  }
  return true;
}

class PrometheusCounter final : public Counter {
 public:
  explicit PrometheusCounter(prometheus::Counter& inner) : inner_(inner) {}
  void add(double by) override { inner_.Increment(by); }
  [[nodiscard]] double value() const override { return inner_.Value(); }

 private:
  prometheus::Counter& inner_;
};

class PrometheusGauge final : public Gauge {
 public:
  explicit PrometheusGauge(prometheus::Gauge& inner) : inner_(inner) {}
  void set(double value) override { inner_.Set(value); }
  void add(double by) override { inner_.Increment(by); }
  [[nodiscard]] double value() const override { return inner_.Value(); }

 private:
  prometheus::Gauge& inner_;
};

class PrometheusHistogram final : public Histogram {
 public:
  explicit PrometheusHistogram(prometheus::Histogram& inner) : inner_(inner) {}
  void observe(double value) override { inner_.Observe(value); }

 private:
  prometheus::Histogram& inner_;
};

template <typename Kind>
class BoundedFamily final : public Family<Kind> {
 public:
  using Make = std::function<std::unique_ptr<Kind>(const std::map<std::string, std::string>&)>;
  BoundedFamily(LabelNames names, std::size_t max_series, Make make)
      : names_(std::move(names)), max_series_(max_series), make_(std::move(make)) {}

  Kind& with(const LabelValues& values) override {
    CHECK(values.size() == names_.size(), "label values do not match the family's label names");
    std::lock_guard lock(mutex_);
    auto found = series_.find(values);
    if (found != series_.end()) return *found->second;
    const LabelValues overflow(names_.size(), "overflow");
    const LabelValues& key = series_.size() < max_series_ ? values : overflow;
    found = series_.find(key);
    if (found == series_.end()) {
      std::map<std::string, std::string> labels;
      for (std::size_t i = 0; i < names_.size(); ++i) labels[names_[i]] = key[i];
      found = series_.emplace(key, make_(labels)).first;
    }
    return *found->second;
  }

 private:
  const LabelNames names_;
  const std::size_t max_series_;
  const Make make_;
  std::mutex mutex_;
  std::map<LabelValues, std::unique_ptr<Kind>> series_;
};

}  // namespace

struct Metrics::State {
  prometheus::Registry registry;
  std::mutex mutex;
  std::map<std::string, std::unique_ptr<Family<Counter>>, std::less<>> counters;
  std::map<std::string, std::unique_ptr<Family<Gauge>>, std::less<>> gauges;
  std::map<std::string, std::unique_ptr<Family<Histogram>>, std::less<>> histograms;
  std::vector<std::function<void()>> before_expose;
};

Metrics::Metrics() : state_(std::make_unique<State>()) {}
Metrics::~Metrics() = default;

namespace {

// Looks a family up under its name or builds it with `make`.
template <typename Kind, typename Build>
Family<Kind>& declare(std::map<std::string, std::unique_ptr<Family<Kind>>, std::less<>>& families,
                      std::mutex& mutex, std::string_view name, const LabelNames& labels,
                      std::size_t max_series, Build build) {
  CHECK(legal_name(name), "illegal metric name");
  for (const auto& label : labels) CHECK(legal_name(label), "illegal label name");
  std::lock_guard lock(mutex);
  const auto found = families.find(name);
  if (found != families.end()) return *found->second;
  auto family = std::make_unique<BoundedFamily<Kind>>(labels, max_series, build());
  return *families.emplace(std::string(name), std::move(family)).first->second;
}

}  // namespace

Family<Counter>& Metrics::counter(std::string_view name, std::string_view help, LabelNames labels,
                                  std::size_t max_series) {
  return declare<Counter>(state_->counters, state_->mutex, name, labels, max_series, [&] {
    auto& family = prometheus::BuildCounter()
                       .Name(std::string(name))
                       .Help(std::string(help))
                       .Register(state_->registry);
    return [&family](const std::map<std::string, std::string>& values) {
      return std::make_unique<PrometheusCounter>(family.Add(values));
    };
  });
}

Family<Gauge>& Metrics::gauge(std::string_view name, std::string_view help, LabelNames labels,
                              std::size_t max_series) {
  return declare<Gauge>(state_->gauges, state_->mutex, name, labels, max_series, [&] {
    auto& family = prometheus::BuildGauge()
                       .Name(std::string(name))
                       .Help(std::string(help))
                       .Register(state_->registry);
    return [&family](const std::map<std::string, std::string>& values) {
      return std::make_unique<PrometheusGauge>(family.Add(values));
    };
  });
}

Family<Histogram>& Metrics::histogram(std::string_view name, std::string_view help,
                                      std::vector<double> buckets, LabelNames labels,
                                      std::size_t max_series) {
  return declare<Histogram>(state_->histograms, state_->mutex, name, labels, max_series, [&] {
    auto& family = prometheus::BuildHistogram()
                       .Name(std::string(name))
                       .Help(std::string(help))
                       .Register(state_->registry);
    return [&family, buckets](const std::map<std::string, std::string>& values) {
      return std::make_unique<PrometheusHistogram>(family.Add(values, buckets));
    };
  });
}

std::string Metrics::expose() const {
  std::vector<std::function<void()>> refresh;
  {
    std::lock_guard lock(state_->mutex);
    refresh = state_->before_expose;
  }
  for (const auto& call : refresh) call();
  return prometheus::TextSerializer().Serialize(state_->registry.Collect());
}

void Metrics::before_expose(std::function<void()> refresh) {
  std::lock_guard lock(state_->mutex);
  state_->before_expose.push_back(std::move(refresh));
}

void add_process_metrics(Metrics& metrics, std::string_view program) {
  metrics
      .gauge("trimtab_build_info", "Constant 1, labelled by program and version.",
             {"program", "version"})
      .with({std::string(program), TRIMTAB_VERSION})
      .set(1);
  auto& memory =
      metrics.gauge("process_resident_memory_bytes", "Resident memory size in bytes.").with();
  auto& cpu =
      metrics.counter("process_cpu_seconds_total", "User and system CPU time spent, in seconds.")
          .with();
  auto& files = metrics.gauge("process_open_fds", "File descriptors that are open.").with();
  metrics.gauge("process_start_time_seconds", "Start of the process, seconds since the epoch.")
      .with()
      .set(static_cast<double>(SystemClock().now_ms()) / 1000.0);
  metrics.before_expose([&memory, &cpu, &files] {
    long pages_total = 0;
    long pages_resident = 0;
    std::ifstream("/proc/self/statm") >> pages_total >> pages_resident;
    memory.set(static_cast<double>(pages_resident) * static_cast<double>(::sysconf(_SC_PAGESIZE)));
    cpu.add(std::max(0.0, static_cast<double>(std::clock()) / CLOCKS_PER_SEC - cpu.value()));
    std::error_code error;
    std::int64_t open = 0;
    for (std::filesystem::directory_iterator it("/proc/self/fd", error), end; !error && it != end;
         it.increment(error)) {
      ++open;
    }
    files.set(static_cast<double>(open));
  });
}

}  // namespace trimtab
