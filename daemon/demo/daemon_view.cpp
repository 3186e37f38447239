#include "daemon/demo/daemon_view.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>

#include "base/json.h"

namespace trimtab::demo {
namespace {

constexpr std::int64_t kTotalMs = 15'000;
constexpr int kTries = 12;  // of a command, each as long as http.command_deadline

std::string text(const Json& object, const char* key) {
  return json_or<std::string>(object, key, "");
}

double number(const Json& object, const char* key) { return json_or<double>(object, key, 0.0); }

// The API lists newest first; a story is told from its beginning.
template <typename View, typename Read>
Result<std::vector<View>> read_list(const Result<Json>& answer, const char* key, Read read) {
  if (!answer) return tl::unexpected<Error>(answer.error());
  TRIMTAB_TRY(const Json rows, json_get<Json>(*answer, key));
  std::vector<View> views;
  for (auto row = rows.rbegin(); row != rows.rend(); ++row) views.push_back(read(*row));
  return views;
}

AlarmView read_alarm(const Json& row) {
  return {.id = text(row, "id"),
          .kind = text(row, "kind"),
          .signal = text(row, "signal"),
          .summary = text(row, "summary"),
          .ts_ms = json_or<std::int64_t>(row, "ts_ms", 0),
          .delay_records = json_or<std::uint64_t>(row, "delay_events", 0),
          .provisional = json_or<bool>(row, "provisional_reference", false)};
}

JobView read_job(const Json& row) {
  const Json result = json_or<Json>(row, "result", Json::object());
  const Json beat = json_or<Json>(row, "heartbeat", Json::object());
  const Json dropped = json_or<Json>(json_or<Json>(row, "counts", Json::object()), "dropped",
                                     Json::object());
  return {.id = text(row, "id"),
          .state = text(row, "state"),
          .reason = text(row, "reason"),
          .trigger = text(row, "trigger"),
          .adapter = text(row, "adapter"),
          .message = text(row, "message"),
          .examples = json_or<std::int64_t>(row, "examples", 0),
          .first_loss = number(result, "first_loss"),
          .final_loss = number(result, "final_loss"),
          .tokens_per_s = number(result, "tokens_per_s"),
          .seconds = number(result, "seconds"),
          .step = json_or<std::int64_t>(beat, "step", 0),
          .steps = json_or<std::int64_t>(beat, "steps", 0),
          .loss = number(beat, "loss"),
          .dropped_quarantined = json_or<std::int64_t>(dropped, "quarantined", 0)};
}

TrialView read_trial(const Json& row) {
  return {.id = text(row, "id"),
          .candidate = text(row, "candidate"),
          .state = text(row, "state"),
          .reason = text(row, "reason"),
          .detail = text(row, "detail"),
          .message = text(row, "message"),
          .origin = text(row, "origin"),
          .job = text(row, "job"),
          .waits_for = text(row, "waits_for"),
          .share = number(row, "share"),
          .ended = json_or<bool>(row, "ended", false)};
}

// "name{a="x",b="y"} 3" -> value of label `label` ("" when absent) and 3; false for other lines.
bool read_sample(std::string_view line, std::string_view name, std::string_view label,
                 std::string& label_value, double& value) {
  if (!line.starts_with(name)) return false;
  line.remove_prefix(name.size());
  if (line.empty() || (line[0] != '{' && line[0] != ' ')) return false;
  label_value.clear();
  if (const auto at = line.find(std::string(label) + "=\""); at != std::string_view::npos) {
    const auto start = at + label.size() + 2;
    label_value = line.substr(start, line.find('"', start) - start);
  }
  const auto space = line.rfind(' ');
  value = std::strtod(std::string(line.substr(space + 1)).c_str(), nullptr);
  return true;
}

}  // namespace

DaemonView::DaemonView(std::string url, std::string target, Clock& clock)
    : url_(std::move(url)),
      target_(std::move(target)),
      client_({.silence_ms = kTotalMs, .total_ms = kTotalMs}, clock),
      clock_(clock) {}

Result<Json> DaemonView::get(const std::string& path) {
  TRIMTAB_TRY(const net::Response response, client_.get(url_ + path));
  if (response.status / 100 != 2) {
    return fail(Code::kUnavailable, "GET " + path + ": status " + std::to_string(response.status) +
                                        ": " + response.body.substr(0, 300));
  }
  return parse_json(response.body);
}

// 504 says that control is busy and the command may still be applied: asked again with the same
// key, it answers what became of it.
Result<net::Response> DaemonView::post_until_answered(const std::string& path,
                                                      const std::string& body) {
  net::ClientRequest request;
  request.method = "POST";
  request.url = url_ + path;
  request.body = body;
  request.headers.set("Content-Type", "application/json");
  request.headers.set("Idempotency-Key", "demo-" + std::to_string(clock_.now_ms()) + "-" +
                                             std::to_string(++posts_));
  for (int tries = 1;; ++tries) {
    auto response = client_.send(request);
    if (!response || response->status != 504 || tries == kTries) return response;
  }
}

Result<Json> DaemonView::post(const std::string& path, const Json& body) {
  TRIMTAB_TRY(const net::Response response, post_until_answered(path, dump_json(body)));
  const auto answer = parse_json(response.body);
  if (response.status / 100 == 2) return answer ? *answer : Json::object();
  const std::string detail = answer ? json_or<std::string>(*answer, "detail", "") : response.body;
  return fail(response.status == 409 ? Code::kConflict : Code::kInvalid,
              "POST " + path + ": status " + std::to_string(response.status) + ": " + detail);
}

Result<TargetView> DaemonView::target() {
  TRIMTAB_TRY(const Json row, get(target_path()));
  const Json drift = json_or<Json>(row, "drift", Json::object());
  std::vector<std::string> bursts;
  for (const auto& burst : json_or<Json>(row, "quarantine", Json::array())) {
    bursts.push_back(text(burst, "source"));
  }
  return TargetView{.drift_state = text(drift, "state"),
                    .provisional = json_or<bool>(drift, "provisional", false),
                    .champion = text(row, "champion"),
                    .generation = json_or<std::uint64_t>(row, "generation", 0),
                    .holdout = json_or<std::int64_t>(row, "holdout", 0),
                    .open_trial = text(row, "open_trial"),
                    .open_job = text(row, "open_job"),
                    .paused = text(row, "paused"),
                    .waits_for = text(row, "waits_for"),
                    .quarantined = json_or<std::int64_t>(row, "quarantined", 0),
                    .bursts = std::move(bursts)};
}

Result<std::vector<AlarmView>> DaemonView::alarms() {
  return read_list<AlarmView>(get(target_path() + "/drift"), "alarms", read_alarm);
}

Result<std::vector<JobView>> DaemonView::jobs() {
  return read_list<JobView>(get("/api/v1/jobs?target=" + target_), "jobs", read_job);
}

Result<std::vector<TrialView>> DaemonView::trials() {
  return read_list<TrialView>(get("/api/v1/promotions?target=" + target_), "promotions",
                              read_trial);
}

Result<Json> DaemonView::transitions(const std::string& trial) {
  TRIMTAB_TRY(const Json answer, get("/api/v1/promotions/" + trial + "/events"));
  TRIMTAB_TRY(const Json events, json_get<Json>(answer, "events"));
  Json transitions = Json::array();
  for (const auto& event : events) {
    if (text(event, "kind") == "transition") transitions.push_back(event);
  }
  return transitions;
}

Result<Json> DaemonView::evidence(const std::string& trial) {
  return get("/api/v1/promotions/" + trial + "/evidence");
}

Result<std::map<std::string, double>> DaemonView::signals() {
  TRIMTAB_TRY(const Json answer, get(target_path() + "/signals"));
  std::map<std::string, double> ratios;
  for (const auto& signal : json_or<Json>(answer, "signals", Json::array())) {
    const auto ratio = json_get<double>(signal, "log10_ratio");
    const std::string segment = text(signal, "segment");
    if (ratio) ratios[text(signal, "name") + (segment == "all" ? "" : " " + segment)] = *ratio;
  }
  for (const auto& metric : json_or<Json>(answer, "harm", Json::array())) {
    const auto ratio = json_get<double>(metric, "log10_ratio");
    if (ratio) ratios["harm: " + text(metric, "metric")] = *ratio;
  }
  return ratios;
}

Result<double> DaemonView::lag() {
  TRIMTAB_TRY(const Json status, get("/api/v1/status"));
  return number(json_or<Json>(status, "source", Json::object()), "lag_total");
}

Result<std::map<std::string, double>> DaemonView::metric(const std::string& name,
                                                         const std::string& label) {
  TRIMTAB_TRY(const net::Response response, client_.get(url_ + "/metrics"));
  std::map<std::string, double> sums;
  std::string_view rest = response.body;
  while (!rest.empty()) {
    const auto line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    std::string value_of_label;
    double value = 0;
    if (read_sample(line, name, label, value_of_label, value)) sums[value_of_label] += value;
  }
  return sums;
}

}  // namespace trimtab::demo
