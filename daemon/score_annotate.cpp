#include "daemon/score_annotate.h"

#include <fstream>
#include <map>

#include "base/files.h"
#include "base/json.h"
#include "shadow/text_score.h"

namespace trimtab::daemon {
namespace {

using config::PairScore;

// id -> {"judge": .., "said": ..}
std::map<std::string, Json> read_cache(const std::filesystem::path& cache) {
  std::map<std::string, Json> known;
  std::ifstream in(cache);
  std::string line;
  while (std::getline(in, line)) {
    const auto row = parse_json(line);  // a line cut by a crash is judged again
    if (row && row->is_object()) known[json_or<std::string>(*row, "id", "")] = *row;
  }
  return known;
}

Result<Json> judged(Judge& judge, const shadow::ScoreItem& item, const Json& line) {
  const Json& results = line.at("results");
  TRIMTAB_TRY(const JudgedPair pair,
              judge.judge(item.messages_json, json_or<std::string>(results[0], "greedy", ""),
                          json_or<std::string>(results[1], "greedy", ""), item.text));
  return Json{{"id", item.id},
              {"judge", pair.d ? Json(*pair.d) : Json()},
              {"said", pair.said},
              {"tokens", pair.tokens}};
}

Status add_judge(Json& line, const shadow::ScoreItem& item, Judge& judge,
                 std::map<std::string, Json>& known, std::ofstream& cache) {
  auto at = known.find(item.id);
  if (at == known.end()) {
    TRIMTAB_TRY(Json row, judged(judge, item, line));
    cache << dump_json(row) << "\n" << std::flush;
    at = known.emplace(item.id, std::move(row)).first;
  }
  line["judge"] = at->second.value("judge", Json());
  line["judge_said"] = at->second.value("said", "");
  return {};
}

Status add_metric(Json& line, const shadow::ScoreItem& item, PairScore score) {
  for (Json& side : line.at("results")) {
    const auto value =
        shadow::text_score(score, json_or<std::string>(side, "greedy", ""), item.text);
    side["text_metric"] = value ? Json(*value) : Json();
  }
  return {};
}

}  // namespace

bool needs_annotation(PairScore score) {
  return score == PairScore::kJudge || shadow::is_text_score(score);
}

Result<std::string> annotate_scores(std::string_view lines,
                                    std::span<const shadow::ScoreItem> items, PairScore score,
                                    Judge* judge, const std::filesystem::path& cache) {
  if (score == PairScore::kJudge && judge == nullptr) {
    return fail(Code::kInvalid, "plan.score judge without promotion.judge.url and .model");
  }
  std::map<std::string, const shadow::ScoreItem*> by_id;
  for (const auto& item : items) by_id[item.id] = &item;
  std::map<std::string, Json> known;
  std::ofstream keep;
  if (score == PairScore::kJudge) {
    known = read_cache(cache);
    keep.open(cache, std::ios::app);
    if (!keep) return fail(Code::kIo, cache.string() + ": cannot be written");
  }
  std::string out;
  std::size_t from = 0;
  while (from < lines.size()) {
    const std::size_t end = std::min(lines.find('\n', from), lines.size());
    const std::string_view text = lines.substr(from, end - from);
    from = end + 1;
    if (text.empty()) continue;
    TRIMTAB_TRY(Json line, parse_json(text));
    const auto item = by_id.find(json_or<std::string>(line, "id", ""));
    const auto results = line.find("results");
    if (item == by_id.end() || results == line.end() || !results->is_array() ||
        results->size() != 2) {
      return fail(Code::kInvalid, "score output: a line that nobody asked for");
    }
    TRIMTAB_CHECK_OK(score == PairScore::kJudge
                         ? add_judge(line, *item->second, *judge, known, keep)
                         : add_metric(line, *item->second, score));
    out += dump_json(line) + "\n";
  }
  return out;
}

}  // namespace trimtab::daemon
