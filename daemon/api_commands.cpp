// The changing half of the API: every call becomes a command to control, or a batch of records.
#include <future>

#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "daemon/adapter_folder.h"
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

net::Response try_again(const std::string& why) {
  auto response = net::problem(503, why);
  response.headers.set("Retry-After", "1");
  return response;
}

const std::vector<BodyField> kRegisterFields = {{"adapter", FieldType::kText, true},
                                                {"target", FieldType::kText},
                                                {"plan", FieldType::kObject}};

// The body of a command that was checked already.
Json body_of(const CommandRequest& command) { return parse_json(command.body).value(); }

}  // namespace

Checked<std::string> Api::single_target(const std::string& asked) const {
  const auto& targets = parts_.settings->targets;
  if (asked.empty() && targets.size() == 1) return targets.front().name;
  if (asked.empty()) {
    std::string names;
    for (const auto& target : targets) names += (names.empty() ? "" : ", ") + target.name;
    return tl::unexpected<net::Response>(
        net::problem(422, "target: there are several; say which of: " + names));
  }
  for (const auto& target : targets) {
    if (target.name == asked) return asked;
  }
  return tl::unexpected<net::Response>(net::problem_from(unknown_target(asked)));
}

Checked<CommandRequest> Api::base_command(const net::Request& request,
                                          const std::vector<BodyField>& fields) const {
  constexpr std::size_t kKeyMost = 200;
  auto body = body_object(request, fields);
  if (!body) return tl::unexpected<net::Response>(std::move(body.error()));
  CommandRequest command;
  const auto caller = parts_.auth.identify(request);
  command.actor = caller && !caller->name.empty()
                      ? caller->name
                      : json_or<std::string>(*body, "actor", "operator");
  if (command.actor.empty()) command.actor = "operator";
  command.reason = json_or<std::string>(*body, "reason", "");
  command.force = json_or(*body, "force", false);
  command.idempotency_key = request.headers.get("Idempotency-Key");
  if (command.idempotency_key.size() > kKeyMost) {
    return tl::unexpected<net::Response>(
        net::problem(400, "Idempotency-Key: at most " + std::to_string(kKeyMost) + " bytes"));
  }
  command.fingerprint = sha256_hex(request.method + " " + request.path + " " + dump_json(*body));
  auto matched = if_match(request);
  if (!matched) return tl::unexpected<net::Response>(std::move(matched.error()));
  command.if_match = *matched;
  command.body = dump_json(*body);
  return command;
}

net::Response Api::command(CommandRequest command) {
  if (command.if_match && command.verb != "trial") {
    return net::problem(412, "If-Match: only promotions have an ETag");
  }
  return answer_response(
      post_command(parts_.commands, std::move(command), parts_.settings->http.command_deadline_ms));
}

// `subject`: the pattern's parameter; "target" fills target, anything else the subject.
void Api::post(net::Server& server, const std::string& pattern, const char* verb,
               const char* subject, std::vector<BodyField> fields) {
  server.post(pattern,
              [this, verb, subject, fields = std::move(fields)](const net::Request& request) {
                auto made = base_command(request, fields);
                if (!made) return std::move(made.error());
                made->verb = verb;
                const std::string_view name(subject);
                if (name == "target") {
                  made->target = request.param("target");
                } else if (!name.empty()) {
                  made->subject = request.param(name);
                }
                return command(std::move(*made));
              });
}

void Api::mount_commands(net::Server& server) {
  mount_targets_commands(server);
  mount_trial_commands(server);
  mount_daemon_commands(server);
}

