// The canonical inference record (RECORDS.md section 1) of one request that went through.
//
// Pure; thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "daemon/gateway/answer_capture.h"
#include "daemon/gateway/openai_request.h"

namespace trimtab::gateway {

struct ExchangeFacts {
  std::string id;
  std::int64_t ts_ms = 0, ts_end_ms = 0;
  double latency_s = 0.0;
  std::optional<double> ttft_s;  // streams only: until the first token
  std::string target, route;
  std::string user_id, session_id, tenant, trace_id;
  bool chat = true;
  bool probe = false;  // X-Trimtab-Probe: seen by no detector, pool or trial
  bool stream = false;
  bool aborted = false;  // the stream broke off, on either side
  int status = 0;        // that the client got; 499: it went away before
  std::string error;     // why it failed, a word; empty: it did not
  std::string upstream;  // origin
  // What the router decided. No routing document yet: arm empty.
  std::string arm, experiment;
  std::uint64_t generation = 0;
  // What was served, attested by the answer's `model`: an adapter's name, or empty for the base.
  // nullopt: the answer did not say, or named something unknown.
  std::optional<std::string> served_adapter;
  std::string fallback;  // why another adapter than the arm's was asked for; empty: it was not
};

// The record as one line of JSON, at most about `max_bytes`: longer texts are cut at a character
// and `attributes.truncated` says so.
[[nodiscard]] std::string render_record(const ExchangeFacts& facts, const OpenAiRequest& request,
                                        const Answer& answer, const std::string& instance,
                                        std::size_t max_bytes);

}  // namespace trimtab::gateway
