// Commands that change something: each carries the actor, a reason and an idempotency key.
#include <fmt/format.h>

#include <cstdio>
#include <filesystem>

#include "base/json.h"
#include "daemon/cli/online.h"

namespace trimtab::cli {
namespace {

struct Change {
  std::string subject, to, reason;
  bool force = false;
  std::string ship, plan_file, target;
  std::vector<std::string> set;
};

Json body_of(const Change& change) {
  Json body = {{"reason", change.reason}};
  if (change.force) body["force"] = true;
  return body;
}

Result<int> post(const RestOptions& options, const std::string& path, const Json& body) {
  SystemClock clock;
  TRIMTAB_TRY(Rest rest, Rest::open(options, clock));
  TRIMTAB_TRY(const Json answer, rest.change(path, body));
  if (options.json) {
    std::printf("%s\n", dump_json(answer, 2).c_str());
  } else {
    std::string line = "accepted";
    for (const char* key : {"id", "job", "state", "to", "generation", "waits_for", "message"}) {
      if (!answer.contains(key) || answer[key].is_null() || answer[key] == "") continue;
      const Json& value = answer[key];
      line += fmt::format("  {} {}", key,
                          value.is_string() ? value.get<std::string>() : dump_json(value));
    }
    std::printf("%s\n", line.c_str());
  }
  return 0;
}

Result<int> on_target(const RestOptions& options, const std::string& named, const std::string& verb,
                      Json body) {
  SystemClock clock;
  TRIMTAB_TRY(Rest rest, Rest::open(options, clock));
  TRIMTAB_TRY(const std::string target, rest.target_or_only(named));
  return post(options, "/api/v1/targets/" + net::percent_encode(target) + ":" + verb, body);
}

bool is_trial(const std::string& subject) { return subject.starts_with("trial-"); }

// `rollback trial-7` ends a trial; `rollback TARGET --to previous` is an undo.
Result<int> rollback(const RestOptions& options, const Change& change) {
  Json body = body_of(change);
  if (is_trial(change.subject)) {
    if (!change.to.empty()) return fail(Code::kInvalid, "--to belongs to a target, not a trial");
    return post(options, "/api/v1/promotions/" + change.subject + ":rollback", body);
  }
  if (change.to.empty()) {
    return fail(Code::kInvalid, "rollback TRIAL, or rollback TARGET --to previous|base|ADAPTER");
  }
  body["to"] = change.to;
  return on_target(options, change.subject, "rollback", body);
}

Result<int> cancel_job(const RestOptions& options, const Change& change) {
  return post(options, "/api/v1/jobs/" + net::percent_encode(change.subject) + ":cancel",
              body_of(change));
}

// `pause trial-7` holds a trial, `pause TARGET` its automatic jobs; resume likewise.
Result<int> trial_verb(const RestOptions& options, const Change& change, const std::string& verb) {
  if (is_trial(change.subject)) {
    return post(options, "/api/v1/promotions/" + change.subject + ":" + verb, body_of(change));
  }
  if (verb == "pause" || verb == "resume") {
    return on_target(options, change.subject, verb, body_of(change));
  }
  return fail(Code::kInvalid, "'" + change.subject + "' is no trial; " + verb +
                                  " wants one such as trial-7, see trimtab status");
}

Result<int> reload(const RestOptions& options, const Change& change) {
  SystemClock clock;
  TRIMTAB_TRY(Rest rest, Rest::open(options, clock));
  TRIMTAB_TRY(const Json answer, rest.change("/-/reload", body_of(change)));
  if (options.json) {
    std::printf("%s\n", dump_json(answer, 2).c_str());
    return 0;
  }
  std::printf("reloaded\n");
  for (const auto& key : json_or<Json>(answer, "needs_restart", Json::array())) {
    std::printf("%s changes with a restart only\n", key.get<std::string>().c_str());
  }
  return 0;
}

Result<int> register_adapter(const RestOptions& options, const Change& change) {
  if (!std::filesystem::is_directory(change.subject)) {
    return fail(Code::kNotFound, change.subject +
                                     ": no such folder; give a PEFT folder with "
                                     "adapter_config.json and adapter_model.safetensors");
  }
  Json body = body_of(change);
  body["adapter"] = std::filesystem::absolute(change.subject).string();
  if (!change.target.empty()) body["target"] = change.target;
  if (!change.ship.empty()) body["plan"] = {{"ship", change.ship}};
  return post(options, "/api/v1/promotions", body);
}


// `replay trial-7 --set margin=.01`: what the journalled evidence would have decided.
Result<int> replay(const RestOptions& options, const Change& change) {
  Json values = Json::object();
  for (const auto& pair : change.set) {
    const auto equals = pair.find('=');
    if (equals == std::string::npos) return fail(Code::kInvalid, "--set wants name=value");
    std::string value = pair.substr(equals + 1);
    if (value.starts_with('.')) value.insert(0, "0");  // JSON has no bare fraction
    const auto parsed = parse_json(value);
    values[pair.substr(0, equals)] = parsed ? *parsed : Json(value);
  }
  SystemClock clock;
  TRIMTAB_TRY(Rest rest, Rest::open(options, clock));
  TRIMTAB_TRY(const Json answer, rest.post("/api/v1/replay/" + net::percent_encode(change.subject),
                                           Json{{"set", values}}));
  if (options.json) {
    std::printf("%s\n", dump_json(answer, 2).c_str());
  } else {
    std::printf("%s\n", json_or<std::string>(answer, "sentence", "").c_str());
  }
  return 0;
}

CLI::App* add(CLI::App& app, RestOptions& options, Run& run, const char* name, const char* help,
              const char* subject, bool required, std::shared_ptr<Change> change,
              std::function<Result<int>(const RestOptions&, const Change&)> action) {
  auto* command = app.add_subcommand(name, help);
  auto* positional = command->add_option(subject, change->subject);
  if (required) positional->required();
  command->add_option("--reason", change->reason, "kept in the journal");
  command->callback([&options, &run, change, action = std::move(action)] {
    run = [&options, change, action] { return action(options, *change); };
  });
  return command;
}

}  // namespace

void add_changing_commands(CLI::App& app, RestOptions& options, Run& run) {
  const auto fresh = [] { return std::make_shared<Change>(); };
  add(app, options, run, "retrain", "start a training job by hand", "target", false, fresh(),
      [](const RestOptions& o, const Change& c) {
        return on_target(o, c.subject, "retrain", body_of(c));
      });
  add(app, options, run, "cancel", "end a training job", "job", true, fresh(), cancel_job);
  add(app, options, run, "rereference", "take a target's drift references anew from here on",
      "target", false, fresh(), [](const RestOptions& o, const Change& c) {
        return on_target(o, c.subject, "rereference", body_of(c));
      });
  auto* again_config = app.add_subcommand("reload", "load the configuration file again");
  auto noted = fresh();
  again_config->add_option("--reason", noted->reason, "kept in the journal");
  again_config->callback(
      [&options, &run, noted] { run = [&options, noted] { return reload(options, *noted); }; });
  auto registered = fresh();
  auto* reg = add(app, options, run, "register", "try an adapter made elsewhere", "folder", true,
                  registered, register_adapter);
  reg->add_option("--target", registered->target, "default: the only one");
  reg->add_option("--ship", registered->ship, "improve (default) or non_inferior")
      ->check(CLI::IsMember({"improve", "non_inferior"}));
  struct VerbHelp {
    const char* name;
    const char* help;
    bool force;
  };
  static constexpr VerbHelp kVerbs[] = {
      {"promote", "ask for the next states of a trial; all gates are kept", true},
      {"approve", "let a trial go on to users", false},
      {"advance", "end the present dwell of a trial", true},
      {"pause", "hold a trial where it is, or a target's automatic jobs", false},
      {"resume", "let a trial go on, or a target's automatic jobs", false},
      {"abort", "end a trial; routing goes back to the champion", false},
  };
  for (const auto& verb : kVerbs) {
    auto change = fresh();
    const bool either = std::string_view(verb.name) == "pause" || verb.name[0] == 'r';
    auto* command =
        add(app, options, run, verb.name, verb.help, either ? "subject" : "trial", true, change,
            [name = std::string(verb.name)](const RestOptions& o, const Change& c) {
              return trial_verb(o, c, name);
            });
    if (verb.force) {
      command->add_flag("--force", change->force, "skip statistics, never compatibility or health");
    }
  }
  auto rolled = fresh();
  auto* back = add(app, options, run, "rollback",
                   "end a trial with a rollback, or undo: TARGET --to previous|base|ADAPTER",
                   "subject", true, rolled, rollback);
  back->add_option("--to", rolled->to, "previous, base, or a kept adapter");
  auto replayed = fresh();
  auto* again = add(app, options, run, "replay", "a trial's evidence under another plan", "trial",
                    true, replayed, replay);
  again->add_option("--set", replayed->set, "name=value of the plan, such as margin=0.01");
}

}  // namespace trimtab::cli
