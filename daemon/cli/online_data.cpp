// Commands about records: ingest, erase, offsets.
#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <iostream>
#include <vector>

#include "base/json.h"
#include "daemon/cli/online.h"

namespace trimtab::cli {
namespace {

constexpr std::size_t kBatchBytes = 1 << 20;  // of NDJSON a request

// Lines on their way to the daemon: as they are, with their numbers in the file.
class LineBatch {
 public:
  LineBatch(Rest& rest, std::string where, std::string file, Clock& clock)
      : rest_(rest), where_(std::move(where)), file_(std::move(file)), clock_(clock) {}

  Status add(const std::string& line, std::int64_t number) {
    body_ += line + "\n";
    numbers_.push_back(number);
    return body_.size() >= kBatchBytes ? send() : Status{};
  }

  // Waits while the daemon's queue is full or ingest is paused: it says when it has room again.
  Status send() {
    if (numbers_.empty()) return {};
    auto answer = rest_.post_text(where_, body_, "application/x-ndjson");
    for (int i = 0; i < kTries && !answer && answer.error().code == Code::kUnavailable; ++i) {
      clock_.sleep_ms(kPauseMs);
      answer = rest_.post_text(where_, body_, "application/x-ndjson");
    }
    if (!answer) {
      return fail_in(
          fmt::format("{}:{}: {} accepted before this line", file_, numbers_.front(), accepted),
          answer.error());
    }
    accepted += json_or<std::int64_t>(*answer, "accepted", 0);
    for (const auto& one : json_or<Json>(*answer, "dead", Json::array())) {
      ++dead;
      const auto index = json_or<std::size_t>(one, "index", 0);
      std::fprintf(stderr, "%s:%lld: %s: %s\n", file_.c_str(),
                   static_cast<long long>(index < numbers_.size() ? numbers_[index] : 0),
                   json_or<std::string>(one, "reason", "").c_str(),
                   json_or<std::string>(one, "message", "").c_str());
    }
    body_.clear();
    numbers_.clear();
    return {};
  }

  std::int64_t accepted = 0, dead = 0;

