// A model server for tests, on our own HTTP server: vLLM's answers without a model. Its completion
// text is "<model>: <last message>". It can be told to misbehave.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/json.h"
#include "base/net/server.h"

namespace trimtab::daemon {

class StubModelServer {
 public:
  explicit StubModelServer(std::string base_name = "base-model", int port = 0)
      : base_(std::move(base_name)),
        server_({.name = "stub", .port = port, .workers = 16, .queue = 1024}, clock_) {
    server_.get("/health", [this](const net::Request&) {
      return net::text_response(healthy ? 200 : 500, "");
    });
    server_.get("/v1/models", [this](const net::Request& r) { return models(r); });
    for (const char* path : {"/v1/chat/completions", "/v1/completions"}) {
      server_.stream("POST", path,
                     [this](const net::Request& r, net::ResponseWriter& w) { complete(r, w); });
    }
    server_.post("/v1/embeddings",
                 [](const net::Request& r) { return net::json_text_response(200, r.body); });
    server_.post("/v1/load_lora_adapter", [this](const net::Request& r) { return load(r); });
    server_.post("/v1/unload_lora_adapter", [this](const net::Request& r) { return unload(r); });
    const auto started = server_.start();
    CHECK_STARTED(started);
  }
  ~StubModelServer() { release = true; }

  [[nodiscard]] std::string url() const {
    return "http://127.0.0.1:" + std::to_string(server_.port());
  }
  [[nodiscard]] int port() const { return server_.port(); }
  void stop() {
    release = true;
    server_.stop();
  }
  void add_adapter(const std::string& name, const std::string& root = "/a") {
    std::lock_guard lock(mutex_);
    adapters_[name] = root;
  }
  void lose_adapters() {
    std::lock_guard lock(mutex_);
    adapters_.clear();
  }
  [[nodiscard]] net::Request last_request() const {
    std::lock_guard lock(mutex_);
    return last_;
  }

  std::atomic<int> calls{0};
  std::atomic<bool> healthy{true};
  std::atomic<int> answer_status{200};  // of completions
  std::atomic<bool> lie{false};         // names another model than was asked for
  std::atomic<bool> hang{false};        // until release
  std::atomic<bool> release{false};
  std::atomic<bool> break_off{false};           // streams end in the middle
  std::atomic<bool> drop_before_answer{false};  // closes without a byte
  std::atomic<int> stream_gate{1 << 30};        // pieces that may be sent so far
  std::atomic<bool> client_left{false};         // a stream's reader went away
  std::atomic<bool> load_corrupt_root{false};
  std::atomic<int> slots{8};
  std::string token;  // when set: needed

 private:
  static void CHECK_STARTED(const Status& started) {
    if (!started) throw std::runtime_error(started.error().message);
  }

  static net::Response error(int status, const std::string& message) {
    return net::json_response(status,
                              {{"object", "error"},
                               {"message", message},
                               {"type", status == 404 ? "NotFoundError" : "BadRequestError"},
                               {"code", status}});
  }
  bool allowed(const net::Request& r) const {
    return token.empty() || r.headers.get("Authorization") == "Bearer " + token;
  }

  net::Response models(const net::Request& r) {
    if (!allowed(r)) return error(401, "Unauthorized");
    std::lock_guard lock(mutex_);
    Json data = Json::array();
    data.push_back({{"id", base_}, {"object", "model"}, {"root", "/base"}, {"parent", nullptr}});
    for (const auto& [name, root] : adapters_) {
      data.push_back({{"id", name}, {"object", "model"}, {"root", root}, {"parent", base_}});
    }
    return net::json_response(200, {{"object", "list"}, {"data", data}});
  }

