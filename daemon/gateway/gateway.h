// Gateway: the whole of trimtab-gateway but its main, so that tests run it in-process.
//
// OpenAI's API by alias: POST /v1/chat/completions, /v1/completions (recorded); /v1/embeddings,
// /tokenize, /detokenize (passed through with the alias replaced, not recorded); GET /v1/models and
// /v1/models/{id} (the aliases); GET /health. Every other address is 404: a gateway must not lead
// to a model server's management calls. A listener of its own has /healthz, /-/healthy, /readyz,
// /-/ready and /metrics.
//
// Thread-safety: create, start, reload and stop from one thread.
#pragma once

#include <memory>

#include "base/clock.h"
#include "base/result.h"
#include "config/gateway_settings.h"

namespace trimtab::gateway {

class Gateway {
 public:
  // kInvalid: settings that cannot work (a secret file that is missing, no token off loopback, a
  // Kafka property that does not exist).
  [[nodiscard]] static Result<std::unique_ptr<Gateway>> create(config::GatewaySettings settings,
                                                               Clock& clock);
  ~Gateway();
  Gateway(const Gateway&) = delete;
  Gateway& operator=(const Gateway&) = delete;

  // kConflict: a port is taken.
  [[nodiscard]] Status start();
  [[nodiscard]] int port() const;
  [[nodiscard]] int metrics_port() const;
  // Takes targets, upstreams, routing, units and time limits from new settings; requests under way
  // end with the old ones. Listeners, threads and Kafka stay (restart for those). On an error the
  // old settings stay in force.
  [[nodiscard]] Status reload(config::GatewaySettings settings);
  // Lets answers in flight finish for `drain`, then sends the remaining records for `flush`.
  void stop();

 private:
  struct State;
  explicit Gateway(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace trimtab::gateway
