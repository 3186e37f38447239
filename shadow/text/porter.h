// The Porter stemmer (Porter 1980) with the extensions of NLTK 3, which rouge_score uses. Pure.
#pragma once

#include <string>

namespace trimtab::shadow {

// `word`: lower-case ASCII letters and digits.
[[nodiscard]] std::string porter_stem(std::string word);

}  // namespace trimtab::shadow
