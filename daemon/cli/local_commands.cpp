// Commands that need no daemon and are no statistics: check-config, demo.
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <sstream>

#include "base/files.h"
#include "base/json.h"
#include "config/check.h"
#include "config/document.h"
#include "config/load.h"
#include "daemon/cli/online.h"
#include "daemon/kafka_peer.h"

namespace trimtab::cli {
namespace {

namespace fs = std::filesystem;

constexpr int kPeerMs = 5'000;

// Somebody whom the file names, and what became of asking.
struct Peer {
  std::string what, detail;
  bool ok = false;
};

void try_kafka(const config::Settings& settings, std::vector<Peer>& peers) {
  const std::string what = "kafka " + settings.kafka.connection.brokers;
  const auto topics = daemon::ask_kafka(settings.kafka, kPeerMs);
  if (!topics) {
    peers.push_back({what, topics.error().message, false});
    return;
  }
  for (const auto& topic : *topics) {
    peers.push_back({what + " topic " + topic.topic,
                     topic.partitions > 0 ? std::to_string(topic.partitions) + " partitions"
                                          : "does not exist; create it",
                     topic.partitions > 0});
  }
}

void try_endpoint(const config::TargetSettings& target, const config::ServingEndpoint& endpoint,
                  net::Client& client, std::vector<Peer>& peers) {
  const std::string what = target.name + " " + endpoint.url + "/v1/models";
  net::Headers headers;
  if (!target.serving.token_file.empty()) {
    auto token = read_file(target.serving.token_file, 64 << 10);
    if (!token) {
      peers.push_back({what, token.error().message, false});
      return;
    }
    token->erase(token->find_last_not_of(" \t\r\n") + 1);
    headers.set("Authorization", "Bearer " + *token);
  }
  const auto answer = client.get(endpoint.url + "/v1/models", headers);
  if (!answer || answer->status != 200) {
    peers.push_back({what,
                     answer ? "status " + std::to_string(answer->status) : answer.error().message,
                     false});
    return;
  }
  const auto body = parse_json(answer->body);
  const Json models = body ? json_or<Json>(*body, "data", Json::array()) : Json::array();
  bool served = false;
  for (const auto& model : models) {
    served = served || json_or<std::string>(model, "id", "") == target.serving.served_base_name;
  }
  const bool named = target.serving.served_base_name.empty() || served;
  peers.push_back({what,
                   std::to_string(models.size()) + " models" +
                       (named ? ""
                              : ", but none is called " + target.serving.served_base_name +
                                    "; see serving.served_base_name"),
                   named});
}

// Asks what the file names whether it is there: the daemon's peers, not its statistics.
std::vector<Peer> try_peers(const config::Settings& settings) {
  std::vector<Peer> peers;
  try_kafka(settings, peers);
  SystemClock clock;
  net::Client client({.connect_ms = 2'000, .total_ms = kPeerMs}, clock);
  for (const auto& target : settings.targets) {
    const bool base = fs::exists(fs::path(target.base) / "config.json");
    peers.push_back({target.name + " base " + target.base,
                     base ? "there" : "no config.json; a Hugging Face snapshot is wanted", base});
    for (const auto& endpoint : target.serving.endpoints) {
      try_endpoint(target, endpoint, client, peers);
    }
  }
  return peers;
}

struct Wanted {
  std::string file;
  bool connect = false, gateway = false, schema = false;
};

int say_invalid(const RestOptions& options, const std::string& problems) {
  if (!options.json) {
    std::fprintf(stderr, "%s\n", problems.c_str());
    return config::kExitConfig;
  }
  Json lines = Json::array();
  std::istringstream text(problems);
  for (std::string line; std::getline(text, line);) lines.push_back(line);
  std::printf("%s\n", dump_json(Json{{"valid", false}, {"problems", lines}}, 2).c_str());
  return config::kExitConfig;
}

int say_valid(const RestOptions& options, const std::vector<config::Note>& notes,
              const std::vector<Peer>& peers) {
  bool reached = true;
  Json rows = Json::array();
  std::string text = "the configuration is valid\n" + config::notes_text(notes);
  for (const auto& peer : peers) {
    reached = reached && peer.ok;
    rows.push_back({{"peer", peer.what}, {"ok", peer.ok}, {"detail", peer.detail}});
    text += (peer.ok ? "ok    " : "FAIL  ") + peer.what + ": " + peer.detail + "\n";
  }
  if (options.json) {
    const Json all = {
        {"valid", true}, {"notes", parse_json(config::notes_json(notes)).value()}, {"peers", rows}};
    text = dump_json(all, 2) + "\n";
  }
  std::fputs(text.c_str(), stdout);
  return reached ? 0 : 1;
}

Result<int> check_config(const RestOptions& options, const Wanted& wanted) {
  if (wanted.schema) {
    const auto schema = wanted.gateway ? config::gateway_schema() : config::settings_schema();
    std::fputs(schema.c_str(), stdout);
    return 0;
  }
  if (wanted.file.empty()) return fail(Code::kInvalid, "check-config wants a FILE, or --schema");
  if (wanted.gateway) {
    const auto settings = config::load_gateway_settings(wanted.file);
    if (!settings) return say_invalid(options, settings.error().message);
    return say_valid(options, {}, {});
  }
  const auto settings = config::load_settings(wanted.file);
  if (!settings) {
    std::string problems = settings.error().message;
    if (config::load_gateway_settings(wanted.file)) {
      problems = wanted.file + ": this is trimtab-gateway's configuration; add --gateway";
    }
    return say_invalid(options, problems);
  }
  return say_valid(options, config::check_notes(*settings),
                   wanted.connect ? try_peers(*settings) : std::vector<Peer>{});
}

// The demo is a program of its own (docs/DECISIONS.md); it takes all further words.
Result<int> run_demo(const std::vector<std::string>& words) {
  const fs::path program = fs::read_symlink("/proc/self/exe").parent_path() / "trimtab-demo";
  std::vector<char*> argv;
  std::string name = program.string();
  argv.push_back(name.data());
  std::vector<std::string> copies = words;
  for (auto& word : copies) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execv(name.c_str(), argv.data());
  return fail(Code::kNotFound, name + ": not there; ./dev build makes it");
}

}  // namespace

void add_local_commands(CLI::App& app, RestOptions& options, Run& run) {
  auto wanted = std::make_shared<Wanted>();
  auto* check = app.add_subcommand(
      "check-config", "every mistake in a configuration at once, and what its plan can detect");
  check->add_option("file", wanted->file, "trimtab.yaml");
  check->add_flag("--connect", wanted->connect,
                  "also ask Kafka and the model servers that it names; exit 1 when one fails");
  check->add_flag("--gateway", wanted->gateway, "the file is trimtab-gateway's");
  check->add_flag("--schema", wanted->schema, "print the JSON Schema of such a file instead");
  check->callback([&options, &run, wanted] {
    run = [&options, wanted] { return check_config(options, *wanted); };
  });
  auto* demo = app.add_subcommand("demo", "the whole loop on this machine");
  demo->allow_extras()->prefix_command();
  demo->set_help_flag();
  demo->callback([demo, &run] { run = [demo] { return run_demo(demo->remaining()); }; });
}

}  // namespace trimtab::cli
