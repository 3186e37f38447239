// Commands about records: ingest, erase, offsets.
#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <iostream>

#include "base/json.h"
#include "daemon/cli/online.h"

namespace trimtab::cli {
namespace {

constexpr std::size_t kBatchBytes = 1 << 20;  // of NDJSON a request

// Sends a JSONL file of records or feedback in batches; each is answered after its commit.
Result<int> ingest(const RestOptions& options, const std::string& path, bool feedback) {
  SystemClock clock;
  TRIMTAB_TRY(Rest rest, Rest::open(options, clock));
  std::ifstream file;
  if (path != "-") {
    file.open(path);
    if (!file) return fail(Code::kNotFound, path + ": cannot open");
  }
  std::istream& in = path == "-" ? std::cin : file;
  const std::string where = feedback ? "/api/v1/feedback" : "/api/v1/records";
  std::int64_t accepted = 0, dead = 0, lines = 0;
  std::string line;
  Json batch = Json::array();
  std::size_t bytes = 0;
  const auto flush = [&]() -> Status {
    if (batch.empty()) return {};
    const std::int64_t first = lines - static_cast<std::int64_t>(batch.size());
    TRIMTAB_TRY(const Json answer, rest.post(where, batch));
    accepted += json_or<std::int64_t>(answer, "accepted", 0);
    for (const auto& one : json_or<Json>(answer, "dead", Json::array())) {
      ++dead;
      std::fprintf(stderr, "%s:%lld: %s: %s\n", path.c_str(),
                   static_cast<long long>(first + json_or<std::int64_t>(one, "index", 0) + 1),
                   json_or<std::string>(one, "reason", "").c_str(),
                   json_or<std::string>(one, "message", "").c_str());
    }
    batch = Json::array();
    bytes = 0;
    return {};
  };
  while (std::getline(in, line)) {
    ++lines;
    const auto record = parse_json(line);
    if (!record) {
      return fail(Code::kInvalid, fmt::format("{}:{}: {}", path, lines, record.error().message));
    }
    batch.push_back(*record);
    bytes += line.size();
    if (bytes >= kBatchBytes) TRIMTAB_CHECK_OK(flush());
  }
  TRIMTAB_CHECK_OK(flush());
  if (options.json) {
    std::printf("%s\n", dump_json(Json{{"accepted", accepted}, {"dead", dead}}).c_str());
  } else {
    std::printf("%lld accepted, %lld dead\n", static_cast<long long>(accepted),
                static_cast<long long>(dead));
  }
  return dead == 0 ? 0 : 2;
}

Result<int> simple_post(const RestOptions& options, const std::string& path, const Json& body) {
  SystemClock clock;
  TRIMTAB_TRY(Rest rest, Rest::open(options, clock));
  TRIMTAB_TRY(const Json answer, rest.post(path, body));
  std::printf("%s\n", dump_json(answer, 2).c_str());
  return 0;
}

Result<int> show_offsets(const RestOptions& options) {
  SystemClock clock;
  TRIMTAB_TRY(Rest rest, Rest::open(options, clock));
  TRIMTAB_TRY(const Json answer, rest.get("/api/v1/offsets"));
  std::printf("%s\n", dump_json(answer, 2).c_str());
  return 0;
}

}  // namespace

void add_data_commands(CLI::App& app, RestOptions& options, Run& run) {
  struct Wanted {
    std::string file = "-", user, session, topic, to;
    int partition = 0;
    bool feedback = false;
  };
  auto wanted = std::make_shared<Wanted>();
  auto* in = app.add_subcommand("ingest", "send past logs (JSON lines) to the daemon");
  in->add_option("file", wanted->file, "- is standard input")->capture_default_str();
  in->add_flag("--feedback", wanted->feedback, "the file holds feedback, not records");
  in->callback([&options, &run, wanted] {
    run = [&options, wanted] { return ingest(options, wanted->file, wanted->feedback); };
  });
  auto* out = app.add_subcommand("erase", "remove a person's records, feedback and job data");
  out->add_option("--user", wanted->user, "a user_id");
  out->add_option("--session", wanted->session, "a session_id");
  out->require_option(1, 2);
  out->callback([&options, &run, wanted] {
    run = [&options, wanted] {
      Json body = Json::object();
      if (!wanted->user.empty()) body["user"] = wanted->user;
      if (!wanted->session.empty()) body["session"] = wanted->session;
      return simple_post(options, "/api/v1/erase", body);
    };
  });
  auto* offsets = app.add_subcommand("offsets", "where the daemon stands in Kafka");
  offsets->callback([&options, &run] {
    if (!run) run = [&options] { return show_offsets(options); };
  });
  auto* reset = offsets->add_subcommand("reset", "move a partition after its offset is gone");
  reset->add_option("--topic", wanted->topic, "default: the records' topic");
  reset->add_option("--partition", wanted->partition, "the partition")->required();
  reset->add_option("--to", wanted->to, "earliest, latest or an offset")->required();
  reset->callback([&options, &run, wanted] {
    run = [&options, wanted] {
      Json body = {{"partition", wanted->partition}, {"to", wanted->to}};
      if (!wanted->topic.empty()) body["topic"] = wanted->topic;
      return simple_post(options, "/api/v1/offsets", body);
    };
  });
}

}  // namespace trimtab::cli