void Api::mount_targets_commands(net::Server& server) {
  const std::string target = "/api/v1/targets/{target}:";
  post(server, target + "retrain", "retrain", "target");
  post(server, target + "rollback", "rollback", "target", {{"to", FieldType::kText}});
  post(server, target + "resume", "resume_target", "target");
  post(server, target + "pause", "pause_target", "target");
  post(server, target + "rereference", "rereference", "target");
  post(server, target + "release-quarantine", "release_quarantine", "target",
       {{"source_id", FieldType::kText}, {"burst", FieldType::kText}});
  post(server, target + "lift-tombstone", "lift_tombstone", "target",
       {{"digest", FieldType::kText, true}});
  post(server, "/api/v1/jobs/{id}:cancel", "cancel_job", "id");
  server.post("/api/v1/routing/acks", [this](const net::Request& request) {
    auto made = base_command(request, {{"instance", FieldType::kText, true},
                                       {"generation", FieldType::kInteger, true},
                                       {"target", FieldType::kText}});
    if (!made) return std::move(made.error());
    made->verb = "ack";
    auto named = single_target(json_or<std::string>(body_of(*made), "target", ""));
    if (!named) return std::move(named.error());
    made->target = *named;
    return command(std::move(*made));
  });
}

void Api::mount_trial_commands(net::Server& server) {
  for (const char* verb :
       {"pause", "resume", "approve", "advance", "promote", "abort", "rollback"}) {
    const std::string pattern = std::string("/api/v1/promotions/{id}:") + verb;
    server.post(pattern, [this, verb](const net::Request& request) {
      auto made = base_command(request, {});
      if (!made) return std::move(made.error());
      made->verb = "trial";
      made->subject = request.param("id");
      Json body = body_of(*made);
      body["verb"] = verb;
      made->body = dump_json(body);
      return command(std::move(*made));
    });
  }
  server.post("/api/v1/promotions",
              [this](const net::Request& request) { return register_adapter(request); });
}

void Api::mount_daemon_commands(net::Server& server) {
  server.post("/api/v1/records",
              [this](const net::Request& request) { return ingest_body(request, "inference"); });
  server.post("/api/v1/feedback",
              [this](const net::Request& request) { return ingest_body(request, "feedback"); });
  post(server, "/api/v1/erase", "erase", "",
       {{"user", FieldType::kText}, {"session", FieldType::kText}});
  server.post("/api/v1/offsets",
              [this](const net::Request& request) { return move_offset(request); });
  for (const char* path : {"/-/reload", "/api/v1/-/reload"}) {
    server.post(path, [this](const net::Request& request) {
      auto made = base_command(request, {});
      if (!made) return std::move(made.error());
      return answer_response(parts_.reload(made->actor));
    });
  }
  server.route("PUT", "/api/v1/log-level",
               [this](const net::Request& request) { return set_log_level(request); });
  server.get("/api/v1/session",
             [this](const net::Request& request) { return parts_.auth.who(request); });
  server.post("/api/v1/session",
              [this](const net::Request& request) { return parts_.auth.sign_in(request); });
  server.route("DELETE", "/api/v1/session",
               [this](const net::Request& request) { return parts_.auth.sign_out(request); });
  server.post("/api/v1/replay/{id}",
              [this](const net::Request& request) { return replay_of(request); });
}

net::Response Api::set_log_level(const net::Request& request) {
  auto made = base_command(request, {{"level", FieldType::kText, true}});
  if (!made) return std::move(made.error());
  made->subject = json_or<std::string>(body_of(*made), "level", "");
  const auto level = log::parse_level(made->subject);
  if (!level) return net::problem(422, level.error().message);
  made->verb = "log_level";
  auto response = command(std::move(*made));
  if (response.status < 300) log::set_level(*level);
  return response;
}

net::Response Api::replay_of(const net::Request& request) {
  auto body = body_object(request, {{"set", FieldType::kObject}});
  if (!body) return std::move(body.error());
  const auto answer = [&]() -> Result<Json> {
    TRIMTAB_TRY(auto reader, Reader::take(*this));
    return replay(*reader, std::string(request.param("id")), body->value("set", Json::object()));
  }();
  return answer ? json_answer(dump_json(*answer)) : net::problem_from(answer.error());
}

