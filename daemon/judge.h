// Judge: a language model that compares the champion's and the candidate's answers to one request,
// over the OpenAI API (chat/completions).
//
// Each pair is asked twice, with the answers in either order, for judges prefer a place: only a
// judge who names the same answer both times decides; else it is a tie. D is -1, 0 or 1
// (STATISTICS.md section 7). An answer that is neither A, B nor a tie makes the pair missing, never
// a tie. Identical answers are a tie and cost nothing.
// Cost: tokens as the server reports them (else bytes / 4) are summed by the hour; at the cap
// judge() answers kExhausted and says when it may go on. Thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/net/client.h"
#include "base/result.h"
#include "config/shadow_settings.h"

namespace trimtab::daemon {

struct JudgedPair {
  std::optional<double> d;  // -1 champion, 0 tie, 1 candidate; empty: the judge did not say
  std::int64_t tokens = 0;
  std::string said;  // both answers, for the journal
};

class Judge {
 public:
  // kInvalid without url or model; kIo / kNotFound when the token's file cannot be read. `clock`
  // outlives it.
  [[nodiscard]] static Result<std::unique_ptr<Judge>> create(const config::JudgeSettings& settings,
                                                             Clock& clock);
  // `messages_json`: the request, a JSON array of {role, content}; `known_good`: a right answer, or
  // empty. kUnavailable, kTimeout, kExhausted: try again later; kInvalid: the server refuses.
  [[nodiscard]] Result<JudgedPair> judge(std::string_view messages_json, std::string_view champion,
                                         std::string_view candidate, std::string_view known_good);

  // "A", "B" or "tie" at the beginning of an answer, whatever case and punctuation; else empty.
  enum class Choice { kA, kB, kTie };
  [[nodiscard]] static std::optional<Choice> choice_of(std::string_view answer);

 private:
  Judge(config::JudgeSettings settings, std::string token, Clock& clock);
  struct Answer {
    std::optional<Choice> choice;
    std::string text;
    std::int64_t tokens = 0;
  };
  [[nodiscard]] Result<Answer> ask(std::string_view request, std::string_view a, std::string_view b,
                                   std::string_view known_good);
  [[nodiscard]] Status within_budget();
  void spend(std::int64_t tokens);

  const config::JudgeSettings settings_;
  const std::string token_;
  Clock& clock_;
  net::Client client_;
  std::mutex mutex_;
  std::int64_t hour_began_ms_ = 0;
  std::int64_t spent_ = 0;
};

}  // namespace trimtab::daemon
