// `trimtab score-text METRIC` and `trimtab score-labels METRIC`.
#include <fmt/format.h>

#include <algorithm>

#include "base/json.h"
#include "daemon/cli/offline.h"
#include "daemon/cli/score_texts.h"
#include "daemon/cli/value_reader.h"
#include "shadow/text/answers.h"
#include "shadow/text/bleu.h"
#include "shadow/text/chrf.h"
#include "shadow/text/labels.h"
#include "shadow/text/rouge.h"
#include "shadow/text/ter.h"

namespace trimtab::cli {
namespace {

using drift::Parameter;
using drift::Parameters;
using shadow::Text;
using Type = Parameter::Type;

// Answers "score" and what else the metric has.
struct TextMetric {
  const char* name;
  const char* doc;
  std::span<const Parameter> parameters;
  bool needs_references;
  Result<OrderedJson> (*run)(const Parameters& given, const Texts& texts);
};

constexpr Parameter flag_row(const char* name, const char* doc, const char* source) {
  return {name, Type::kFlag, "false", 0, 0, doc, source};
}

constexpr Parameter kBleu[] = {
    {"tokenize", Type::kText, "13a", 0, 0, "tokenizer; one of: 13a|intl|char|none", "sacrebleu"},
    {"smooth", Type::kText, "exp", 0, 0, "of zero counts; one of: exp|floor|add-k|none",
     "sacrebleu"},
    {"smooth_value", Type::kNumber, "", 0, 1e9, "of floor (.1) and add-k (1)", "sacrebleu"},
    flag_row("lowercase", "ignore case", "sacrebleu"),
    flag_row("effective_order", "only orders that the text has", "sacrebleu"),
};

Result<OrderedJson> run_bleu(const Parameters& given, const Texts& texts) {
  const std::string& smooth = given.text("smooth");
  shadow::BleuOptions options;
  TRIMTAB_TRY(options.tokenizer, shadow::parse_tokenizer(given.text("tokenize")));
  options.smoothing = smooth == "exp"     ? shadow::Smoothing::kExp
                      : smooth == "floor" ? shadow::Smoothing::kFloor
                      : smooth == "add-k" ? shadow::Smoothing::kAddK
                                          : shadow::Smoothing::kNone;
  options.smooth_value = given.has("smooth_value") ? given.number("smooth_value")
                         : smooth == "add-k"       ? 1.0
                                                   : 0.1;
  options.lowercase = given.flag("lowercase");
  options.effective_order = given.flag("effective_order");
  const shadow::Bleu found = shadow::bleu(texts.hypotheses, texts.references, options);
  return OrderedJson{{"score", found.score},
                     {"precisions", found.precisions},
                     {"brevity_penalty", found.brevity_penalty}};
}

constexpr Parameter kChrf[] = {
    {"char_order", Type::kInteger, "6", 1, 100, "longest n-gram of characters", "sacrebleu"},
    {"word_order", Type::kInteger, "0", 0, 100, "of words; 2 is chrF++", "sacrebleu"},
    {"beta", Type::kNumber, "2", 1e-6, 1e6, "weight of recall", "sacrebleu"},
    flag_row("lowercase", "ignore case", "sacrebleu"),
    flag_row("whitespace", "count white space", "sacrebleu"),
    flag_row("eps_smoothing", "as NLTK and the first chrF++", "sacrebleu"),
};

Result<OrderedJson> run_chrf(const Parameters& given, const Texts& texts) {
  const shadow::ChrfOptions options{.char_order = static_cast<int>(given.integer("char_order")),
                                    .word_order = static_cast<int>(given.integer("word_order")),
                                    .beta = given.number("beta"),
                                    .lowercase = given.flag("lowercase"),
                                    .whitespace = given.flag("whitespace"),
                                    .eps_smoothing = given.flag("eps_smoothing")};
  return OrderedJson{{"score", shadow::chrf(texts.hypotheses, texts.references, options)}};
}

constexpr Parameter kTer[] = {
    flag_row("normalized", "split punctuation", "sacrebleu"),
    flag_row("no_punct", "drop punctuation", "sacrebleu"),
    flag_row("case_sensitive", "heed case", "sacrebleu"),
};

Result<OrderedJson> run_ter(const Parameters& given, const Texts& texts) {
  const shadow::TercomOptions options{.normalized = given.flag("normalized"),
                                      .no_punct = given.flag("no_punct"),
                                      .case_sensitive = given.flag("case_sensitive")};
  return OrderedJson{{"score", shadow::ter(texts.hypotheses, texts.references, options)}};
}

constexpr Parameter kRouge[] = {flag_row("stem", "Porter-stem words longer than 3", "rouge_score")};

template <shadow::RougeKind kind>
Result<OrderedJson> run_rouge(const Parameters& given, const Texts& texts) {
  shadow::Rouge sum;
  for (std::size_t i = 0; i < texts.hypotheses.size(); ++i) {
    shadow::Rouge best{.precision = 0.0, .recall = 0.0, .f = -1.0};
    for (const Lines& reference : texts.references) {
      const auto found = shadow::rouge(kind, texts.hypotheses[i], reference[i], given.flag("stem"));
      if (found.f > best.f) best = found;
    }
    sum.precision += best.precision;
    sum.recall += best.recall;
    sum.f += best.f;
  }
  const double n = static_cast<double>(texts.hypotheses.size());
  return OrderedJson{
      {"score", sum.f / n}, {"precision", sum.precision / n}, {"recall", sum.recall / n}};
}

constexpr Parameter kExact[] = {{"normalize", Type::kText, "none", 0, 0,
                                 "squad: case, punctuation and articles do not count; one of: "
                                 "none|squad",
                                 "SQuAD 1.1"}};

Result<OrderedJson> run_exact_match(const Parameters& given, const Texts& texts) {
  const bool squad = given.text("normalize") == "squad";
  return best_of_references(texts, [&](const Text& hypothesis, const Text& reference) {
    const bool same = squad ? shadow::squad_words(hypothesis) == shadow::squad_words(reference)
                            : hypothesis == reference;
    return same ? 1.0 : 0.0;
  });
}

Result<OrderedJson> run_token_f1(const Parameters&, const Texts& texts) {
  return best_of_references(texts, [](const Text& hypothesis, const Text& reference) {
    return shadow::token_f1(shadow::squad_words(hypothesis), shadow::squad_words(reference));
  });
}

constexpr Parameter kNgram[] = {{"n", Type::kInteger, "2", 1, 100, "words an n-gram", "Li 2016"}};

template <auto metric>
Result<OrderedJson> run_ngram(const Parameters& given, const Texts& texts) {
  TRIMTAB_TRY(const double found, metric(texts.hypotheses, static_cast<int>(given.integer("n"))));
  return OrderedJson{{"score", found}};
}

constexpr TextMetric kTextMetrics[] = {
    {"bleu", "n-gram precision, corpus", kBleu, true, &run_bleu},
    {"chrf", "character n-gram F-score, corpus", kChrf, true, &run_chrf},
    {"ter", "edits a reference word, percent; lower is better", kTer, true, &run_ter},
    {"rouge1", "words in common", kRouge, true, &run_rouge<shadow::RougeKind::k1>},
    {"rouge2", "pairs of words in common", kRouge, true, &run_rouge<shadow::RougeKind::k2>},
    {"rougeL", "longest common subsequence", kRouge, true, &run_rouge<shadow::RougeKind::kL>},
    {"rougeLsum", "the same, sentence by sentence", kRouge, true,
     &run_rouge<shadow::RougeKind::kLsum>},
    {"exact_match", "share of equal texts", kExact, true, &run_exact_match},
    {"token_f1", "words in common, SQuAD's rule", {}, true, &run_token_f1},
    {"distinct", "distinct n-grams over n-grams", kNgram, false,
     &run_ngram<&shadow::distinct_ngrams>},
    {"repetition", "mean share of repeated n-grams", kNgram, false,
     &run_ngram<&shadow::repetition>},
    {"perplexity",
     "of token log-probabilities, comma-separated a line",
     {},
     false,
     &run_perplexity},
    {"refusal", "share of texts that decline", {}, false, &run_refusal},
    {"length", "mean words a line", {}, false, &run_length},
    {"embedding_cosine",
     "hashed bag-of-words vectors, mean cosine",
     {},
     true,
     &run_embedding_cosine},
};

// The two characters \n are a line break.
Text with_line_breaks(const Text& text) {
  Text result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escaped = text[i] == U'\\' && i + 1 < text.size() && text[i + 1] == U'n';
    result.push_back(escaped ? U'\n' : text[i]);
    if (escaped) ++i;
  }
  return result;
}

Result<Lines> read_text_lines(const std::string& path) {
  TRIMTAB_TRY(const auto raw, read_lines(path));
  Lines lines;
  for (std::size_t i = 0; i < raw.size(); ++i) {
    auto text = shadow::decode_text(raw[i]);
    if (!text) {
      return tl::unexpected<Error>(
          at_line(path, static_cast<std::int64_t>(i + 1), text.error().message));
    }
    lines.push_back(with_line_breaks(*text));
  }
  return lines;
}

Result<Texts> read_all(const TextMetric& metric, const OfflineArguments& arguments) {
  if (arguments.files.size() > 1) return fail(Code::kInvalid, "one file of texts is scored");
  if (metric.needs_references == arguments.references.empty()) {
    return fail(Code::kInvalid,
                std::string(metric.name) +
                    (metric.needs_references ? " needs --ref FILE" : " takes no --ref"));
  }
  const std::string path = arguments.files.empty() ? "-" : arguments.files.front();
  Texts texts;
  TRIMTAB_TRY(texts.hypotheses, read_text_lines(path));
  for (const std::string& reference : arguments.references) {
    TRIMTAB_TRY(auto lines, read_text_lines(reference));
    if (lines.size() != texts.hypotheses.size()) {
      const auto shorter = std::min(lines.size(), texts.hypotheses.size());
      return tl::unexpected<Error>(
          at_line(reference, static_cast<std::int64_t>(shorter + 1),
                  fmt::format("{} lines against {} texts; make them equally many", lines.size(),
                              texts.hypotheses.size())));
    }
    texts.references.push_back(std::move(lines));
  }
  return texts;
}

template <typename Row>
Result<const Row*> find_metric(std::span<const Row> table, const OfflineArguments& arguments,
                               const char* verb) {
  for (const Row& row : table) {
    if (arguments.name == row.name) return &row;
  }
  return fail(Code::kInvalid,
              fmt::format("no metric '{}'; see trimtab {} --list", arguments.name, verb));
}

template <typename Row>
std::string list_metrics(std::span<const Row> table) {
  std::string text;
  for (const Row& row : table) text += fmt::format("{:<17} {}\n", row.name, row.doc);
  return text;
}

OfflineAnswer answer(const char* metric, std::size_t n, const OrderedJson& found,
                     const Parameters& parameters) {
  OrderedJson json = {{"metric", metric}, {"score", found.at("score")}, {"n", n}};
  json.update(found);
  json["params"] = parameters_json(parameters);
  return {dump_json(json),
          fmt::format("{} {:.6g} ({} lines)", metric, found.at("score").get<double>(), n), false};
}

// --- labels

struct LabelMetric {
  const char* name;
  const char* doc;
  std::span<const Parameter> parameters;
  Result<OrderedJson> (*run)(const Parameters& given, const std::string& path, std::size_t& n);
};

template <auto metric>
Result<OrderedJson> run_labels(const Parameters&, const std::string& path, std::size_t& n) {
  TRIMTAB_TRY(const auto columns, read_columns(path, {"label", "prediction"}));
  n = columns[0].size();
  return OrderedJson{{"score", metric(columns[0], columns[1])}};
}

constexpr Parameter kEce[] = {
    {"bins", Type::kInteger, "15", 1, 1e6, "equally wide bins of confidence", "Naeini 2015"},
    {"norm", Type::kText, "l1", 0, 0, "over bins; one of: l1|l2|max", "torchmetrics"}};

Result<OrderedJson> run_ece(const Parameters& given, const std::string& path, std::size_t& n) {
  std::vector<std::int64_t> lines;
  TRIMTAB_TRY(const auto columns, read_columns(path, {"confidence", "correct"}, &lines));
  n = columns[0].size();
  std::vector<double> confidences, correct;
  for (std::size_t i = 0; i < n; ++i) {
    const std::int64_t line = lines[i];
    const auto confidence = drift::parse_number(columns[0][i]);
    const auto right = drift::parse_number(columns[1][i]);
    if (!confidence || *confidence < 0.0 || *confidence > 1.0) {
      return tl::unexpected<Error>(at_line(path, line, "confidence must be a number in [0, 1]"));
    }
    if (!right || (*right != 0.0 && *right != 1.0)) {
      return tl::unexpected<Error>(at_line(path, line, "correct must be 0 or 1"));
    }
    confidences.push_back(*confidence);
    correct.push_back(*right);
  }
  const std::string& norm = given.text("norm");
  return OrderedJson{{"score", shadow::expected_calibration_error(
                                   confidences, correct, static_cast<int>(given.integer("bins")),
                                   norm == "l1"   ? shadow::EceNorm::kL1
                                   : norm == "l2" ? shadow::EceNorm::kL2
                                                  : shadow::EceNorm::kMax)}};
}

constexpr LabelMetric kLabelMetrics[] = {
    {"accuracy", "share of equal labels", {}, &run_labels<&shadow::accuracy>},
    {"macro_f1", "mean F1 over labels", {}, &run_labels<&shadow::macro_f1>},
    {"ece", "expected calibration error", kEce, &run_ece},
};

template <typename Metric>
OfflineAnswer help_of(const Metric& metric) {
  return {.text = fmt::format("{}: {}\n{}", metric.name, metric.doc,
                              describe_parameters(metric.parameters))};
}

}  // namespace

