#include "daemon/judge.h"

#include <algorithm>
#include <cctype>

#include "base/files.h"
#include "base/json.h"

namespace trimtab::daemon {
namespace {

constexpr std::int64_t kHourMs = 3'600'000;
constexpr int kAnswerTokens = 8;  // a letter, and room for a model that wraps it
constexpr std::string_view kGeneral =
    "You compare two answers to the same request. Prefer the answer that is right, does what was "
    "asked and leaves nothing out; length and style count for nothing.";
constexpr std::string_view kForm =
    "\nAnswer with one letter only: A if answer A is better, B if answer B is better, C if they "
    "are equally good.";

// At most `limit` bytes, cut at a UTF-8 boundary.
std::string_view shortened(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) return text;
  while (limit > 0 && (static_cast<unsigned char>(text[limit]) & 0xC0) == 0x80) --limit;
  return text.substr(0, limit);
}

// The request as one text: "role: content" a turn.
std::string request_text(std::string_view messages_json) {
  const auto messages = parse_json(messages_json);
  std::string text;
  if (!messages || !messages->is_array()) return std::string(messages_json);
  for (const Json& message : *messages) {
    text += json_or<std::string>(message, "role", "user") + ": " +
            json_or<std::string>(message, "content", "") + "\n";
  }
  return text;
}

std::string content_of(const Json& answer) {
  const auto choices = answer.find("choices");
  if (choices == answer.end() || !choices->is_array() || choices->empty()) return {};
  return json_or<std::string>(json_or((*choices)[0], "message", Json::object()), "content", "");
}

}  // namespace

Judge::Judge(config::JudgeSettings settings, std::string token, Clock& clock)
    : settings_(std::move(settings)),
      token_(std::move(token)),
      clock_(clock),
      client_({.silence_ms = settings_.timeout_ms, .total_ms = settings_.timeout_ms}, clock) {}

Result<std::unique_ptr<Judge>> Judge::create(const config::JudgeSettings& settings, Clock& clock) {
  if (settings.url.empty() || settings.model.empty()) {
    return fail(Code::kInvalid,
                "promotion.judge: plan.score judge needs promotion.judge.url and .model");
  }
  std::string token;
  if (!settings.token_file.empty()) {
    auto text = read_file(settings.token_file, 1 << 16);
    if (!text) return fail_in("promotion.judge.token_file", text.error());
    token = *text;
    while (!token.empty() && std::isspace(static_cast<unsigned char>(token.back())) != 0) {
      token.pop_back();
    }
  }
  return std::unique_ptr<Judge>(new Judge(settings, std::move(token), clock));
}

std::optional<Judge::Choice> Judge::choice_of(std::string_view answer) {
  std::string word;
  for (const char c : answer) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalpha(byte) != 0) {
      word += static_cast<char>(std::toupper(byte));
    } else if (!word.empty()) {
      break;
    }
  }
  if (word == "ANSWER" || word == "OPTION") {  // "Answer B"
    const auto rest = answer.find_first_of(" :*", answer.find_first_of("aAoO"));
    return rest == std::string_view::npos ? std::nullopt : choice_of(answer.substr(rest));
  }
  if (word == "A") return Choice::kA;
  if (word == "B") return Choice::kB;
  if (word == "C" || word == "TIE" || word == "EQUAL") return Choice::kTie;
  return std::nullopt;
}

Status Judge::within_budget() {
  std::lock_guard lock(mutex_);
  const std::int64_t now_ms = clock_.now_ms();
  if (now_ms - hour_began_ms_ >= kHourMs) {
    hour_began_ms_ = now_ms;
    spent_ = 0;
  }
  if (spent_ < settings_.max_tokens_per_hour) return {};
  return fail(Code::kExhausted, "promotion.judge.max_tokens_per_hour: " + std::to_string(spent_) +
                                    " tokens are spent; judging goes on at " +
                                    format_rfc3339(hour_began_ms_ + kHourMs));
}

void Judge::spend(std::int64_t tokens) {
  std::lock_guard lock(mutex_);
  spent_ += tokens;
}

Result<Judge::Answer> Judge::ask(std::string_view request, std::string_view a, std::string_view b,
                                 std::string_view known_good) {
  const auto most = static_cast<std::size_t>(settings_.max_answer_bytes);
  const std::string system =
      (settings_.instructions.empty() ? std::string(kGeneral) : settings_.instructions) +
      std::string(kForm);
  std::string user = "Request:\n" + std::string(shortened(request, 4 * most));
  if (!known_good.empty()) {
    user += "\nA right answer, for comparison:\n" + std::string(shortened(known_good, most));
  }
  user += "\nAnswer A:\n" + std::string(shortened(a, most)) + "\n\nAnswer B:\n" +
          std::string(shortened(b, most)) + "\n\nWhich is better: A, B or C?";
  const std::string body = dump_json(
      Json{{"model", settings_.model},
           {"messages",
            {{{"role", "system"}, {"content", system}}, {{"role", "user"}, {"content", user}}}},
           {"temperature", 0},
           {"max_tokens", kAnswerTokens}});
  net::ClientRequest call;
  call.method = "POST";
  call.url = settings_.url + "/v1/chat/completions";
  call.body = body;
  call.headers.set("Content-Type", "application/json");
  if (!token_.empty()) call.headers.set("Authorization", "Bearer " + token_);
  call.safe_to_repeat = true;
  TRIMTAB_TRY(const net::Response response, client_.send(call));
  if (response.status != 200) {
    const bool later = response.status == 429 || response.status >= 500;
    return fail(later ? Code::kUnavailable : Code::kInvalid,
                "judge " + settings_.url + ": status " + std::to_string(response.status));
  }
  const auto parsed = parse_json(response.body);
  if (!parsed || !parsed->is_object()) {
    return fail(Code::kUnavailable, "judge " + settings_.url + ": the answer is not JSON");
  }
  Answer answer;
  answer.text = content_of(*parsed);
  answer.choice = choice_of(answer.text);
  answer.tokens = json_or<std::int64_t>(json_or(*parsed, "usage", Json::object()), "total_tokens",
                                        static_cast<std::int64_t>(body.size() / 4));
  spend(answer.tokens);
  return answer;
}

Result<JudgedPair> Judge::judge(std::string_view messages_json, std::string_view champion,
                                std::string_view candidate, std::string_view known_good) {
  JudgedPair pair;
  if (champion == candidate) {
    pair.d = 0.0;
    pair.said = "identical";
    return pair;
  }
  TRIMTAB_CHECK_OK(within_budget());
  const std::string request = request_text(messages_json);
  TRIMTAB_TRY(const Answer first, ask(request, champion, candidate, known_good));
  TRIMTAB_TRY(const Answer second, ask(request, candidate, champion, known_good));
  pair.tokens = first.tokens + second.tokens;
  pair.said = first.text + " | " + second.text;
  if (!first.choice || !second.choice) return pair;
  const bool for_candidate = *first.choice == Choice::kB && *second.choice == Choice::kA;
  const bool for_champion = *first.choice == Choice::kA && *second.choice == Choice::kB;
  pair.d = for_candidate ? 1.0 : for_champion ? -1.0 : 0.0;
  return pair;
}

}  // namespace trimtab::daemon
