#include "retrain/model/shared_prefix.h"

#include <algorithm>
#include <numeric>

#include "retrain/model/compat.h"

namespace trimtab::model {
namespace {

using Document = std::span<const std::int64_t>;

std::int64_t common_length(Document a, Document b) {
  const auto end = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  return end.first - a.begin();
}

// Builds the tree over documents in lexicographic order: neighbours share the most.
class Tree {
 public:
  Tree(const std::vector<Document>& documents, const Adapter* adapter, const Caches& caches,
       SharedBatch& out)
      : documents_(documents),
        adapter_(adapter),
        caches_(caches),
        out_(out),
        first_(out.rows.size()) {
    out_.rows.resize(first_ + documents.size());
    order_.resize(documents.size());
    std::iota(order_.begin(), order_.end(), std::size_t{0});
    std::stable_sort(order_.begin(), order_.end(), [&](std::size_t a, std::size_t b) {
      return std::lexicographical_compare(documents[a].begin(), documents[a].end(),
                                          documents[b].begin(), documents[b].end());
    });
    common_.resize(documents.size());  // with the next in order
    for (std::size_t i = 0; i + 1 < order_.size(); ++i)
      common_[i] = common_length(documents[order_[i]], documents[order_[i + 1]]);
  }

  void build() { branch(0, order_.size(), 0, {}); }

 private:
  // Documents [begin, end) of the order agree in their first `depth` tokens, whose rows are
  // `trunk`.
  void branch(std::size_t begin, std::size_t end, std::int64_t depth,
              const std::vector<RowRange>& trunk) {
    while (begin < end) {
      // The longest run from `begin` whose members share at least kLeastShared tokens more.
      std::size_t last = begin + 1;
      std::int64_t shared = common_[begin];
      while (last < end && common_[last - 1] >= depth + kLeastShared) {
        shared = std::min(shared, common_[last - 1]);
        ++last;
      }
      if (last - begin < 2) {
        leaf(order_[begin], depth, trunk);
      } else {
        split(begin, last, depth, shared, trunk);
      }
      begin = last;
    }
  }

  void split(std::size_t begin, std::size_t end, std::int64_t depth, std::int64_t shared,
             const std::vector<RowRange>& trunk) {
    const RowRange own = add(documents_[order_[begin]], depth, shared, trunk);
    for (std::size_t i = begin; i < end; ++i) place(order_[i], own);
    std::vector<RowRange> longer = trunk;
    longer.push_back(own);
    // Those that end with the trunk need no rows of their own; they come first in the order.
    std::size_t rest = begin;
    while (rest < end && length(order_[rest]) == shared) ++rest;
    branch(rest, end, shared, longer);
  }

  void leaf(std::size_t document, std::int64_t depth, const std::vector<RowRange>& trunk) {
    // place() first gave the trunk's rows; the segment's own follow.
    place(document, add(documents_[document], depth, length(document), trunk));
    if (!caches_.empty()) out_.batch.segments.back().cache = caches_[document];
  }

  // Tokens [from, to) of `document` as a segment behind the trunk.
  RowRange add(Document document, std::int64_t from, std::int64_t to,
               const std::vector<RowRange>& trunk) {
    Batch& batch = out_.batch;
    const RowRange own{static_cast<std::int64_t>(batch.ids.size()), to - from};
    for (std::int64_t t = from; t < to; ++t) {
      batch.ids.push_back(document[static_cast<std::size_t>(t)]);
      batch.positions.push_back(t);
    }
    batch.segments.push_back({to - from, nullptr, adapter_, trunk});
    return own;
  }

  void place(std::size_t document, RowRange own) {
    auto& rows = out_.rows[first_ + document];
    for (std::int64_t i = 0; i < own.length; ++i) rows.push_back(own.begin + i);
  }

  [[nodiscard]] std::int64_t length(std::size_t document) const {
    return static_cast<std::int64_t>(documents_[document].size());
  }

  const std::vector<Document>& documents_;
  const Adapter* adapter_;
  const Caches& caches_;
  SharedBatch& out_;
  std::size_t first_;
  std::vector<std::size_t> order_;
  std::vector<std::int64_t> common_;
};

void append_apart(const std::vector<Document>& documents, const Adapter* adapter,
                  const Caches& caches, SharedBatch& out) {
  for (std::size_t d = 0; d < documents.size(); ++d) {
    auto& rows = out.rows.emplace_back(documents[d].size());
    std::iota(rows.begin(), rows.end(), static_cast<std::int64_t>(out.batch.ids.size()));
    out.batch.add({documents[d].begin(), documents[d].end()}, adapter,
                  caches.empty() ? nullptr : caches[d]);
  }
}

}  // namespace

void append_shared(const std::vector<Document>& documents, const Adapter* adapter, bool share,
                   const Caches& caches, SharedBatch& out) {
  for (const Document& document : documents) CHECK(!document.empty(), "no document is empty");
  if (!share) return append_apart(documents, adapter, caches, out);
  Tree(documents, adapter, caches, out).build();
}

SharedBatch share_prefixes(const std::vector<Document>& documents, const Adapter* adapter,
                           bool share) {
  SharedBatch out;
  append_shared(documents, adapter, share, {}, out);
  return out;
}

bool can_share(const ModelConfig& config) { return !config.rope.length_dependent(); }

}  // namespace trimtab::model
