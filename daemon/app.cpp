#include "daemon/app.h"

#include <array>
#include <atomic>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/net/server.h"
#include "base/redaction.h"
#include "config/document.h"
#include "config/load.h"
#include "daemon/api.h"
#include "daemon/control_loop.h"
#include "daemon/daemon_metrics.h"
#include "daemon/effect_performer.h"

namespace trimtab::daemon {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kCommandsQueued = 256, kOutcomesQueued = 4'096;
// A full batch takes 3 MB; small ones come ten times a second.
constexpr std::size_t kBatchesPooled = 8;
constexpr std::int64_t kLeastBatchesQueued = 8;

std::vector<std::string> target_names(const config::Settings& settings) {
  std::vector<std::string> names;
  for (const auto& target : settings.targets) names.push_back(target.name);
  return names;
}

// What a reload takes at once: the log's level, the tokens, and of each target the policies and
// plans of what starts from now on. Everything else is built once, at the start.
bool follows_reload(const std::string& key) {
  if (key == "log.level" || key.starts_with("http.tokens")) return true;
  if (!key.starts_with("targets[")) return false;
  const std::string field = key.substr(key.find("].") + 2);
  return field.starts_with("retrain.") || field.starts_with("promotion.") ||
         field.starts_with("expected.");
}

log::Level level_of(config::LogLevel level) {
  switch (level) {
    case config::LogLevel::kTrace: return log::Level::kTrace;
    case config::LogLevel::kDebug: return log::Level::kDebug;
    case config::LogLevel::kWarning: return log::Level::kWarn;
    case config::LogLevel::kError: return log::Level::kError;
    case config::LogLevel::kInfo: break;
  }
  return log::Level::kInfo;
}

}  // namespace

struct App::State {
  std::shared_ptr<const config::Settings> settings;
  std::string config_hash;
  AppOptions options;
  Clock& clock;
  Metrics metrics;

  BatchPool pool{kBatchesPooled};
  std::optional<BatchQueue> batches;
  CommandQueue commands{kCommandsQueued};
  BoundedQueue<EffectOutcome> outcomes{kOutcomesQueued};
  std::optional<EventsFeed> feed;
  SnapshotBoard board;
  OffsetBook book;
  std::unique_ptr<StateStore> store;
  std::unique_ptr<RecordStore> records;
  std::unique_ptr<FleetPerformer> performer;
  std::unique_ptr<EffectThreads> effects;
  std::unique_ptr<LauncherPort> jobs;
  std::unique_ptr<ControlLoop> loop;
  std::unique_ptr<Ingest> ingest;
  std::unique_ptr<ApiAuth> auth;
  std::optional<RecordCodec> codec;
  std::unique_ptr<Api> api;
  std::unique_ptr<net::Server> server, health;
  std::jthread control;

  std::vector<std::function<void()>> cleanup;  // LIFO
  std::mutex reload_mutex;
  mutable std::mutex failure_mutex;
  Status failure;
  // The watchdog's view of each loop: its turns when last looked at, and when they last grew.
  struct Seen {
    std::uint64_t turns = 0;
    std::int64_t mono_ms = 0;
  };
  std::array<Seen, 4> seen;

  State(std::shared_ptr<const config::Settings> wanted, std::string hash, AppOptions given,
        Clock& its_clock)
      : settings(std::move(wanted)),
        config_hash(std::move(hash)),
        options(std::move(given)),
        clock(its_clock) {}

  Status open_state();
  Status open_loop();
  Status open_ingest();
  Status take_ports();
  Status open_api(App& app);
  Status start_servers();
  net::ServerOptions server_options() const;
  std::string not_ready() const;
};

App::App(std::shared_ptr<const config::Settings> settings, std::string config_hash,
         AppOptions options, Clock& clock)
    : state_(std::make_unique<State>(std::move(settings), std::move(config_hash),
                                     std::move(options), clock)) {}

App::~App() { stop(); }

Status App::State::open_state() {
  const fs::path dir = settings->state.dir;
  for (const char* folder : {"records", "adapters", "jobs", "routing", "scores"}) {
    TRIMTAB_CHECK_OK(make_folders(dir / folder));
  }
  TRIMTAB_TRY(store, StateStore::open(dir / "trimtab.db"));
  cleanup.emplace_back([this] { store.reset(); });
  RecordStore::Redactor redactor;
  if (settings->store.redact) {
    redactor = [keep = settings->store.redact_keep](std::string_view text) {
      return redact(text, keep);
    };
  }
  TRIMTAB_TRY(records, RecordStore::open(dir / "records", settings->store, *store, redactor));
  cleanup.emplace_back([this] { records.reset(); });
  return {};
}

