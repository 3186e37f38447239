// Over 400 lines because each filter is a step of one pipeline whose order is the contract.
#include "retrain/curation.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <unordered_map>
#include <unordered_set>

#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/random.h"
#include "retrain/near_duplicates.h"
#include "retrain/text_quality.h"

namespace trimtab::retrain {
namespace {

constexpr std::uint64_t kValidationSeed = 0x76616c69;  // "vali"

std::int64_t label_time(const Example& example) {
  return example.feedback_ts_ms > 0 ? example.feedback_ts_ms : example.ts_ms;
}

std::uint64_t key_of(std::string_view text) { return stable_hash(text); }

// The newest label first; ties by content, so that the order of the input does not matter.
bool newer(const Example& a, const Example& b) {
  if (label_time(a) != label_time(b)) return label_time(a) > label_time(b);
  if (a.record_id != b.record_id) return a.record_id < b.record_id;
  if (a.kind != b.kind) return a.kind == ExampleKind::kCorrection;
  if (a.source_id != b.source_id) return a.source_id < b.source_id;
  return a.completion < b.completion;
}

// Texts that must stay unseen, as hashes: whole, and by runs of n words.
class ProtectedTexts {
 public:
  ProtectedTexts(const std::vector<std::string>& texts, std::int64_t words)
      : words_(static_cast<std::size_t>(words)) {
    std::unordered_map<std::uint64_t, std::size_t> runs;
    for (const std::string& text : texts) {
      const std::string normal = normalize_text(text);
      if (!whole_.insert(key_of(normal)).second) continue;
      std::unordered_set<std::uint64_t> own;
      for_each_run(normal, [&](std::uint64_t run) { return own.insert(run), false; });
      for (const std::uint64_t run : own) ++runs[run];
    }
    // A run that many share is a template's, not a leak.
    const std::size_t boilerplate = std::max<std::size_t>(10, whole_.size() / 50);
    for (const auto& [run, count] : runs) {
      if (count < boilerplate) runs_.insert(run);
    }
  }

  [[nodiscard]] bool touches(const std::string& normal) const {
    return whole_.contains(key_of(normal)) ||
           for_each_run(normal, [&](std::uint64_t run) { return runs_.contains(run); });
  }

 private:
  // True as soon as `visit` is; a text of fewer words has no run.
  template <typename Visit>
  bool for_each_run(const std::string& normal, Visit visit) const {
    std::vector<std::size_t> starts = {0};
    for (std::size_t i = 0; i < normal.size(); ++i) {
      if (normal[i] == ' ') starts.push_back(i + 1);
    }
    starts.push_back(normal.size() + 1);
    for (std::size_t i = 0; i + words_ < starts.size(); ++i) {
      const std::size_t length = starts[i + words_] - 1 - starts[i];
      if (visit(key_of(std::string_view(normal).substr(starts[i], length)))) return true;
    }
    return false;
  }

  std::size_t words_;
  std::unordered_set<std::uint64_t> whole_;
  std::unordered_set<std::uint64_t> runs_;
};

// An example that is still in, with what the steps derive from it.
struct Candidate {
  const Example* example = nullptr;
  std::string prompt;    // normalized, whole
  std::string compared;  // normalized, without the system's part
};

class Curator {
 public:
  Curator(const CurationInputs& inputs, const config::DataSettings& settings)
      : inputs_(inputs),
        settings_(settings),
        protected_(inputs.protected_texts, settings.decontaminate_ngram) {}

  Curated run(bool with_replay) {
    out_.considered = static_cast<std::int64_t>(inputs_.examples.size());
    collect();
    drop_superseded();
    drop_conflicts();
    drop_contaminated();
    drop_near_duplicates();
    drop_above_caps();
    emit();
    if (with_replay) add_replay();
    order(out_.train, 1);
    order(out_.eval, 2);
    return std::move(out_);
  }

 private:
  // Keeps the candidates for which `reason` is null, counts the others under it.
  template <typename Reason>
  void filter(Reason reason) {
    std::vector<Candidate> kept;
    kept.reserve(candidates_.size());
    for (Candidate& candidate : candidates_) {
      const char* why = reason(candidate);
      if (why == nullptr) {
        kept.push_back(std::move(candidate));
      } else {
        ++out_.dropped[why];
      }
    }
    candidates_ = std::move(kept);
  }