Result<OfflineAnswer> run_score_text(const OfflineArguments& arguments) {
  const std::span<const TextMetric> table = kTextMetrics;
  if (arguments.list) return OfflineAnswer{.text = list_metrics(table)};
  TRIMTAB_TRY(const TextMetric* metric, find_metric(table, arguments, "score-text"));
  if (arguments.help) return help_of(*metric);
  TRIMTAB_TRY(const auto parameters, Parameters::parse(metric->parameters, arguments.set));
  TRIMTAB_TRY(const Texts texts, read_all(*metric, arguments));
  const auto found = metric->run(parameters, texts);
  if (!found) {
    return fail_in(arguments.files.empty() ? "-" : arguments.files.front(), found.error());
  }
  return answer(metric->name, texts.hypotheses.size(), *found, parameters);
}

Result<OfflineAnswer> run_score_labels(const OfflineArguments& arguments) {
  const std::span<const LabelMetric> table = kLabelMetrics;
  if (arguments.list) return OfflineAnswer{.text = list_metrics(table)};
  TRIMTAB_TRY(const LabelMetric* metric, find_metric(table, arguments, "score-labels"));
  if (arguments.help) return help_of(*metric);
  if (arguments.files.size() > 1) return fail(Code::kInvalid, "one file of labels is scored");
  TRIMTAB_TRY(const auto parameters, Parameters::parse(metric->parameters, arguments.set));
  std::size_t n = 0;
  TRIMTAB_TRY(const OrderedJson found,
              metric->run(parameters, arguments.files.empty() ? "-" : arguments.files.front(), n));
  return answer(metric->name, n, found, parameters);
}

}  // namespace trimtab::cli
