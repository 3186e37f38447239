// DeadLetters: what cannot be used goes to the dead-letter topic unchanged, with headers
// __connect.errors.{topic,partition,offset,stage,exception.class.name,exception.message,timestamp}
// (RECORDS.md section 3), counted by reason, logged at a limited rate.
//
// A letter that the dead-letter topic never takes because of its size is cut until it fits, with
// the header trimtab.original.bytes: held back, it would stop its partition for ever.
//
// add() never blocks for the broker; flush() returns OK only when every letter added was
// acknowledged, so the ingest thread calls it before it hands the batch on: a committed offset
// never passes a letter that was lost. One thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/result.h"
#include "config/daemon_settings.h"
#include "daemon/kafka_source.h"
#include "daemon/record.h"

namespace trimtab::daemon {

class DeadLetters {
 public:
  // Mode `off` connects to nothing and only counts.
  [[nodiscard]] static Result<std::unique_ptr<DeadLetters>> open(
      const config::KafkaSettings& settings, Clock& clock, Metrics& metrics);
  ~DeadLetters();

  // `stage`: "decode" or "route". kUnavailable when the local queue stays full.
  [[nodiscard]] Status add(const RawMessage& message, const std::string& topic,
                           const DeadLetter& letter, std::string_view stage);
  // kUnavailable when not all were acknowledged in time; calling again goes on waiting and resends
  // what was refused.
  [[nodiscard]] Status flush(std::int64_t timeout_ms);
  [[nodiscard]] std::uint64_t written() const;

 private:
  struct State;
  explicit DeadLetters(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace trimtab::daemon
