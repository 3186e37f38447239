#include "drift/words.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/hash.h"

namespace trimtab::drift {
namespace {

constexpr std::size_t kNeighbours = 16;  // on either side of a reference record

}  // namespace

std::uint32_t word_hash(const Word& word) {
  const auto hash = static_cast<std::uint32_t>(stable_hash(word.view()) >> 32);
  return hash == 0 ? 1 : hash;  // 0 is a free slot
}

WordRow WordRow::of(const Observation& event) {
  WordRow row;
  row.count = event.word_count;
  for (std::size_t i = 0; i < event.word_count; ++i) row.hashes[i] = word_hash(event.words[i]);
  return row;
}

std::size_t WordModel::slot_of(std::uint32_t hash) const {
  std::size_t slot = hash & (table_.size() - 1);
  while (table_[slot].hash != 0 && table_[slot].hash != hash) {
    slot = (slot + 1) & (table_.size() - 1);
  }
  return slot;
}

const WordModel::Entry* WordModel::find(std::uint32_t hash) const {
  if (table_.empty()) return nullptr;
  const Entry& entry = table_[slot_of(hash)];
  return entry.hash == 0 ? nullptr : &entry;
}

double WordModel::idf(std::uint32_t documents) const {
  return std::log((static_cast<double>(documents_) + 1.0) / (static_cast<double>(documents) + 0.5));
}

WordModel WordModel::fit(const std::vector<const WordRow*>& rows) {
  WordModel model;
  model.documents_ = static_cast<std::int64_t>(rows.size());
  model.index_every_ = std::max<std::size_t>(1, (rows.size() + kMaxIndexed - 1) / kMaxIndexed);
  std::size_t words = 0;
  for (const WordRow* row : rows) words += row->count;
  model.table_.resize(std::bit_ceil(2 * words + 2));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (const std::uint32_t hash : rows[i]->words()) {
      Entry& entry = model.table_[model.slot_of(hash)];
      entry.hash = hash;
      ++entry.documents;
      if (i % model.index_every_ == 0) ++entry.postings;
    }
  }
  std::uint32_t total = 0;
  for (Entry& entry : model.table_) {
    entry.first = total;
    total += entry.postings;
    entry.postings = 0;
  }
  model.postings_.resize(total);
  for (std::size_t i = 0; i < rows.size(); i += model.index_every_) {
    double squares = 0.0;
    for (const std::uint32_t hash : rows[i]->words()) {
      Entry& entry = model.table_[model.slot_of(hash)];
      model.postings_[entry.first + entry.postings++] =
          static_cast<std::uint16_t>(model.norms_.size());
      squares += model.idf(entry.documents) * model.idf(entry.documents);
    }
    model.norms_.push_back(static_cast<float>(std::sqrt(squares)));
  }
  model.dots_.assign(model.norms_.size(), 0.0F);
  return model;
}

// 1 - the largest cosine; NaN without words.
double WordModel::nearest(const WordRow& row, const Query& query) const {
  if (row.count == 0 || documents_ == 0) return std::numeric_limits<double>::quiet_NaN();
  double squares = 0.0;
  for (const std::uint32_t hash : row.words()) {
    const Entry* entry = find(hash);
    const double weight = idf(entry == nullptr ? 0 : entry->documents - query.own);
    squares += weight * weight;
    if (entry == nullptr || 8 * static_cast<std::int64_t>(entry->documents) > documents_) continue;
    const auto gain = static_cast<float>(weight * idf(entry->documents));
    for (std::uint32_t p = 0; p < entry->postings; ++p) {
      dots_[postings_[entry->first + p]] += gain;
    }
  }
  float best = 0.0F;
  for (std::size_t r = 0; r < dots_.size(); ++r) {
    const std::size_t at = r * index_every_;
    const bool skipped = at >= query.skip_from && at < query.skip_to;
    if (!skipped && norms_[r] > 0.0F) best = std::max(best, dots_[r] / norms_[r]);
    dots_[r] = 0.0F;
  }
  if (squares <= 0.0) return std::numeric_limits<double>::quiet_NaN();
  return 1.0 - std::min(1.0, static_cast<double>(best) / std::sqrt(squares));
}

double WordModel::novelty(const WordRow& row) const { return nearest(row, {}); }

std::optional<double> WordModel::novelty_within(const WordRow& row, std::size_t i) const {
  if (index_every_ > 1 && i % index_every_ == 0) return std::nullopt;
  return nearest(row, {.own = 1,
                       .skip_from = i < kNeighbours ? 0 : i - kNeighbours,
                       .skip_to = i + kNeighbours + 1});
}

double WordModel::share(std::uint32_t hash) const {
  const Entry* entry = find(hash);
  if (entry == nullptr || documents_ == 0) return 0.0;
  return static_cast<double>(entry->documents) / static_cast<double>(documents_);
}

void WordModel::keep_top(std::span<const NamedWord> names) {
  top_.assign(names.begin(), names.end());
  std::sort(top_.begin(), top_.end(), [this](const NamedWord& a, const NamedWord& b) {
    const double x = share(a.hash);
    const double y = share(b.hash);
    return x != y ? x > y : a.hash < b.hash;
  });
  if (top_.size() > kTopWords) top_.resize(kTopWords);
}

void WordModel::save(ByteWriter& out) const {
  out.put(documents_);
  out.put(index_every_);
  out.put_all(table_);
  out.put_all(postings_);
  out.put_all(norms_);
  out.put_all(top_);
}

WordModel WordModel::load(ByteReader& in) {
  WordModel model;
  in.get_into(model.documents_);
  in.get_into(model.index_every_);
  model.table_ = in.get_all<Entry>();
  model.postings_ = in.get_all<std::uint16_t>();
  model.norms_ = in.get_all<float>();
  model.top_ = in.get_all<NamedWord>();
  bool fits = model.documents_ > 0 && model.index_every_ > 0 &&
              std::has_single_bit(model.table_.size()) && model.norms_.size() <= kMaxIndexed;
  std::size_t used = 0;
  for (const Entry& entry : model.table_) {
    used += entry.hash != 0 ? 1 : 0;
    fits = fits && static_cast<std::size_t>(entry.first) + entry.postings <= model.postings_.size();
  }
  for (const std::uint16_t r : model.postings_) fits = fits && r < model.norms_.size();
  if (!in.ok() || !fits || used >= model.table_.size()) {  // a full table would be searched forever
    in.reject();
    return {};
  }
  model.dots_.assign(model.norms_.size(), 0.0F);
  return model;
}

}  // namespace trimtab::drift
