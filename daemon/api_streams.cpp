// Server-sent events and the routing long poll.
#include <algorithm>
#include <charconv>

#include "base/json.h"
#include "daemon/api.h"
#include "daemon/step.h"

namespace trimtab::daemon {
namespace {

constexpr std::int64_t kPingMs = 10'000;
constexpr std::int64_t kPageRows = 500;

bool wants_page(const net::Request& request) {
  return request.headers.get("Accept").find("text/event-stream") == std::string_view::npos;
}

// A reader that comes back says where it stood: Last-Event-ID, else ?after=; -1: it is new.
Result<std::int64_t> stands_at(const net::Request& request) {
  const auto header = request.headers.get("Last-Event-ID");
  if (header.empty()) return query_number(request, "after", -1, 0, INT64_MAX);
  std::int64_t seq = 0;
  const auto parsed = std::from_chars(header.data(), header.data() + header.size(), seq);
  if (parsed.ec != std::errc() || parsed.ptr != header.data() + header.size() || seq < 0) {
    return fail(Code::kInvalid, "Last-Event-ID must be a sequence number of the journal");
  }
  return seq;
}

// ?wait= in seconds, as long as the server lets anybody wait at most.
Result<std::int64_t> wait_ms(const net::Request& request, std::int64_t most_ms) {
  if (!request.has_query("wait")) return 0;
  const auto text = request.query_value("wait");
  double seconds = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), seconds);
  const bool number = parsed.ec == std::errc() && parsed.ptr == text.data() + text.size();
  if (!number || !(seconds >= 0)) return fail(Code::kInvalid, "?wait= must be seconds, >= 0");
  return static_cast<std::int64_t>(std::min(seconds * 1000, static_cast<double>(most_ms)));
}

// The events that one stream wants.
struct Wanted {
  std::string target, kind;
  [[nodiscard]] bool takes(const FeedEvent& event) const {
    return (target.empty() || event.target == target) && (kind.empty() || event.name == kind);
  }
};

// Sends what the journal holds after `after`, page by page. False: the client is gone.
Result<bool> catch_up(StateQueries& state, const Wanted& wanted, std::int64_t& after,
                      net::SseWriter& stream) {
  for (;;) {
    TRIMTAB_TRY(const auto events, state.events({.after_seq = after, .limit = kPageRows}));
    for (const auto& event : events) {
      after = event.seq;
      const auto told = announcement(event);
      if (!wanted.takes(told)) continue;
      if (!stream.event(told.name, told.json, std::to_string(told.seq))) return false;
    }
    if (static_cast<std::int64_t>(events.size()) < kPageRows) return true;
  }
}

}  // namespace

void Api::send_events(const net::Request& request, net::ResponseWriter& writer) {
  const auto page = [&]() -> Result<Json> {
    TRIMTAB_TRY(auto reader, Reader::take(*this));
    EventQuery query;
    TRIMTAB_TRY(query.after_seq, query_number(request, "after", 0, 0, INT64_MAX));
    TRIMTAB_TRY(query.target, target_filter(request));
    query.kind = request.query_value("kind");
    TRIMTAB_TRY(query.limit, query_number(request, "limit", 100, 1, 1'000));
    query.newest_first = !request.has_query("after");
    TRIMTAB_TRY(auto events, (*reader).events(query));
    if (query.newest_first) std::reverse(events.begin(), events.end());
    Json rows = Json::array();
    for (const auto& event : events) rows.push_back(event_json(event));
    return Json{{"events", rows}, {"next", events.empty() ? query.after_seq : events.back().seq}};
  }();
  writer.send(page ? json_answer(dump_json(*page)) : net::problem_from(page.error()));
}

// The ring is quick; what it has lost - the reader was away, or the daemon was - the journal has.
void Api::follow_events(const net::Request& request, net::ResponseWriter& writer) {
  auto after = stands_at(request);
  const auto target = target_filter(request);
  if (!after || !target) {
    writer.send(net::problem_from(after ? target.error() : after.error()));
    return;
  }
  const Wanted wanted{.target = *target, .kind = std::string(request.query_value("kind"))};
  bool behind = *after >= 0;
  if (!behind) after = parts_.feed.newest();
  net::SseWriter stream(writer);
  const auto stop = writer.stop_token();
  while (!stop.stop_requested() && !writer.client_gone() && parts_.auth.identify(request)) {
    if (behind) {
      auto reader = Reader::take(*this);
      if (!reader) break;
      const auto sent = catch_up(**reader, wanted, *after, stream);
      if (!sent || !*sent) return;
    }
    const auto read = parts_.feed.read(*after, kPingMs, stop);
    behind = read.gap;
    if (behind) continue;
    if (read.events.empty() && !stream.ping()) return;
    for (const auto& event : read.events) {
      *after = event.seq;
      if (!wanted.takes(event)) continue;
      if (!stream.event(event.name, event.json, std::to_string(event.seq))) return;
    }
  }
  writer.end();
}

void Api::send_routing(const net::Request& request, net::ResponseWriter& writer) {
  auto target = single_target(std::string(request.query_value("target")));
  if (!target) {
    writer.send(std::move(target.error()));
    return;
  }
  const auto wait = wait_ms(request, parts_.settings->http.long_poll_ms);
  const auto known = query_number(request, "generation", -1, 0, INT64_MAX);
  if (!wait || !known) {
    writer.send(net::problem_from(wait ? known.error() : wait.error()));
    return;
  }
  const auto text = parts_.feed.routing(*target, static_cast<std::uint64_t>(*known),
                                        *known < 0 ? 0 : *wait, writer.stop_token());
  if (text.json.empty()) {
    writer.send(net::problem(503, *target + " has no routing document yet; ask again"));
    return;
  }
  auto response = json_answer(text.json);
  response.headers.set("ETag", "\"" + std::to_string(text.generation) + "\"");
  writer.send(std::move(response));
}

void Api::mount_streams(net::Server& server) {
  server.stream("GET", "/api/v1/events",
                [this](const net::Request& request, net::ResponseWriter& writer) {
                  if (wants_page(request)) return send_events(request, writer);
                  follow_events(request, writer);
                },
                {.run = net::Run::kWaiting, .waits_if_query = {}});
  server.stream("GET", "/api/v1/routing",
                [this](const net::Request& request, net::ResponseWriter& writer) {
                  send_routing(request, writer);
                },
                {.run = net::Run::kWorker, .waits_if_query = "wait"});
}

}  // namespace trimtab::daemon
