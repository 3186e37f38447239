// Commands: what people and programs ask of control over REST. An HTTP thread posts one to the
// inbox and waits with a deadline; control applies it inside a step, in order with everything else,
// and answers after the commit. So a 202 is durable, and a command is an input like any other:
// journaled with its actor, its reason and its Idempotency-Key.
#pragma once

#include <cstdint>
#include <future>
#include <memory>
#include <optional>
#include <string>

#include "base/queue.h"
#include "base/result.h"

namespace trimtab::daemon {

struct CommandRequest {
  // retrain | rollback | resume_target | release_quarantine | lift_tombstone | register |
  // cancel_job | pause | resume | approve | advance | promote | abort | rollback_trial | ack |
  // offsets_reset | erase | records | reload | rereference | log_level
  std::string verb;
  std::string target;   // empty where the subject says it
  std::string subject;  // trial or job id
  std::string actor, reason;
  bool force = false;
  std::string idempotency_key;
  std::string fingerprint;                // of the request as it came: a key belongs to one request
  std::optional<std::uint64_t> if_match;  // the trial's sequence number
  std::string body;                       // JSON object: the verb's own arguments
};

struct CommandAnswer {
  int status = 202;
  std::string body = "{}";  // JSON; problem+json when status >= 400
  std::string etag;         // unquoted; empty: none
};

struct PendingCommand {
  CommandRequest request;
  std::promise<CommandAnswer> answer;
};

using CommandQueue = BoundedQueue<std::unique_ptr<PendingCommand>>;

[[nodiscard]] CommandAnswer answer_error(const Error& error);
[[nodiscard]] CommandAnswer answer_problem(int status, const std::string& detail);

// Posts and waits. 503 when the inbox is full, 504 when control did not answer in time (the command
// may still be applied: repeat it with the same Idempotency-Key).
[[nodiscard]] CommandAnswer post_command(CommandQueue& queue, CommandRequest request,
                                         std::int64_t deadline_ms);

}  // namespace trimtab::daemon
