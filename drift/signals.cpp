// The signal table and the one pass over a record's texts. Above 400 lines: a third of it is the
// table of built-ins and the switch over them, which belong together.
// Over 400 lines because the table of signals and their extraction must be read side by side.
#include "drift/signals.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "base/hash.h"
#include "drift/rank_e.h"
#include "drift/text_stats.h"

namespace trimtab::drift {
namespace {

constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();
constexpr std::size_t kMaxTextBytes = 8192;  // of each text: an operator's essay costs no more
constexpr std::size_t kMaxLabelBytes = 64;   // longer outputs are text, not a category

struct BuiltinRow {
  Builtin source;
  SignalKind kind;
  bool about_output;
  bool alarm_by_default;
  SignalInfo info;
};

// Latency, ttft and status speak of machines, which no retraining mends: watched, not alarming,
// unless the settings name them.
constexpr BuiltinRow kBuiltins[] = {
    {Builtin::kLatency,
     SignalKind::kNumeric,
     true,
     false,
     {"latency_s", "seconds to the end of the answer"}},
    {Builtin::kTtft, SignalKind::kNumeric, true, false, {"ttft_s", "seconds to the first token"}},
    {Builtin::kTokensIn, SignalKind::kNumeric, false, true, {"tokens_in", "prompt tokens"}},
    {Builtin::kTokensOut, SignalKind::kNumeric, true, true, {"tokens_out", "completion tokens"}},
    {Builtin::kInputChars,
     SignalKind::kNumeric,
     false,
     true,
     {"input_chars", "code points of the last user message"}},
    {Builtin::kOutputChars,
     SignalKind::kNumeric,
     true,
     true,
     {"output_chars", "code points of the completion"}},
    {Builtin::kInputWords,
     SignalKind::kNumeric,
     false,
     true,
     {"input_words", "words of the input"}},
    {Builtin::kOutputWords,
     SignalKind::kNumeric,
     true,
     false,
     {"output_words", "words of the completion"}},
    {Builtin::kInputMeanWordLength,
     SignalKind::kNumeric,
     false,
     true,
     {"input_mean_word_length", "letters a word"}},
    {Builtin::kInputDigitShare,
     SignalKind::kNumeric,
     false,
     true,
     {"input_digit_share", "share of digits"}},
    {Builtin::kInputUpperShare,
     SignalKind::kNumeric,
     false,
     true,
     {"input_upper_share", "share of upper-case ASCII letters"}},
    {Builtin::kInputPunctuationShare,
     SignalKind::kNumeric,
     false,
     true,
     {"input_punctuation_share", "share of ASCII punctuation"}},
    {Builtin::kInputNonAsciiShare,
     SignalKind::kNumeric,
     false,
     true,
     {"input_non_ascii_share", "share of code points beyond ASCII"}},
    {Builtin::kInputNovelty,
     SignalKind::kNovelty,
     false,
     true,
     {"input_novelty", "1 - similarity of the input's words to the nearest reference record"}},
    {Builtin::kInputEmbedding,
     SignalKind::kEmbedding,
     false,
     true,
     {"input_embedding", "32 projections of the logged or hashed text vector"}},
    {Builtin::kOutputLabel,
     SignalKind::kCategorical,
     true,
     true,
     {"output_label", "short completions as categories; longer ones are one"}},
    {Builtin::kFinish, SignalKind::kCategorical, true, true, {"finish", "finish reason"}},
    {Builtin::kStatus, SignalKind::kCategorical, true, false, {"status", "status"}},
    {Builtin::kModel, SignalKind::kCategorical, true, false, {"model", "answering model"}},
    {Builtin::kMeanLogprob,
     SignalKind::kNumeric,
     true,
     true,
     {"mean_logprob", "the model's own confidence"}},
};

const BuiltinRow* find_builtin(std::string_view name) {
  for (const auto& row : kBuiltins) {
    if (name == row.info.name) return &row;
  }
  return nullptr;
}

// ---- text ----------------------------------------------------------------------------------

enum ByteClass : std::uint8_t { kSpace, kLower, kUpper, kDigit, kPunctuation, kHigh };

ByteClass classify(unsigned char c) {
  if (c >= 0x80) return kHigh;
  if (c >= 'a' && c <= 'z') return kLower;
  if (c >= 'A' && c <= 'Z') return kUpper;
  if (c >= '0' && c <= '9') return kDigit;
  if (c > ' ' && c < 0x7F) return kPunctuation;
  return kSpace;
}

bool is_word_byte(ByteClass kind) {
  return kind == kLower || kind == kUpper || kind == kDigit || kind == kHigh;
}

// Lower case, every digit read as 0: order numbers are not words of their own.
char normal_byte(char c, ByteClass kind) {
  if (kind == kUpper) return static_cast<char>(c + ('a' - 'A'));
  return kind == kDigit ? '0' : c;
}

// Calls on_word(view of the normalized word, at most 64 bytes of it).
template <typename OnWord>
void each_word(std::string_view text, OnWord&& on_word) {
  std::array<char, 64> word;
  std::size_t size = 0;
  for (const char raw : text.substr(0, kMaxTextBytes)) {
    const ByteClass kind = classify(static_cast<unsigned char>(raw));
    if (is_word_byte(kind)) {
      if (size < word.size()) word[size++] = normal_byte(raw, kind);
    } else if (size > 0) {
      on_word(std::string_view(word.data(), size));
      size = 0;
    }
  }
  if (size > 0) on_word(std::string_view(word.data(), size));
}

// Collects distinct words and the signed feature-hash vector.
class WordSink {
 public:
  WordSink(Observation& out, bool words, bool vector) : out_(out), words_(words), vector_(vector) {}