  const char* unfit(const Example& example) const {
    std::size_t bytes = example.completion.size();
    for (const Message& message : example.messages) bytes += message.content.size();
    if (compared_text(example.messages).empty() || example.completion.empty() ||
        bytes > static_cast<std::size_t>(settings_.max_text_bytes)) {
      return "malformed";
    }
    if (example.ts_ms < inputs_.now_ms - settings_.max_age_ms) return "too_old";
    if (is_evaluation_unit(example.unit, settings_.eval_share)) return "evaluation_unit";
    if (in_burst(example, inputs_.bursts)) return "quarantined";
    if (example.kind == ExampleKind::kGood && !settings_.good_answers) return "disabled";
    return unfit_text(example);
  }

  const char* unfit_text(const Example& example) const {
    const std::string text = compared_text(example.messages);
    if (!settings_.languages.empty()) {
      const std::string language = language_of(text);
      const auto& wanted = settings_.languages;
      if (!language.empty() && std::find(wanted.begin(), wanted.end(), language) == wanted.end())
        return "language";
    }
    if (!settings_.quality_filter) return nullptr;
    const char* problem = quality_problem(text);
    return problem != nullptr ? problem : quality_problem(example.completion);
  }

  void collect() {
    std::vector<const Example*> sorted;
    for (const Example& example : inputs_.examples) {
      const char* why = unfit(example);
      if (why == nullptr) {
        sorted.push_back(&example);
      } else {
        ++out_.dropped[why];
      }
    }
    std::sort(sorted.begin(), sorted.end(),
              [](const Example* a, const Example* b) { return newer(*a, *b); });
    for (const Example* example : sorted) {
      candidates_.push_back({example, normalize_text(prompt_text(example->messages)),
                             normalize_text(compared_text(example->messages))});
    }
  }

  void drop_superseded() {
    std::unordered_set<std::string_view> seen;
    filter([&](const Candidate& c) {
      return seen.insert(c.example->record_id).second ? nullptr : "superseded";
    });
  }

  // One completion a prompt: a correction before a thumbs-up, then the newest (they come first).
  void drop_conflicts() {
    std::unordered_map<std::uint64_t, const Example*> winners;
    for (const Candidate& c : candidates_) {
      const Example*& winner = winners[key_of(c.prompt)];
      const bool stronger = winner == nullptr || (winner->kind == ExampleKind::kGood &&
                                                  c.example->kind == ExampleKind::kCorrection);
      if (stronger) winner = c.example;
    }
    filter([&](const Candidate& c) -> const char* {
      const Example* winner = winners.at(key_of(c.prompt));
      if (winner == c.example) return nullptr;
      return winner->completion == c.example->completion ? "duplicate" : "conflict";
    });
  }

  void drop_contaminated() {
    filter([&](const Candidate& c) {
      return protected_.touches(c.compared) ? "contaminated" : nullptr;
    });
  }

  void drop_near_duplicates() {
    if (settings_.near_duplicate >= 1.0) return;
    NearDuplicates index(settings_.near_duplicate);
    std::vector<const Example*> added;
    // The index holds views of `compared`: the kept candidates must not move meanwhile.
    std::vector<bool> drop(candidates_.size(), false);
    for (std::size_t i = 0; i < candidates_.size(); ++i) {
      const Candidate& c = candidates_[i];
      const auto same_answer = [&](std::uint32_t other) {
        return added[other]->completion == c.example->completion;
      };
      drop[i] = index.find(c.compared, same_answer).has_value();
      if (drop[i]) continue;
      index.add(c.compared);
      added.push_back(c.example);
    }
    std::size_t at = 0;
    filter([&](const Candidate&) { return drop[at++] ? "near_duplicate" : nullptr; });
  }

  void drop_above_caps() {
    std::map<std::string, std::int64_t> classes, tenants, sources;
    std::int64_t total = 0;
    const auto full = [](std::int64_t count, std::int64_t cap) { return cap > 0 && count >= cap; };
    filter([&](const Candidate& c) -> const char* {
      std::int64_t& in_class = classes[class_of(*c.example)];
      std::int64_t& in_tenant = tenants[c.example->tenant];
      std::int64_t& in_source = sources[c.example->source_id];
      if (total >= settings_.max_examples) return "cap_total";
      if (full(in_class, settings_.max_per_class)) return "cap_class";
      if (full(in_tenant, settings_.max_per_tenant)) return "cap_tenant";
      if (full(in_source, settings_.max_per_source)) return "cap_source";
      ++in_class, ++in_tenant, ++in_source, ++total;
      return nullptr;
    });
  }

