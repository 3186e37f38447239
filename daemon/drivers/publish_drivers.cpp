#include "daemon/drivers/publish_drivers.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <array>

#include "base/hash.h"
#include "base/json.h"
#include "daemon/drivers/routing_file.h"
#include "daemon/drivers/vllm_driver.h"

namespace trimtab::daemon {
namespace {

std::string hmac_sha256_hex(const std::string& secret, const std::string& body) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
       reinterpret_cast<const unsigned char*>(body.data()), body.size(), digest.data(), &size);
  return to_hex(digest.data(), size);
}

}  // namespace

FileDriver::FileDriver(config::ServingSettings settings, std::string routing_dir)
    : settings_(std::move(settings)), routing_dir_(std::move(routing_dir)) {}

std::string FileDriver::server_path(const shadow::AdapterRef& adapter) const {
  return adapter.bare_base() ? "" : map_path(settings_.path_map, adapter.uri);
}

FleetResult FileDriver::publish(const std::string& target, std::uint64_t generation,
                                const std::string& routing_json) {
  return {{publish_file(routing_dir_, target, generation, routing_json)}};
}

WebhookDriver::WebhookDriver(config::ServingSettings settings, std::string routing_dir,
                             std::string token, std::string secret, Clock& clock)
    : FileDriver(std::move(settings), std::move(routing_dir)),
      token_(std::move(token)),
      secret_(std::move(secret)),
      client_({.connect_ms = settings_.connect_timeout_ms,
               .silence_ms = settings_.request_timeout_ms,
               .total_ms = settings_.request_timeout_ms},
              clock) {}

FleetResult WebhookDriver::publish(const std::string& target, std::uint64_t generation,
                                   const std::string& routing_json) {
  FleetResult result = FileDriver::publish(target, generation, routing_json);
  if (result.done()) result.endpoints.push_back(post(target, generation, routing_json));
  return result;
}

EndpointResult WebhookDriver::post(const std::string& target, std::uint64_t generation,
                                   const std::string& routing_json) {
  const auto url = net::parse_url(settings_.webhook_url);
  const std::string where = url ? url->origin() : settings_.webhook_url;
  net::ClientRequest request;
  request.method = "POST";
  request.url = settings_.webhook_url;
  request.body = routing_json;
  request.safe_to_repeat = true;
  const auto number = std::to_string(generation);
  request.headers = {{"Content-Type", "application/json"},
                     {"X-Trimtab-Target", target},
                     {"X-Trimtab-Generation", number},
                     {"Idempotency-Key", target + "/" + number}};
  if (!token_.empty()) request.headers.set("Authorization", "Bearer " + token_);
  if (!secret_.empty()) {
    request.headers.set("X-Trimtab-Signature", "sha256=" + hmac_sha256_hex(secret_, routing_json));
  }
  const auto answer = client_.send(request);
  if (!answer) return {where, CallOutcome::kRetry, answer.error().message};
  const int status = answer->status;
  if (status >= 200 && status < 300) return {where, CallOutcome::kDone, "acknowledged"};
  if (status == 409) {
    const auto json = parse_json(answer->body);
    const auto held = json ? json_or<std::uint64_t>(*json, "generation", 0) : 0;
    if (held == generation) return {where, CallOutcome::kAlready, "acknowledged before"};
    return {where, CallOutcome::kConflict, "holds generation " + std::to_string(held)};
  }
  const bool later = status >= 500 || status == 408 || status == 425 || status == 429;
  return {where, later ? CallOutcome::kRetry : CallOutcome::kRefused,
          "answers " + std::to_string(status)};
}

}  // namespace trimtab::daemon
