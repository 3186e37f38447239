#include "daemon/api.h"

#include <algorithm>
#include <filesystem>

#include "base/json.h"
#include "daemon/promotion_view.h"
#include "daemon/ui/assets.h"
#include "shadow/trial.h"

namespace trimtab::daemon {
namespace {

constexpr std::size_t kReadersKept = 8;

Json text_as_json(const std::string& text) {
  auto parsed = parse_json(text);
  return parsed ? *parsed : Json();
}

}  // namespace

// What an operator sees is of now: no cache keeps it, no browser guesses its type.
net::Response json_answer(std::string body) {
  auto response = net::json_text_response(200, std::move(body));
  response.headers.set("Cache-Control", "no-store");
  response.headers.set("X-Content-Type-Options", "nosniff");
  return response;
}

Json event_json(const Event& event) {
  return {{"seq", event.seq},
          {"ts", format_rfc3339(event.ts_ms)},
          {"ts_ms", event.ts_ms},
          {"kind", event.kind},
          {"target", event.target},
          {"subject", event.subject},
          {"from", event.from},
          {"to", event.to},
          {"generation", event.generation},
          {"actor", event.actor},
          {"config_hash", event.config_hash},
          {"reason", event.reason},
          {"message", event.message},
          {"evidence", event.evidence.empty() ? Json() : text_as_json(event.evidence)}};
}

Result<Api::Reader> Api::Reader::take(Api& api) {
  {
    std::lock_guard lock(api.readers_mutex_);
    if (!api.readers_.empty()) {
      Reader reader(api, std::move(api.readers_.back()));
      api.readers_.pop_back();
      return reader;
    }
  }
  const auto file = std::filesystem::path(api.parts_.settings->state.dir) / "trimtab.db";
  TRIMTAB_TRY(auto opened, StateReader::open(file));
  return Reader(api, std::move(opened));
}

Api::Reader::~Reader() {
  if (!reader_) return;
  std::lock_guard lock(api_->readers_mutex_);
  if (api_->readers_.size() < kReadersKept) api_->readers_.push_back(std::move(reader_));
}

Error Api::unknown_target(std::string_view asked) const {
  std::string names;
  for (const auto& target : parts_.settings->targets) {
    names += (names.empty() ? "" : ", ") + target.name;
  }
  return {Code::kNotFound, "unknown target '" + std::string(asked) + "'; there are: " + names};
}

Result<std::string> Api::target_filter(const net::Request& request) const {
  const std::string asked(request.query_value("target"));
  for (const auto& target : parts_.settings->targets) {
    if (asked.empty() || asked == target.name) return asked;
  }
  return tl::unexpected<Error>(unknown_target(asked));
}

void Api::read(net::Server& server, const char* pattern, Read read) {
  server.get(pattern, [this, read = std::move(read)](const net::Request& request) {
    auto reader = Reader::take(*this);
    if (!reader) return net::problem_from(reader.error());
    const auto answer = read(**reader, request);
    if (!answer) return net::problem_from(answer.error());
    auto response = json_answer(dump_json(*answer));
    if (answer->is_object() && answer->contains("seq") && answer->contains("candidate")) {
      response.headers.set("ETag",
                           "\"" + std::to_string(answer->at("seq").get<std::uint64_t>()) + "\"");
    }
    return response;
  });
}

void Api::mount(net::Server& server) {
  mount_reads(server);
  mount_targets(server);
  mount_commands(server);
  mount_streams(server);
  mount_page(server);
  mount_health(server, Metering::kGuarded);
}

void Api::mount_health(net::Server& server, Metering metering) {
  const net::RouteOptions on_the_spot{.run = net::Run::kInline, .waits_if_query = {}};
  for (const char* path : {"/-/healthy", "/healthz"}) {
    server.get(
        path, [](const net::Request&) { return net::text_response(200, "healthy\n"); },
        on_the_spot);
  }
  for (const char* path : {"/-/ready", "/readyz"}) {
    server.get(
        path,
        [this](const net::Request&) {
          const std::string missing = parts_.not_ready();
          return missing.empty() ? net::text_response(200, "ready\n")
                                 : net::text_response(503, missing + "\n");
        },
        on_the_spot);
  }
  server.get(
      "/metrics",
      [this, metering](const net::Request& request) {
        if (metering == Metering::kGuarded) {
          // Run::kInline routes pass the server's gate.
          if (auto stopped = parts_.auth.gate(request)) return std::move(*stopped);
        }
        return net::text_response(200, parts_.metrics.expose(),
                                  "text/plain; version=0.0.4; charset=utf-8");
      },
      on_the_spot);
}

void Api::mount_page(net::Server& server) {
  for (const char* path : {"/", "/index.html", "/app.js", "/charts.js", "/style.css"}) {
    server.get(path, [path](const net::Request&) {
      const auto asset = ui::find_asset(path);
      if (!asset) return net::problem(404, "no such page");
      auto response = net::text_response(200, std::string(asset->body), asset->content_type);
      response.headers.set("Content-Security-Policy", ui::kContentSecurityPolicy);
      response.headers.set("X-Content-Type-Options", "nosniff");
      response.headers.set("Referrer-Policy", "no-referrer");
      return response;
    });
  }
}

Json Api::offsets() const {
  const auto source = parts_.ingest.status();
  Json rows = Json::array();
  for (const auto& [where, next] : parts_.book.all()) {
    const auto lag = source.lag.find(where);
    rows.push_back({{"topic", where.topic},
                    {"partition", where.partition},
                    {"next", next},
                    {"lag", lag == source.lag.end() ? Json() : Json(lag->second)}});
  }
  Json gone;
  if (source.gone) {
    gone = {{"topic", source.gone->topic},
            {"partition", source.gone->partition},
            {"offset", source.gone_offset},
            {"log_start", source.log_start},
            {"log_end", source.log_end}};
  }
  return {{"offsets", rows}, {"gone", gone}};
}

Json Api::status() const {
  const auto snapshot = parts_.board.get();
  const auto source = parts_.ingest.status();
  Json lag = Json::object();
  for (const auto& [where, behind] : source.lag) {
    lag[where.topic + "-" + std::to_string(where.partition)] = behind;
  }
  Json answer = text_as_json(snapshot->counts.empty() ? "{}" : snapshot->counts);
  answer["version"] = "1";
  answer["started"] = format_rfc3339(parts_.started_ms);
  answer["now"] = format_rfc3339(parts_.clock.now_ms());
  answer["snapshot_ms"] = snapshot->at_ms;
  answer["config_hash"] = snapshot->config_hash;
  answer["paused"] = snapshot->paused;
  answer["source"] = {{"state", std::string(source_state_name(source.state))},
                      {"detail", source.detail},
                      {"rebalances", source.rebalances},
                      {"partitions", source.assigned.size()},
                      {"lag", lag},
                      {"lag_total", source.total_lag()}};
  answer["queue"] = {{"depth", parts_.batches.size()}, {"capacity", parts_.batches.capacity()}};
  Json targets = Json::array();
  for (const auto& [name, text] : snapshot->targets) targets.push_back(text_as_json(text));
  answer["targets"] = targets;
  return answer;
}

void Api::mount_reads(net::Server& server) {
  server.get("/api/v1/status",
             [this](const net::Request&) { return json_answer(dump_json(status())); });
  server.get("/api/v1/offsets",
             [this](const net::Request&) { return json_answer(dump_json(offsets())); });
  read(server, "/api/v1/jobs",
       [this](StateQueries& state, const net::Request& r) { return jobs(state, r); });
  read(server, "/api/v1/jobs/{id}", [this](StateQueries& state, const net::Request& r) {
    return job(state, std::string(r.param("id")));
  });
  read(server, "/api/v1/promotions",
       [this](StateQueries& state, const net::Request& r) { return promotions(state, r); });
  read(server, "/api/v1/promotions/{id}", [this](StateQueries& state, const net::Request& r) {
    return promotion(state, std::string(r.param("id")));
  });
  read(server, "/api/v1/promotions/{id}/evidence",
       [this](StateQueries& state, const net::Request& r) {
         return evidence(state, std::string(r.param("id")));
       });
  for (const char* kind : {"trial", "job"}) {
    const std::string collection = kind == std::string_view("trial") ? "promotions" : "jobs";
    read(server, ("/api/v1/" + collection + "/{id}/events").c_str(),
         [kind](StateQueries& state, const net::Request& r) -> Result<Json> {
           const std::string id(r.param("id"));
           TRIMTAB_CHECK_OK(state.document(kind, id));
           TRIMTAB_TRY(const auto events, state.events({.subject = id}));
           Json rows = Json::array();
           for (const auto& event : events) rows.push_back(event_json(event));
           return Json{{"events", rows}};
         });
  }
  read(server, "/api/v1/explain/{id}", [this](StateQueries& state, const net::Request& r) {
    return explain(state, std::string(r.param("id")));
  });
}

void Api::mount_targets(net::Server& server) {
  server.get("/api/v1/targets", [this](const net::Request&) {
    const auto snapshot = parts_.board.get();
    Json targets = Json::array();
    for (const auto& [name, text] : snapshot->targets) targets.push_back(text_as_json(text));
    return json_answer(dump_json(Json{{"targets", targets}}));
  });
  const auto from_snapshot = [this, &server](const char* pattern, auto member) {
    server.get(pattern, [this, member](const net::Request& request) {
      const auto snapshot = parts_.board.get();
      const auto& texts = (*snapshot).*member;
      const auto it = texts.find(std::string(request.param("target")));
      if (it == texts.end()) return net::problem_from(unknown_target(request.param("target")));
      return json_answer(it->second);
    });
  };
  from_snapshot("/api/v1/targets/{target}", &Snapshot::targets);
  from_snapshot("/api/v1/targets/{target}/signals", &Snapshot::signals);
  read(server, "/api/v1/targets/{target}/drift",
       [this](StateQueries& state, const net::Request& r) -> Result<Json> {
         const auto snapshot = parts_.board.get();
         const std::string target(r.param("target"));
         const auto it = snapshot->drift.find(target);
         if (it == snapshot->drift.end()) {
           return tl::unexpected<Error>(unknown_target(target));
         }
         TRIMTAB_TRY(const auto limit, query_number(r, "limit", 100, 1, 1'000));
         TRIMTAB_TRY(const auto documents, state.documents("alarm", target, {}, limit, true));
         Json alarms = Json::array();
         for (const auto& document : documents) alarms.push_back(text_as_json(document.data));
         return Json{{"monitor", text_as_json(it->second)}, {"alarms", alarms}};
       });
  read(server, "/api/v1/targets/{target}/records",
       [this](StateQueries& state, const net::Request& r) { return stored_records(state, r); });
  read(server, "/api/v1/targets/{target}/adapters",
       [this](StateQueries& state, const net::Request& r) {
         return adapters(state, std::string(r.param("target")));
       });
}

}  // namespace trimtab::daemon
