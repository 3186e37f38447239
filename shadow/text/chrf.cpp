#include "shadow/text/chrf.h"

#include "shadow/text/ngrams.h"

namespace trimtab::shadow {
namespace {

struct OrderTally {
  double hypothesis = 0.0, reference = 0.0, matched = 0.0;
};
using Tally = std::vector<OrderTally>;

// Punctuation at the end of a word, else at its beginning, becomes a word of its own.
Words split_punctuation(const Text& text) {
  Words words;
  for (const Text& word : split(text)) {
    if (word.size() > 1 && is_ascii_punctuation(word.back())) {
      words.push_back(word.substr(0, word.size() - 1));
      words.push_back(word.substr(word.size() - 1));
    } else if (word.size() > 1 && is_ascii_punctuation(word.front())) {
      words.push_back(word.substr(0, 1));
      words.push_back(word.substr(1));
    } else {
      words.push_back(word);
    }
  }
  return words;
}

struct Line {
  Text characters;
  Words words;
};

Line prepare(const Text& text, const ChrfOptions& options) {
  const Text cased = options.lowercase ? lower(text) : text;
  Line line;
  for (const char32_t c : cased) {
    if (options.whitespace || !is_space(c)) line.characters.push_back(c);
  }
  if (options.word_order > 0) line.words = split_punctuation(cased);
  return line;
}

template <typename Sequence>
OrderTally tally_order(const Sequence& hypothesis, const Sequence& reference, int order) {
  NgramCounts<Sequence> found, wanted;
  count_ngrams(hypothesis, static_cast<std::size_t>(order), found);
  count_ngrams(reference, static_cast<std::size_t>(order), wanted);
  // No hits are counted where the reference has no n-gram of this order.
  return {wanted.empty() ? 0.0 : static_cast<double>(total(found)),
          static_cast<double>(total(wanted)), static_cast<double>(matches(found, wanted))};
}

Tally tally_line(const Line& hypothesis, const Line& reference, const ChrfOptions& options) {
  Tally tally;
  for (int n = 1; n <= options.char_order; ++n) {
    tally.push_back(tally_order(hypothesis.characters, reference.characters, n));
  }
  for (int n = 1; n <= options.word_order; ++n) {
    tally.push_back(tally_order(hypothesis.words, reference.words, n));
  }
  return tally;
}

double f_score(const Tally& tally, const ChrfOptions& options) {
  constexpr double kEps = 1e-16;
  const double factor = options.beta * options.beta;
  double smoothed = 0.0, precision_sum = 0.0, recall_sum = 0.0, orders = 0.0;
  for (const OrderTally& order : tally) {
    const double precision = order.hypothesis > 0.0 ? order.matched / order.hypothesis : kEps;
    const double recall = order.reference > 0.0 ? order.matched / order.reference : kEps;
    const double denominator = factor * precision + recall;
    smoothed += denominator > 0.0 ? (1.0 + factor) * precision * recall / denominator : kEps;
    if (order.hypothesis > 0.0 && order.reference > 0.0) {
      precision_sum += precision;
      recall_sum += recall;
      orders += 1.0;
    }
  }
  if (options.eps_smoothing) return 100.0 * smoothed / static_cast<double>(tally.size());
  if (orders == 0.0 || precision_sum + recall_sum == 0.0) return 0.0;
  const double precision = precision_sum / orders, recall = recall_sum / orders;
  return 100.0 * (1.0 + factor) * precision * recall / (factor * precision + recall);
}

}  // namespace

double chrf(std::span<const Text> hypotheses, std::span<const std::vector<Text>> references,
            const ChrfOptions& options) {
  Tally corpus(static_cast<std::size_t>(options.char_order + options.word_order));
  for (std::size_t i = 0; i < hypotheses.size(); ++i) {
    const Line hypothesis = prepare(hypotheses[i], options);
    Tally best;
    double best_score = -1.0;
    for (const auto& reference : references) {
      Tally tally = tally_line(hypothesis, prepare(reference[i], options), options);
      const double score = f_score(tally, options);
      if (score > best_score) {
        best_score = score;
        best = std::move(tally);
      }
    }
    for (std::size_t n = 0; n < best.size(); ++n) {
      corpus[n].hypothesis += best[n].hypothesis;
      corpus[n].reference += best[n].reference;
      corpus[n].matched += best[n].matched;
    }
  }
  return f_score(corpus, options);
}

}  // namespace trimtab::shadow
