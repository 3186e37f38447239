// The second half of a ProxyCall: from the model server's head to the client's last byte.
#include <algorithm>

#include "daemon/gateway/proxy_call.h"

namespace trimtab::gateway {
namespace {

// A head is held back for the answering model's name, but not for ever.
constexpr std::size_t kHeldBytes = 64 << 10;

// Fields of the answer that go back.
constexpr const char* kPassedBack[] = {"Content-Type", "X-Request-Id", "Retry-After",
                                       "OpenAI-Processing-Ms", "OpenAI-Version"};

}  // namespace

// Who answered, by the answer's own word.
void ProxyCall::attest(const std::string& answering_model) {
  if (kind_ == ApiKind::kOther) return;
  if (answering_model == upstream_name(asked_adapter_)) {
    facts_.served_adapter = asked_adapter_;
  } else if (answering_model == target_->base_name) {
    facts_.served_adapter = "";
  } else if (routing_ && !answering_model.empty() && routing_->names(answering_model)) {
    facts_.served_adapter = answering_model;
  }
  if (!facts_.served_adapter || *facts_.served_adapter != asked_adapter_) {
    parts_.metrics.unattested.with({facts_.target}).add();
  }
}

void ProxyCall::stamp(net::Headers& headers) const {
  headers.set("X-Trimtab-Id", facts_.id);
  if (!facts_.arm.empty()) {
    headers.set("X-Trimtab-Arm", facts_.arm);
    headers.set("X-Trimtab-Generation", std::to_string(facts_.generation));
  }
  if (facts_.status != 200 || kind_ == ApiKind::kOther) return;
  headers.set("X-Trimtab-Adapter", !facts_.served_adapter           ? "unknown"
                                   : facts_.served_adapter->empty() ? "base"
                                                                    : *facts_.served_adapter);
}

net::Headers ProxyCall::answer_headers() const {
  net::Headers headers;
  for (const char* name : kPassedBack) {
    const auto value = exchange_->headers().get(name);
    if (!value.empty()) headers.set(name, value);
  }
  stamp(headers);
  return headers;
}

void ProxyCall::pass_whole() {
  facts_.status = exchange_->status();
  std::string body;
  const std::int64_t began_ms = parts_.clock.mono_ms();
  for (;;) {
    auto piece = exchange_->read();
    if (!piece) {
      const bool gone = writer_.client_gone();
      facts_.aborted = true;
      facts_.error = gone ? "client_gone" : "upstream_broken";
      parts_.metrics.aborted.with({facts_.target, gone ? "client" : "upstream"}).add();
      if (gone) {
        facts_.status = kClientGone;
        return;
      }
      target_->upstreams->report_failure(*turn_->get(), "broken");
      return refuse(502, "The model server broke off its answer.", "server_error",
                    "upstream_broken");
    }
    if (piece->empty()) break;
    body += *piece;
  }
  upstream_ms_ += parts_.clock.mono_ms() - began_ms;
  if (kind_ != ApiKind::kOther) capture_.whole(body);
  if (facts_.status == 200) attest(capture_.finish().model);
  net::Response answer{facts_.status, answer_headers(), std::move(body)};
  if (!writer_.send(std::move(answer))) {
    facts_.aborted = true;
    parts_.metrics.aborted.with({facts_.target, "client"}).add();
  }
}

void ProxyCall::pass_stream() {
  facts_.status = 200;
  std::string pending;  // before the head is sent
  bool begun = false;
  for (;;) {
    auto piece = exchange_->read();
    if (!piece) return end_stream(true, &piece.error());
    if (piece->empty()) break;
    capture_.feed(*piece);
    if (!first_token_ && capture_.content_seen()) {
      first_token_ = true;
      facts_.ttft_s = seconds_since_start();
      parts_.metrics.first_token.with({facts_.target}).observe(*facts_.ttft_s);
    }
    bool taken = true;
    if (!begun) {
      pending += *piece;
      const bool named = capture_.model_seen() || kind_ == ApiKind::kOther;
      if (!named && pending.size() < kHeldBytes) continue;
      begun = true;
      begin_stream(pending);
    } else {
      taken = writer_.write(*piece);
    }
    if (!taken) return end_stream(true, nullptr);
  }
  if (!begun) begin_stream(pending);
  end_stream(false, nullptr);
}

void ProxyCall::begin_stream(const std::string& pending) {
  attest(capture_.finish().model);
  net::Headers headers = answer_headers();
  headers.set("Cache-Control", "no-cache");
  if (writer_.begin(200, headers)) static_cast<void>(writer_.write(pending));
}

void ProxyCall::end_stream(bool broken, const Error* error) {
  const auto& answer = capture_.finish();
  const bool whole = capture_.done_seen() || !answer.finish.empty();
  const bool ended = !broken && writer_.end();
  if (ended && whole) return;
  const bool gone = error == nullptr ? !ended : writer_.client_gone();
  facts_.aborted = true;
  facts_.error = gone ? "client_gone" : "upstream_broken";
  parts_.metrics.aborted.with({facts_.target, gone ? "client" : "upstream"}).add();
  if (!gone) target_->upstreams->report_failure(*turn_->get(), "broken");
  if (gone || writer_.begun()) return;  // without end(): the client sees that something is missing
  refuse(502, "The model server broke off its answer.", "server_error", "upstream_broken");
}

void ProxyCall::refuse(int status, const std::string& message, const char* type, const char* code) {
  facts_.status = status;
  if (facts_.error.empty()) facts_.error = code;
  net::Response response = net::json_text_response(status, openai_error(message, type, code));
  stamp(response.headers);
  static_cast<void>(writer_.send(std::move(response)));
}

}  // namespace trimtab::gateway