// Twice the same within a second (a repeated request, say) takes the next second's name: what comes
// of it is for control to say, and a repeated Idempotency-Key has its first answer.
fs::path Api::free_adapter_folder(const std::string& target, const std::string& sha256) const {
  const fs::path adapters = fs::path(parts_.settings->state.dir) / "adapters";
  std::error_code error;
  for (std::int64_t ms = parts_.clock.now_ms();; ms += 1'000) {
    fs::path folder = adapters / adapter_name(target, ms, sha256);
    if (!fs::exists(folder, error)) return folder;
  }
}

// The folder is copied under an immutable name before control hears of it: what is tried is what
// was handed in, whatever happens to the original. Whether it may be served is preflight's to say.
net::Response Api::register_adapter(const net::Request& request) {
  auto made = base_command(request, kRegisterFields);
  if (!made) return std::move(made.error());
  Json body = body_of(*made);
  const fs::path from = json_or<std::string>(body, "adapter", "");
  std::error_code error;
  if (!fs::is_directory(from, error)) {
    return net::problem(422,
                        "adapter: '" + from.string() + "' is no folder on the daemon's machine");
  }
  auto target = single_target(json_or<std::string>(body, "target", ""));
  if (!target) return std::move(target.error());
  made->verb = "register";
  made->target = *target;
  auto sha256 = sha256_file_hex(from / "adapter_model.safetensors");
  if (!sha256) return net::problem(422, "adapter: " + sha256.error().message);
  shadow::AdapterRef adapter;
  adapter.sha256 = *sha256;
  const fs::path to = free_adapter_folder(made->target, *sha256);
  adapter.name = to.filename().string();
  adapter.uri = to.string();
  if (auto placed = place_adapter(from, to); !placed) return net::problem_from(placed.error());
  body["adapter_ref"] = shadow::to_json(adapter);
  made->body = dump_json(body);
  auto response = command(std::move(*made));
  // Refused, or answered as the same key was before: this copy is nobody's. At a time-out it may
  // still be taken.
  const auto answer = parse_json(response.body);
  const bool taken = response.status < 400 && answer &&
                     json_or<std::string>(*answer, "candidate", "") == adapter.name;
  if (!taken && response.status != 504) fs::remove_all(to, error);
  return response;
}

net::Response Api::ingest_body(const net::Request& request, const char* kind) {
  if (const auto paused = parts_.board.get()->paused; !paused.empty()) {
    return try_again(paused);
  }
  auto batch = parts_.pool.take();
  {
    std::lock_guard lock(codec_mutex_);
    const auto decoded =
        parts_.codec.decode_body(request.body, kind, parts_.clock.now_ms(), *batch);
    if (!decoded) return net::problem_from(decoded.error());
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
    return try_again("the ingest queue is full; send it again");
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
  auto made = base_command(request, {{"topic", FieldType::kText},
                                     {"partition", FieldType::kInteger, true},
                                     {"to", FieldType::kOffset, true}});
  if (!made) return std::move(made.error());
  Json body = body_of(*made);
  const TopicPartition where{
      .topic = json_or<std::string>(body, "topic", parts_.settings->kafka.topics.records),
      .partition = body.at("partition").get<std::int32_t>()};
  std::int64_t next = 0;
  const Json to = body.at("to");
  if (to.is_number()) {
    next = to.get<std::int64_t>();
  } else if (to == "earliest" || to == "latest") {
    const auto marks = parts_.ingest.watermarks(where, parts_.settings->http.command_deadline_ms);
    if (!marks) return net::problem_from(marks.error());
    next = to == "earliest" ? marks->first : marks->second;
  } else {
    return net::problem(422, "to: write earliest, latest or an offset");
  }
  made->verb = "offsets_reset";
  body["topic"] = where.topic;
  body["next"] = next;
  made->body = dump_json(body);
  auto response = command(std::move(*made));
  if (response.status < 300) parts_.ingest.request_reseek();
  return response;
}

}  // namespace trimtab::daemon
