#include "shadow/unit_history.h"

#include <fmt/format.h>

#include <bit>
#include <cstdio>
#include <cstring>

#include "base/check.h"

namespace trimtab::shadow {
namespace {

static_assert(std::endian::native == std::endian::little, "saved state is little-endian");
constexpr std::uint32_t kFormat = 0x31484e55;  // "UNH1"
constexpr std::uint16_t kMostCount = 60'000;
constexpr double kPseudoRequests = 5.0;
constexpr char kTotals[] = "totals";

std::uint64_t mixed(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  return x ^ (x >> 29);
}

std::optional<double> share(double bad, double n, double all_bad, double all_n) {
  if (n <= 0.0 || all_n <= 0.0) return std::nullopt;
  return (bad + kPseudoRequests * all_bad / all_n) / (n + kPseudoRequests);
}

}  // namespace

std::optional<double> UnitPast::of(std::string_view metric) const {
  if (metric == "complaint") return complaint;
  if (metric == "accuracy") return accuracy;
  if (metric == "error") return error;
  return metric == "refusal" ? refusal : std::nullopt;
}

const UnitHistory::Unit* UnitHistory::find(std::uint64_t unit) const {
  const std::size_t set = mixed(unit) % (kMaxUnits / 2);
  const auto& chunk = chunks_[2 * set / kChunkUnits];
  if (!chunk) return nullptr;
  for (std::size_t way = 0; way < 2; ++way) {
    const Unit& one = chunk->units[2 * set % kChunkUnits + way];
    if (one.hash == unit) return &one;
  }
  return nullptr;
}

UnitHistory::Unit* UnitHistory::touch(std::uint64_t unit) {
  auto* found = const_cast<Unit*>(find(unit));
  if (found != nullptr) chunks_[2 * (mixed(unit) % (kMaxUnits / 2)) / kChunkUnits]->dirty = true;
  return found;
}

void UnitHistory::on_request(std::uint64_t unit, bool error, bool refusal) {
  CHECK(unit != 0, "a unit without a name has no history");
  ++now_;
  totals_.requests += 1;
  totals_.errors += error ? 1 : 0;
  totals_.refusals += refusal ? 1 : 0;
  Unit* mine = touch(unit);
  if (mine == nullptr) {
    const std::size_t set = mixed(unit) % (kMaxUnits / 2);
    auto& chunk = chunks_[2 * set / kChunkUnits];
    if (!chunk) chunk = std::make_unique<Chunk>();
    Unit* pair = &chunk->units[2 * set % kChunkUnits];
    // Ages by wrapping subtraction: the counter may turn over. A free place is the oldest.
    const auto age = [this](const Unit& one) {
      return one.hash == 0 ? UINT32_MAX : static_cast<std::uint32_t>(now_ - one.last);
    };
    mine = age(pair[0]) >= age(pair[1]) ? &pair[0] : &pair[1];
    *mine = Unit{.hash = unit};
    chunk->dirty = true;
  }
  mine->last = now_;
  if (mine->requests >= kMostCount) {
    for (auto* count : {&mine->requests, &mine->complaints, &mine->errors, &mine->refusals}) {
      *count = static_cast<std::uint16_t>(*count / 2);
    }
  }
  mine->requests = static_cast<std::uint16_t>(mine->requests + 1);
  mine->errors = static_cast<std::uint16_t>(mine->errors + (error ? 1 : 0));
  mine->refusals = static_cast<std::uint16_t>(mine->refusals + (refusal ? 1 : 0));
}

void UnitHistory::on_complaint(std::uint64_t unit) {
  Unit* mine = touch(unit);
  // Several complaints about one request are one.
  if (mine == nullptr || mine->complaints >= mine->requests) return;
  mine->complaints = static_cast<std::uint16_t>(mine->complaints + 1);
  totals_.complaints += 1;
}

void UnitHistory::on_label(std::uint64_t unit, double right) {
  Unit* mine = touch(unit);
  if (mine == nullptr || !(right >= 0.0 && right <= 1.0)) return;
  if (mine->labels >= kMostCount) {
    mine->labels = static_cast<std::uint16_t>(mine->labels / 2);
    mine->wrong /= 2.0F;
  }
  mine->labels = static_cast<std::uint16_t>(mine->labels + 1);
  mine->wrong += static_cast<float>(1.0 - right);
  totals_.labels += 1;
  totals_.wrong += 1.0 - right;
}

void UnitHistory::forget(std::uint64_t unit) {
  if (unit == 0) return;
  if (Unit* mine = touch(unit)) *mine = Unit{};
}

UnitPast UnitHistory::past(std::uint64_t unit) const {
  const Unit* mine = find(unit);
  if (mine == nullptr || unit == 0) return {};
  const Totals& all = totals_;
  UnitPast past;
  past.complaint = share(mine->complaints, mine->requests, all.complaints, all.requests);
  past.error = share(mine->errors, mine->requests, all.errors, all.requests);
  past.refusal = share(mine->refusals, mine->requests, all.refusals, all.requests);
  past.accuracy = share(static_cast<double>(mine->wrong), mine->labels, all.wrong, all.labels);
  return past;
}

std::vector<UnitHistory::Piece> UnitHistory::save_changed() {
  std::vector<Piece> pieces;
  for (std::size_t c = 0; c < kChunks; ++c) {
    if (!chunks_[c] || !chunks_[c]->dirty) continue;
    chunks_[c]->dirty = false;
    pieces.push_back({fmt::format("{:04}", c), std::string(reinterpret_cast<const char*>(&chunks_[c]->units),
                                              sizeof chunks_[c]->units)});
  }
  if (pieces.empty()) return pieces;
  std::string text(sizeof kFormat + sizeof totals_ + sizeof now_, '\0');
  std::memcpy(text.data(), &kFormat, sizeof kFormat);
  std::memcpy(text.data() + sizeof kFormat, &totals_, sizeof totals_);
  std::memcpy(text.data() + sizeof kFormat + sizeof totals_, &now_, sizeof now_);
  pieces.push_back({kTotals, std::move(text)});
  return pieces;
}

Status UnitHistory::restore(const std::vector<Piece>& pieces) {
  UnitHistory fresh;
  bool totals = false;
  for (const Piece& piece : pieces) {
    if (piece.name == kTotals) {
      std::uint32_t format = 0;
      if (piece.bytes.size() == sizeof format + sizeof totals_ + sizeof now_) {
        std::memcpy(&format, piece.bytes.data(), sizeof format);
        std::memcpy(&fresh.totals_, piece.bytes.data() + sizeof format, sizeof totals_);
        std::memcpy(&fresh.now_, piece.bytes.data() + sizeof format + sizeof totals_, sizeof now_);
      }
      totals = format == kFormat;
      continue;
    }
    std::size_t c = kChunks;
    if (std::sscanf(piece.name.c_str(), "%zu", &c) != 1 || c >= kChunks ||
        piece.bytes.size() != sizeof(Chunk::units)) {
      return fail(Code::kCorrupt, "unit history: the piece " + piece.name + " is not one of it");
    }
    fresh.chunks_[c] = std::make_unique<Chunk>();
    std::memcpy(fresh.chunks_[c]->units.data(), piece.bytes.data(), piece.bytes.size());
  }
  if (!totals && !pieces.empty()) {
    return fail(Code::kCorrupt, "unit history: its totals are missing or of another version");
  }
  *this = std::move(fresh);
  return {};
}

}  // namespace trimtab::shadow
