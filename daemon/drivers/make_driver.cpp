#include "daemon/drivers/publish_drivers.h"
#include "daemon/drivers/routing_file.h"
#include "daemon/drivers/serving_driver.h"
#include "daemon/drivers/vllm_driver.h"

namespace trimtab::daemon {

Result<std::unique_ptr<ServingDriver>> make_serving_driver(const config::ServingSettings& settings,
                                                           const std::string& routing_dir,
                                                           const std::string& default_base_name,
                                                           Clock& clock) {
  TRIMTAB_TRY(const auto token, read_token(settings.token_file));
  switch (settings.driver) {
    case config::ServingDriver::kVllm: {
      if (settings.endpoints.empty()) {
        return fail(Code::kInvalid, "serving: driver vllm needs endpoints");
      }
      const auto& base =
          settings.served_base_name.empty() ? default_base_name : settings.served_base_name;
      return std::make_unique<VllmDriver>(settings, routing_dir, base, token, clock);
    }
    case config::ServingDriver::kFile: return std::make_unique<FileDriver>(settings, routing_dir);
    case config::ServingDriver::kWebhook: {
      auto url = net::parse_url(settings.webhook_url);
      if (!url) return fail_in("serving.webhook_url", url.error());
      TRIMTAB_TRY(const auto secret, read_token(settings.webhook_secret_file));
      return std::make_unique<WebhookDriver>(settings, routing_dir, token, secret, clock);
    }
  }
  return fail(Code::kInternal, "serving: unknown driver");
}

}  // namespace trimtab::daemon
