// Perplexity, refusal, length, embedding cosine: `trimtab score-text`.
#include <fmt/format.h>

#include <cmath>

#include "daemon/cli/score_texts.h"
#include "drift/signals.h"
#include "shadow/text/plain.h"

namespace trimtab::cli {
namespace {

using drift::Parameters;
using shadow::Text;

std::string utf8_of(const Text& text) {
  std::string out;
  for (const char32_t c : text) {
    if (c < 0x80) {
      out += static_cast<char>(c);
    } else if (c < 0x800) {
      out += {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))};
    } else if (c < 0x10000) {
      out += {static_cast<char>(0xE0 | c >> 12), static_cast<char>(0x80 | (c >> 6 & 0x3F)),
              static_cast<char>(0x80 | (c & 0x3F))};
    } else {
      out += {static_cast<char>(0xF0 | c >> 18), static_cast<char>(0x80 | (c >> 12 & 0x3F)),
              static_cast<char>(0x80 | (c >> 6 & 0x3F)), static_cast<char>(0x80 | (c & 0x3F))};
    }
  }
  return out;
}

// A text as the bytes it came from; what is no ASCII cannot be a number.
std::string ascii(const Text& text) {
  std::string out;
  for (const char32_t c : text) out += c < 128 ? static_cast<char>(c) : '?';
  return out;
}

// The hashed text vector that drift watches: words and character trigrams, 256 dimensions.
class TextVectors {
 public:
  static Result<TextVectors> create() {
    config::DriftSettings settings;
    settings.signals.resize(1);
    settings.signals[0].source = "input_embedding";
    TRIMTAB_TRY(auto extractor, drift::SignalExtractor::create(settings));
    return TextVectors(std::move(extractor));
  }
  double cosine(const Text& a, const Text& b) const {
    const auto x = vector_of(a);
    const auto y = vector_of(b);
    double dot = 0.0, xx = 0.0, yy = 0.0;
    for (std::size_t k = 0; k < drift::kEmbeddingSize; ++k) {
      const double p = x.embedding[k], q = y.embedding[k];
      dot += p * q;
      xx += p * p;
      yy += q * q;
    }
    return xx > 0.0 && yy > 0.0 ? dot / std::sqrt(xx * yy) : 0.0;
  }

 private:
  explicit TextVectors(drift::SignalExtractor extractor) : extractor_(std::move(extractor)) {}
  drift::Observation vector_of(const Text& text) const {
    const std::string utf8 = utf8_of(text);
    drift::RecordView record;
    record.id = "text";
    record.input_text = utf8;
    record.has_input = true;
    drift::Observation out;
    (void)extractor_.extract(record, out);
    return out;
  }
  drift::SignalExtractor extractor_;
};

}  // namespace

// A line: natural log-probabilities of its tokens, comma-separated.
Result<OrderedJson> run_perplexity(const Parameters&, const Texts& texts) {
  std::vector<std::vector<double>> all;
  for (std::size_t i = 0; i < texts.hypotheses.size(); ++i) {
    const std::string line = ascii(texts.hypotheses[i]);
    auto& tokens = all.emplace_back();
    for (std::size_t from = 0; from <= line.size();) {
      const std::size_t end = std::min(line.find(',', from), line.size());
      const auto value = drift::parse_number(line.substr(from, end - from));
      if (!value || *value > 0.0) {
        return fail(Code::kInvalid,
                    fmt::format("line {}: log-probabilities are numbers, 0 at most, separated by "
                                "commas",
                                i + 1));
      }
      tokens.push_back(*value);
      from = end + 1;
    }
  }
  TRIMTAB_TRY(const double found, shadow::perplexity(all));
  return OrderedJson{{"score", found}};
}

Result<OrderedJson> run_refusal(const Parameters&, const Texts& texts) {
  double refused = 0.0;
  for (const Text& text : texts.hypotheses) refused += shadow::is_refusal_text(utf8_of(text));
  return OrderedJson{{"score", refused / static_cast<double>(texts.hypotheses.size())}};
}

Result<OrderedJson> run_length(const Parameters&, const Texts& texts) {
  double words = 0.0;
  double characters = 0.0;
  for (const Text& text : texts.hypotheses) {
    words += static_cast<double>(shadow::split(text).size());
    characters += static_cast<double>(text.size());
  }
  const auto n = static_cast<double>(texts.hypotheses.size());
  return OrderedJson{{"score", words / n}, {"characters", characters / n}};
}

Result<OrderedJson> run_embedding_cosine(const Parameters&, const Texts& texts) {
  TRIMTAB_TRY(const TextVectors vectors, TextVectors::create());
  return best_of_references(texts, [&](const Text& hypothesis, const Text& reference) {
    return vectors.cosine(hypothesis, reference);
  });
}

}  // namespace trimtab::cli
