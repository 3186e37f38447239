// Rest: the command line's way to a daemon. URL from --url, else TRIMTAB_URL, else loopback; a
// bearer token from --token-file or TRIMTAB_TOKEN_FILE. One thread.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/net/client.h"
#include "base/result.h"

namespace trimtab::cli {

struct RestOptions {
  std::string url;         // "" = TRIMTAB_URL, then http://127.0.0.1:8500
  std::string token_file;  // "" = TRIMTAB_TOKEN_FILE, then none
  bool json = false;       // print the daemon's answer as it is
};

class Rest {
 public:
  // kNotFound when a token file is named that cannot be read.
  [[nodiscard]] static Result<Rest> open(const RestOptions& options, Clock& clock);

  // The answer of a 2xx; else an Error with the problem's text and what to try.
  [[nodiscard]] Result<nlohmann::json> get(const std::string& path);
  [[nodiscard]] Result<nlohmann::json> post(const std::string& path, const nlohmann::json& body,
                                            const net::Headers& more = {});
  [[nodiscard]] Result<nlohmann::json> post_text(const std::string& path, const std::string& body,
                                                 const std::string& content_type);
  // A change: with the actor (this user) and a fresh Idempotency-Key, so that a repetition on a
  // broken connection is done once.
  [[nodiscard]] Result<nlohmann::json> change(const std::string& path, nlohmann::json body);
  // The name of the only target, when the user named none.
  [[nodiscard]] Result<std::string> target_or_only(const std::string& named);
  // Server-sent events until `handle` returns false or the stream ends.
  [[nodiscard]] Status follow(const std::string& path,
                              const std::function<bool(const nlohmann::json&)>& handle);

 private:
  Rest(std::string url, net::Headers headers, Clock& clock);
  [[nodiscard]] Result<nlohmann::json> read(const std::string& what,
                                            const Result<net::Response>& response) const;
  std::string url_;
  net::Headers headers_;
  std::unique_ptr<net::Client> client_;
};

}  // namespace trimtab::cli
