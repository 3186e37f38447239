// Lower case took each code point by itself; Python's str.lower() turns a capital sigma that ends a
// word into the final one, so that exact_match and BLEU of Greek in capitals were too low.
#include <gtest/gtest.h>

#include "shadow/text/unicode_text.h"

namespace trimtab::shadow {
namespace {

TEST(FinalSigma, AsPythonLowers) {  // expected: CPython 3.11
  EXPECT_EQ(lower(U"ΟΔΟΣ ΣΑΣ. Σ ΑΣ'Β"), U"οδος σας. σ ασ'β");
  EXPECT_EQ(lower(U"Σ"), U"σ");
  EXPECT_EQ(lower(U"ΑΣ\u0301"), U"ας\u0301");
  EXPECT_EQ(lower(U"1Σ"), U"1σ");
}

}  // namespace
}  // namespace trimtab::shadow
