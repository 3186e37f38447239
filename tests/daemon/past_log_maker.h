// Makes logs of the past for tests: records of a small support bot as JSON lines, steady or with a
// new topic, with random labels and complaints. Seeded.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/json.h"
#include "base/random.h"

namespace trimtab::daemon {

struct PastLogMaker {
  std::uint64_t seed = 1;
  std::int64_t start_ms = 1'760'000'000'000;
  std::int64_t gap_ms = 2'000;
  std::string target = "support-bot";

  int made = 0;
  Random random{seed};

  static const std::vector<std::string>& old_words() {
    static const std::vector<std::string> words = {
        "card",  "account", "balance", "transfer", "bank",    "money",   "limit", "payment",
        "order", "refund",  "parcel",  "delivery", "address", "invoice", "price", "change"};
    return words;
  }
  static const std::vector<std::string>& new_words() {
    static const std::vector<std::string> words = {"insulin", "dose",   "doctor", "fever",
                                                   "allergy", "tablet", "clinic", "cough"};
    return words;
  }
  std::string sentence(bool fresh) {
    const auto& words = fresh ? new_words() : old_words();
    std::string text = "please help with";
    const std::size_t count = 3 + random.next() % 4;
    for (std::size_t i = 0; i < count; ++i) text += " " + words[random.next() % words.size()];
    return text;
  }
  std::int64_t ts_ms() const { return start_ms + made * gap_ms; }

  // One record and, for some, feedback: a label asked for at random (`wrong` is the error rate) or
  // a complaint with the correction.
  std::vector<Json> next(double share_new, double wrong) {
    const bool fresh = random.chance(share_new);
    const std::string id = "r" + std::to_string(seed) + "-" + std::to_string(made);
    std::vector<Json> out;
    out.push_back({{"id", id},
                   {"ts", format_rfc3339(ts_ms())},
                   {"target", target},
                   {"session_id", "s-" + id},
                   {"input", sentence(fresh)},
                   {"output", random.chance(0.5) ? "intent_a" : "intent_b"},
                   {"tok", {{"in", 8}, {"out", 2}}},
                   {"finish", "stop"}});
    const bool bad = random.chance(fresh ? std::max(wrong, 0.9) : wrong);
    if (random.chance(0.3)) {
      out.push_back({{"kind", "feedback"},
                     {"id", id},
                     {"name", "label"},
                     {"score", bad ? 0 : 1},
                     {"correction", "intent_c"},
                     {"selection", "random"},
                     {"ts", format_rfc3339(ts_ms() + 500)}});
    } else if (bad && random.chance(0.5)) {
      out.push_back({{"kind", "feedback"},
                     {"id", id},
                     {"name", "thumb"},
                     {"score", 0},
                     {"correction", "intent_c"},
                     {"selection", "user"},
                     {"ts", format_rfc3339(ts_ms() + 700)}});
    }
    ++made;
    return out;
  }
  std::string lines(int records, double share_new, double wrong = 0.05) {
    std::string text;
    for (int i = 0; i < records; ++i) {
      for (const Json& line : next(share_new, wrong)) text += dump_json(line) + "\n";
    }
    return text;
  }
};

// A configuration with one target and a small reference.
inline std::string past_config(const std::string& brokers = "127.0.0.1:9") {
  return "state: {dir: state}\nkafka: {brokers: \"" + brokers +
         "\"}\ntargets:\n"
         "  - name: support-bot\n"
         "    base: base\n"
         "    unit_key: session_id\n"
         "    drift: {reference_size: 1500, false_alarms: 1 per 1d}\n"
         "    retrain: {minimum_examples: 30, cooldown: 1h}\n"
         "    serving: {endpoints: [{url: \"http://127.0.0.1:8000\"}]}\n";
}

}  // namespace trimtab::daemon