  [[nodiscard]] TrainingLine line(const std::string& id, const std::vector<Message>& messages,
                                  const std::string& completion, double weight,
                                  LineKind kind) const {
    TrainingLine made{id, messages, weight, kind, {}};
    made.messages.push_back({"assistant", completion});
    for (Message& message : made.messages)
      message.content = redact_names(message.content, settings_.redact_names);
    return made;
  }

  void place(TrainingLine made, const std::string& unit) {
    const bool validation = stable_fraction(unit, kValidationSeed) < settings_.validation_share;
    (validation ? out_.eval : out_.train).push_back(std::move(made));
  }

  void emit() {
    for (const Candidate& c : candidates_) {
      const Example& e = *c.example;
      const bool good = e.kind == ExampleKind::kGood;
      TrainingLine made = line(e.record_id, e.messages, e.completion,
                               good ? settings_.weight_good : settings_.weight_correction,
                               good ? LineKind::kGood : LineKind::kCorrection);
      made.task = e.tenant;
      place(std::move(made), e.unit);
      ++out_.per_class[class_of(e)];
      ++out_.per_tenant[e.tenant];
      ++out_.per_source[e.source_id];
    }
  }

  // Class by class in turn, so that each keeps what it had, until the share is reached.
  void add_replay() {
    std::unordered_set<std::uint64_t> taken;
    for (const Candidate& c : candidates_) taken.insert(key_of(c.prompt));
    std::map<std::string, std::vector<const ReplayItem*>> classes;
    for (const ReplayItem& item : inputs_.replay) {
      const std::string prompt = normalize_text(prompt_text(item.messages));
      const bool fit = !is_evaluation_unit(item.unit, settings_.eval_share) &&
                       !protected_.touches(normalize_text(compared_text(item.messages))) &&
                       taken.insert(key_of(prompt)).second;
      if (fit) classes[item.label].push_back(&item);
    }
    for (auto& [label, items] : classes) {
      Random random(stable_hash(label, inputs_.seed));
      random.shuffle(items);
    }
    const double share = settings_.replay_share;
    const auto fresh = static_cast<double>(candidates_.size());
    const auto wanted = std::min(
        settings_.replay_max, static_cast<std::int64_t>(std::llround(fresh * share / (1 - share))));
    for (std::size_t round = 0; out_.replayed < wanted; ++round) {
      const std::int64_t before = out_.replayed;
      for (const auto& [label, items] : classes) {
        if (round >= items.size() || out_.replayed >= wanted) continue;
        const ReplayItem& item = *items[round];
        place(line(item.record_id, item.messages, item.completion, 1.0, LineKind::kReplay),
              item.unit);
        ++out_.replayed;
      }
      if (out_.replayed == before) break;
    }
  }

  void order(std::vector<TrainingLine>& lines, std::uint64_t stream) const {
    Random random(inputs_.seed * 2 + stream);
    random.shuffle(lines);
  }

