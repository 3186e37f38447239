// result.json and heartbeat: what a worker says about its job (job.h).
#include <cmath>
#include <limits>

#include "base/json.h"
#include "retrain/job.h"

namespace trimtab::retrain {
namespace {

constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

// null, absent and non-numbers alike: missing is not zero.
double number_or_nan(const Json& object, const char* key) {
  return json_or<double>(object, key, kMissing);
}

// JSON has no NaN; dump_json would write null anyway, this says so.
OrderedJson number_json(double value) {
  return std::isfinite(value) ? OrderedJson(value) : OrderedJson(nullptr);
}

Status check_result(const JobResult& result) {
  if (result.status != "ok" && result.status != "failed" && result.status != "interrupted") {
    return fail(Code::kCorrupt,
                "result.json: status is '" + result.status + "', not ok, failed or interrupted");
  }
  if (result.status == "failed" && result.reason.empty()) {
    return fail(Code::kCorrupt, "result.json: status failed without a reason");
  }
  if (result.status != "ok") return {};
  if (result.adapter_dir.empty() || result.adapter_sha256.size() != 64) {
    return fail(Code::kCorrupt, "result.json: status ok without adapter_dir and adapter_sha256");
  }
  if (!std::isfinite(result.final_loss)) {
    return fail(Code::kCorrupt, "result.json: status ok without a finite final_loss");
  }
  return {};
}

}  // namespace

std::string result_json(const JobResult& r) {
  return dump_json(OrderedJson{{"status", r.status},
                               {"reason", r.reason},
                               {"message", r.message},
                               {"adapter_dir", r.adapter_dir},
                               {"adapter_sha256", r.adapter_sha256},
                               {"base_sha256", r.base_sha256},
                               {"tokenizer_sha256", r.tokenizer_sha256},
                               {"examples", r.examples},
                               {"eval_examples", r.eval_examples},
                               {"steps", r.steps},
                               {"tokens", r.tokens},
                               {"supervised_tokens", r.supervised_tokens},
                               {"seconds", number_json(r.seconds)},
                               {"tokens_per_s", number_json(r.tokens_per_s)},
                               {"first_loss", number_json(r.first_loss)},
                               {"final_loss", number_json(r.final_loss)},
                               {"eval_loss_before", number_json(r.eval_loss_before)},
                               {"eval_loss_after", number_json(r.eval_loss_after)},
                               {"early_stopped", r.early_stopped},
                               {"keep_loss_before", number_json(r.keep_loss_before)},
                               {"keep_loss_after", number_json(r.keep_loss_after)},
                               {"left_out", r.left_out},
                               {"added", r.added}},
                   2) +
         "\n";
}

Result<JobResult> parse_result(std::string_view text) {
  const auto parsed = parse_json(text);
  if (!parsed || !parsed->is_object()) {
    return fail(Code::kCorrupt,
                "result.json: " + (parsed ? std::string("not an object") : parsed.error().message));
  }
  const Json& j = *parsed;
  JobResult r;
  r.status = json_or<std::string>(j, "status", "");
  r.reason = json_or<std::string>(j, "reason", "");
  r.message = json_or<std::string>(j, "message", "");
  r.adapter_dir = json_or<std::string>(j, "adapter_dir", "");
  r.adapter_sha256 = json_or<std::string>(j, "adapter_sha256", "");
  r.base_sha256 = json_or<std::string>(j, "base_sha256", "");
  r.tokenizer_sha256 = json_or<std::string>(j, "tokenizer_sha256", "");
  r.examples = json_or<std::int64_t>(j, "examples", 0);
  r.eval_examples = json_or<std::int64_t>(j, "eval_examples", 0);
  r.steps = json_or<std::int64_t>(j, "steps", 0);
  r.tokens = json_or<std::int64_t>(j, "tokens", 0);
  r.supervised_tokens = json_or<std::int64_t>(j, "supervised_tokens", 0);
  r.seconds = number_or_nan(j, "seconds");
  r.tokens_per_s = number_or_nan(j, "tokens_per_s");
  r.first_loss = number_or_nan(j, "first_loss");
  r.final_loss = number_or_nan(j, "final_loss");
  r.eval_loss_before = number_or_nan(j, "eval_loss_before");
  r.eval_loss_after = number_or_nan(j, "eval_loss_after");
  r.early_stopped = json_or<bool>(j, "early_stopped", false);
  r.keep_loss_before = number_or_nan(j, "keep_loss_before");
  r.keep_loss_after = number_or_nan(j, "keep_loss_after");
  r.left_out = json_or<std::map<std::string, std::int64_t>>(j, "left_out", {});
  r.added = json_or<std::map<std::string, std::int64_t>>(j, "added", {});
  TRIMTAB_CHECK_OK(check_result(r));
  return r;
}

std::string heartbeat_json(const Heartbeat& h) {
  return dump_json(OrderedJson{{"step", h.step},
                               {"steps", h.steps},
                               {"loss", number_json(h.loss)},
                               {"tokens_per_s", number_json(h.tokens_per_s)},
                               {"ts_ms", h.ts_ms}});
}

Result<Heartbeat> parse_heartbeat(std::string_view text) {
  const auto parsed = parse_json(text);
  if (!parsed) return fail(Code::kCorrupt, "heartbeat: " + parsed.error().message);
  Heartbeat h;
  TRIMTAB_TRY(h.ts_ms, json_get<std::int64_t>(*parsed, "ts_ms"));
  h.step = json_or<std::int64_t>(*parsed, "step", 0);
  h.steps = json_or<std::int64_t>(*parsed, "steps", 0);
  h.loss = number_or_nan(*parsed, "loss");
  h.tokens_per_s = number_or_nan(*parsed, "tokens_per_s");
  return h;
}

}  // namespace trimtab::retrain