  void operator()(std::string_view word) {
    if (words_ && word.size() >= 2) remember(word);
    if (!vector_) return;
    add(stable_hash(word, kWordSeed), 1.0F);
    // Trigrams with a boundary mark on either side: "^ab", "abc", "bc$".
    std::uint32_t window = '^';
    std::size_t filled = 1;
    for (std::size_t i = 0; i <= word.size(); ++i) {
      const auto c =
          i < word.size() ? static_cast<unsigned char>(word[i]) : static_cast<unsigned char>('$');
      window = (window << 8 | c) & 0xFFFFFFU;
      if (++filled >= 3) add(mix(window), 0.5F);
    }
  }

  void finish() {
    if (!vector_ || !any_) return;
    double norm = 0.0;
    for (const float x : sums_) norm += static_cast<double>(x) * static_cast<double>(x);
    if (norm <= 0.0) return;
    const auto inverse = static_cast<float>(1.0 / std::sqrt(norm));
    for (float& x : sums_) x *= inverse;
    store(sums_, out_);
  }

  // x_i ~ scale q_i with q_i in -127..127.
  static void store(const std::array<float, kEmbeddingSize>& x, Observation& out) {
    float most = 0.0F;
    for (const float value : x) most = std::max(most, std::fabs(value));
    if (!(most > 0.0F) || !std::isfinite(most)) return;
    out.embedding_scale = most / 127.0F;
    for (std::size_t i = 0; i < kEmbeddingSize; ++i) {
      out.embedding[i] = static_cast<std::int8_t>(std::lrintf(x[i] / out.embedding_scale));
    }
    out.has_embedding = true;
  }

 private:
  static constexpr std::uint64_t kWordSeed = 0x776f7264;

  static std::uint64_t mix(std::uint64_t x) {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
  }
  void add(std::uint64_t hash, float weight) {
    any_ = true;
    sums_[hash & (kEmbeddingSize - 1)] += (hash >> 32 & 1) != 0 ? weight : -weight;
  }
  void remember(std::string_view word) {
    if (out_.word_count >= kMaxWords) return;
    Word entry;
    entry.assign(word);
    for (std::size_t i = 0; i < out_.word_count; ++i) {
      if (out_.words[i] == entry) return;
    }
    out_.words[out_.word_count++] = entry;
  }

