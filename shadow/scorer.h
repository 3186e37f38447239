// Scoring stored records under champion and candidate side by side, never shown to users.
//
// A Scorer turns items into one result an adapter each. The local one is a process
// (`trimtab-worker score`, both adapters in one batch over one base): this file has its file
// format; starting processes and HTTP calls belong to the daemon's effects thread.
//   IN  {"id","messages":[..prompt..],"text":"known-good completion"}
//   OUT {"id","results":[{"adapter","greedy","match","mean_logprob","tokens"}, ..]}
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "shadow/adapter_ref.h"

namespace trimtab::shadow {

struct ScoreItem {
  std::string id;
  std::string messages_json;  // the prompt as a JSON array of {role, content}
  std::string text;           // the known-good completion
};

struct AdapterScore {
  std::string adapter;  // name or folder as given to the worker; "none": bare base
  std::string greedy;
  std::optional<bool> match;           // greedy equals text, outer white space aside
  std::optional<double> mean_logprob;  // mean token log-probability of `text`
  std::optional<double> latency_s;     // remote scorers only
  std::optional<double> text_metric;   // of `greedy` against `text`, in [0, 1]
  int tokens = 0;                      // of `text`
};

struct ScoreResult {
  std::string id;
  AdapterScore champion, candidate;
  std::optional<double> judge;  // -1 champion, 0 tie, 1 candidate
};

// IN's lines. kInvalid when an item's messages are not a JSON array.
[[nodiscard]] Result<std::string> score_input(std::span<const ScoreItem> items);
// OUT's lines, in which adapter A is the champion and B the candidate. kInvalid with the line when
// it is not in the format; NaN and missing numbers stay absent (they become missing pairs).
[[nodiscard]] Result<std::vector<ScoreResult>> parse_score_output(std::string_view text);

class Scorer {
 public:
  virtual ~Scorer() = default;
  // Blocking; called on an effects thread. Results come in any order; items without one are
  // missing. kUnavailable and kTimeout may be tried again.
  [[nodiscard]] virtual Result<std::vector<ScoreResult>> score(std::span<const ScoreItem> items,
                                                               const AdapterRef& champion,
                                                               const AdapterRef& candidate) = 0;
};

}  // namespace trimtab::shadow