  net::Response load(const net::Request& r) {
    if (!allowed(r)) return error(401, "Unauthorized");
    const auto body = parse_json(r.body);
    const auto name = json_or<std::string>(*body, "lora_name", "");
    const auto path = json_or<std::string>(*body, "lora_path", "");
    ++calls;
    std::lock_guard lock(mutex_);
    if (adapters_.contains(name)) {
      return error(400, "The lora adapter '" + name + "' has already been loaded.");
    }
    if (path.find("missing") != std::string::npos)
      return error(404, "No adapter found for '" + path + "'");
    if (static_cast<int>(adapters_.size()) >= slots) return error(400, "too many LoRA adapters");
    adapters_[name] = load_corrupt_root ? "/somewhere/else" : path;
    return net::text_response(200, "Success: LoRA adapter '" + name + "' added successfully.");
  }

  net::Response unload(const net::Request& r) {
    const auto body = parse_json(r.body);
    const auto name = json_or<std::string>(*body, "lora_name", "");
    std::lock_guard lock(mutex_);
    if (adapters_.erase(name) == 0)
      return error(404, "The lora adapter '" + name + "' cannot be found.");
    return net::text_response(200, "Success: LoRA adapter '" + name + "' removed successfully.");
  }

  void complete(const net::Request& r, net::ResponseWriter& w) {
    ++calls;
    const auto body = parse_json(r.body);
    const auto model = json_or<std::string>(*body, "model", "");
    {
      std::lock_guard lock(mutex_);
      last_ = r;
      if (model != base_ && !adapters_.contains(model)) {
        w.send(error(404, "The model `" + model + "` does not exist."));
        return;
      }
    }
    while (hang && !release && !w.client_gone()) clock_.sleep_ms(5);
    if (drop_before_answer) {
      w.begin(200, {});
      return;
    }
    if (answer_status != 200) {
      w.send(error(answer_status, "told to fail"));
      return;
    }
    const bool chat = r.path == "/v1/chat/completions";
    const std::string named = lie ? "another-model" : model;
    const std::string text =
        model + ": " + (chat ? body->at("messages").back().value("content", "") : "done");
    if (json_or<bool>(*body, "stream", false)) return stream(w, named, text, chat);
    Json choice = {{"index", 0}, {"finish_reason", "stop"}};
    if (chat) {
      choice["message"] = {{"role", "assistant"}, {"content", text}};
      choice["logprobs"] = {
          {"content", {{{"token", "a"}, {"logprob", -0.5}}, {{"token", "b"}, {"logprob", -1.5}}}}};
    } else {
      choice["text"] = text;
    }
    w.send(net::json_response(
        200, {{"id", "cmpl-1"},
              {"object", chat ? "chat.completion" : "text_completion"},
              {"model", named},
              {"choices", Json::array({choice})},
              {"usage", {{"prompt_tokens", 7}, {"completion_tokens", 3}, {"total_tokens", 10}}}}));
  }

  void stream(net::ResponseWriter& w, const std::string& named, const std::string& text,
              bool chat) {
    net::SseWriter events(w);
    const auto chunk = [&](Json choice) {
      choice["index"] = 0;
      return dump_json(
          Json{{"id", "cmpl-2"}, {"model", named}, {"choices", Json::array({choice})}});
    };
    const std::size_t half = text.size() / 2;
    const std::vector<std::string> pieces = {text.substr(0, half), text.substr(half)};
    int sent = 0;
    for (const auto& piece : pieces) {
      while (sent >= stream_gate && !release) {
        if (w.client_gone()) client_left = true;
        if (client_left) return;
        clock_.sleep_ms(2);
      }
      Json choice = chat ? Json{{"delta", {{"content", piece}}}} : Json{{"text", piece}};
      if (!events.event("", chunk(choice))) {
        client_left = true;
        return;
      }
      ++sent;
      if (break_off) return;
    }
    Json last = chat ? Json{{"delta", Json::object()}} : Json{{"text", ""}};
    last["finish_reason"] = "stop";
    events.event("", chunk(last));
    events.event("", "[DONE]");
    w.end();
  }

  SystemClock clock_;
  const std::string base_;
  mutable std::mutex mutex_;
  std::map<std::string, std::string> adapters_;  // name -> root
  net::Request last_;
  net::Server server_;
};

}  // namespace trimtab::daemon
