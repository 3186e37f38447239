#include "drift/words.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/hash.h"

namespace trimtab::drift {

std::uint32_t word_hash(const Word& word) {
  return static_cast<std::uint32_t>(stable_hash(word.view()) >> 32);
}

WordRow WordRow::of(const Observation& event) {
  WordRow row;
  row.count = event.word_count;
  for (std::size_t i = 0; i < event.word_count; ++i) row.hashes[i] = word_hash(event.words[i]);
  return row;
}

void WordModel::fit(const WordRow& row) {
  ++documents_;
  for (const std::uint32_t hash : row.words()) ++buckets_[hash % kWordBuckets];
}

double WordModel::novelty(const WordRow& row) const {
  if (row.count == 0) return std::numeric_limits<double>::quiet_NaN();
  const double n = static_cast<double>(documents_) + 1.0;
  double sum = 0.0;
  for (const std::uint32_t hash : row.words()) {
    sum -= std::log((static_cast<double>(buckets_[hash % kWordBuckets]) + 0.5) / n);
  }
  return sum / static_cast<double>(row.count);
}

double WordModel::share(std::uint32_t hash) const {
  if (documents_ == 0) return 0.0;
  return std::min(1.0, static_cast<double>(buckets_[hash % kWordBuckets]) /
                           static_cast<double>(documents_));
}

void WordModel::keep_top(std::span<const NamedWord> names) {
  top_.assign(names.begin(), names.end());
  std::sort(top_.begin(), top_.end(), [this](const NamedWord& a, const NamedWord& b) {
    const auto x = buckets_[a.hash % kWordBuckets];
    const auto y = buckets_[b.hash % kWordBuckets];
    return x != y ? x > y : a.hash < b.hash;
  });
  if (top_.size() > kTopWords) top_.resize(kTopWords);
}

void WordModel::save(ByteWriter& out) const {
  out.put(documents_);
  out.put_all(buckets_);
  out.put_all(top_);
}

WordModel WordModel::load(ByteReader& in) {
  WordModel model;
  in.get_into(model.documents_);
  model.buckets_ = in.get_all<std::uint32_t>();
  model.top_ = in.get_all<NamedWord>();
  if (model.buckets_.size() != kWordBuckets || model.documents_ < 0) {
    in.reject();
    return {};
  }
  return model;
}

}  // namespace trimtab::drift
