#include "daemon/commands.h"

#include <chrono>

#include "base/json.h"
#include "base/net/message.h"

namespace trimtab::daemon {

CommandAnswer answer_problem(int status, const std::string& detail) {
  const Json body = {{"type", "about:blank"},
                     {"title", std::string(net::reason_phrase(status))},
                     {"status", status},
                     {"detail", detail}};
  return {.status = status, .body = dump_json(body), .etag = {}};
}

CommandAnswer answer_error(const Error& error) {
  return answer_problem(net::http_status_of(error.code), error.message);
}

CommandAnswer post_command(CommandQueue& queue, CommandRequest request, std::int64_t deadline_ms) {
  auto pending = std::make_unique<PendingCommand>();
  pending->request = std::move(request);
  auto answer = pending->answer.get_future();
  if (!queue.try_push(std::move(pending))) {
    return answer_problem(503, "the control thread's inbox is full or closed; try again shortly");
  }
  if (answer.wait_for(std::chrono::milliseconds(deadline_ms)) != std::future_status::ready) {
    return answer_problem(504,
                          "control did not answer in time; the command may still be applied: "
                          "repeat it with the same Idempotency-Key");
  }
  return answer.get();
}

}  // namespace trimtab::daemon
