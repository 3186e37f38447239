// Words: what the reference talked about. Two things come of it: `input_novelty`, how far a record
// is from everything the reference has seen (a new topic shows here soonest, whatever direction its
// vectors take), and the words gained and lost that an alarm names.
//
// novelty(record) = 1 - max over reference records r of cos(record, r), with a record as the vector
// of its distinct words' weights idf(w) = ln((N + 1) / (df(w) + 1/2)); words in more than an eighth
// of the records do not vote. An inverted index over at most 2,048 reference records makes it
// cheap. Reference records are measured as later ones will be: without themselves, and without the
// 16 records on either side (a burst of retries must not make the reference look closer to itself
// than the future will be). On CLINC150, 40 % of a new domain: .11-.36 nats an event, against
// .02-.14 for the mean surprisal of the words. Memory: 16 bytes a distinct word, 2 bytes a word of
// an indexed record, 512 named words.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "drift/bytes.h"
#include "drift/observation.h"

namespace trimtab::drift {

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
  static constexpr std::size_t kMaxIndexed = 2048;

  // Fits on the reference's records, in order.
  [[nodiscard]] static WordModel fit(const std::vector<const WordRow*>& rows);
  // Of a record that is not in the reference; NaN when it has no words.
  [[nodiscard]] double novelty(const WordRow& row) const;
  // Of the reference's own record `i`. Empty when that record only serves the index.
  [[nodiscard]] std::optional<double> novelty_within(const WordRow& row, std::size_t i) const;
  // Share of reference records with the word.
  [[nodiscard]] double share(std::uint32_t hash) const;
  [[nodiscard]] std::int64_t documents() const { return documents_; }

  // Keeps the kTopWords most frequent of `names`.
  void keep_top(std::span<const NamedWord> names);
  [[nodiscard]] const std::vector<NamedWord>& top() const { return top_; }

  void save(ByteWriter& out) const;
  [[nodiscard]] static WordModel load(ByteReader& in);

 private:
  struct Entry {  // of an open-addressing table; hash 0 = free
    std::uint32_t hash = 0;
    std::uint32_t documents = 0;  // df: of all reference records
    std::uint32_t first = 0;      // postings_[first, first + postings)
    std::uint32_t postings = 0;
  };
  struct Query {                // what is left out of the reference
    std::uint32_t own = 0;      // 1: the record itself is among the documents
    std::size_t skip_from = 0;  // rows [skip_from, skip_to) do not count as neighbours
    std::size_t skip_to = 0;
  };
  [[nodiscard]] const Entry* find(std::uint32_t hash) const;
  [[nodiscard]] std::size_t slot_of(std::uint32_t hash) const;
  [[nodiscard]] double idf(std::uint32_t documents) const;
  [[nodiscard]] double nearest(const WordRow& row, const Query& query) const;

  std::int64_t documents_ = 0;
  std::uint64_t index_every_ = 1;        // row i is indexed iff i % index_every_ == 0
  std::vector<Entry> table_;             // size a power of two
  std::vector<std::uint16_t> postings_;  // indexed record numbers, by word
  std::vector<float> norms_;             // an indexed record's length
  std::vector<NamedWord> top_;
  mutable std::vector<float> dots_;  // scratch, all 0 between calls; one thread only
};

}  // namespace trimtab::drift
