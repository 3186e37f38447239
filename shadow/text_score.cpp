#include "shadow/text_score.h"

#include "shadow/text/answers.h"
#include "shadow/text/bleu.h"
#include "shadow/text/chrf.h"
#include "shadow/text/rouge.h"
#include "shadow/text/unicode_text.h"

namespace trimtab::shadow {
namespace {

using config::PairScore;

constexpr double kPercent = 100.0;  // bleu and chrf are given in 0 .. 100

double bleu_of(const Text& answer, const Text& known_good) {
  BleuOptions options;
  options.effective_order = true;
  const std::vector<Text> references = {known_good};
  return bleu({&answer, 1}, {&references, 1}, options).score / kPercent;
}

double chrf_of(const Text& answer, const Text& known_good) {
  const std::vector<Text> references = {known_good};
  return chrf({&answer, 1}, {&references, 1}, {}) / kPercent;
}

}  // namespace

bool is_text_score(PairScore score) {
  switch (score) {
    case PairScore::kTokenF1:
    case PairScore::kRougeL:
    case PairScore::kChrf:
    case PairScore::kBleu: return true;
    default: return false;
  }
}

std::optional<double> text_score(PairScore score, std::string_view answer,
                                 std::string_view known_good) {
  const auto a = decode_text(answer);
  const auto b = decode_text(known_good);
  if (!a || !b || b->empty()) return std::nullopt;
  switch (score) {
    case PairScore::kTokenF1: return token_f1(squad_words(*a), squad_words(*b));
    case PairScore::kRougeL: return rouge(RougeKind::kL, *a, *b, false).f;
    case PairScore::kChrf: return chrf_of(*a, *b);
    case PairScore::kBleu: return bleu_of(*a, *b);
    default: return std::nullopt;
  }
}

}  // namespace trimtab::shadow