  const CurationInputs& inputs_;
  const config::DataSettings& settings_;
  ProtectedTexts protected_;
  std::vector<Candidate> candidates_;
  Curated out_;
};

const char* kind_name(LineKind kind) {
  switch (kind) {
    case LineKind::kCorrection: return "correction";
    case LineKind::kGood: return "good";
    case LineKind::kReplay: return "replay";
  }
  return "correction";
}

std::string lines_text(const std::vector<TrainingLine>& lines) {
  std::string text;
  for (const TrainingLine& line : lines) {
    OrderedJson messages = OrderedJson::array();
    for (const Message& message : line.messages) {
      messages.push_back(OrderedJson{{"role", message.role}, {"content", message.content}});
    }
    OrderedJson json = {{"id", line.id},
                        {"messages", std::move(messages)},
                        {"weight", line.weight},
                        {"kind", kind_name(line.kind)},
                        {"kl", line.kind == LineKind::kReplay}};
    if (!line.task.empty()) json["task"] = line.task;
    text += dump_json(json) + "\n";
  }
  return text;
}

OrderedJson settings_json(const config::DataSettings& s) {
  return {{"eval_share", s.eval_share},
          {"max_examples", s.max_examples},
          {"max_age_ms", s.max_age_ms},
          {"good_answers", s.good_answers},
          {"weight_correction", s.weight_correction},
          {"weight_good", s.weight_good},
          {"validation_share", s.validation_share},
          {"replay_share", s.replay_share},
          {"replay_max", s.replay_max},
          {"max_per_class", s.max_per_class},
          {"max_per_tenant", s.max_per_tenant},
          {"max_per_source", s.max_per_source},
          {"near_duplicate", s.near_duplicate},
          {"decontaminate_ngram", s.decontaminate_ngram},
          {"max_text_bytes", s.max_text_bytes},
          {"languages", s.languages},
          {"quality_filter", s.quality_filter},
          {"redact_names", s.redact_names.size()},
          {"quarantine_factor", s.quarantine_factor},
          {"quarantine_factor_all", s.quarantine_factor_all}};
}

}  // namespace

std::string compared_text(const std::vector<Message>& messages) {
  std::string text;
  for (const Message& message : messages) {
    if (message.role == "system") continue;
    if (!text.empty()) text += '\n';
    text += message.content;
  }
  return text;
}

Result<Curated> curate(const CurationInputs& inputs, const config::DataSettings& settings) {
  Curated curated = Curator(inputs, settings).run(true);
  const auto fresh =
      static_cast<std::int64_t>(curated.train.size() + curated.eval.size()) - curated.replayed;
  if (fresh > 0 && !curated.train.empty()) return curated;
  std::string reasons;
  for (const auto& [reason, count] : curated.dropped) {
    reasons += (reasons.empty() ? "" : ", ") + reason + " " + std::to_string(count);
  }
  return fail(Code::kInvalid, "no_data: none of " + std::to_string(curated.considered) +
                                  " examples is left to train on" +
                                  (reasons.empty() ? "" : " (" + reasons + ")"));
}

std::int64_t count_trainable(const CurationInputs& inputs, const config::DataSettings& settings) {
  const Curated curated = Curator(inputs, settings).run(false);
  return static_cast<std::int64_t>(curated.train.size() + curated.eval.size());
}

Result<DataFiles> write_job_data(const std::filesystem::path& folder, const Curated& curated,
                                 const config::DataSettings& settings, std::uint64_t seed) {
  DataFiles files;
  files.train = folder / "data" / "train.jsonl";
  files.manifest = folder / "manifest.json";
  files.examples = static_cast<std::int64_t>(curated.train.size());
  files.eval_examples = static_cast<std::int64_t>(curated.eval.size());
  TRIMTAB_CHECK_OK(make_folders(folder / "data"));
  const std::string train = lines_text(curated.train);
  TRIMTAB_CHECK_OK(write_atomic(files.train, train, 0640));
  OrderedJson manifest = {{"schema", 1},
                          {"seed", seed},
                          {"considered", curated.considered},
                          {"examples", files.examples},
                          {"eval_examples", files.eval_examples},
                          {"replayed", curated.replayed},
                          {"dropped", curated.dropped},
                          {"per_class", curated.per_class},
                          {"per_tenant", curated.per_tenant},
                          {"per_source", curated.per_source},
                          {"settings", settings_json(settings)},
                          {"files", {{"data/train.jsonl", sha256_hex(train)}}}};
  if (!curated.eval.empty()) {
    files.eval = folder / "data" / "eval.jsonl";
    const std::string eval = lines_text(curated.eval);
    TRIMTAB_CHECK_OK(write_atomic(files.eval, eval, 0640));
    manifest["files"]["data/eval.jsonl"] = sha256_hex(eval);
  }
  std::vector<TrainingLine> replayed;
  std::copy_if(curated.eval.begin(), curated.eval.end(), std::back_inserter(replayed),
               [](const TrainingLine& line) { return line.kind == LineKind::kReplay; });
  if (!replayed.empty()) {
    files.keep = folder / "data" / "keep.jsonl";
    const std::string keep = lines_text(replayed);
    TRIMTAB_CHECK_OK(write_atomic(files.keep, keep, 0640));
    manifest["files"]["data/keep.jsonl"] = sha256_hex(keep);
  }
  const std::string text = dump_json(manifest, 2) + "\n";
  files.manifest_sha256 = sha256_hex(text);
  TRIMTAB_CHECK_OK(write_atomic(files.manifest, text, 0640));
  return files;
}

}  // namespace trimtab::retrain
