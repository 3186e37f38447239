#include "shadow/text/rouge.h"

#include <algorithm>
#include <map>
#include <set>

#include "shadow/text/ngrams.h"
#include "shadow/text/porter.h"

namespace trimtab::shadow {
namespace {

using Tokens = std::vector<std::string>;

Tokens tokens_of(const Text& text, bool stem) {
  Tokens tokens;
  std::string word;
  const auto finish = [&] {
    if (stem && word.size() > 3) word = porter_stem(std::move(word));
    if (!word.empty()) tokens.push_back(std::move(word));
    word.clear();
  };
  for (const char32_t c : lower(text)) {
    if ((c >= U'a' && c <= U'z') || (c >= U'0' && c <= U'9')) {
      word.push_back(static_cast<char>(c));
    } else {
      finish();
    }
  }
  finish();
  return tokens;
}

Rouge score(double hits, double hypothesis, double reference) {
  Rouge found;
  if (hypothesis > 0.0) found.precision = hits / hypothesis;
  if (reference > 0.0) found.recall = hits / reference;
  const double sum = found.precision + found.recall;
  if (sum > 0.0) found.f = 2.0 * found.precision * found.recall / sum;
  return found;
}

Rouge rouge_n(const Tokens& hypothesis, const Tokens& reference, std::size_t n) {
  NgramCounts<Tokens> found, wanted;
  count_ngrams(hypothesis, n, found);
  count_ngrams(reference, n, wanted);
  return score(static_cast<double>(matches(found, wanted)), static_cast<double>(total(found)),
               static_cast<double>(total(wanted)));
}

// Positions in `reference` of one longest common subsequence.
std::vector<std::size_t> longest_common(const Tokens& reference, const Tokens& hypothesis) {
  const std::size_t rows = reference.size(), columns = hypothesis.size();
  std::vector<std::vector<int>> table(rows + 1, std::vector<int>(columns + 1, 0));
  for (std::size_t i = 1; i <= rows; ++i) {
    for (std::size_t j = 1; j <= columns; ++j) {
      table[i][j] = reference[i - 1] == hypothesis[j - 1]
                        ? table[i - 1][j - 1] + 1
                        : std::max(table[i - 1][j], table[i][j - 1]);
    }
  }
  std::vector<std::size_t> positions;
  for (std::size_t i = rows, j = columns; i > 0 && j > 0;) {
    if (reference[i - 1] == hypothesis[j - 1]) {
      positions.push_back(i - 1);
      --i;
      --j;
    } else if (table[i][j - 1] > table[i - 1][j]) {
      --j;
    } else {
      --i;
    }
  }
  return positions;
}

std::vector<Tokens> sentences_of(const Text& text, bool stem) {
  std::vector<Tokens> sentences;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(U'\n', begin), text.size());
    if (end > begin) sentences.push_back(tokens_of(text.substr(begin, end - begin), stem));
    begin = end + 1;
  }
  return sentences;
}

// Summary level: hits are the union of the subsequences with each sentence of the hypothesis,
// every word counted no more often than it occurs on either side.
Rouge rouge_lsum(const Text& hypothesis_text, const Text& reference_text, bool stem) {
  const auto hypothesis = sentences_of(hypothesis_text, stem);
  const auto reference = sentences_of(reference_text, stem);
  std::map<std::string, int> left_hypothesis, left_reference;
  double hypothesis_words = 0.0, reference_words = 0.0, hits = 0.0;
  for (const Tokens& sentence : hypothesis) {
    hypothesis_words += static_cast<double>(sentence.size());
    for (const auto& token : sentence) ++left_hypothesis[token];
  }
  for (const Tokens& sentence : reference) {
    reference_words += static_cast<double>(sentence.size());
    for (const auto& token : sentence) ++left_reference[token];
  }
  for (const Tokens& sentence : reference) {
    std::set<std::size_t> common;
    for (const Tokens& other : hypothesis) {
      for (const std::size_t position : longest_common(sentence, other)) common.insert(position);
    }
    for (const std::size_t position : common) {
      int& in_hypothesis = left_hypothesis[sentence[position]];
      int& in_reference = left_reference[sentence[position]];
      if (in_hypothesis <= 0 || in_reference <= 0) continue;
      hits += 1.0;
      --in_hypothesis;
      --in_reference;
    }
  }
  return score(hits, hypothesis_words, reference_words);
}

}  // namespace

Rouge rouge(RougeKind kind, const Text& hypothesis, const Text& reference, bool stem) {
  if (kind == RougeKind::kLsum) return rouge_lsum(hypothesis, reference, stem);
  const Tokens found = tokens_of(hypothesis, stem), wanted = tokens_of(reference, stem);
  if (kind == RougeKind::k1) return rouge_n(found, wanted, 1);
  if (kind == RougeKind::k2) return rouge_n(found, wanted, 2);
  return score(static_cast<double>(longest_common(wanted, found).size()),
               static_cast<double>(found.size()), static_cast<double>(wanted.size()));
}

}  // namespace trimtab::shadow
