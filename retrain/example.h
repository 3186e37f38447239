// What retraining reads: one stored record with what was said about it. daemon/ fills it from the
// record store and the feedback join; curation (curation.h) turns many into a job's data files.
// Plain values; texts are redacted already (base/redaction.h, on their way to the disk).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace trimtab::retrain {

struct Message {
  std::string role;  // system | user | assistant | tool
  std::string content;
  bool operator==(const Message&) const = default;
};

enum class ExampleKind {
  kCorrection,  // `completion` is the right output that somebody gave
  kGood,  // `completion` is the champion's own output, confirmed (thumbs up, or a label match)
};

struct Example {
  std::string record_id;
  std::string unit;               // the evaluation unit: unit_key's value; hashed for eval_share
  std::vector<Message> messages;  // the prompt: everything before the answer
  std::string completion;         // the target text
  ExampleKind kind = ExampleKind::kCorrection;
  std::string label;  // class or task, for caps and the replay reservoir; empty: the completion
                      // when it is short (<= 64 bytes), else "other"
  std::string tenant;
  std::string source_id;            // who gave the label; empty = unknown, one source of its own
  std::string selection;            // random | user | judge
  std::int64_t ts_ms = 0;           // of the record (event time)
  std::int64_t feedback_ts_ms = 0;  // when the label was given; 0 = ts_ms. Bursts go by this.
};

// The class used for caps and reservoirs, see Example::label.
[[nodiscard]] std::string class_of(const Example& example);
// The prompt as one text, for duplicates and decontamination: contents joined by line breaks.
[[nodiscard]] std::string prompt_text(const std::vector<Message>& messages);
// Is the unit kept for evaluation? Never trained on, never replayed. Stable: SHA-free hash of the
// unit, the same in every process and release (base/hash.h, stable_fraction, seed kEvalSeed).
inline constexpr std::uint64_t kEvalSeed = 0x6576616c;  // "eval"
[[nodiscard]] bool is_evaluation_unit(const std::string& unit, double eval_share);

}  // namespace trimtab::retrain
