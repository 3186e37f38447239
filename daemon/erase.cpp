#include "daemon/erase.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/files.h"
#include "base/json.h"

namespace trimtab::daemon {
namespace fs = std::filesystem;
namespace {

// A line of job data or of scored pairs names its record in "id", scored ones with their stratum.
std::string record_of_line(const std::string& line) {
  const auto document = parse_json(line);
  if (!document) return {};
  const auto id = json_or<std::string>(*document, "id", "");
  const auto colon = id.find(':');
  const bool stratum = id.starts_with("new:") || id.starts_with("old:");
  return stratum ? id.substr(colon + 1) : id;
}

// Rewrites a JSON-lines file without the lines of `ids`. True when some were there.
Result<bool> strip_lines(const fs::path& file, const std::set<std::string>& ids) {
  TRIMTAB_TRY(const std::string text, read_file(file));
  std::string kept;
  bool changed = false;
  std::size_t start = 0;
  while (start < text.size()) {
    auto end = text.find('\n', start);
    if (end == std::string::npos) end = text.size();
    const std::string line = text.substr(start, end - start);
    start = end + 1;
    if (ids.contains(record_of_line(line))) {
      changed = true;
    } else if (!line.empty()) {
      kept += line + "\n";
    }
  }
  if (changed) TRIMTAB_CHECK_OK(write_atomic(file, kept));
  return changed;
}

// Folders below `folder` in which some file held lines of `ids`.
Result<std::set<std::string>> strip_folder(const fs::path& folder,
                                           const std::set<std::string>& ids) {
  std::set<std::string> touched;
  std::error_code error;
  for (fs::recursive_directory_iterator it(folder, error), end; !error && it != end;
       it.increment(error)) {
    if (!it->is_regular_file() || it->path().extension() != ".jsonl") continue;
    TRIMTAB_TRY(const bool changed, strip_lines(it->path(), ids));
    if (changed) touched.insert(fs::relative(it->path(), folder).begin()->string());
  }
  return touched;
}

}  // namespace

CommandAnswer erase_person(const CommandRequest& command, const config::Settings& settings,
                           StateStore& store, RecordStore& records, std::int64_t now_ms,
                           const ForgetRecords& forget) {
  const auto body = parse_json(command.body);
  if (!body) return answer_error(body.error());
  const auto user = json_or<std::string>(*body, "user", "");
  const auto session = json_or<std::string>(*body, "session", "");
  if (user.empty() && session.empty()) {
    return answer_problem(422, "erase needs a user or a session");
  }
  const auto rows =
      store.records_of_person(person_hash("user", user), person_hash("session", session));
  if (!rows) return answer_error(rows.error());
  std::set<std::string> ids;
  std::set<std::uint64_t> units;
  for (const auto& row : *rows) {
    ids.insert(row.id);
    units.insert(row.unit_hash);
  }
  if (auto forgotten = forget(ids, units); !forgotten) return answer_error(forgotten.error());
  const fs::path dir = settings.state.dir;
  const auto jobs = strip_folder(dir / "jobs", ids);
  if (!jobs) return answer_error(jobs.error());
  const auto scores = strip_folder(dir / "scores", ids);
  if (!scores) return answer_error(scores.error());
  const auto erased = records.erase(user, session, now_ms);
  if (!erased) return answer_error(erased.error());
  Json adapters = Json::array();
  for (const auto& job : *jobs) {
    const auto document = store.document("job", job);
    if (!document) continue;
    const auto data = parse_json(document->data);
    const auto adapter = data ? json_or<std::string>(*data, "adapter", "") : "";
    if (!adapter.empty()) adapters.push_back(adapter);
  }
  auto tx = store.begin();
  if (!tx) return answer_error(tx.error());
  // The person's name is not journaled: that an erasure happened is.
  const auto seq = tx->append({.ts_ms = now_ms,
                               .actor = command.actor,
                               .kind = "command",
                               .subject = "erase",
                               .reason = "erase",
                               .message = std::to_string(erased->records) + " records erased"});
  if (!seq) return answer_error(seq.error());
  if (auto committed = tx->commit(); !committed) return answer_error(committed.error());
  if (auto scrubbed = store.scrub(); !scrubbed) return answer_error(scrubbed.error());
  return {.status = 202,
          .body = dump_json(Json{{"records", erased->records},
                                 {"feedback", erased->feedback},
                                 {"segments_rewritten", erased->segments_rewritten},
                                 {"jobs_cleaned", jobs->size()},
                                 {"adapters", adapters}}),
          .etag = {}};
}

}  // namespace trimtab::daemon
