// ProxyCall: one OpenAI request on its way through the gateway.
//
// The policy, in order:
//  1. `model` must be an alias of ours (404 otherwise); the unit is assigned by the routing
//  document
//     in use; without one the bare base answers and the record has no arm.
//  2. A server that cannot be reached, or answers 502 or 503, is left for another one, `retries`
//     times at most and only before the first byte of an answer. A time-out is not repeated.
//  3. 404 from a server means that it has lost the adapter: the other servers are asked, then the
//     champion's adapter, then the base. The stamps and the record name what really answered, and
//     the fallback is counted; a trial does not count such a record, for its adapter is not its
//     arm's.
//  4. The answer passes through as it comes. Its head waits for the first piece that says who
//     answered, so that X-Trimtab-Adapter is what was served, not what was asked for.
//  5. The record goes to Kafka afterwards; it never delays the answer. Of what another arm than the
//     candidate's answered, the share mirror_ppm is copied to the candidate (mirror.h).
//
// One object a request, used by one thread.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/net/client.h"
#include "base/net/server.h"
#include "daemon/gateway/gateway_record.h"
#include "daemon/gateway/live.h"

namespace trimtab::gateway {

inline constexpr int kClientGone = 499;  // nginx's number for it

enum class ApiKind { kChat, kCompletion, kOther };  // kOther: passed through, not recorded

class ProxyCall {
 public:
  ProxyCall(std::shared_ptr<const Live> live, const Parts& parts, const net::Request& request,
            net::ResponseWriter& writer, ApiKind kind);
  void run();

 private:
  bool read_request();
  void assign();
  bool call_upstream();
  enum class Try { kAnswered, kNextServer, kMissing, kFailed };
  Try try_upstream(const std::string& adapter, const Upstreams::Turn& turn);
  void note_fallback();
  bool refuse_unanswered(bool all_missing);  // always false
  void pass_whole();
  void pass_stream();
  void begin_stream(const std::string& pending);
  void end_stream(bool broken, const Error* error);
  void attest(const std::string& answering_model);
  void refuse(int status, const std::string& message, const char* type, const char* code);
  void stamp(net::Headers& headers) const;
  void count_and_record();
  void mirror_to_candidate();

  [[nodiscard]] std::string upstream_name(const std::string& adapter) const;
  [[nodiscard]] net::ClientRequest upstream_request(const std::string& adapter,
                                                    const Upstream& upstream);
  [[nodiscard]] net::Headers answer_headers() const;
  [[nodiscard]] double seconds_since_start() const;

  std::shared_ptr<const Live> live_;
  const Parts& parts_;
  const net::Request& request_;
  net::ResponseWriter& writer_;
  const ApiKind kind_;
  const LiveTarget* target_ = nullptr;
  OpenAiRequest openai_;
  ExchangeFacts facts_;
  std::shared_ptr<const shadow::Routing> routing_;
  std::string wanted_adapter_;  // the arm's; empty: the base
  std::string asked_adapter_;   // of the call under way
  std::optional<Upstreams::Turn> turn_;
  std::unique_ptr<net::Exchange> exchange_;
  AnswerCapture capture_;
  std::int64_t upstream_began_ms_ = 0;
  std::int64_t upstream_ms_ = 0;  // time spent waiting for upstreams
  bool first_token_ = false;
};

}  // namespace trimtab::gateway
