// "Did you mean": the nearest of a few valid words. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace trimtab::config {

// Edits (insert, delete, replace, swap of neighbours) from one word to the other.
[[nodiscard]] std::size_t edit_distance(std::string_view a, std::string_view b);

// The candidate with the fewest edits, at most a third of the word's length (at least 1, so that
// `prot` finds `port`); empty when none is so near. Ties: the first.
[[nodiscard]] std::string nearest_word(std::string_view word,
                                       const std::vector<std::string>& candidates);

}  // namespace trimtab::config