  Observation& out_;
  bool words_;
  bool vector_;
  bool any_ = false;
  std::array<float, kEmbeddingSize> sums_{};
};

// A logged embedding of any length into 256 numbers: as it is when it fits, else a count sketch.
void store_logged(std::span<const float> embedding, Observation& out) {
  std::array<float, kEmbeddingSize> x{};
  if (embedding.size() <= kEmbeddingSize) {
    std::copy(embedding.begin(), embedding.end(), x.begin());
  } else {
    for (std::size_t i = 0; i < embedding.size(); ++i) {
      const std::uint64_t hash = (i + 1) * 0x9e3779b97f4a7c15ULL;
      x[hash >> 56] += (hash >> 40 & 1) != 0 ? embedding[i] : -embedding[i];
    }
  }
  WordSink::store(x, out);
}

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

void set_category(Observation& out, std::size_t i, std::string_view text) {
  out.categories[i] = text.empty() ? 0 : category_hash(text);
  out.labels[i].assign(text);
}

double share(double part, double whole) { return whole > 0.0 ? part / whole : kMissing; }

}  // namespace

std::vector<SignalInfo> builtin_signals() {
  std::vector<SignalInfo> all;
  for (const auto& row : kBuiltins) all.push_back(row.info);
  return all;
}

std::vector<config::DriftSignalSettings> default_signals() {
  std::vector<config::DriftSignalSettings> all;
  for (const auto& row : kBuiltins) {
    config::DriftSignalSettings signal;
    signal.name = signal.source = row.info.name;
    signal.alarm = row.alarm_by_default;
    all.push_back(std::move(signal));
  }
  return all;
}

namespace {

// One signal of the table from its settings; a pointer's place is `next_pointer`.
Result<Signal> make_signal(const config::DriftSignalSettings& given, std::size_t next_pointer) {
  Signal signal;
  signal.name = given.name.empty() ? given.source : given.name;
  signal.alarm = given.alarm;
  signal.min_effect = given.min_effect;
  const std::string where = "drift.signals: " + signal.name + ": ";
  if (!(signal.min_effect >= 0.0)) return fail(Code::kInvalid, where + "min_effect must be >= 0");
  const bool numeric = given.kind == "numeric";
  if (!numeric && given.kind != "categorical" && given.kind != "auto") {
    return fail(Code::kInvalid, where + "kind must be auto, numeric or categorical");
  }
  if (!given.source.empty() && given.source.front() == '/') {
    if (given.kind == "auto") {
      return fail(Code::kInvalid, where + "a JSON pointer needs kind: numeric or categorical");
    }
    signal.kind = numeric ? SignalKind::kNumeric : SignalKind::kCategorical;
    signal.pointer = next_pointer;
    return signal;
  }
  const BuiltinRow* row = find_builtin(given.source);
  if (row == nullptr) {
    return fail(Code::kInvalid, "drift.signals: no built-in '" + given.source +
                                    "'; use one of drift/signals.h or a JSON pointer (/a/b)");
  }
  signal.kind = row->kind;
  signal.source = row->source;
  signal.about_output = row->about_output;
  if (given.kind != "auto" && (row->kind == SignalKind::kCategorical) == numeric) {
    return fail(Code::kInvalid,
                where + given.source + " is not " + given.kind + "; leave kind out");
  }
  return signal;
}

}  // namespace

Result<SignalExtractor::SegmentField> SignalExtractor::segment_field(const std::string& field) {
  SegmentField source;
  if (field == "tenant") {
    source.source = SegmentField::Source::kTenant;
  } else if (field == "route") {
    source.source = SegmentField::Source::kRoute;
  } else if (field == "model") {
    source.source = SegmentField::Source::kModel;
  } else if (field == "user_id") {
    source.source = SegmentField::Source::kUser;
  } else if (!field.empty() && field.front() == '/') {
    source.source = SegmentField::Source::kPointer;
    source.pointer = pointers_.size();
    pointers_.push_back(field);
  } else {
    return fail(Code::kInvalid, "drift.segments: '" + field +
                                    "' is not tenant, route, model, user_id or a JSON pointer");
  }
  return source;
}

Result<SignalExtractor> SignalExtractor::create(const config::DriftSettings& settings) {
  SignalExtractor result;
  const auto wanted = settings.signals.empty() ? default_signals() : settings.signals;
  if (wanted.size() > kMaxSignals) {
    return fail(Code::kInvalid,
                "drift.signals: at most 32 signals, not " + std::to_string(wanted.size()));
  }
  for (const auto& given : wanted) {
    TRIMTAB_TRY(Signal signal, make_signal(given, result.pointers_.size()));
    if (signal.source == Builtin::kPointer) result.pointers_.push_back(given.source);
    for (const auto& other : result.signals_) {
      if (other.name == signal.name) {
        return fail(Code::kInvalid, "drift.signals: '" + signal.name + "' is there twice");
      }
    }
    result.wants_words_ |= signal.kind == SignalKind::kNovelty;
    result.wants_embedding_ |= signal.kind == SignalKind::kEmbedding;
    result.signals_.push_back(std::move(signal));
  }
  if (settings.segments.size() > kMaxSegmentFields) {
    return fail(Code::kInvalid, "drift.segments: at most 4 fields");
  }
  for (const auto& field : settings.segments) {
    TRIMTAB_TRY(const SegmentField source, result.segment_field(field));
    result.segment_fields_.push_back(field);
    result.segment_sources_.push_back(source);
  }
  result.embedding_rate_ = settings.embedding_rate;
  return result;
}

namespace {

void set_output_label(const RecordView& record, Observation& out, std::size_t i) {
  if (!record.has_output) return;
  const std::string_view text = trimmed(record.output_text);
  const std::string_view label = text.size() > kMaxLabelBytes ? "(long text)"
                                 : text.empty()               ? "(empty)"
                                                              : text;
  set_category(out, i, label);
}

void set_pointer(const PointerValue& value, SignalKind kind, Observation& out, std::size_t i) {
  if (kind == SignalKind::kNumeric) {
    if (value.type == PointerValue::Type::kNumber) out.numbers[i] = value.number;
  } else if (value.type == PointerValue::Type::kText) {
    set_category(out, i, value.text);
  } else if (value.type == PointerValue::Type::kNumber) {
    std::array<char, 32> text;
    const int size = std::snprintf(text.data(), text.size(), "%.17g", value.number);
    set_category(out, i, {text.data(), static_cast<std::size_t>(size)});
  }
}

PointerValue pointer_value(const RecordView& record, std::size_t i) {
  return i < record.pointers.size() ? record.pointers[i] : PointerValue{};
}

// Signal i of the record; what the Monitor computes from words and vector stays missing here.
void set_signal(const Signal& signal, const RecordView& record, const TextStats& in,
                const TextStats& answer, Observation& out, std::size_t i) {
  double& number = out.numbers[i];
  number = kMissing;
  out.categories[i] = 0;
  switch (signal.source) {
    case Builtin::kLatency: number = record.latency_s; break;
    case Builtin::kTtft: number = record.ttft_s; break;
    case Builtin::kTokensIn: number = record.tokens_in; break;
    case Builtin::kTokensOut: number = record.tokens_out; break;
    case Builtin::kMeanLogprob: number = record.mean_logprob; break;
    case Builtin::kInputChars: number = record.has_input ? in.chars : kMissing; break;
    case Builtin::kInputWords: number = record.has_input ? in.words : kMissing; break;
    case Builtin::kOutputChars: number = record.has_output ? answer.chars : kMissing; break;
    case Builtin::kOutputWords: number = record.has_output ? answer.words : kMissing; break;
    case Builtin::kInputMeanWordLength: number = share(in.word_chars, in.words); break;
    case Builtin::kInputDigitShare: number = share(in.digits, in.chars); break;
    case Builtin::kInputUpperShare: number = share(in.upper, in.chars); break;
    case Builtin::kInputPunctuationShare: number = share(in.punctuation, in.chars); break;
    case Builtin::kInputNonAsciiShare: number = share(in.non_ascii, in.chars); break;
    case Builtin::kInputNovelty:
    case Builtin::kInputEmbedding: break;
    case Builtin::kOutputLabel: set_output_label(record, out, i); break;
    case Builtin::kFinish: set_category(out, i, record.finish); break;
    case Builtin::kStatus: set_category(out, i, record.status); break;
    case Builtin::kModel: set_category(out, i, record.model); break;
    case Builtin::kPointer:
      set_pointer(pointer_value(record, signal.pointer), signal.kind, out, i);
      break;
  }
}

}  // namespace

std::string_view SignalExtractor::segment_value(const SegmentField& field,
                                                const RecordView& record) {
  switch (field.source) {
    case SegmentField::Source::kTenant: return record.tenant;
    case SegmentField::Source::kRoute: return record.route;
    case SegmentField::Source::kModel: return record.model;
    case SegmentField::Source::kUser: return record.user_id;
    case SegmentField::Source::kPointer: return pointer_value(record, field.pointer).text;
  }
  return {};
}

bool SignalExtractor::extract(const RecordView& record, Observation& out) const {
  if (record.op == "probe") return false;
  out.ts_ms = record.ts_ms;
  out.offset = record.offset;
  out.session_hash = record.session_id.empty() ? 0 : category_hash(record.session_id);
  out.id.assign(record.id);
  out.candidate = record.arm == "candidate";
  out.word_count = 0;
  out.has_embedding = false;
  out.embedding_scale = 0.0F;
  out.signal_count = static_cast<std::uint8_t>(signals_.size());
  out.segment_count = static_cast<std::uint8_t>(segment_sources_.size());

  const bool sampled =
      wants_embedding_ && (embedding_rate_ >= 1.0 || stable_fraction(record.id) < embedding_rate_);
  const bool hashed = sampled && record.embedding.empty();
  if (wants_words_ || hashed) {
    WordSink sink(out, wants_words_, hashed);
    each_word(record.input_text, sink);
    sink.finish();
  }
  if (sampled && !record.embedding.empty()) store_logged(record.embedding, out);
  const TextStats in = text_stats(record.input_text.substr(0, kMaxTextBytes));
  const TextStats answer = text_stats(record.output_text.substr(0, kMaxTextBytes));

  for (std::size_t i = 0; i < signals_.size(); ++i) {
    set_signal(signals_[i], record, in, answer, out, i);
  }
  for (std::size_t i = 0; i < segment_sources_.size(); ++i) {
    out.segments[i].assign(segment_value(segment_sources_[i], record));
  }
  return true;
}

}  // namespace trimtab::drift
