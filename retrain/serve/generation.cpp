#include "retrain/serve/generation.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace trimtab::serve {

std::string_view finish_reason(Finish finish) {
  switch (finish) {
    case Finish::kStop: return "stop";
    case Finish::kLength: return "length";
    case Finish::kCancelled: return "cancelled";
    case Finish::kError: return "error";
    case Finish::kNone: break;
  }
  return "";
}

Progress Generation::take(std::int64_t wait_ms, bool until_done) {
  std::unique_lock lock(mutex_);
  streaming_ = !until_done;
  changed_.wait_for(lock, std::chrono::milliseconds(wait_ms), [&] {
    return pending_.finish != Finish::kNone ||
           (!until_done && (!pending_.text.empty() || !pending_.tokens.empty()));
  });
  if (until_done && pending_.finish == Finish::kNone) return {};
  Progress taken = std::move(pending_);
  pending_ = {};
  pending_.finish = taken.finish;  // the end stays visible
  return taken;
}

void Generation::add(std::string_view text, std::optional<ProducedToken> token) {
  bool wake = false;
  {
    std::lock_guard lock(mutex_);
    pending_.text += text;
    if (token) pending_.tokens.push_back(std::move(*token));
    wake = streaming_;
  }
  if (wake) changed_.notify_one();
}

void Generation::finish(Finish finish, std::string error) {
  {
    std::lock_guard lock(mutex_);
    pending_.finish = finish;
    pending_.error = std::move(error);
  }
  changed_.notify_all();
}

std::string StopMatcher::push(std::string_view text, bool& stopped) {
  held_ += text;
  std::size_t first = std::string::npos;
  for (const auto& stop : stop_) first = std::min(first, held_.find(stop));
  if (first != std::string::npos) {
    stopped = true;
    std::string out = held_.substr(0, first);
    held_.clear();
    return out;
  }
  std::size_t keep = 0;  // the longest end that begins a stop text
  for (const auto& stop : stop_) {
    for (std::size_t n = std::min(stop.size() - 1, held_.size()); n > keep; --n) {
      if (held_.ends_with(std::string_view(stop).substr(0, n))) keep = n;
    }
  }
  std::string out = held_.substr(0, held_.size() - keep);
  held_.erase(0, held_.size() - keep);
  return out;
}

}  // namespace trimtab::serve
