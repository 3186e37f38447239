// Commands that only look: status, targets, top, events, explain.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

#include "base/json.h"
#include "daemon/cli/online.h"

namespace trimtab::cli {
namespace {

std::string text(const Json& object, const char* key) {
  return json_or<std::string>(object, key, "");
}

void print_json(const Json& json) { std::printf("%s\n", dump_json(json, 2).c_str()); }

std::string target_line(const Json& target) {
  const Json drift = json_or<Json>(target, "drift", Json::object());
  std::string champion = text(target, "champion");
  if (champion.empty()) champion = "the bare base";
  std::string line =
      fmt::format("{:<20} {:<11} generation {:<4} champion {}", text(target, "name"),
                  text(drift, "state"), json_or<std::int64_t>(target, "generation", 0), champion);
  if (!text(target, "open_trial").empty()) line += "  trial " + text(target, "open_trial");
  if (!text(target, "open_job").empty()) line += "  job " + text(target, "open_job");
  if (!text(target, "paused").empty()) line += "  HELD BACK: " + text(target, "paused");
  if (!text(target, "waits_for").empty()) line += "\n  waits for: " + text(target, "waits_for");
  return line;
}

Result<int> status(const RestOptions& options) {
  SystemClock clock;
  TRIMTAB_TRY(Rest rest, Rest::open(options, clock));
  TRIMTAB_TRY(const Json answer, rest.get("/api/v1/status"));
  if (options.json) {
    print_json(answer);
    return 0;
  }
  const Json source = json_or<Json>(answer, "source", Json::object());
  const Json records = json_or<Json>(answer, "records", Json::object());
  const Json queue = json_or<Json>(answer, "queue", Json::object());
  std::printf("trimtabd %s since %s\n", text(answer, "version").c_str(),
              text(answer, "started").c_str());
  if (!text(answer, "paused").empty()) std::printf("PAUSED: %s\n", text(answer, "paused").c_str());
  std::printf("kafka    %s%s%s, lag %lld\n", text(source, "state").c_str(),
              text(source, "detail").empty() ? "" : ": ", text(source, "detail").c_str(),
              static_cast<long long>(json_or<std::int64_t>(source, "lag_total", 0)));
  const auto count = [](const Json& object, const char* key) {
    return json_or<std::int64_t>(object, key, 0);
  };
  std::printf("%s\n",
              fmt::format("records  {} consumed: {} accepted, {} duplicates, {} dead-lettered; "
                          "feedback {}, {} joined\nqueue    {} of {} batches",
                          count(records, "consumed"), count(records, "accepted"),
                          count(records, "duplicates"), count(records, "dead_lettered"),
                          count(records, "feedback"), count(records, "joined"),
                          count(queue, "depth"), count(queue, "capacity"))
                  .c_str());
  for (const auto& target : json_or<Json>(answer, "targets", Json::array())) {
    std::printf("%s\n", target_line(target).c_str());
  }
  return 0;
}

Result<int> targets(const RestOptions& options) {
  SystemClock clock;
  TRIMTAB_TRY(Rest rest, Rest::open(options, clock));
  TRIMTAB_TRY(const Json answer, rest.get("/api/v1/targets"));
  if (options.json) {
    print_json(answer);
    return 0;
  }
  for (const auto& target : json_or<Json>(answer, "targets", Json::array())) {
    std::printf("%s\n", target_line(target).c_str());
  }
  return 0;
}

Result<int> trials(const RestOptions& options, const std::string& target) {
  SystemClock clock;
  TRIMTAB_TRY(Rest rest, Rest::open(options, clock));
  TRIMTAB_TRY(const Json answer,
              rest.get("/api/v1/promotions?target=" + net::percent_encode(target)));
  if (options.json) {
    print_json(answer);
    return 0;
  }
  for (const auto& trial : json_or<Json>(answer, "promotions", Json::array())) {
    const bool ended = json_or<bool>(trial, "ended", false);
    const std::string pause = text(trial, "pause");
    std::printf("%s\n",
                fmt::format("{:<10} {:<14} {:<12} {}{}\n  {}", text(trial, "id"),
                            text(trial, "state"), text(trial, "target"), text(trial, "candidate"),
                            pause.empty() || pause == "none" ? "" : "  PAUSED: " + pause,
                            ended ? text(trial, "reason") + " " + text(trial, "detail") + "; " +
                                        text(trial, "next_step")
                                  : "waits for: " + text(trial, "waits_for"))
                    .c_str());
  }
  return 0;
}

Result<int> jobs(const RestOptions& options, const std::string& target) {
  SystemClock clock;
  TRIMTAB_TRY(Rest rest, Rest::open(options, clock));
  TRIMTAB_TRY(const Json answer, rest.get("/api/v1/jobs?target=" + net::percent_encode(target)));
  if (options.json) {
    print_json(answer);
    return 0;
  }
  for (const auto& job : json_or<Json>(answer, "jobs", Json::array())) {
    const Json beat = json_or<Json>(job, "heartbeat", Json::object());
    const auto step = json_get<std::int64_t>(beat, "step");
    std::printf("%s\n", fmt::format("{:<10} {:<12} {:<16} {} examples{}  {} {}", text(job, "id"),
                                    text(job, "state"), text(job, "trigger"),
                                    json_or<std::int64_t>(job, "examples", 0),
                                    step ? fmt::format(", step {} of {}", *step,
                                                       json_or<std::int64_t>(beat, "steps", 0))
                                         : "",
                                    text(job, "reason"), text(job, "message"))
                            .c_str());
  }
  return 0;
}

// A screen a second: evidence of every signal, the open trial, the last events.
Status draw_top(Rest& rest, const std::string& target, bool clear) {
  TRIMTAB_TRY(const Json view, rest.get("/api/v1/targets/" + net::percent_encode(target)));
  TRIMTAB_TRY(const Json signals,
              rest.get("/api/v1/targets/" + net::percent_encode(target) + "/signals"));
  TRIMTAB_TRY(const Json events,
              rest.get("/api/v1/events?limit=8&target=" + net::percent_encode(target)));
  std::string screen = (clear ? "\033[H\033[J" : "") + target_line(view) + "\n\n";
  for (const auto& signal : json_or<Json>(signals, "signals", Json::array())) {
    const auto ratio = json_get<double>(signal, "log10_ratio");
    screen += fmt::format(
        "  {:<28} {:<12} {}\n", text(signal, "name"), text(signal, "segment"),
        ratio ? fmt::format("1e{:+.1f} of its threshold", *ratio) : text(signal, "state"));
  }
  for (const auto& metric : json_or<Json>(signals, "harm", Json::array())) {
    screen +=
        fmt::format("  harm {:<23} {:<12} rate {:.3f}, baseline {:.3f}\n", text(metric, "metric"),
                    text(metric, "state"), json_or<double>(metric, "rate", 0),
                    json_or<double>(metric, "baseline", 0));
  }
  screen += "\n";
  for (const auto& event : json_or<Json>(events, "events", Json::array())) {
    screen += fmt::format("  {} {:<10} {} {}\n", text(event, "ts"), text(event, "kind"),
                          text(event, "subject"), text(event, "message"));
  }
  std::fputs(screen.c_str(), stdout);
  std::fflush(stdout);
  return {};
}

Result<int> top(const RestOptions& options, const std::string& named) {
  SystemClock clock;
  TRIMTAB_TRY(Rest rest, Rest::open(options, clock));
  TRIMTAB_TRY(const std::string target, rest.target_or_only(named));
  if (options.json) {
    TRIMTAB_TRY(const Json answer,
                rest.get("/api/v1/targets/" + net::percent_encode(target) + "/signals"));
    print_json(answer);
    return 0;
  }
  const bool live = ::isatty(STDOUT_FILENO) == 1;
  do {
    TRIMTAB_CHECK_OK(draw_top(rest, target, live));
  } while (live && clock.sleep_ms(1000));
  return 0;
}

void print_event(const Json& event, bool as_json) {
  if (as_json) {
    std::printf("%s\n", dump_json(event).c_str());
  } else {
    const std::string from = text(event, "from");
    const std::string way = from.empty() ? text(event, "to") : from + " -> " + text(event, "to");
    std::printf("%lld %s %-11s %-12s %s %s %s\n",
                static_cast<long long>(json_or<std::int64_t>(event, "seq", 0)),
                text(event, "ts").c_str(), text(event, "kind").c_str(),
                text(event, "subject").c_str(), way.c_str(), text(event, "reason").c_str(),
                text(event, "message").c_str());
  }
  std::fflush(stdout);
}

Result<int> events(const RestOptions& options, const std::string& target, int limit, bool follow) {
  SystemClock clock;
  TRIMTAB_TRY(Rest rest, Rest::open(options, clock));
  const std::string query = "/api/v1/events?limit=" + std::to_string(limit) +
                            (target.empty() ? "" : "&target=" + net::percent_encode(target));
  TRIMTAB_TRY(const Json answer, rest.get(query));
  std::int64_t newest = 0;
  for (const auto& event : json_or<Json>(answer, "events", Json::array())) {
    print_event(event, options.json);
    newest = std::max(newest, json_or<std::int64_t>(event, "seq", 0));
  }
  if (!follow) return 0;
  const std::string stream = "/api/v1/events?after=" + std::to_string(newest) +
                             (target.empty() ? "" : "&target=" + net::percent_encode(target));
  TRIMTAB_CHECK_OK(rest.follow(stream, [&](const Json& event) {
    print_event(event, options.json);
    return true;
  }));
  return 0;
}

Result<int> explain(const RestOptions& options, const std::string& id) {
  SystemClock clock;
  TRIMTAB_TRY(Rest rest, Rest::open(options, clock));
  TRIMTAB_TRY(const Json answer, rest.get("/api/v1/explain/" + net::percent_encode(id)));
  const bool agrees = json_or<bool>(answer, "agrees", false);
  if (options.json) {
    print_json(answer);
    return agrees ? 0 : 1;
  }
  for (const auto& decision : json_or<Json>(answer, "decisions", Json::array())) {
    std::printf("%s  %s -> %s  %s: %s\n  used: %s\n  %s\n", text(decision, "ts").c_str(),
                text(decision, "from").c_str(), text(decision, "to").c_str(),
                text(decision, "reason").c_str(), text(decision, "message").c_str(),
                dump_json(decision.value("evidence", Json())).c_str(),
                json_or<bool>(decision, "agrees", false)
                    ? "derived again: agrees"
                    : ("derived again: DIFFERS, " + text(decision, "difference")).c_str());
  }
  std::printf("%s: %s\n", id.c_str(),
              agrees ? "every decision agrees" : "NOT every decision agrees");
  return agrees ? 0 : 1;
}

}  // namespace

void add_reading_commands(CLI::App& app, RestOptions& options, Run& run) {
  auto* status_command = app.add_subcommand("status", "the daemon and its targets at a glance");
  status_command->callback([&options, &run] { run = [&options] { return status(options); }; });

  auto* targets_command = app.add_subcommand("targets", "one line a target");
  targets_command->callback([&options, &run] { run = [&options] { return targets(options); }; });

  const auto listing = [&](const char* name, const char* help,
                           Result<int> (*show)(const RestOptions&, const std::string&)) {
    auto only = std::make_shared<std::string>();
    auto* command = app.add_subcommand(name, help);
    command->add_option("--target", *only, "only this target's");
    command->callback([&options, &run, only, show] {
      run = [&options, only, show] { return show(options, *only); };
    });
  };
  listing("trials", "candidates and what became of them, newest first", trials);
  listing("jobs", "training jobs, newest first", jobs);

  auto target = std::make_shared<std::string>();
  auto* top_command = app.add_subcommand("top", "evidence, trial and events, live");
  top_command->add_option("target", *target, "default: the only one");
  top_command->callback(
      [&options, &run, target] { run = [&options, target] { return top(options, *target); }; });

  struct EventOptions {
    std::string target;
    int limit = 50;
    bool follow = false;
  };
  auto wanted = std::make_shared<EventOptions>();
  auto* events_command = app.add_subcommand("events", "the journal, newest last");
  events_command->add_option("--target", wanted->target, "only this target's");
  events_command->add_option("--limit", wanted->limit, "how many of the past")
      ->capture_default_str()
      ->check(CLI::Range(1, 1'000));
  events_command->add_flag("--follow", wanted->follow, "go on as they happen");
  events_command->callback([&options, &run, wanted] {
    run = [&options, wanted] {
      return events(options, wanted->target, wanted->limit, wanted->follow);
    };
  });

  auto id = std::make_shared<std::string>();
  auto* explain_command = app.add_subcommand(
      "explain", "what a decision used, derived again; exit 1 when it does not agree");
  explain_command->add_option("id", *id, "al-N, trial-N or job-N")->required();
  explain_command->callback(
      [&options, &run, id] { run = [&options, id] { return explain(options, *id); }; });
}

}  // namespace trimtab::cli