 private:
  static constexpr int kTries = 30;
  static constexpr std::int64_t kPauseMs = 1'000;
  Rest& rest_;
  std::string where_, file_;
  Clock& clock_;
  std::string body_;
  std::vector<std::int64_t> numbers_;
};

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
  LineBatch batch(rest, feedback ? "/api/v1/feedback" : "/api/v1/records", path, clock);
  std::string line;
  for (std::int64_t number = 1; std::getline(in, line); ++number) {
    const auto first = line.find_first_not_of(" \t\r");
    if (first == std::string::npos) continue;
    if (line[first] != '{') {  // as a body's first line it would refuse the whole batch
      ++batch.dead;
      std::fprintf(stderr, "%s:%lld: not_json: a line must be one JSON object\n", path.c_str(),
                   static_cast<long long>(number));
      continue;
    }
    TRIMTAB_CHECK_OK(batch.add(line, number));
  }
  if (in.bad()) return fail(Code::kIo, path + ": cannot be read to its end");
  TRIMTAB_CHECK_OK(batch.send());
  if (options.json) {
    std::printf("%s\n",
                dump_json(Json{{"accepted", batch.accepted}, {"dead", batch.dead}}).c_str());
  } else {
    std::printf("%lld accepted, %lld dead\n", static_cast<long long>(batch.accepted),
                static_cast<long long>(batch.dead));
  }
  return batch.dead == 0 ? 0 : 2;
}

Result<int> erase(const RestOptions& options, const Json& body) {
  SystemClock clock;
  TRIMTAB_TRY(Rest rest, Rest::open(options, clock));
  TRIMTAB_TRY(const Json answer, rest.change("/api/v1/erase", body));
  if (options.json) {
    std::printf("%s\n", dump_json(answer, 2).c_str());
    return 0;
  }
  const auto number = [&](const char* key) {
    return static_cast<long long>(json_or<std::int64_t>(answer, key, 0));
  };
  std::printf(
      "%lld records and %lld pieces of feedback erased, %lld segments rewritten, %lld jobs' "
      "data cleaned\n",
      number("records"), number("feedback"), number("segments_rewritten"), number("jobs_cleaned"));
  for (const auto& adapter : json_or<Json>(answer, "adapters", Json::array())) {
    std::printf("%s was trained on them: retire it with a new training job\n",
                adapter.get<std::string>().c_str());
  }
  return 0;
}

Result<int> show_offsets(const RestOptions& options) {
  SystemClock clock;
  TRIMTAB_TRY(Rest rest, Rest::open(options, clock));
  TRIMTAB_TRY(const Json answer, rest.get("/api/v1/offsets"));
  if (options.json) {
    std::printf("%s\n", dump_json(answer, 2).c_str());
    return 0;
  }
  for (const auto& row : json_or<Json>(answer, "offsets", Json::array())) {
    const auto lag = json_get<std::int64_t>(row, "lag");
    std::printf("%-28s %3lld  next %-12lld lag %s\n",
                json_or<std::string>(row, "topic", "").c_str(),
                static_cast<long long>(json_or<std::int64_t>(row, "partition", 0)),
                static_cast<long long>(json_or<std::int64_t>(row, "next", 0)),
                lag ? std::to_string(*lag).c_str() : "unknown");
  }
  const Json gone = json_or<Json>(answer, "gone", Json());
  if (gone.is_object()) {
    std::printf(
        "GONE: %s; choose with trimtab offsets reset --topic T --partition P --to "
        "earliest|latest|OFFSET\n",
        dump_json(gone).c_str());
  }
  return 0;
}

Result<int> reset_offset(const RestOptions& options, const std::string& topic, int partition,
                         const std::string& to, const std::string& reason) {
  Json body = {{"partition", partition}, {"reason", reason}};
  if (!topic.empty()) body["topic"] = topic;
  const bool number = !to.empty() && to.find_first_not_of("0123456789") == std::string::npos;
  if (number && to.size() < 19) {
    body["to"] = std::stoll(to);
  } else if (to == "earliest" || to == "latest") {
    body["to"] = to;
  } else {
    return fail(Code::kInvalid, "--to wants earliest, latest or an offset >= 0");
  }
  SystemClock clock;
  TRIMTAB_TRY(Rest rest, Rest::open(options, clock));
  TRIMTAB_TRY(const Json answer, rest.change("/api/v1/offsets", body));
  if (options.json) {
    std::printf("%s\n", dump_json(answer, 2).c_str());
  } else {
    std::printf("%s %d goes on at %lld\n", json_or<std::string>(answer, "topic", "").c_str(),
                partition, static_cast<long long>(json_or<std::int64_t>(answer, "next", 0)));
  }
  return 0;
}

}  // namespace

void add_data_commands(CLI::App& app, RestOptions& options, Run& run) {
  struct Wanted {
    std::string file = "-", user, session, topic, to, reason;
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
  out->add_option("--reason", wanted->reason, "kept in the journal");
  out->callback([&options, &run, wanted] {
    run = [&options, wanted] {
      if (wanted->user.empty() && wanted->session.empty()) {
        return Result<int>(fail(Code::kInvalid, "erase wants --user or --session"));
      }
      Json body = Json::object();
      if (!wanted->user.empty()) body["user"] = wanted->user;
      if (!wanted->session.empty()) body["session"] = wanted->session;
      body["reason"] = wanted->reason;
      return erase(options, body);
    };
  });
  auto* offsets = app.add_subcommand("offsets", "where the daemon stands in Kafka");
  offsets->callback([&options, &run] {
    if (!run) run = [&options] { return show_offsets(options); };
  });
  auto* reset = offsets->add_subcommand("reset", "move a partition after its offset is gone");
  reset->add_option("--topic", wanted->topic, "default: the records' topic");
  reset->add_option("--partition", wanted->partition, "the partition")
      ->required()
      ->check(CLI::NonNegativeNumber);
  reset->add_option("--reason", wanted->reason, "kept in the journal");
  reset->add_option("--to", wanted->to, "earliest, latest or an offset")->required();
  reset->callback([&options, &run, wanted] {
    run = [&options, wanted] {
      return reset_offset(options, wanted->topic, wanted->partition, wanted->to, wanted->reason);
    };
  });
}

}  // namespace trimtab::cli
