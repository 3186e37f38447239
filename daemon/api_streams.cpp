// Server-sent events and the routing long poll.
#include <algorithm>
#include <cstdlib>

#include "base/json.h"
#include "daemon/api.h"

namespace trimtab::daemon {
namespace {

constexpr std::int64_t kPingMs = 10'000;

std::int64_t last_event_id(const net::Request& request, std::int64_t fallback) {
  const std::string header(request.headers.get("Last-Event-ID"));
  if (!header.empty()) return std::atoll(header.c_str());
  return query_number(request, "after", fallback, 0, INT64_MAX);
}

bool wants_page(const net::Request& request) {
  return request.headers.get("Accept").find("text/event-stream") == std::string_view::npos;
}

}  // namespace

void Api::mount_streams(net::Server& server) {
  server.stream("GET", "/api/v1/events",
                [this](const net::Request& request, net::ResponseWriter& writer) {
                  if (wants_page(request)) {
                    auto reader = Reader::take(*this);
                    if (!reader) {
                      writer.send(net::problem_from(reader.error()));
                      return;
                    }
                    EventQuery query;
                    query.after_seq = query_number(request, "after", 0, 0, INT64_MAX);
                    query.target = request.query_value("target");
                    query.kind = request.query_value("kind");
                    query.limit = query_number(request, "limit", 100, 1, 1'000);
                    query.newest_first = !request.has_query("after");
                    auto events = (**reader).events(query);
                    if (!events) {
                      writer.send(net::problem_from(events.error()));
                      return;
                    }
                    if (query.newest_first) std::reverse(events->begin(), events->end());
                    Json rows = Json::array();
                    for (const auto& event : *events) rows.push_back(event_json(event));
                    const std::int64_t next =
                        events->empty() ? query.after_seq : events->back().seq;
                    writer.send(net::json_response(200, Json{{"events", rows}, {"next", next}}));
                    return;
                  }
                  std::int64_t after = last_event_id(request, parts_.feed.newest());
                  net::SseWriter stream(writer);
                  const auto stop = writer.stop_token();
                  while (!stop.stop_requested() && !writer.client_gone()) {
                    const auto read = parts_.feed.read(after, kPingMs, stop);
                    if (read.gap && !stream.event("gap", "{}")) return;
                    if (read.events.empty() && !stream.ping()) return;
                    for (const auto& event : read.events) {
                      if (!stream.event(event.name, event.json, std::to_string(event.seq))) return;
                      after = event.seq;
                    }
                  }
                  writer.end();
                },
                {.run = net::Run::kWaiting, .waits_if_query = {}});
  server.stream(
      "GET", "/api/v1/routing",
      [this](const net::Request& request, net::ResponseWriter& writer) {
        const std::string target = single_target(std::string(request.query_value("target")));
        const double seconds = std::atof(std::string(request.query_value("wait")).c_str());
        const auto wait_ms = std::clamp<std::int64_t>(static_cast<std::int64_t>(seconds * 1000), 0,
                                                      parts_.settings->http.long_poll_ms);
        const auto known = query_number(request, "generation", -1, -1, INT64_MAX);
        const auto text = parts_.feed.routing(target, static_cast<std::uint64_t>(known),
                                              known < 0 ? 0 : wait_ms, writer.stop_token());
        if (text.json.empty()) {
          writer.send(net::problem(404, "no routing document for target '" + target + "'"));
          return;
        }
        auto response = net::json_text_response(200, text.json);
        response.headers.set("ETag", "\"" + std::to_string(text.generation) + "\"");
        writer.send(std::move(response));
      },
      {.run = net::Run::kWorker, .waits_if_query = "wait"});
}

}  // namespace trimtab::daemon
