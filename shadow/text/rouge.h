// ROUGE-1, -2, -L and -Lsum (Lin 2004) as rouge_score 0.1.2 computes them: words [a-z0-9]+ of the
// lower-cased text, Porter-stemmed on request when longer than 3. In 0..1. Pure.
#pragma once

#include <string>
#include <vector>

#include "shadow/text/unicode_text.h"

namespace trimtab::shadow {

enum class RougeKind { k1, k2, kL, kLsum };

struct Rouge {
  double precision = 0.0, recall = 0.0, f = 0.0;
};

// One text against one reference. kLsum: a line break ends a sentence.
[[nodiscard]] Rouge rouge(RougeKind kind, const Text& hypothesis, const Text& reference, bool stem);

}  // namespace trimtab::shadow
