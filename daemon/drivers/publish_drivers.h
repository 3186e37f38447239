// Drivers `file` and `webhook`: somebody else loads adapters and routes; trimtab tells them what is
// wanted. Both write routing/<target>.json; `webhook` also posts it and waits for the answer.
#pragma once

#include <string>

#include "base/net/client.h"
#include "daemon/drivers/serving_driver.h"

namespace trimtab::daemon {

// What a driver that does not load can say: nothing about the fleet, and success for what is not
// its business. Whether the fleet follows is seen by acknowledgements and by the records.
class FileDriver : public ServingDriver {
 public:
  FileDriver(config::ServingSettings settings, std::string routing_dir);

  [[nodiscard]] std::string_view name() const override { return "file"; }
  [[nodiscard]] bool loads() const override { return false; }
  [[nodiscard]] std::vector<EndpointState> describe() override { return {}; }
  [[nodiscard]] std::string server_path(const shadow::AdapterRef& adapter) const override;
  [[nodiscard]] FleetResult load(const shadow::AdapterRef&) override { return {}; }
  [[nodiscard]] FleetResult unload(const std::string&) override { return {}; }
  [[nodiscard]] FleetResult evict_impostor(const shadow::AdapterRef&) override { return {}; }
  [[nodiscard]] FleetResult warm_up(const shadow::AdapterRef&) override { return {}; }
  [[nodiscard]] FleetResult publish(const std::string& target, std::uint64_t generation,
                                    const std::string& routing_json) override;

 protected:
  const config::ServingSettings settings_;
  const std::string routing_dir_;
};

// The body is the document. Headers: X-Trimtab-Target, X-Trimtab-Generation, Idempotency-Key
// "<target>/<generation>" and, with a secret, X-Trimtab-Signature "sha256=<hex HMAC of the body>".
// 2xx acknowledges. 409 with a JSON body {"generation": g}: g equal is success, a higher one is a
// conflict. 408, 425, 429 and 5xx are tried again; every other status is a refusal.
class WebhookDriver final : public FileDriver {
 public:
  WebhookDriver(config::ServingSettings settings, std::string routing_dir, std::string token,
                std::string secret, Clock& clock);

  [[nodiscard]] std::string_view name() const override { return "webhook"; }
  [[nodiscard]] FleetResult publish(const std::string& target, std::uint64_t generation,
                                    const std::string& routing_json) override;

 private:
  [[nodiscard]] EndpointResult post(const std::string& target, std::uint64_t generation,
                                    const std::string& routing_json);

  const std::string token_;
  const std::string secret_;
  net::Client client_;
};

}  // namespace trimtab::daemon
