#include "retrain/example.h"

#include "base/hash.h"

namespace trimtab::retrain {

std::string class_of(const Example& example) {
  constexpr std::size_t kShort = 64;
  if (!example.label.empty()) return example.label;
  if (example.completion.size() > kShort) return "other";
  return example.completion;
}

std::string prompt_text(const std::vector<Message>& messages) {
  std::string text;
  for (const Message& message : messages) {
    if (!text.empty()) text += '\n';
    text += message.content;
  }
  return text;
}

bool is_evaluation_unit(const std::string& unit, double eval_share) {
  return stable_fraction(unit, kEvalSeed) < eval_share;
}

}  // namespace trimtab::retrain