Status App::State::open_loop() {
  batches.emplace(static_cast<std::size_t>(std::max(
      settings->ingest.queue_records / settings->kafka.batch_records, kLeastBatchesQueued)));
  feed.emplace(static_cast<std::size_t>(settings->control.events_kept));
  TRIMTAB_TRY(performer, FleetPerformer::create(*settings, clock));
  effects = std::make_unique<EffectThreads>(
      *performer,
      [this](EffectOutcome outcome) {
        // A full inbox loses nothing: the INTENT is pending and is ordered again after a restart.
        if (!outcomes.push(std::move(outcome))) log::warn("an effect's outcome came too late");
      },
      static_cast<int>(settings->control.effect_threads));
  jobs = std::make_unique<LauncherPort>(clock, fs::path(settings->state.dir) / "jobs");
  TRIMTAB_TRY(loop, ControlLoop::create(settings, config_hash,
                                        {.store = *store,
                                         .records = *records,
                                         .effects = *effects,
                                         .jobs = *jobs,
                                         .feed = *feed,
                                         .book = book,
                                         .pool = pool,
                                         .board = board,
                                         .clock = clock,
                                         .metrics = metrics}));
  cleanup.emplace_back([this] { loop.reset(); });
  effects->start();
  cleanup.emplace_back([this] {
    outcomes.close();
    effects->stop();
  });
  return loop->boot(clock.now_ms());
}

Status App::State::open_ingest() {
  TRIMTAB_TRY(ingest,
              Ingest::create({.kafka = settings->kafka,
                              .ingest = settings->ingest,
                              .targets = target_names(*settings),
                              .pointers = loop->pointers(),
                              .prepare = [this](RecordBatch& batch) { loop->observe(batch); }},
                             book, *batches, pool, clock, metrics));
  cleanup.emplace_back([this] { ingest.reset(); });
  control = std::jthread([this](std::stop_token stop) {
    const auto done =
        loop->run(stop, *batches, commands, outcomes, [this](bool on) { ingest->hold(on); });
    if (done) return;
    log::error("control ended: {}", done.error().message);
    std::lock_guard lock(failure_mutex);
    failure = done;
  });
  // Ingest goes first: control commits what it hands over on its way out.
  cleanup.emplace_back([this] {
    control.request_stop();
    control.join();
  });
  ingest->start();
  cleanup.emplace_back([this] {
    batches->close();
    if (auto stopped = ingest->stop(settings->kafka.close_deadline_ms); !stopped) {
      log::warn("ingest: {}", stopped.error().message);
    }
  });
  return {};
}

net::ServerOptions App::State::server_options() const {
  const auto& http = settings->http;
  net::ServerOptions made;
  made.name = "api";
  made.host = http.host;
  made.port = static_cast<int>(http.port);
  made.tls_cert_file = http.tls_cert_file;
  made.tls_key_file = http.tls_key_file;
  made.workers = static_cast<int>(http.threads);
  made.queue = static_cast<std::size_t>(http.queue_requests);
  made.waiting_max = static_cast<std::size_t>(http.streams);
  made.header_limit_bytes = static_cast<std::size_t>(http.max_header_bytes);
  made.body_limit_bytes = static_cast<std::size_t>(http.max_body_bytes);
  made.request_ms = http.request_deadline_ms;
  made.hosts = http.allowed_hosts;
  if (made.hosts.empty()) made.hosts = {"localhost"};
  return made;
}

std::string App::State::not_ready() const {
  const auto snapshot = board.get();
  if (!snapshot->paused.empty()) return snapshot->paused;
  const auto source = ingest->status();
  if (source.state == SourceState::kRunning || source.state == SourceState::kBackpressure)
    return {};
  return "kafka: " + std::string(source_state_name(source.state)) +
         (source.detail.empty() ? "" : ": " + source.detail);
}

// First of all: a taken port ends the start before the state is touched or the group is joined.
Status App::State::take_ports() {
  auto made = server_options();
  made.gate = [this](const net::Request& head) { return auth->gate(head); };
  made.metrics = &metrics;
  server = std::make_unique<net::Server>(std::move(made), clock);
  net::ServerOptions own;
  own.name = "health";
  own.host = settings->metrics.host;
  own.port = static_cast<int>(settings->metrics.port);
  own.workers = 1;
  health = std::make_unique<net::Server>(std::move(own), clock);
  TRIMTAB_CHECK_OK(server->listen());
  return health->listen();
}

Status App::State::open_api(App& app) {
  TRIMTAB_TRY(auth, ApiAuth::create(settings->http, clock));
  TRIMTAB_TRY(auto made_codec, RecordCodec::create(settings->ingest, target_names(*settings)));
  for (const auto& [target, pointers] : loop->pointers()) {
    TRIMTAB_CHECK_OK(made_codec.set_pointers(target, pointers));
  }
  codec.emplace(std::move(made_codec));
  api = std::make_unique<Api>(
      ApiParts{.settings = settings,
               .board = board,
               .feed = *feed,
               .commands = commands,
               .batches = *batches,
               .pool = pool,
               .book = book,
               .loop = *loop,
               .ingest = *ingest,
               .records = *records,
               .codec = *codec,
               .auth = *auth,
               .clock = clock,
               .metrics = metrics,
               .started_ms = clock.now_ms(),
               .reload = [&app](const std::string& actor) { return app.reload(actor); },
               .not_ready = [this] { return not_ready(); }});
  return {};
}

