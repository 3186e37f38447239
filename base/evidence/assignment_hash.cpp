#include "base/evidence/assignment_hash.h"

#include <cstdint>
#include <string>

namespace trimtab::evidence {
namespace {

// Length of the UTF-8 sequence that `lead` begins; 0 when it begins none.
std::size_t sequence_size(unsigned char lead) {
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead < 0xE0) return 2;
  if (lead >= 0xE0 && lead < 0xF0) return 3;
  return lead >= 0xF0 && lead < 0xF5 ? 4 : 0;
}

Result<std::uint32_t> fnv1a32(std::string_view text) {
  constexpr std::uint32_t kPrime = 16777619U;
  std::uint32_t hash = 2166136261U;
  const auto add = [&](std::uint32_t unit) { hash = (hash ^ unit) * kPrime; };
  for (std::size_t at = 0; at < text.size();) {
    const auto lead = static_cast<unsigned char>(text[at]);
    const std::size_t size = sequence_size(lead);
    if (size == 0 || at + size > text.size()) return fail(Code::kInvalid, "text is not UTF-8");
    std::uint32_t point = size == 1 ? lead : lead & (0xFFU >> (size + 1));
    for (std::size_t i = 1; i < size; ++i) {
      const auto next = static_cast<unsigned char>(text[at + i]);
      if ((next & 0xC0U) != 0x80U) return fail(Code::kInvalid, "text is not UTF-8");
      point = (point << 6U) | (next & 0x3FU);
    }
    at += size;
    if (point < 0x10000) {
      add(point);
    } else {  // a surrogate pair
      add(0xD800U + ((point - 0x10000U) >> 10U));
      add(0xDC00U + ((point - 0x10000U) & 0x3FFU));
    }
  }
  return hash;
}

}  // namespace

Result<double> growthbook_v1(std::string_view seed, std::string_view unit) {
  TRIMTAB_TRY(const std::uint32_t hash, fnv1a32(std::string(unit).append(seed)));
  return (hash % 1000U) / 1000.0;
}

Result<double> growthbook_v2(std::string_view seed, std::string_view unit) {
  TRIMTAB_TRY(const std::uint32_t inner, fnv1a32(std::string(seed).append(unit)));
  TRIMTAB_TRY(const std::uint32_t hash, fnv1a32(std::to_string(inner)));
  return (hash % 10000U) / 10000.0;
}

}  // namespace trimtab::evidence
