// GrowthBook's assignment hashes, so that an experiment begun there can be checked or continued:
// 32-bit FNV-1a over UTF-16 code units, as its JavaScript SDK computes it.
//     v1: fnv(unit + seed) % 1000 / 1000        v2: fnv(str(fnv(seed + unit))) % 10000 / 10000
// trimtab's own assignment is assignment_fraction in base/hash.h. Pure.
#pragma once

#include <string_view>

#include "base/result.h"

namespace trimtab::evidence {

// In [0, 1). kInvalid when the text is not UTF-8.
[[nodiscard]] Result<double> growthbook_v1(std::string_view seed, std::string_view unit);
[[nodiscard]] Result<double> growthbook_v2(std::string_view seed, std::string_view unit);

}  // namespace trimtab::evidence
