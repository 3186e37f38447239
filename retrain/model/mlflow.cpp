#include "retrain/model/mlflow.h"

#include <array>
#include <cmath>
#include <sstream>

#include "base/clock.h"
#include "base/files.h"
#include "base/json.h"
#include "base/net/client.h"

namespace trimtab::model {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBatch = 900;  // log-batch takes 1000 metrics at most

std::string percent_encoded(const std::string& text) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = std::isalnum(byte) != 0 || c == '-' || c == '_' || c == '.' || c == '/';
    if (plain)
      out += c;
    else
      out += {'%', kHex[byte >> 4], kHex[byte & 15]};
  }
  return out;
}

class Tracking {
 public:
  explicit Tracking(std::string url)
      : url_(std::move(url)), client_({.total_ms = 120'000}, clock_) {
    while (!url_.empty() && url_.back() == '/') url_.pop_back();
  }

  Result<Json> call(const std::string& method, const std::string& path, const OrderedJson& body) {
    net::ClientRequest request;
    request.method = method;
    request.url = url_ + "/api/2.0/mlflow/" + path;
    if (method != "GET") {
      request.headers.set("Content-Type", "application/json");
      request.body = dump_json(body);
    }
    auto answer = client_.send(request);
    if (!answer) return fail(Code::kUnavailable, "mlflow: " + path + ": " + answer.error().message);
    auto json = parse_json(answer->body);
    if (answer->status == 404) return fail(Code::kNotFound, "mlflow: " + path + ": not found");
    if (answer->status != 200 || !json) {
      const std::string why = json ? json_or<std::string>(*json, "message", "") : "";
      return fail(Code::kUnavailable,
                  "mlflow: " + path + ": status " + std::to_string(answer->status) + " " + why);
    }
    return json;
  }

  Status put(const std::string& path, std::string content) {
    net::ClientRequest request;
    request.method = "PUT";
    request.url = url_ + "/api/2.0/mlflow-artifacts/artifacts/" + percent_encoded(path);
    request.headers.set("Content-Type", "application/octet-stream");
    request.body = std::move(content);
    const auto answer = client_.send(request);
    if (!answer)
      return fail(Code::kUnavailable, "mlflow: artifact " + path + ": " + answer.error().message);
    if (answer->status != 200) {
      return fail(Code::kUnavailable,
                  "mlflow: artifact " + path + ": status " + std::to_string(answer->status));
    }
    return {};
  }

  Result<std::string> experiment(const std::string& name) {
    auto found =
        call("GET", "experiments/get-by-name?experiment_name=" + percent_encoded(name), {});
    if (found) return json_get<std::string>(found->value("experiment", Json()), "experiment_id");
    if (found.error().code != Code::kNotFound) return tl::unexpected<Error>(found.error());
    TRIMTAB_TRY(const Json made, call("POST", "experiments/create", {{"name", name}}));
    return json_get<std::string>(made, "experiment_id");
  }

  std::int64_t now() { return clock_.now_ms(); }

 private:
  std::string url_;
  SystemClock clock_;
  net::Client client_;
};

std::vector<OrderedJson> step_metrics(const fs::path& out, std::int64_t now) {
  std::vector<OrderedJson> metrics;
  std::istringstream in(read_file(out / "metrics.jsonl").value_or(""));
  for (std::string line; std::getline(in, line);) {
    const auto json = parse_json(line);
    if (!json) continue;
    for (const char* key : {"loss", "grad_norm", "lr", "kl", "orthogonal", "supervised_tokens"}) {
      if (json->contains(key) && (*json)[key].is_number())
        metrics.push_back({{"key", key},
                           {"value", (*json)[key].get<double>()},
                           {"timestamp", now},
                           {"step", json_or<std::int64_t>(*json, "step", 0)}});
    }
  }
  return metrics;
}

OrderedJson parameters(const retrain::JobSpec& job, const retrain::JobResult& result) {
  OrderedJson list = OrderedJson::array();
  const auto add = [&](const std::string& key, const std::string& value) {
    list.push_back({{"key", key}, {"value", value.substr(0, 500)}});
  };
  add("base_sha256", result.base_sha256);
  add("r", std::to_string(job.lora.r));
  add("lora_alpha", std::to_string(job.lora.lora_alpha));
  add("lr", std::to_string(job.optimizer.lr));
  add("loss", job.loss.name);
  add("kl_weight", std::to_string(job.kl.weight));
  add("epochs", std::to_string(job.epochs));
  add("seed", std::to_string(job.seed));
  add("examples", std::to_string(result.examples));
  add("adapter_sha256", result.adapter_sha256);
  return list;
}

Status upload(Tracking& server, const std::string& artifact_uri, const fs::path& out) {
  constexpr std::string_view kProxied = "mlflow-artifacts:";
  if (artifact_uri.rfind(kProxied, 0) != 0) {
    return fail(Code::kUnavailable, "mlflow: artifacts go to " + artifact_uri +
                                        ", which the server does not proxy: not uploaded");
  }
  std::string root = artifact_uri.substr(kProxied.size());
  root.erase(0, root.find_first_not_of('/'));
  for (const auto& entry : fs::recursive_directory_iterator(out)) {
    if (!entry.is_regular_file()) continue;
    TRIMTAB_TRY(std::string content, read_file(entry.path(), 8ULL << 30));
    const std::string path = root + "/adapter/" + fs::relative(entry.path(), out).string();
    TRIMTAB_CHECK_OK(server.put(path, std::move(content)));
  }
  return {};
}

}  // namespace