Status App::State::start_servers() {
  api->mount(*server);
  api->mount_health(*health, Api::Metering::kOpen);
  add_daemon_metrics(metrics, target_names(*settings), *batches, *ingest, *loop);
  TRIMTAB_CHECK_OK(health->start());
  cleanup.emplace_back([this] { health->stop(); });
  TRIMTAB_CHECK_OK(server->start());
  cleanup.emplace_back([this] {
    feed->close();
    server->stop();
  });
  if (options.port_file.empty()) return {};
  return write_atomic(options.port_file, std::to_string(server->port()) + "\n");
}

Status App::start() {
  State& s = *state_;
  log::set_level(level_of(s.settings->log.level));
  add_process_metrics(s.metrics, "trimtabd");
  const auto started = [&]() -> Status {
    TRIMTAB_CHECK_OK(s.take_ports());
    TRIMTAB_CHECK_OK(s.open_state());
    TRIMTAB_CHECK_OK(s.open_loop());
    TRIMTAB_CHECK_OK(s.open_ingest());
    TRIMTAB_CHECK_OK(s.open_api(*this));
    return s.start_servers();
  }();
  if (!started) stop();
  return started;
}

void App::stop() {
  auto& cleanup = state_->cleanup;
  while (!cleanup.empty()) {
    auto undo = std::move(cleanup.back());
    cleanup.pop_back();
    undo();
  }
}

// One reload at a time: SIGHUP and POST /-/reload may come together.
CommandAnswer App::reload(const std::string& actor) {
  State& s = *state_;
  std::lock_guard one(s.reload_mutex);
  auto& successful = s.metrics
                         .gauge("trimtab_config_last_reload_successful",
                                "1 when the last reload of the configuration was taken")
                         .with();
  const auto refused = [&](const std::string& why) {
    successful.set(0);
    log::error("the configuration was not reloaded, the old one stays: {}", why);
    return answer_problem(422, why);
  };
  if (s.options.config.empty()) return refused("there is no configuration file");
  auto loaded = config::load_settings(s.options.config);
  if (!loaded) return refused(loaded.error().message);
  const auto settings = std::make_shared<const config::Settings>(std::move(*loaded));
  const auto hash = config_hash_of(s.options.config);
  if (!hash) return refused(hash.error().message);
  if (target_names(*settings) != target_names(*s.settings) ||
      settings->state.dir != s.settings->state.dir) {
    return refused("targets and state.dir change with a restart only");
  }
  if (auto tokens = ApiAuth::create(settings->http, s.clock); !tokens) {
    return refused(tokens.error().message);
  }
  s.loop->offer_settings(settings, *hash);
  auto answer = post_command(s.commands, {.verb = "reload", .actor = actor},
                             s.settings->http.command_deadline_ms);
  successful.set(answer.status < 300 ? 1 : 0);
  if (answer.status >= 300) return answer;
  if (auto tokens = s.auth->reload(settings->http); !tokens)
    log::error("{}", tokens.error().message);
  log::set_level(level_of(settings->log.level));
  Json body = parse_json(answer.body).value();
  body["needs_restart"] = Json::array();
  for (const auto& key : config::changed_keys(*s.settings, *settings)) {
    if (follows_reload(key)) continue;
    body["needs_restart"].push_back(key);
    log::warn("{} differs from what runs: it changes with a restart only", key);
  }
  log::info("configuration reloaded by {}", actor);
  answer.body = dump_json(body);
  return answer;
}

Status App::failure() const {
  if (auto failed = state_->ingest->failure(); !failed) return failed;
  std::lock_guard lock(state_->failure_mutex);
  return state_->failure;
}

bool App::progressed() {
  State& s = *state_;
  const std::int64_t now_ms = s.clock.mono_ms();
  const std::uint64_t turns[] = {s.loop->turns(), s.ingest->turns(), s.effects->turns(),
                                 s.server->heartbeat()};
  bool all = true;
  for (std::size_t i = 0; i < s.seen.size(); ++i) {
    auto& seen = s.seen[i];
    if (seen.mono_ms == 0 || turns[i] != seen.turns) seen = {.turns = turns[i], .mono_ms = now_ms};
    all = all && now_ms - seen.mono_ms < s.settings->control.watchdog_ms;
  }
  return all;
}

int App::port() const { return state_->server ? state_->server->port() : 0; }
std::vector<std::pair<std::string, std::string>> App::routes() const {
  return state_->server->routes();
}
int App::metrics_port() const { return state_->health ? state_->health->port() : 0; }

Result<std::string> config_hash_of(const fs::path& file) {
  TRIMTAB_TRY(const std::string text, read_file(file));
  return sha256_hex(text);
}

}  // namespace trimtab::daemon
