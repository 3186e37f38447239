#include "tests/daemon/ingest_child.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>

#include "base/files.h"
#include "base/hash.h"
#include "daemon/dedupe_window.h"
#include "daemon/ingest.h"
#include "daemon/state_store.h"

namespace trimtab::daemon {
namespace {

volatile sig_atomic_t stop_asked = 0;

struct Counted {
  std::int64_t records = 0;
  std::uint64_t sum = 0;
};

std::string save(const Counted& counted) {
  return std::to_string(counted.records) + " " + std::to_string(counted.sum);
}
Counted load(const std::string& text) {
  Counted counted;
  if (std::sscanf(text.c_str(), "%ld %lu", &counted.records, &counted.sum) != 2) return {};
  return counted;
}

// One batch, one transaction: what control does, without the thinking.
Status apply(StateStore& store, RecordBatch& batch, DedupeWindow& window, Counted& counted) {
  TRIMTAB_TRY(const auto offsets, store.offsets());
  drop_applied(batch, offsets);
  TRIMTAB_TRY(auto write, store.begin());
  Counted after = counted;
  for (const DecodedRecord& decoded : batch.records) {
    const auto* record = std::get_if<InferenceRecord>(&decoded.value);
    if (record == nullptr || !window.stage(DedupeWindow::key(record->target, record->id))) continue;
    RecordRow row;
    row.target = record->target;
    row.id = record->id;
    row.ts_ms = record->ts_ms;
    row.partition = decoded.origin.partition;
    row.offset = decoded.origin.offset;
    TRIMTAB_TRY(const auto added, write.add_record(row));
    (void)added;
    ++after.records;
    after.sum += id_checksum(row.id);
  }
  TRIMTAB_CHECK_OK(write.advance_offsets(batch.ranges));
  TRIMTAB_CHECK_OK(write.append_seen(window.staged(), window.capacity()));
  TRIMTAB_CHECK_OK(write.put_blob("bot", "counted", save(after)));
  TRIMTAB_CHECK_OK(write.commit());
  window.commit();
  counted = after;
  return {};
}

Status run(const ChildOptions& options) {
  TRIMTAB_TRY(auto store, StateStore::open(options.state / "trimtab.db"));
  OffsetBook book;
  TRIMTAB_TRY(const auto offsets, store->offsets());
  for (const auto& [where, next] : offsets) book.set(where, next);
  DedupeWindow window(100'000);
  TRIMTAB_TRY(const auto seen, store->seen_batches());
  for (const auto& batch : seen) window.load(batch);
  Counted counted;
  if (const auto saved = store->blob("bot", "counted")) counted = load(*saved);

  SystemClock clock;
  Metrics metrics;
  BatchQueue queue(4);
  BatchPool pool;
  Ingest::Options wanted;
  wanted.kafka.connection.brokers = options.brokers;
  wanted.kafka.connection.properties = options.properties;
  wanted.kafka.topics.records = options.topic;
  wanted.kafka.topics.feedback = options.topic;
  wanted.kafka.topics.dead_letters = options.dead_letters;
  wanted.kafka.group = options.group;
  wanted.kafka.group_instance_id = options.instance;
  wanted.kafka.session_timeout_ms = 6'000;
  wanted.kafka.batch_records = 200;
  wanted.kafka.batch_wait_ms = 20;
  wanted.targets = {"bot"};
  TRIMTAB_TRY(auto ingest, Ingest::create(wanted, book, queue, pool, clock, metrics));
  ingest->start();
  while (stop_asked == 0) {
    TRIMTAB_CHECK_OK(ingest->failure());
    // The test reads what the source says from this file.
    const SourceStatus status = ingest->status();
    (void)write_atomic(options.state / "status",
                       std::string(source_state_name(status.state)) + " " + status.detail);
    if (std::filesystem::exists(options.state / "reset")) {
      TRIMTAB_TRY(const std::string to, read_file(options.state / "reset"));
      TRIMTAB_TRY(auto write, store->begin());
      const TopicPartition where{options.topic, 0};
      TRIMTAB_CHECK_OK(write.reset_offset(where, std::stoll(to)));
      TRIMTAB_CHECK_OK(write.commit());
      book.set(where, std::stoll(to));
      std::filesystem::remove(options.state / "reset");
      ingest->request_reseek();
    }
    auto batch = queue.pop(std::chrono::milliseconds(50));
    if (!batch) continue;
    TRIMTAB_CHECK_OK(apply(*store, **batch, window, counted));
    book.committed((*batch)->ranges);
    pool.give_back(std::move(*batch));
  }
  return ingest->stop(5'000);
}

}  // namespace

std::uint64_t id_checksum(const std::string& id) { return stable_hash(id); }

Committed read_committed_state(const std::filesystem::path& state) {
  Committed committed;
  const auto reader = StateReader::open(state / "trimtab.db");
  if (!reader) return committed;
  if (const auto saved = (*reader)->blob("bot", "counted")) {
    const Counted counted = load(*saved);
    committed.counted = counted.records;
    committed.sum = counted.sum;
  }
  RecordQuery query;
  query.target = "bot";
  query.limit = 1'000'000;
  if (const auto rows = (*reader)->records(query)) {
    committed.records = static_cast<std::int64_t>(rows->size());
  }
  if (const auto offsets = (*reader)->offsets()) {
    for (const auto& [where, next] : *offsets) committed.offsets[where.partition] = next;
  }
  return committed;
}

IngestChild::IngestChild(const ChildOptions& options) {
  std::vector<std::string> words = {"/proc/self/exe", "--ingest-child", options.brokers,
                                    options.topic,    options.instance, options.state.string(),
                                    options.group,    options.dead_letters};
  for (const auto& [name, value] : options.properties) words.push_back(name + "=" + value);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const std::string out = (options.state / "child.log").string();
  std::filesystem::create_directories(options.state);
  pid_ = fork();
  if (pid_ == 0) {
    const int fd = ::open(out.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    dup2(fd, 2);
    execv(argv[0], argv.data());
    _exit(127);
  }
}

IngestChild::~IngestChild() { kill(); }

void IngestChild::kill() {
  if (pid_ < 0) return;
  ::kill(pid_, SIGKILL);
  wait();
}

int IngestChild::stop() {
  if (pid_ < 0) return status_;
  ::kill(pid_, SIGTERM);
  return wait();
}

int IngestChild::wait() {
  if (pid_ < 0) return status_;
  int status = 0;
  waitpid(pid_, &status, 0);
  pid_ = -1;
  status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return status_;
}

bool IngestChild::running() {
  if (pid_ < 0) return false;
  int status = 0;
  if (waitpid(pid_, &status, WNOHANG) != pid_) return true;
  pid_ = -1;
  status_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return false;
}

int ingest_child_main(int argc, char** argv) {
  if (argc < 8 || std::strcmp(argv[1], "--ingest-child") != 0) return -1;
  signal(SIGTERM, [](int) { stop_asked = 1; });
  ChildOptions options;
  options.brokers = argv[2];
  options.topic = argv[3];
  options.instance = argv[4];
  options.state = argv[5];
  options.group = argv[6];
  options.dead_letters = argv[7];
  for (int i = 8; i < argc; ++i) {
    const std::string word = argv[i];
    options.properties[word.substr(0, word.find('='))] = word.substr(word.find('=') + 1);
  }
  const Status done = run(options);
  if (!done) std::fprintf(stderr, "child: %s\n", done.error().message.c_str());
  return done ? 0 : 1;
}

}  // namespace trimtab::daemon
