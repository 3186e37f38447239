// trimtab-demo: flags to DemoOptions, then one Scenario in one DemoHouse. `trimtab demo` runs it.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>

#include "base/files.h"
#include "base/log.h"
#include "base/usage.h"
#include "daemon/demo/corpus.h"
#include "daemon/demo/options.h"
#include "daemon/demo/pretrain_data.h"
#include "daemon/demo/report.h"
#include "daemon/demo/scenario.h"
#include "daemon/kafka_producer.h"

namespace trimtab::demo {
namespace {

namespace fs = std::filesystem;
constexpr const char* kFeedbackTopic = "trimtab.feedback";

int complain(const Error& error) {
  std::fprintf(stderr, "demo: %s\n", error.message.c_str());
  return error.code == Code::kInvalid || error.code == Code::kNotFound ? 2 : 1;
}

Result<Corpus> load_corpus(const DemoOptions& options) {
  if (options.train.empty()) return Corpus::builtin();
  return Corpus::from_tsv(options.train, options.test);
}

// Domains not named: the last two arrive, the others are known.
Status choose_domains(const Corpus& corpus, DemoOptions& options) {
  const auto& all = corpus.domains();
  const auto known_name = [&](const std::string& name) {
    return std::find(all.begin(), all.end(), name) != all.end();
  };
  for (const auto* list : {&options.known, &options.arrivals}) {
    for (const auto& name : *list) {
      if (!known_name(name)) return fail(Code::kInvalid, "no such domain: '" + name + "'");
    }
  }
  if (options.arrivals.empty()) {
    if (all.size() < 3) return fail(Code::kInvalid, "at least 3 domains are needed");
    options.arrivals.assign(all.end() - 2, all.end());
  }
  if (options.known.empty()) {
    for (const auto& name : all) {
      if (std::find(options.arrivals.begin(), options.arrivals.end(), name) ==
          options.arrivals.end()) {
        options.known.push_back(name);
      }
    }
  }
  return {};
}

// Sentences from files need more of everything than the generator's, see options.h.
void suit_own_data(const CLI::App& app, const Corpus& corpus, DemoOptions& options) {
  if (options.train.empty()) return;
  if (app.count("--minimum-examples") == 0) {
    for (const auto& domain : options.arrivals) {
      const auto intents = static_cast<std::int64_t>(corpus.intents_of(domain).size());
      options.minimum_examples =
          std::max(options.minimum_examples, DemoOptions::kOwnExamplesPerIntent * intents);
    }
  }
  if (app.count("--evaluation-records") == 0)
    options.evaluation_records = DemoOptions::kOwnEvaluationRecords;
}

// The shipped base lies beside the sources in a checkout and in share/trimtab once installed.
fs::path shipped_base(const fs::path& bin) {
  for (const fs::path& candidate :
       {fs::path(TRIMTAB_DEMO_BASE), bin / "../share/trimtab/demo/base"}) {
    if (fs::exists(candidate / "config.json")) return fs::absolute(candidate);
  }
  return {};
}

Status play(const CLI::App& app, DemoOptions options) {
  SystemClock clock;
  TRIMTAB_TRY(const Corpus corpus, load_corpus(options));
  TRIMTAB_CHECK_OK(choose_domains(corpus, options));
  suit_own_data(app, corpus, options);
  options.out = fs::absolute(options.out);
  if (options.base.empty()) options.base = shipped_base(options.bin);
  options.base = fs::absolute(options.base);
  if (!fs::exists(options.base / "config.json")) {
    return fail(Code::kNotFound, options.base.string() + ": no base model; give --base DIR");
  }
  TRIMTAB_TRY(const auto house, DemoHouse::open(options, clock));
  TRIMTAB_TRY(auto producer,
              daemon::KafkaProducer::open(
                  {.connection = {.brokers = house->brokers()}, .client_id = "demo"}));
  const auto sink = [&](const std::string& key, const std::string& json) {
    return producer->send(kFeedbackTopic, key, json);
  };
  Population population({.gateway_url = house->gateway_url(),
                         .target = kTarget,
                         .requests_per_s = options.requests_per_s,
                         .seed = options.seed},
                        corpus, sink, clock);
  DaemonView view(house->daemon_url(), kTarget, clock);
  Watch watch(*house, view, population, clock, !options.headless && ::isatty(STDOUT_FILENO) == 1);
  watch.note("start", "the page: " + house->daemon_url() + "/   files: " + options.out.string());
  Scenario scenario(options, corpus, *house, view, population, watch, clock);
  Behaviour people;
  for (const auto& domain : options.known) people.mix[domain] = 1.0;
  population.set_behaviour(people);
  if (!options.first_adapter.empty()) TRIMTAB_CHECK_OK(scenario.adopt(options.first_adapter));
  population.start();
  scenario.play();
  const auto report = scenario.report();
  TRIMTAB_CHECK_OK(write_report(options.out, report, watch.timeline()));
  const bool passed = report.at("passed").get<bool>();
  watch.note("end", std::string(passed ? "PASSED" : "FAILED") +
                        ", report: " + (options.out / "report.html").string());
  if (!options.headless && watch.look()) {
    watch.note("end", "everything keeps running until Ctrl-C");
    while (watch.look()) clock.sleep_ms(500);
  }
  population.stop();
  if (!passed) return fail(Code::kUnavailable, "the scenario did not pass; see the report");
  return {};
}

void add_data_command(CLI::App& app, DemoOptions& options, PretrainOptions& pretrain,
                      fs::path& data_out, fs::path& base_out) {
  auto* data = app.add_subcommand(
      "data", "write the files that `trimtab-worker pretrain` makes the demo's base from");
  data->add_option("--out", data_out, "folder for the examples and pretrain.yaml or first.yaml")
      ->required();
  data->add_option("--base-out", base_out, "where pretrain will write the base");
  data->add_option("--base", options.base,
                   "own base: write first.yaml instead, a job of `trimtab-worker train` that "
                   "teaches it the known domains");
  data->add_option("--train", options.train, "own training sentences (TSV)");
  data->add_option("--test", options.test, "own test sentences (TSV)");
  data->add_option("--known", options.known, "domains whose intents are taught")->delimiter(',');
  data->add_option("--arrivals", options.arrivals, "domains that arrive later")->delimiter(',');
  data->add_option("--epochs", pretrain.epochs, "epochs over the labelled examples");
  data->add_option("--labelled-per-intent", pretrain.labelled_per_intent,
                   "labelled examples; files: all");
  data->add_option("--texts-per-domain", pretrain.texts_per_domain,
                   "unlabelled sentences; files: all");
  data->add_option("--variants", pretrain.variants,
                   "files: copies of each labelled sentence with words left out")
      ->capture_default_str();
}

int run(int argc, char** argv) {
  DemoOptions options;
  PretrainOptions pretrain;
  fs::path data_out, base_out;
  std::vector<int> phases;
  options.bin = fs::canonical("/proc/self/exe").parent_path();
  CLI::App app("The whole loop on this machine: people, drift, retraining, promotion, rollback.",
               "trimtab demo");
  app.failure_message(usage_message);
  app.add_flag("--headless", options.headless, "run to the end, write the report, exit");
  app.add_option("--out", options.out, "folder for state, logs and the report")
      ->capture_default_str();
  app.add_option("--phases", phases, "only these phases, such as 1,2")->delimiter(',');
  app.add_option("--base", options.base, "own base model (Hugging Face snapshot)");
  app.add_option("--first-adapter", options.first_adapter,
                 "adapter that serves from the beginning (PEFT folder); none: the bare base");
  app.add_option("--train", options.train, "own training sentences: domain<TAB>intent<TAB>text");
  app.add_option("--test", options.test, "own test sentences, same form");
  app.add_option("--known", options.known, "domains known before")->delimiter(',');
  app.add_option("--arrivals", options.arrivals, "domains that arrive, in order")->delimiter(',');
  app.add_option("--seed", options.seed, "of everything random")->capture_default_str();
  app.add_option("--rate", options.requests_per_s, "requests a second")->capture_default_str();
  app.add_option("--phase-limit", options.phase_limit_s, "seconds a phase may take")
      ->capture_default_str();
  app.add_option("--lr", options.learning_rate, "of the retraining")->capture_default_str();
  app.add_option("--epochs", options.epochs, "of the retraining")->capture_default_str();
  app.add_option("--minimum-examples", options.minimum_examples,
                 "new examples before a job; with --train 100 an intent that arrives")
      ->capture_default_str();
  app.add_option("--reference", options.reference_size, "records of the drift reference")
      ->capture_default_str();
  app.add_option("--evaluation-records", options.evaluation_records,
                 "randomly labelled records before the first arrival; with --train 4,000")
      ->capture_default_str();
  app.add_option("--held-out", options.held_out_per_intent, "probed sentences an intent")
      ->capture_default_str();
  app.add_option("--sabotaged", options.sabotaged, "bad adapters of phase 4, at least 4")
      ->capture_default_str();
  app.add_option("--port", options.port, "of the web page; 0: any")->capture_default_str();
  add_data_command(app, options, pretrain, data_out, base_out);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (options.train.empty() != options.test.empty()) {
    return complain({Code::kInvalid, "--train and --test belong together"});
  }
  if (!phases.empty()) options.phases = {phases.begin(), phases.end()};
  log::set_program("demo");
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGINT, [](int) { Watch::request_stop(); });
  std::signal(SIGTERM, [](int) { Watch::request_stop(); });
  if (app.got_subcommand("data")) {
    const auto corpus = load_corpus(options);
    if (!corpus) return complain(corpus.error());
    if (const auto chosen = choose_domains(*corpus, options); !chosen) {
      return complain(chosen.error());
    }
    pretrain.known = options.known;
    if (base_out.empty() == options.base.empty())
      return complain({Code::kInvalid, "data: give --base-out (a new base) or --base (one's own)"});
    const auto wrote = options.base.empty()
                           ? write_pretrain_data(*corpus, pretrain, data_out, base_out)
                           : write_first_job(*corpus, pretrain, data_out, options.base);
    return wrote ? 0 : complain(wrote.error());
  }
  const auto played = play(app, options);
  return played ? 0 : complain(played.error());
}

}  // namespace
}  // namespace trimtab::demo

int main(int argc, char** argv) {
  try {
    return trimtab::demo::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "demo: %s\n", error.what());
    return 1;
  }
}
