// The population: the only thing in the demo that is played. People who ask, some of whom say
// afterwards whether the answer was right.
//
// Each thread lives one session after another (1-3 requests each) against the gateway, at a common
// pace. A random `label_share` of answers gets a label whatever the answer (selection `random`);
// some wrong ones a complaint with the correction (selection `user`). Feedback comes late,
// sometimes twice, sometimes before its record. Thread-safe; start and stop from one thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <queue>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/net/client.h"
#include "base/random.h"
#include "daemon/demo/corpus.h"

namespace trimtab::demo {

struct PopulationOptions {
  std::string gateway_url;  // "http://127.0.0.1:8080"
  std::string target = "support-bot";
  int threads = 12;
  double requests_per_s = 200;
  std::uint64_t seed = 1;
};

// What people do; may change while they live.
struct Behaviour {
  std::map<std::string, double> mix;  // domain -> weight of its traffic
  double label_share = 0.30;          // random labels, propensity
  double complain_share = 0.50;       // of wrong answers
  double dislike_candidate = 0.0;     // extra complaints in the candidate's arm, right or wrong
  double poison_share = 0.0;          // of requests: a correction that is false
  int poison_sources = 0;
  std::string poison_label;
};

struct PopulationCounts {
  std::uint64_t sent = 0, answered = 0, failed = 0, refused = 0;  // refused: 429
  std::uint64_t right = 0, labels = 0, complaints = 0, poisoned = 0;
  std::vector<std::string> failures;  // the first few, in words
};

class Population {
 public:
  // Takes one feedback message: Kafka key and JSON. False: not accepted.
  using FeedbackSink = std::function<bool(const std::string& key, const std::string& json)>;

  Population(PopulationOptions options, const Corpus& corpus, FeedbackSink sink, Clock& clock);
  ~Population();  // stop()
  void start();
  void stop();

  void set_behaviour(Behaviour behaviour);
  [[nodiscard]] Behaviour behaviour() const;
  // Holds all people back between two requests (the daemon's lag is too long, or a probe runs).
  void pause(bool paused) { paused_ = paused; }
  [[nodiscard]] PopulationCounts counts() const;

 private:
  struct Delayed {
    std::int64_t due_ms;
    std::string key, json;
    bool operator<(const Delayed& other) const { return due_ms > other.due_ms; }
  };

  void live(int index, std::stop_token stop);
  void ask_once(const std::string& session, const std::string& user, Random& random);
  void judge(const Sentence& sentence, const net::Response& response, const std::string& session,
             Random& random);
  void send_feedback(std::string key, std::string json, Random& random);
  void deliver(std::stop_token stop);
  void note_failure(std::string what);
  bool wait_for_turn(std::stop_token stop);

  const PopulationOptions options_;
  const Corpus& corpus_;
  const FeedbackSink sink_;
  Clock& clock_;
  net::Client client_;
  std::atomic<bool> paused_{false};
  mutable std::mutex mutex_;  // behaviour_, counts_, pace
  Behaviour behaviour_;
  PopulationCounts counts_;
  double next_turn_ms_ = 0;
  std::uint64_t sessions_ = 0;
  std::mutex delayed_mutex_;
  std::priority_queue<Delayed> delayed_;
  std::vector<std::jthread> threads_;
};

// One probe: a held-out sentence sent through the gateway like any other, marked so that no
// detector, pool or trial sees it.
struct ProbeAnswer {
  Sentence sentence;
  std::string answer;
  std::string adapter;
  bool right = false;
};
// Sends all sentences with `threads` in parallel; keeps their order. The first error ends it.
[[nodiscard]] Result<std::vector<ProbeAnswer>> probe(const std::string& gateway_url,
                                                     const std::string& target,
                                                     const std::vector<Sentence>& sentences,
                                                     int threads, Clock& clock);

}  // namespace trimtab::demo
