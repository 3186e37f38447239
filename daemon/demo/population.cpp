#include "daemon/demo/population.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/json.h"

namespace trimtab::demo {
namespace {

constexpr int kMaxAnswerTokens = 24;
constexpr std::size_t kMaxFailuresKept = 20;

std::string chat_body(const std::string& target, const std::string& text, const std::string& user) {
  const Json body = {{"model", target},
                     {"messages", {{{"role", "user"}, {"content", text}}}},
                     {"max_tokens", kMaxAnswerTokens},
                     {"temperature", 0},
                     {"user", user}};
  return dump_json(body);
}

struct Answer {
  std::string content, model;
};

Result<Answer> read_answer(const std::string& body) {
  TRIMTAB_TRY(const Json json, parse_json(body));
  try {
    std::string content = json.at("choices").at(0).at("message").at("content").get<std::string>();
    const auto last = content.find_last_not_of(" \n\t");
    content.erase(last == std::string::npos ? 0 : last + 1);
    content.erase(0, content.find_first_not_of(" \n\t"));
    return Answer{std::move(content), json.at("model").get<std::string>()};
  } catch (const nlohmann::json::exception&) {
    return fail(Code::kInvalid, "the answer is no chat completion: " + body.substr(0, 200));
  }
}

std::string feedback_json(const std::string& feedback_id, const std::string& record_id,
                          const char* name, bool right, const std::string& correction,
                          const char* selection, double propensity, const std::string& source_id,
                          std::int64_t now_ms) {
  const Json json = {
      {"kind", "feedback"},     {"feedback_id", feedback_id}, {"id", record_id},
      {"name", name},           {"score", right ? 1 : 0},     {"correction", correction},
      {"source", "human"},      {"source_id", source_id},     {"ts", now_ms},
      {"selection", selection}, {"propensity", propensity}};
  return dump_json(json);
}

}  // namespace

Population::Population(PopulationOptions options, const Corpus& corpus, FeedbackSink sink,
                       Clock& clock)
    : options_(std::move(options)),
      corpus_(corpus),
      sink_(std::move(sink)),
      clock_(clock),
      client_({.total_ms = 30'000, .idle_per_origin = 64}, clock) {}

Population::~Population() { stop(); }

void Population::start() {
  next_turn_ms_ = static_cast<double>(clock_.mono_ms());
  for (int i = 0; i < options_.threads; ++i) {
    threads_.emplace_back([this, i](std::stop_token stop) { live(i, stop); });
  }
  threads_.emplace_back([this](std::stop_token stop) { deliver(stop); });
}

void Population::stop() {
  for (auto& thread : threads_) thread.request_stop();
  threads_.clear();
}

void Population::set_behaviour(Behaviour behaviour) {
  std::lock_guard lock(mutex_);
  behaviour_ = std::move(behaviour);
}

Behaviour Population::behaviour() const {
  std::lock_guard lock(mutex_);
  return behaviour_;
}

PopulationCounts Population::counts() const {
  std::lock_guard lock(mutex_);
  return counts_;
}

void Population::note_failure(std::string what) {
  std::lock_guard lock(mutex_);
  ++counts_.failed;
  if (counts_.failures.size() < kMaxFailuresKept) counts_.failures.push_back(std::move(what));
}

// One request's turn at the common pace; people who fell behind do not catch up in a burst.
bool Population::wait_for_turn(std::stop_token stop) {
  while (paused_ && !stop.stop_requested()) clock_.sleep_ms(20, stop);
  double wait_ms = 0;
  {
    std::lock_guard lock(mutex_);
    const auto now_ms = static_cast<double>(clock_.mono_ms());
    next_turn_ms_ = std::max(next_turn_ms_, now_ms - 50) + 1000.0 / options_.requests_per_s;
    wait_ms = next_turn_ms_ - now_ms;
  }
  if (wait_ms >= 1) clock_.sleep_ms(static_cast<std::int64_t>(wait_ms), stop);
  return !stop.stop_requested();
}

void Population::live(int index, std::stop_token stop) {
  Random random(options_.seed * 1000 + static_cast<std::uint64_t>(index));
  while (!stop.stop_requested()) {
    std::string session;
    {
      std::lock_guard lock(mutex_);
      session = "s-" + std::to_string(options_.seed) + "-" + std::to_string(++sessions_);
    }
    const std::string user = "u-" + std::to_string(random.below(5000));
    for (std::uint64_t i = 0, n = 1 + random.below(3); i < n; ++i) {
      if (!wait_for_turn(stop)) return;
      ask_once(session, user, random);
    }
  }
}

void Population::ask_once(const std::string& session, const std::string& user, Random& random) {
  std::vector<std::string> domains;
  std::vector<double> cumulative;
  double total = 0;
  for (const auto& [domain, weight] : behaviour().mix) {
    domains.push_back(domain);
    cumulative.push_back(total += weight);
  }
  if (domains.empty()) return;
  const double u = random.uniform() * total;
  std::size_t chosen = 0;
  while (chosen + 1 < domains.size() && cumulative[chosen] <= u) ++chosen;
  const Sentence sentence = corpus_.draw(domains[chosen], Split::kTrain, random);
  {
    std::lock_guard lock(mutex_);
    ++counts_.sent;
  }
  const net::Headers headers = {{"X-Session-Id", session}, {"X-User-Id", user}};
  const auto response =
      client_.post(options_.gateway_url + "/v1/chat/completions",
                   chat_body(options_.target, sentence.text, user), "application/json", headers);
  if (!response) return note_failure(response.error().message);
  if (response->status == 429) {
    std::lock_guard lock(mutex_);
    ++counts_.refused;
    return;
  }
  if (response->status != 200) {
    return note_failure("status " + std::to_string(response->status) + ": " +
                        response->body.substr(0, 160));
  }
  judge(sentence, *response, session, random);
}

void Population::judge(const Sentence& sentence, const net::Response& response,
                       const std::string& session, Random& random) {
  const auto answer = read_answer(response.body);
  if (!answer) return note_failure(answer.error().message);
  const std::string stamped(response.headers.get("X-Trimtab-Adapter"));
  const std::string arm(response.headers.get("X-Trimtab-Arm"));
  const std::string id(response.headers.get("X-Trimtab-Id"));
  if (id.empty()) return note_failure("an answer without X-Trimtab-Id");
  // The upstream says which adapter answered; the bare base goes by its served name.
  if (stamped != "base" && answer->model != stamped) {
    return note_failure("answered by " + answer->model + " but stamped " + stamped);
  }
  const bool right = answer->content == sentence.intent;
  const Behaviour people = behaviour();
  const std::int64_t now_ms = clock_.now_ms();
  const bool labelled = random.chance(people.label_share);
  const bool complains = (!right && random.chance(people.complain_share)) ||
                         (arm == "candidate" && random.chance(people.dislike_candidate));
  const bool poisons = random.chance(people.poison_share);
  {
    std::lock_guard lock(mutex_);
    ++counts_.answered;
    counts_.right += right;
    counts_.labels += labelled;
    counts_.complaints += complains;
    counts_.poisoned += poisons;
  }
  const std::string user = "person-" + std::to_string(random.below(400));
  if (labelled) {
    const std::string rater = "rater-" + std::to_string(random.below(20));
    send_feedback(session,
                  feedback_json("l-" + id, id, "correct", right, sentence.intent, "random",
                                people.label_share, rater, now_ms),
                  random);
  }
  if (complains) {
    send_feedback(session,
                  feedback_json("c-" + id, id, "complaint", false, sentence.intent, "user", 1.0,
                                user, now_ms),
                  random);
  }
  if (poisons && people.poison_sources > 0) {
    const auto source = random.below(static_cast<std::uint64_t>(people.poison_sources));
    send_feedback(session,
                  feedback_json("p-" + id, id, "complaint", false, people.poison_label, "user", 1.0,
                                "poison-" + std::to_string(source), now_ms),
                  random);
  }
}

// Mostly within two seconds, a few much later; one in twenty at once (it may overtake its record)
// and one in twenty twice.
void Population::send_feedback(std::string key, std::string json, Random& random) {
  const double u = random.uniform();
  std::int64_t delay_ms = 0;
  if (u >= 0.05) delay_ms = 100 + static_cast<std::int64_t>(random.below(1500));
  if (u >= 0.99) delay_ms = 15'000;
  const std::int64_t due_ms = clock_.mono_ms() + delay_ms;
  std::lock_guard lock(delayed_mutex_);
  if (random.chance(0.05)) delayed_.push({due_ms + 700, key, json});
  delayed_.push({due_ms, std::move(key), std::move(json)});
}

void Population::deliver(std::stop_token stop) {
  while (clock_.sleep_ms(10, stop)) {
    const std::int64_t now_ms = clock_.mono_ms();
    for (;;) {
      Delayed message;
      {
        std::lock_guard lock(delayed_mutex_);
        if (delayed_.empty() || delayed_.top().due_ms > now_ms) break;
        message = delayed_.top();
        delayed_.pop();
      }
      if (!sink_(message.key, message.json)) note_failure("a feedback message was not accepted");
    }
  }
}

Result<std::vector<ProbeAnswer>> probe(const std::string& gateway_url, const std::string& target,
                                       const std::vector<Sentence>& sentences, int threads,
                                       Clock& clock) {
  net::Client client({.total_ms = 60'000, .idle_per_origin = 64}, clock);
  std::vector<ProbeAnswer> answers(sentences.size());
  std::vector<Status> outcomes(static_cast<std::size_t>(threads));
  std::atomic<std::size_t> next{0};
  const auto work = [&](Status& outcome) {
    for (std::size_t i = next++; i < sentences.size() && outcome; i = next++) {
      const std::string unit = "probe-" + std::to_string(i);
      const net::Headers headers = {{"X-Trimtab-Probe", "1"}, {"X-Session-Id", unit}};
      Result<net::Response> response = fail(Code::kExhausted, "not sent");
      for (int tries = 0; tries < 200; ++tries) {
        response =
            client.post(gateway_url + "/v1/chat/completions",
                        chat_body(target, sentences[i].text, unit), "application/json", headers);
        if (!response || response->status != 429) break;
        clock.sleep_ms(50);
      }
      if (response && response->status != 200) {
        response = fail(Code::kUnavailable, "status " + std::to_string(response->status));
      }
      const Result<Answer> answer =
          response ? read_answer(response->body) : tl::unexpected<Error>(response.error());
      if (!answer) {
        outcome = fail_in("probe '" + sentences[i].text + "'", answer.error());
        return;
      }
      answers[i] = {sentences[i], answer->content,
                    std::string(response->headers.get("X-Trimtab-Adapter")),
                    answer->content == sentences[i].intent};
    }
  };
  {
    std::vector<std::jthread> workers;
    for (auto& outcome : outcomes) workers.emplace_back([&work, &outcome] { work(outcome); });
  }
  for (const auto& outcome : outcomes) TRIMTAB_CHECK_OK(outcome);
  return answers;
}

}  // namespace trimtab::demo
