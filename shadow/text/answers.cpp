#include "shadow/text/answers.h"

#include "shadow/text/ngrams.h"

namespace trimtab::shadow {

Words squad_words(const Text& text) {
  Text kept = lower(text);
  std::erase_if(kept, is_ascii_punctuation);
  Text without_articles;
  for (std::size_t i = 0; i < kept.size();) {
    if (!is_word(kept[i])) {
      without_articles.push_back(kept[i++]);
      continue;
    }
    std::size_t end = i;
    while (end < kept.size() && is_word(kept[end])) ++end;
    const Text word = kept.substr(i, end - i);
    without_articles += word == U"a" || word == U"an" || word == U"the" ? Text(U" ") : word;
    i = end;
  }
  return split(without_articles);
}

double token_f1(const Words& prediction, const Words& answer) {
  NgramCounts<Words> found, wanted;
  count_ngrams(prediction, 1, found);
  count_ngrams(answer, 1, wanted);
  const double same = static_cast<double>(matches(found, wanted));
  if (same == 0.0) return 0.0;
  const double precision = same / static_cast<double>(prediction.size());
  const double recall = same / static_cast<double>(answer.size());
  return 2.0 * precision * recall / (precision + recall);
}

Result<double> distinct_ngrams(std::span<const Text> lines, int n) {
  NgramCounts<Words> counts;
  for (const Text& line : lines) count_ngrams(split(line), static_cast<std::size_t>(n), counts);
  if (counts.empty()) return fail(Code::kInvalid, "distinct: no line has n words");
  return static_cast<double>(counts.size()) / static_cast<double>(total(counts));
}

Result<double> repetition(std::span<const Text> lines, int n) {
  double sum = 0.0, used = 0.0;
  for (const Text& line : lines) {
    NgramCounts<Words> counts;
    count_ngrams(split(line), static_cast<std::size_t>(n), counts);
    if (counts.empty()) continue;
    sum += 1.0 - static_cast<double>(counts.size()) / static_cast<double>(total(counts));
    used += 1.0;
  }
  if (used == 0.0) return fail(Code::kInvalid, "repetition: no line has n words");
  return sum / used;
}

}  // namespace trimtab::shadow
