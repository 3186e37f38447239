#include "shadow/scorer.h"

#include <cmath>

#include "base/json.h"

namespace trimtab::shadow {
namespace {

Result<AdapterScore> parse_score(const Json& json) {
  AdapterScore score;
  if (!json.is_object()) return fail(Code::kInvalid, "a result is not an object");
  const auto adapter = json.find("adapter");
  if (adapter == json.end() || !(adapter->is_string() || adapter->is_null())) {
    return fail(Code::kInvalid, "a result without 'adapter'");
  }
  score.adapter = adapter->is_null() ? "none" : adapter->get<std::string>();
  score.greedy = json_or<std::string>(json, "greedy", "");
  const auto match = json.find("match");
  if (match != json.end() && match->is_boolean()) score.match = match->get<bool>();
  const auto number = [&](const char* key) -> std::optional<double> {
    const auto it = json.find(key);
    if (it == json.end() || !it->is_number()) return std::nullopt;
    const double value = it->get<double>();
    return std::isfinite(value) ? std::optional(value) : std::nullopt;
  };
  score.mean_logprob = number("mean_logprob");
  score.latency_s = number("latency_s");
  score.text_metric = number("text_metric");
  score.tokens = static_cast<int>(number("tokens").value_or(0.0));
  return score;
}

Result<ScoreResult> parse_line(std::string_view line) {
  TRIMTAB_TRY(const Json json, parse_json(line));
  ScoreResult result;
  TRIMTAB_TRY(result.id, json_get<std::string>(json, "id"));
  const auto results = json.find("results");
  if (results == json.end() || !results->is_array() || results->size() != 2) {
    return fail(Code::kInvalid, "'results' must hold champion and candidate");
  }
  TRIMTAB_TRY(result.champion, parse_score((*results)[0]));
  TRIMTAB_TRY(result.candidate, parse_score((*results)[1]));
  if (const auto judge = json_get<double>(json, "judge")) result.judge = *judge;
  return result;
}

}  // namespace

Result<std::string> score_input(std::span<const ScoreItem> items) {
  std::string text;
  for (const ScoreItem& item : items) {
    auto messages = parse_json(item.messages_json);
    if (!messages || !messages->is_array() || messages->empty()) {
      return fail(Code::kInvalid, "score: record " + item.id + ": messages are not a JSON list");
    }
    text += dump_json(OrderedJson{{"id", item.id}, {"messages", *messages}, {"text", item.text}});
    text += '\n';
  }
  return text;
}

Result<std::vector<ScoreResult>> parse_score_output(std::string_view text) {
  std::vector<ScoreResult> results;
  std::size_t line_number = 0, from = 0;
  while (from < text.size()) {
    const std::size_t end = std::min(text.find('\n', from), text.size());
    const std::string_view line = text.substr(from, end - from);
    from = end + 1;
    line_number += 1;
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    auto parsed = parse_line(line);
    if (!parsed) {
      return fail_in("score output, line " + std::to_string(line_number), parsed.error());
    }
    results.push_back(*std::move(parsed));
  }
  return results;
}

}  // namespace trimtab::shadow
