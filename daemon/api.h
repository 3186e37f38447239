// Api: the daemon over HTTP (docs/openapi.yaml is the list of answers). Reads immutable snapshots
// and, through read-only connections of its own, the journal; everything that changes something is
// posted to control as a command and answered after its commit. Event streams and long polls run
// on the server's waiting threads. Handlers run on many threads at once.
// Files: api.cpp (routes), api_reads.cpp (trials, jobs, records), api_commands.cpp (changes),
// api_request.cpp (what a request must look like), api_streams.cpp (SSE, long polls),
// api_explain.cpp (explain, replay), api_auth.cpp.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/net/server.h"
#include "config/settings.h"
#include "daemon/api_auth.h"
#include "daemon/api_request.h"
#include "daemon/commands.h"
#include "daemon/control_loop.h"
#include "daemon/events_feed.h"
#include "daemon/ingest.h"
#include "daemon/record_codec.h"
#include "daemon/snapshot.h"

namespace trimtab::daemon {

struct ApiParts {
  std::shared_ptr<const config::Settings> settings;
  SnapshotBoard& board;
  EventsFeed& feed;
  CommandQueue& commands;
  BatchQueue& batches;
  BatchPool& pool;
  OffsetBook& book;
  const ControlLoop& loop;
  Ingest& ingest;
  RecordStore& records;
  RecordCodec& codec;  // guarded by the api's own mutex
  ApiAuth& auth;
  Clock& clock;
  Metrics& metrics;
  std::int64_t started_ms = 0;
  // Loads the configuration again; the answer for whoever asked.
  std::function<CommandAnswer(const std::string& actor)> reload;
  // Empty: ready; else what is missing.
  std::function<std::string()> not_ready;
};

class Api {
 public:
  explicit Api(ApiParts parts) : parts_(std::move(parts)) {}
  // The API and the page. REQUIRES: server not started.
  void mount(net::Server& server);
  // Health and metrics, on a listener of their own and on the API's. Guarded: metrics there need a
  // token, as everything else does.
  enum class Metering { kOpen, kGuarded };
  void mount_health(net::Server& server, Metering metering);

 private:
  // A reader out of the pool; goes back when it is dropped.
  class Reader {
   public:
    [[nodiscard]] static Result<Reader> take(Api& api);
    Reader(Reader&&) noexcept = default;
    Reader& operator=(Reader&&) = delete;
    ~Reader();
    [[nodiscard]] StateQueries& operator*() { return *reader_; }

   private:
    Reader(Api& api, std::unique_ptr<StateReader> reader)
        : api_(&api), reader_(std::move(reader)) {}
    Api* api_;
    std::unique_ptr<StateReader> reader_;
  };
  using Read = std::function<Result<nlohmann::json>(StateQueries&, const net::Request&)>;
  void read(net::Server& server, const char* pattern, Read read);
  void mount_reads(net::Server& server);
  void mount_targets(net::Server& server);
  void mount_commands(net::Server& server);
  void mount_streams(net::Server& server);
  void mount_page(net::Server& server);

  [[nodiscard]] nlohmann::json status() const;
  [[nodiscard]] Result<nlohmann::json> promotions(StateQueries& state, const net::Request& request);
  [[nodiscard]] Result<nlohmann::json> promotion(StateQueries& state, const std::string& id);
  [[nodiscard]] Result<nlohmann::json> evidence(StateQueries& state, const std::string& id);
  [[nodiscard]] Result<nlohmann::json> jobs(StateQueries& state, const net::Request& request);
  [[nodiscard]] Result<nlohmann::json> job(StateQueries& state, const std::string& id);
  [[nodiscard]] Result<nlohmann::json> stored_records(StateQueries& state,
                                                      const net::Request& request);
  [[nodiscard]] Result<nlohmann::json> adapters(StateQueries& state, const std::string& target);
  [[nodiscard]] nlohmann::json offsets() const;
  [[nodiscard]] Result<nlohmann::json> explain(StateQueries& state, const std::string& id);
  [[nodiscard]] Result<nlohmann::json> replay(StateQueries& state, const std::string& id,
                                              const nlohmann::json& changes);

  [[nodiscard]] net::Response command(CommandRequest command);
  void post(net::Server& server, const std::string& pattern, const char* verb, const char* subject,
            std::vector<BodyField> fields = {});
  void mount_targets_commands(net::Server& server);
  void mount_trial_commands(net::Server& server);
  void mount_daemon_commands(net::Server& server);
  [[nodiscard]] net::Response set_log_level(const net::Request& request);
  [[nodiscard]] net::Response replay_of(const net::Request& request);
  void send_events(const net::Request& request, net::ResponseWriter& writer);
  void follow_events(const net::Request& request, net::ResponseWriter& writer);
  void send_routing(const net::Request& request, net::ResponseWriter& writer);
  [[nodiscard]] std::filesystem::path free_adapter_folder(const std::string& target,
                                                          const std::string& sha256) const;
  [[nodiscard]] net::Response register_adapter(const net::Request& request);
  [[nodiscard]] net::Response ingest_body(const net::Request& request, const char* kind);
  [[nodiscard]] net::Response move_offset(const net::Request& request);
  [[nodiscard]] Checked<CommandRequest> base_command(const net::Request& request,
                                                     const std::vector<BodyField>& fields) const;
  // 404 with the names for an unknown one; without a name, the only target or 422.
  [[nodiscard]] Checked<std::string> single_target(const std::string& asked) const;
  [[nodiscard]] Error unknown_target(std::string_view asked) const;
  // ?target=: empty when absent. kNotFound for one that is not configured.
  [[nodiscard]] Result<std::string> target_filter(const net::Request& request) const;

  ApiParts parts_;
  std::mutex codec_mutex_;
  std::mutex readers_mutex_;
  std::vector<std::unique_ptr<StateReader>> readers_;
};

[[nodiscard]] nlohmann::json event_json(const Event& event);
// 200 with a JSON text, never cached.
[[nodiscard]] net::Response json_answer(std::string body);

}  // namespace trimtab::daemon
