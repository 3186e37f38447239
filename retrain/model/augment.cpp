#include "retrain/model/augment.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <sstream>

#include "base/clock.h"
#include "base/files.h"
#include "base/hash.h"
#include "base/net/client.h"
#include "base/random.h"

namespace trimtab::model {
namespace {

constexpr std::array<std::string_view, 26> kNeighbours = {
    "qwsz",   "vghn",  "xdfv", "serfcx", "wsdr", "drtgvc", "ftyhbv", "gyujnb", "ujko",
    "huikmn", "jiolm", "kop",  "njk",    "bhjm", "iklp",   "ol",     "wa",     "edft",
    "awedxz", "rfgy",  "yhji", "cfgb",   "qase", "zsdc",   "tghu",   "asx"};

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

char neighbour(char c, Random& random) {
  const bool upper = c >= 'A' && c <= 'Z';
  const std::string_view near = kNeighbours[static_cast<std::size_t>(c - (upper ? 'A' : 'a'))];
  const char other = near[random.below(near.size())];
  return upper ? static_cast<char>(other - 'a' + 'A') : other;
}

// Where the user's words of a line are: the last user message, or the prompt; null: nowhere.
OrderedJson* user_words(OrderedJson& line) {
  if (line.contains("prompt")) return line["prompt"].is_string() ? &line["prompt"] : nullptr;
  if (!line.contains("messages") || !line["messages"].is_array()) return nullptr;
  OrderedJson* found = nullptr;
  for (OrderedJson& message : line["messages"]) {
    if (message.is_object() && message.value("role", OrderedJson()) == "user" &&
        message.contains("content") && message["content"].is_string())
      found = &message["content"];
  }
  return found;
}

bool is_replay(const OrderedJson& line) {
  return line.value("kind", OrderedJson()) == "replay" || line.value("kl", OrderedJson()) == true;
}

// `share` x the new lines, whole rounds first, the rest by the smallest hashes.
std::vector<std::pair<std::size_t, std::uint64_t>> choose(const std::vector<DataLine>& lines,
                                                          double share, std::uint64_t seed) {
  std::vector<std::pair<std::uint64_t, std::size_t>> order;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (!is_replay(lines[i].json)) order.emplace_back(stable_hash(lines[i].json.dump(), seed), i);
  }
  std::sort(order.begin(), order.end());
  const auto wanted =
      static_cast<std::size_t>(std::llround(share * static_cast<double>(order.size())));
  std::vector<std::pair<std::size_t, std::uint64_t>> chosen;
  for (std::size_t i = 0; i < wanted; ++i) {
    const auto& [hash, index] = order[i % order.size()];
    chosen.emplace_back(index, hash + i / order.size());
  }
  return chosen;
}

// What a served model made of a text, by the text's digest; lives in a file of the job.
class Rewording {
 public:
  Rewording(const retrain::JobFilters& filters, std::filesystem::path path)
      : filters_(filters),
        path_(std::move(path)),
        client_({.connect_ms = 5'000, .silence_ms = 60'000, .total_ms = 120'000}, clock_) {}

  Status load() {
    if (!std::filesystem::exists(path_)) return {};
    TRIMTAB_TRY(const std::string content, read_file(path_));
    std::istringstream in(content);
    for (std::string line; std::getline(in, line);) {
      const auto json = parse_json(line);
      if (!json) break;  // a torn last line: asked again
      known_[json_or<std::string>(*json, "key", "")] = json_or<std::string>(*json, "text", "");
    }
    return {};
  }
  Status save() const {
    std::string content;
    for (const auto& [key, text] : known_)
      content += dump_json(OrderedJson{{"key", key}, {"text", text}}) + "\n";
    return write_atomic(path_, content);
  }

  Result<std::string> of(const std::string& text, std::uint64_t seed) {
    const std::string key = sha256_hex(text + "\n" + std::to_string(seed));
    const auto it = known_.find(key);
    if (it != known_.end()) return it->second;
    const OrderedJson body = {
        {"model", filters_.paraphrase_model},
        {"messages",
         {{{"role", "system"},
           {"content",
            "Reword the user's message. Keep its meaning, its names and its numbers. Answer with "
            "the reworded message only."}},
          {{"role", "user"}, {"content", text}}}},
        {"temperature", 0.8},
        {"seed", static_cast<std::int64_t>(seed % 2147483647)},
        {"max_tokens", static_cast<std::int64_t>(64 + text.size())}};
    const std::string url = filters_.paraphrase_url + "/chat/completions";
    auto answer = client_.post(url, dump_json(body));
    if (!answer)
      return fail(Code::kUnavailable, "paraphrase: " + url + ": " + answer.error().message);
    if (answer->status != 200) {
      return fail(Code::kUnavailable,
                  "paraphrase: " + url + ": status " + std::to_string(answer->status));
    }
    const auto json = parse_json(answer->body);
    std::string reworded;
    if (json && json->contains("choices") && (*json)["choices"].is_array() &&
        !(*json)["choices"].empty()) {
      const Json message = (*json)["choices"][0].value("message", Json());
      reworded = json_or<std::string>(message, "content", "");
    }
    return known_[key] = reworded;
  }

 private:
  const retrain::JobFilters& filters_;
  std::filesystem::path path_;
  SystemClock clock_;
  net::Client client_;
  std::map<std::string, std::string> known_;
};

bool fit(const std::string& text, const std::string& original) {
  return text.find_first_not_of(" \t\r\n") != std::string::npos && text != original &&
         text.size() <= 3 * original.size() + 40;
}

}  // namespace

std::string with_typos(std::string_view text, double rate, std::uint64_t seed) {
  Random random(seed);
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (!is_letter(c) || !random.chance(rate)) {
      out += c;
      continue;
    }
    switch (random.below(4)) {
      case 0:
        if (i + 1 < text.size() && is_letter(text[i + 1])) out += text[++i];
        out += c;
        break;
      case 1: break;
      case 2: out.append(2, c); break;
      default: out += neighbour(c, random);
    }
  }
  return out;
}

Result<Augmented> augment(const std::vector<DataLine>& lines, const retrain::JobFilters& filters,
                          std::uint64_t seed, const std::filesystem::path& folder) {
  Augmented out;
  const auto copy_of = [&](std::size_t index, const std::string& words, const char* kind) {
    DataLine copy = lines[index];
    *user_words(copy.json) = words;
    copy.where += std::string(" (") + kind + ")";
    out.lines.push_back(std::move(copy));
    ++out.added[kind];
  };
  const auto words_of = [&](std::size_t index) {
    OrderedJson json = lines[index].json;
    const OrderedJson* words = user_words(json);
    return words == nullptr ? std::string() : words->get<std::string>();
  };
  for (const auto& [index, key] : choose(lines, filters.typos, seed)) {
    const std::string words = words_of(index);
    const std::string changed = with_typos(words, filters.typo_rate, key);
    if (!words.empty() && changed != words && !changed.empty()) copy_of(index, changed, "typos");
  }
  if (filters.paraphrases <= 0) return out;
  Rewording rewording(filters, folder / "paraphrases.jsonl");
  TRIMTAB_CHECK_OK(rewording.load());
  for (const auto& [index, key] : choose(lines, filters.paraphrases, seed + 1)) {
    const std::string words = words_of(index);
    if (words.empty()) continue;
    auto reworded = rewording.of(words, key);
    if (!reworded) {
      TRIMTAB_CHECK_OK(rewording.save());  // what was answered is not asked again
      return tl::unexpected<Error>(reworded.error());
    }
    if (fit(*reworded, words))
      copy_of(index, *reworded, "paraphrases");
    else
      ++out.left_out["paraphrase_unfit"];
  }
  TRIMTAB_CHECK_OK(rewording.save());
  return out;
}

}  // namespace trimtab::model
