#include "shadow/text/bleu.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "shadow/text/ngrams.h"

namespace trimtab::shadow {
namespace {

constexpr std::size_t kOrder = 4;

struct Tally {
  std::array<double, kOrder> correct{};
  std::array<double, kOrder> possible{};
  double hypothesis_words = 0.0, reference_words = 0.0;
};

double closest(double length, const std::vector<double>& candidates) {
  double best = candidates.front();
  for (const double candidate : candidates) {
    const double gap = std::fabs(candidate - length), best_gap = std::fabs(best - length);
    if (gap < best_gap || (gap == best_gap && candidate < best)) best = candidate;
  }
  return best;
}

void tally_line(const Ids& hypothesis, const std::vector<Ids>& references, Tally& tally) {
  std::vector<double> lengths;
  for (const Ids& reference : references) lengths.push_back(static_cast<double>(reference.size()));
  const double length = static_cast<double>(hypothesis.size());
  tally.hypothesis_words += length;
  tally.reference_words += closest(length, lengths);
  for (std::size_t n = 1; n <= kOrder; ++n) {
    NgramCounts<Ids> found, allowed;
    count_ngrams(hypothesis, n, found);
    for (const Ids& reference : references) {
      NgramCounts<Ids> counts;
      count_ngrams(reference, n, counts);
      for (const auto& [ngram, count] : counts) {
        auto& most = allowed[ngram];
        most = std::max(most, count);
      }
    }
    tally.correct[n - 1] += static_cast<double>(matches(found, allowed));
    tally.possible[n - 1] += static_cast<double>(total(found));
  }
}

Bleu score_of(Tally tally, const BleuOptions& options) {
  Bleu bleu;
  if (tally.hypothesis_words < tally.reference_words) {
    bleu.brevity_penalty = tally.hypothesis_words > 0.0
                               ? std::exp(1.0 - tally.reference_words / tally.hypothesis_words)
                               : 0.0;
  }
  if (std::all_of(tally.correct.begin(), tally.correct.end(), [](double c) { return c == 0.0; })) {
    return bleu;
  }
  double halving = 1.0;
  std::size_t order = kOrder;
  for (std::size_t n = 0; n < kOrder; ++n) {
    if (options.smoothing == Smoothing::kAddK && n > 0) {
      tally.correct[n] += options.smooth_value;
      tally.possible[n] += options.smooth_value;
    }
    if (tally.possible[n] == 0.0) break;
    if (options.effective_order) order = n + 1;
    if (tally.correct[n] > 0.0) {
      bleu.precisions[n] = 100.0 * tally.correct[n] / tally.possible[n];
    } else if (options.smoothing == Smoothing::kExp) {
      halving *= 2.0;
      bleu.precisions[n] = 100.0 / (halving * tally.possible[n]);
    } else if (options.smoothing == Smoothing::kFloor) {
      bleu.precisions[n] = 100.0 * options.smooth_value / tally.possible[n];
    }
  }
  double sum = 0.0;
  for (std::size_t n = 0; n < order; ++n) {
    sum += bleu.precisions[n] > 0.0 ? std::log(bleu.precisions[n]) : -9999999999.0;
  }
  bleu.score = bleu.brevity_penalty * std::exp(sum / static_cast<double>(order));
  return bleu;
}

}  // namespace

Bleu bleu(std::span<const Text> hypotheses, std::span<const std::vector<Text>> references,
          const BleuOptions& options) {
  Vocabulary vocabulary;
  const auto ids = [&](const Text& text) {
    return vocabulary.ids(tokenize(options.tokenizer, options.lowercase ? lower(text) : text));
  };
  Tally tally;
  for (std::size_t i = 0; i < hypotheses.size(); ++i) {
    std::vector<Ids> of_line;
    for (const auto& reference : references) of_line.push_back(ids(reference[i]));
    tally_line(ids(hypotheses[i]), of_line, tally);
  }
  return score_of(tally, options);
}

}  // namespace trimtab::shadow