Status log_to_mlflow(const retrain::JobSpec& job, const retrain::JobResult& result,
                     const fs::path& out) {
  Tracking server(job.mlflow.url);
  TRIMTAB_TRY(const std::string experiment, server.experiment(job.mlflow.experiment));
  const std::string name =
      !job.mlflow.run_name.empty() ? job.mlflow.run_name : (job.id.empty() ? "train" : job.id);
  TRIMTAB_TRY(const Json made,
              server.call("POST", "runs/create",
                          {{"experiment_id", experiment},
                           {"run_name", name},
                           {"start_time", server.now()},
                           {"tags", {{{"key", "trimtab.target"}, {"value", job.target}}}}}));
  const Json info = made.value("run", Json()).value("info", Json());
  TRIMTAB_TRY(const auto run, json_get<std::string>(info, "run_id"));
  auto metrics = step_metrics(out, server.now());
  const std::array<std::pair<const char*, double>, 5> last = {
      {{"final_loss", result.final_loss},
       {"eval_loss_before", result.eval_loss_before},
       {"eval_loss_after", result.eval_loss_after},
       {"keep_loss_before", result.keep_loss_before},
       {"keep_loss_after", result.keep_loss_after}}};
  for (const auto& [key, value] : last) {
    if (std::isfinite(value))
      metrics.push_back(
          {{"key", key}, {"value", value}, {"timestamp", server.now()}, {"step", result.steps}});
  }
  for (std::size_t begin = 0; begin == 0 || begin < metrics.size(); begin += kBatch) {
    OrderedJson batch = {{"run_id", run}, {"metrics", OrderedJson::array()}};
    for (std::size_t i = begin; i < std::min(metrics.size(), begin + kBatch); ++i)
      batch["metrics"].push_back(metrics[i]);
    if (begin == 0) batch["params"] = parameters(job, result);
    TRIMTAB_CHECK_OK(server.call("POST", "runs/log-batch", batch));
  }
  if (job.mlflow.artifacts)
    TRIMTAB_CHECK_OK(upload(server, json_or<std::string>(info, "artifact_uri", ""), out));
  TRIMTAB_CHECK_OK(
      server.call("POST", "runs/update",
                  {{"run_id", run}, {"status", "FINISHED"}, {"end_time", server.now()}}));
  return {};
}

}  // namespace trimtab::model
