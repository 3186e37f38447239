#include "shadow/text/ter.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <tuple>

namespace trimtab::shadow {
namespace {

constexpr int kMaxShiftWords = 10;
constexpr int kMaxShiftDistance = 50;
constexpr int kMaxCandidates = 1000;
constexpr int kBeam = 25;
constexpr int kUnreached = 1 << 29;

enum class Edit : char { kUndefined, kKeep, kSubstitute, kDelete, kInsert };

struct Alignment {
  int edits = 0;
  std::vector<int> hypothesis_of;     // the hypothesis position that a reference word aligns to
  std::vector<char> reference_wrong;  // one a reference word
  std::vector<char> hypothesis_wrong;
};

struct Cell {
  int cost = kUnreached;
  Edit edit = Edit::kUndefined;
};

// Edit distance of hypothesis to reference within a beam around the diagonal.
class EditTable {
 public:
  EditTable(const Ids& hypothesis, const Ids& reference)
      : rows_(static_cast<int>(hypothesis.size())),
        columns_(static_cast<int>(reference.size())),
        cells_(static_cast<std::size_t>(rows_ + 1) * static_cast<std::size_t>(columns_ + 1)) {
    for (int j = 0; j <= columns_; ++j) at(0, j) = {j, Edit::kInsert};
    const double ratio = rows_ > 0 ? static_cast<double>(columns_) / rows_ : 1.0;
    const int beam = kBeam < ratio / 2.0 ? static_cast<int>(std::ceil(ratio / 2.0 + kBeam)) : kBeam;
    for (int i = 1; i <= rows_; ++i) {
      const int diagonal = static_cast<int>(std::floor(i * ratio));
      const int end = i == rows_ ? columns_ + 1 : std::min(columns_ + 1, diagonal + beam);
      for (int j = std::max(0, diagonal - beam); j < end; ++j) fill(i, j, hypothesis, reference);
    }
  }
  [[nodiscard]] int edits() { return at(rows_, columns_).cost; }

  [[nodiscard]] Alignment alignment() {
    std::vector<Edit> trace;
    for (int i = rows_, j = columns_; i > 0 || j > 0;) {
      Edit edit = at(i, j).edit;
      if (edit == Edit::kUndefined) edit = i == 0 ? Edit::kInsert : Edit::kDelete;
      trace.push_back(edit);
      if (edit != Edit::kInsert) --i;
      if (edit != Edit::kDelete) --j;
    }
    Alignment found;
    found.edits = edits();
    int position = -1;
    for (auto edit = trace.rbegin(); edit != trace.rend(); ++edit) {
      const char wrong = *edit == Edit::kKeep ? 0 : 1;
      if (*edit != Edit::kInsert) {
        ++position;
        found.hypothesis_wrong.push_back(wrong);
      }
      if (*edit != Edit::kDelete) {
        found.hypothesis_of.push_back(position);
        found.reference_wrong.push_back(wrong);
      }
    }
    return found;
  }

 private:
  Cell& at(int i, int j) {
    return cells_[static_cast<std::size_t>(i) * static_cast<std::size_t>(columns_ + 1) +
                  static_cast<std::size_t>(j)];
  }
  void fill(int i, int j, const Ids& hypothesis, const Ids& reference) {
    Cell& cell = at(i, j);
    if (j == 0) {
      cell = {at(i - 1, 0).cost + 1, Edit::kDelete};
      return;
    }
    const bool same =
        hypothesis[static_cast<std::size_t>(i - 1)] == reference[static_cast<std::size_t>(j - 1)];
    const Cell ways[] = {
        {at(i - 1, j - 1).cost + (same ? 0 : 1), same ? Edit::kKeep : Edit::kSubstitute},
        {at(i - 1, j).cost + 1, Edit::kDelete},
        {at(i, j - 1).cost + 1, Edit::kInsert}};
    for (const Cell& way : ways) {
      if (way.cost < cell.cost) cell = way;
    }
  }

