// The changing half of the API: every call becomes a command to control, or a batch of records.
#include <future>

#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "daemon/api.h"
#include "daemon/job_runner.h"

namespace trimtab::daemon {
namespace fs = std::filesystem;
namespace {

net::Response answer_response(const CommandAnswer& answer) {
  auto response = net::json_text_response(answer.status, answer.body);
  if (answer.status >= 400) response.headers.set("Content-Type", "application/problem+json");
  if (!answer.etag.empty()) response.headers.set("ETag", "\"" + answer.etag + "\"");
  return response;
}

Json body_or_empty(const net::Request& request) {
  auto body = parse_json(request.body.empty() ? "{}" : request.body);
  return body && body->is_object() ? *body : Json::object();
}

}  // namespace

std::string Api::single_target(const std::string& asked) const {
  if (!asked.empty() || parts_.settings->targets.size() != 1) return asked;
  return parts_.settings->targets.front().name;
}

CommandRequest Api::base_command(const net::Request& request) const {
  const Json body = body_or_empty(request);
  CommandRequest command;
  const auto caller = parts_.auth.identify(request);
  command.actor = caller && !caller->name.empty() ? caller->name
                                                  : json_or<std::string>(body, "actor", "operator");
  command.reason = json_or<std::string>(body, "reason", "");
  command.force = json_or(body, "force", false);
  command.idempotency_key = request.headers.get("Idempotency-Key");
  command.body = dump_json(body);
  std::string tag(request.headers.get("If-Match"));
  std::erase(tag, '"');
  if (!tag.empty() && tag.find_first_not_of("0123456789") == std::string::npos && tag.size() < 19) {
    command.if_match = std::stoull(tag);
  }
  return command;
}

net::Response Api::command(const net::Request& request, CommandRequest command) {
  (void)request;
  return answer_response(
      post_command(parts_.commands, std::move(command), parts_.settings->http.command_deadline_ms));
}

// `subject`: the pattern's parameter; "target" fills target, anything else the subject.
void Api::post(net::Server& server, const char* pattern, const char* verb, const char* subject) {
  server.post(pattern, [this, verb, subject](const net::Request& request) {
    CommandRequest made = base_command(request);
    made.verb = verb;
    if (std::string_view(subject) == "target") {
      made.target = request.param("target");
    } else {
      made.subject = request.param(subject);
    }
    return command(request, std::move(made));
  });
}

void Api::mount_commands(net::Server& server) {
  post(server, "/api/v1/targets/{target}:retrain", "retrain", "target");
  post(server, "/api/v1/targets/{target}:rollback", "rollback", "target");
  post(server, "/api/v1/targets/{target}:resume", "resume_target", "target");
  post(server, "/api/v1/targets/{target}:pause", "pause_target", "target");
  post(server, "/api/v1/targets/{target}:rereference", "rereference", "target");
  post(server, "/api/v1/targets/{target}:release-quarantine", "release_quarantine", "target");
  post(server, "/api/v1/targets/{target}:lift-tombstone", "lift_tombstone", "target");
  post(server, "/api/v1/jobs/{id}:cancel", "cancel_job", "id");
  for (const char* verb :
       {"pause", "resume", "approve", "advance", "promote", "abort", "rollback"}) {
    const std::string pattern = std::string("/api/v1/promotions/{id}:") + verb;
    server.post(pattern, [this, verb](const net::Request& request) {
      CommandRequest made = base_command(request);
      made.verb = "trial";
      made.subject = request.param("id");
      Json body = body_or_empty(request);
      body["verb"] = verb;
      made.body = dump_json(body);
      return command(request, std::move(made));
    });
  }
  server.post("/api/v1/promotions",
              [this](const net::Request& request) { return register_adapter(request); });
  server.post("/api/v1/routing/acks", [this](const net::Request& request) {
    CommandRequest made = base_command(request);
    made.verb = "ack";
    made.target = single_target(json_or<std::string>(body_or_empty(request), "target", ""));
    return command(request, std::move(made));
  });
  server.post("/api/v1/records",
              [this](const net::Request& request) { return ingest_body(request, "inference"); });
  server.post("/api/v1/feedback",
              [this](const net::Request& request) { return ingest_body(request, "feedback"); });
  server.post("/api/v1/erase", [this](const net::Request& request) {
    CommandRequest made = base_command(request);
    made.verb = "erase";
    return command(request, std::move(made));
  });
  server.post("/api/v1/offsets",
              [this](const net::Request& request) { return move_offset(request); });
  for (const char* path : {"/-/reload", "/api/v1/-/reload"}) {
    server.post(path, [this](const net::Request& request) {
      return answer_response(parts_.reload(base_command(request).actor));
    });
  }
  server.route("PUT", "/api/v1/log-level", [](const net::Request& request) {
    const auto name = json_or<std::string>(body_or_empty(request), "level", "");
    const auto level = log::parse_level(name);
    if (!level) return net::problem(422, level.error().message);
    log::set_level(*level);
    return net::json_response(200, Json{{"level", name}});
  });
  server.post("/api/v1/session",
              [this](const net::Request& request) { return parts_.auth.sign_in(request); });
  server.route("DELETE", "/api/v1/session",
               [this](const net::Request& request) { return parts_.auth.sign_out(request); });
  server.post("/api/v1/replay/{id}", [this](const net::Request& request) {
    auto reader = Reader::take(*this);
    if (!reader) return net::problem_from(reader.error());
    const auto answer = replay(**reader, std::string(request.param("id")),
                               body_or_empty(request).value("set", Json::object()));
    if (!answer) return net::problem_from(answer.error());
    return net::json_text_response(200, dump_json(*answer));
  });
}

// The folder is copied under an immutable name before control hears of it: what is tried is what
// was handed in, whatever happens to the original. Whether it may be served is preflight's to say.
net::Response Api::register_adapter(const net::Request& request) {
  const Json body = body_or_empty(request);
  const fs::path from = json_or<std::string>(body, "adapter", "");
  std::error_code error;
  if (from.empty() || !fs::is_directory(from, error)) {
    return net::problem(422,
                        "adapter: '" + from.string() + "' is no folder on the daemon's machine");
  }
  CommandRequest made = base_command(request);
  made.verb = "register";
  made.target = single_target(json_or<std::string>(body, "target", ""));
  if (made.target.empty()) return net::problem(422, "target: there are several; say which");
  auto sha256 = sha256_file_hex(from / "adapter_model.safetensors");
  if (!sha256) return net::problem(422, sha256.error().message);
  shadow::AdapterRef adapter;
  adapter.sha256 = *sha256;
  adapter.name = adapter_name(made.target, parts_.clock.now_ms(), *sha256);
  const fs::path to = fs::path(parts_.settings->state.dir) / "adapters" / adapter.name;
  adapter.uri = to.string();
  if (fs::exists(to, error)) return net::problem(409, adapter.name + " was registered this second");
  if (auto folder = make_folders(to.parent_path()); !folder) {
    return net::problem_from(folder.error());
  }
  fs::copy(from, to, fs::copy_options::recursive, error);
  if (error) return net::problem(503, to.string() + ": " + error.message());
  Json with_ref = body;
  with_ref["adapter_ref"] = shadow::to_json(adapter);
  made.body = dump_json(with_ref);
  auto response = command(request, std::move(made));
  if (response.status >= 400 && response.status != 504) fs::remove_all(to, error);
  return response;
}

net::Response Api::ingest_body(const net::Request& request, const char* kind) {
  if (const auto snapshot = parts_.board.get(); !snapshot->paused.empty()) {
    auto response = net::problem(503, snapshot->paused);
    response.headers.set("Retry-After", "10");
    return response;
  }
  auto batch = parts_.pool.take();
  {
    std::lock_guard lock(codec_mutex_);
    const auto decoded =
        parts_.codec.decode_body(request.body, kind, parts_.clock.now_ms(), *batch);
    if (!decoded) return net::problem(422, decoded.error().message);
  }
  parts_.loop.observe(*batch);
  Json dead = Json::array();
  std::size_t accepted = 0;
  for (const auto& one : batch->records) {
    const auto* letter = std::get_if<DeadLetter>(&one.value);
    if (letter == nullptr) {
      ++accepted;
      continue;
    }
    dead.push_back({{"index", one.origin.offset},
                    {"reason", std::string(dead_reason_name(letter->reason))},
                    {"message", std::string(letter->message)}});
  }
  auto promise = std::make_shared<std::promise<Status>>();
  auto committed = promise->get_future();
  batch->on_committed = [promise](const Status& status) { promise->set_value(status); };
  if (!parts_.batches.try_push(std::move(batch))) {
    auto response = net::problem(503, "the ingest queue is full; send it again");
    response.headers.set("Retry-After", "1");
    return response;
  }
  const auto deadline = std::chrono::milliseconds(parts_.settings->http.command_deadline_ms);
  if (committed.wait_for(deadline) != std::future_status::ready) {
    return net::problem(504,
                        "not committed in time; sending it again is safe (ids are counted once)");
  }
  const auto status = committed.get();
  if (!status) return net::problem_from(status.error());
  return net::json_response(202, Json{{"accepted", accepted}, {"dead", dead}});
}

net::Response Api::move_offset(const net::Request& request) {
  Json body = body_or_empty(request);
  const TopicPartition where{
      .topic = json_or<std::string>(body, "topic", parts_.settings->kafka.topics.records),
      .partition = json_or<std::int32_t>(body, "partition", 0)};
  std::int64_t next = 0;
  const Json to = body.value("to", Json());
  if (to.is_number_integer()) {
    next = to.get<std::int64_t>();
  } else if (to == "earliest" || to == "latest") {
    const auto marks = parts_.ingest.watermarks(where, parts_.settings->http.command_deadline_ms);
    if (!marks) return net::problem_from(marks.error());
    next = to == "earliest" ? marks->first : marks->second;
  } else {
    return net::problem(422, "to: earliest, latest or an offset");
  }
  CommandRequest made = base_command(request);
  made.verb = "offsets_reset";
  body["topic"] = where.topic;
  body["partition"] = where.partition;
  body["next"] = next;
  made.body = dump_json(body);
  auto response = command(request, std::move(made));
  if (response.status < 300) parts_.ingest.request_reseek();
  return response;
}

}  // namespace trimtab::daemon
