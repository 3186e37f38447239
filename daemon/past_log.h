// PastLog: messages of the past, one after another, from a JSONL file or a Kafka range
// (kafka_range.h). What the backtest and `trimtab test` replay. One thread; bounded memory.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace trimtab::daemon {

class PastLog {
 public:
  struct Message {
    std::string_view payload;  // valid until the next call
    std::int64_t ts_ms = 0;    // the message's own time; 0: it has none (a file)
    bool too_long = false;     // cut: longer than a record may be
  };
  virtual ~PastLog() = default;
  // False at the end. Blank lines are passed over.
  [[nodiscard]] virtual Result<bool> next(Message& out) = 0;
  // Where the last message stands: "FILE:LINE" or "TOPIC/PARTITION@OFFSET".
  [[nodiscard]] virtual std::string where() const = 0;
};

// "-" is standard input. Lines longer than `max_bytes` are cut and marked. kNotFound, kIo.
[[nodiscard]] Result<std::unique_ptr<PastLog>> open_past_file(const std::string& path,
                                                              std::int64_t max_bytes);
// The lines of a text that stands in another file; `first_line` is the number of its first one.
[[nodiscard]] std::unique_ptr<PastLog> past_text(std::string name, std::string text,
                                                 std::int64_t first_line, std::int64_t max_bytes);

}  // namespace trimtab::daemon
