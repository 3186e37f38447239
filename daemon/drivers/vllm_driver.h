// Driver `vllm`: vLLM's runtime LoRA calls, spoken by vLLM itself and by `trimtab-worker serve`.
//
//   POST /v1/load_lora_adapter {"lora_name", "lora_path"} -> 200; 400 loaded already or bad; 404
//   POST /v1/unload_lora_adapter {"lora_name"}            -> 200; 404 was not there
//   GET  /v1/models -> data[{id, root, parent}]
// vLLM needs VLLM_ALLOW_RUNTIME_LORA_UPDATING=True and --enable-lora.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/net/client.h"
#include "daemon/drivers/serving_driver.h"

namespace trimtab::daemon {

class VllmDriver final : public ServingDriver {
 public:
  // `token`: bearer for the endpoints; empty: none.
  VllmDriver(config::ServingSettings settings, std::string routing_dir, std::string base_name,
             std::string token, Clock& clock);

  [[nodiscard]] std::string_view name() const override { return "vllm"; }
  [[nodiscard]] bool loads() const override { return true; }
  [[nodiscard]] std::vector<EndpointState> describe() override;
  [[nodiscard]] std::string server_path(const shadow::AdapterRef& adapter) const override;
  [[nodiscard]] FleetResult load(const shadow::AdapterRef& adapter) override;
  [[nodiscard]] FleetResult unload(const std::string& adapter_name) override;
  [[nodiscard]] FleetResult evict_impostor(const shadow::AdapterRef& adapter) override;
  [[nodiscard]] FleetResult warm_up(const shadow::AdapterRef& adapter) override;
  [[nodiscard]] FleetResult publish(const std::string& target, std::uint64_t generation,
                                    const std::string& routing_json) override;

 private:
  struct Endpoint {
    std::string url, name;
  };
  template <typename Call>
  FleetResult on_every_endpoint(Call&& call);
  [[nodiscard]] EndpointState ask(const Endpoint& endpoint);
  [[nodiscard]] EndpointResult load_on(const Endpoint& endpoint, const shadow::AdapterRef& adapter);
  [[nodiscard]] EndpointResult unload_on(const Endpoint& endpoint, const std::string& adapter_name);
  [[nodiscard]] EndpointResult warm_up_on(const Endpoint& endpoint,
                                          const shadow::AdapterRef& adapter);
  [[nodiscard]] Result<net::Response> call(const Endpoint& endpoint, const char* method,
                                           const std::string& path, std::string body,
                                           std::int64_t total_ms);

  const config::ServingSettings settings_;
  const std::string routing_dir_;
  const std::string base_name_;
  const std::string token_;
  std::vector<Endpoint> endpoints_;
  net::Client client_;
};

// The longest `from` that is a whole-component prefix of `path` is replaced by its `to`.
[[nodiscard]] std::string map_path(const std::vector<config::PathMap>& map,
                                   const std::string& path);

}  // namespace trimtab::daemon