  int rows_, columns_;
  std::vector<Cell> cells_;
};

Ids shifted(const Ids& words, int start, int length, int target) {
  Ids rest(words);
  const auto begin = words.begin() + start;
  rest.erase(rest.begin() + start, rest.begin() + start + length);
  int at = target;  // within the phrase: counted from its start, as Tercom does
  if (target > start + length) at = target - length;
  at = std::min(at, static_cast<int>(rest.size()));
  rest.insert(rest.begin() + at, begin, begin + length);
  return rest;
}

struct Shift {
  std::tuple<int, int, int, int> rank;  // gain, length, -start, -target: the largest wins
  Ids words;
};

bool any_wrong(const std::vector<char>& wrong, int start, int length) {
  return std::any_of(wrong.begin() + start, wrong.begin() + start + length,
                     [](char w) { return w != 0; });
}

// The best shift of one line.
class ShiftSearch {
 public:
  ShiftSearch(const Ids& hypothesis, const Ids& reference, int& candidates)
      : hypothesis_(hypothesis),
        reference_(reference),
        alignment_(EditTable(hypothesis, reference).alignment()),
        candidates_(candidates) {}

  [[nodiscard]] std::optional<Shift> best() {
    const int n = static_cast<int>(hypothesis_.size()), m = static_cast<int>(reference_.size());
    for (int start = 0; start < n; ++start) {
      for (int to = 0; to < m; ++to) {
        if (std::abs(to - start) > kMaxShiftDistance) continue;
        for (int length = 1; length <= kMaxShiftWords && start + length <= n && to + length <= m;
             ++length) {
          if (word(hypothesis_, start + length - 1) != word(reference_, to + length - 1)) break;
          if (!try_phrase(start, to, length)) return best_;
        }
      }
    }
    return best_;
  }

 private:
  static int word(const Ids& words, int at) { return words[static_cast<std::size_t>(at)]; }
  [[nodiscard]] int aligned(int reference_at) const {
    return alignment_.hypothesis_of[static_cast<std::size_t>(reference_at)];
  }

  // False when the candidates of this line are used up.
  bool try_phrase(int start, int to, int length) {
    if (!any_wrong(alignment_.hypothesis_wrong, start, length) ||
        !any_wrong(alignment_.reference_wrong, to, length) ||
        (start <= aligned(to) && aligned(to) < start + length)) {
      return true;
    }
    int previous = -1;
    for (int offset = -1; offset < length; ++offset) {
      if (to + offset >= static_cast<int>(reference_.size())) break;
      const int target = to + offset == -1 ? 0 : aligned(to + offset) + 1;
      if (target == previous) continue;
      previous = target;
      Shift shift{{0, length, -start, -target}, shifted(hypothesis_, start, length, target)};
      std::get<0>(shift.rank) = alignment_.edits - EditTable(shift.words, reference_).edits();
      ++candidates_;
      if (!best_ || shift.rank > best_->rank) best_ = std::move(shift);
    }
    return candidates_ < kMaxCandidates;
  }

  const Ids& hypothesis_;
  const Ids& reference_;
  Alignment alignment_;
  int& candidates_;
  std::optional<Shift> best_;
};

int edits_of(Ids hypothesis, const Ids& reference) {
  if (reference.empty()) return static_cast<int>(hypothesis.size());
  int shifts = 0, candidates = 0;
  for (;;) {
    auto shift = ShiftSearch(hypothesis, reference, candidates).best();
    if (candidates >= kMaxCandidates || !shift || std::get<0>(shift->rank) <= 0) break;
    ++shifts;
    hypothesis = std::move(shift->words);
  }
  return shifts + EditTable(hypothesis, reference).edits();
}

}  // namespace

double ter(std::span<const Text> hypotheses, std::span<const std::vector<Text>> references,
           const TercomOptions& options) {
  Vocabulary vocabulary;
  double edits = 0.0, words = 0.0;
  for (std::size_t i = 0; i < hypotheses.size(); ++i) {
    const Ids hypothesis = vocabulary.ids(tercom_tokenize(hypotheses[i], options));
    std::optional<int> fewest;
    double lengths = 0.0;
    for (const auto& lines : references) {
      const Ids reference = vocabulary.ids(tercom_tokenize(lines[i], options));
      const int needed = edits_of(hypothesis, reference);
      fewest = fewest ? std::min(*fewest, needed) : needed;
      lengths += static_cast<double>(reference.size());
    }
    edits += fewest.value_or(0);
    words += lengths / static_cast<double>(references.size());
  }
  if (words > 0.0) return 100.0 * edits / words;
  return edits > 0.0 ? 100.0 : 0.0;
}

}  // namespace trimtab::shadow
