// Words: what the reference talked about. Two things come of it: `input_novelty`, the mean surprisal
// of a record's words (a new topic shows here within tens of records, whatever direction its
// vectors take), and the words gained and lost that an alarm names.
//
// novelty(record) = mean over its distinct words w of -ln((df(w) + 1/2) / (n + 1)), df = documents
// with w among the n the model was fitted on (hashed into 8,192 buckets). The model is fitted on one
// third of the reference and its bins come from the other two, so that reference and later records
// are surprised alike. Memory: 32 KB + the 512 most frequent words.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "drift/bytes.h"
#include "drift/observation.h"

namespace trimtab::drift {

inline constexpr std::size_t kWordBuckets = 8192;
inline constexpr std::size_t kTopWords = 512;

// Hash of a normalized word as rows keep it.
[[nodiscard]] std::uint32_t word_hash(const Word& word);

// The words of one collected record.
struct WordRow {
  std::array<std::uint32_t, kMaxWords> hashes{};
  std::uint32_t count = 0;

  [[nodiscard]] static WordRow of(const Observation& event);
  [[nodiscard]] std::span<const std::uint32_t> words() const { return {hashes.data(), count}; }
};

struct NamedWord {
  std::uint32_t hash = 0;
  Word word;
};

class WordModel {
 public:
  WordModel() : buckets_(kWordBuckets, 0) {}
  // One fitted record.
  void fit(const WordRow& row);
  // NaN when the record has no words.
  [[nodiscard]] double novelty(const WordRow& row) const;
  // Share of fitted records with the word (an upper bound: buckets may be shared).
  [[nodiscard]] double share(std::uint32_t hash) const;
  [[nodiscard]] std::int64_t documents() const { return documents_; }

  // Keeps the kTopWords most frequent of `names`, with their share.
  void keep_top(std::span<const NamedWord> names);
  [[nodiscard]] const std::vector<NamedWord>& top() const { return top_; }

  void save(ByteWriter& out) const;
  [[nodiscard]] static WordModel load(ByteReader& in);

 private:
  std::vector<std::uint32_t> buckets_;
  std::int64_t documents_ = 0;
  std::vector<NamedWord> top_;
};

}  // namespace trimtab::drift
