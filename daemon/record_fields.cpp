#include "daemon/record_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/clock.h"
#include "base/hash.h"

namespace trimtab::daemon {
namespace {

namespace dom = simdjson::dom;

// Before this a number is almost surely in another unit (seconds, say).
constexpr std::int64_t kYear2000Ms = 946'684'800'000;
// Beyond any calendar: not a wrong clock, but no time at all.
constexpr std::int64_t kLatestMs = 10'000'000'000'000'000;
constexpr std::int64_t kMaxTokens = 1'000'000'000;

template <typename Number>
std::optional<Number> parse_whole(std::string_view text) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

std::string_view TargetRules::known(std::string_view name) const {
  const auto at = std::lower_bound(targets.begin(), targets.end(), name);
  return at != targets.end() && *at == name ? std::string_view(*at) : std::string_view();
}

void RecordBuilder::fail_with(DeadReason reason, Field field, std::string_view what) {
  if (failure_) return;  // the first one is the story
  failure_ = Failed{reason, fmt::format("{}: {}", field_name(field), what)};
}

std::string_view RecordBuilder::text(const FoundFields& found, Field field, bool name) {
  const Element* element = found.get(field);
  if (element == nullptr) return {};
  std::string_view value;
  if (element->get_string().get(value) != simdjson::SUCCESS) {
    fail_with(DeadReason::kBadType, field, "must be a string");
    return {};
  }
  if (!name) return arena_->keep(value);
  if (value.size() > kMaxNameBytes) {
    fail_with(DeadReason::kOutOfRange, field,
              fmt::format("is longer than {} bytes", kMaxNameBytes));
    return {};
  }
  if (value.find('\0') != std::string_view::npos) {
    fail_with(DeadReason::kBadType, field, "holds a NUL character");
    return {};
  }
  return arena_->keep(value);
}

std::optional<double> RecordBuilder::number_of(const Element& element, Field field) {
  double value = 0;
  std::string_view written;
  if (element.get_double().get(value) == simdjson::SUCCESS) {
    // fall through to the check
  } else if (numbers_in_text_ && element.get_string().get(written) == simdjson::SUCCESS &&
             parse_whole<double>(written)) {
    value = *parse_whole<double>(written);
  } else {
    fail_with(DeadReason::kBadType, field, "must be a number");
    return std::nullopt;
  }
  if (!std::isfinite(value)) {
    fail_with(DeadReason::kNonFinite, field, "is not a finite number");
    return std::nullopt;
  }
  return value;
}

std::optional<double> RecordBuilder::number(const FoundFields& found, Field field) {
  const Element* element = found.get(field);
  if (element == nullptr) return std::nullopt;
  return number_of(*element, field);
}

std::optional<std::int64_t> RecordBuilder::integer_of(const Element& element, Field field) {
  std::int64_t value = 0;
  if (element.get_int64().get(value) == simdjson::SUCCESS) return value;
  std::string_view written;
  if (numbers_in_text_ && element.get_string().get(written) == simdjson::SUCCESS) {
    if (const auto parsed = parse_whole<std::int64_t>(written)) return parsed;
  }
  double real = 0;  // 12.0 is an integer too: some producers know no other number
  if (element.get_double().get(real) == simdjson::SUCCESS && std::isfinite(real) &&
      std::abs(real) < 9e15 && real == std::floor(real)) {
    return static_cast<std::int64_t>(real);
  }
  fail_with(DeadReason::kBadType, field, "must be an integer");
  return std::nullopt;
}

std::optional<std::int64_t> RecordBuilder::integer(const FoundFields& found, Field field) {
  const Element* element = found.get(field);
  if (element == nullptr) return std::nullopt;
  return integer_of(*element, field);
}

std::optional<std::int64_t> RecordBuilder::time(const Element& element, Field field,
                                                TimeUnit unit) {
  std::string_view written;
  std::optional<double> number;
  if (element.get_string().get(written) == simdjson::SUCCESS) {
    if (numbers_in_text_) number = parse_whole<double>(written);
    if (!number) {
      const auto parsed = parse_rfc3339(written);
      if (!parsed) {
        fail_with(DeadReason::kBadTime, field, "is neither an RFC 3339 time nor a number");
        return std::nullopt;
      }
      number = static_cast<double>(*parsed);
      unit = TimeUnit::kMilliseconds;
    }
  } else {
    number = number_of(element, field);
    if (!number) return std::nullopt;
  }
  if (unit == TimeUnit::kSeconds) *number *= 1000.0;
  if (unit == TimeUnit::kNanoseconds) *number /= 1e6;
  if (*number < kYear2000Ms || *number > kLatestMs) {
    fail_with(DeadReason::kBadTime, field,
              "lies before the year 2000 or beyond all years; numbers are milliseconds since 1970");
    return std::nullopt;
  }
  return static_cast<std::int64_t>(*number);
}

void RecordBuilder::start_time(const FoundFields& found, std::int64_t& ts_ms, TimeSource& source) {
  // The message's own time stands in, itself held to the present.
  const std::int64_t ahead = times_.now_ms + settings_.future_tolerance_ms;
  const std::int64_t fallback =
      times_.kafka_ms > 0 && times_.kafka_ms <= ahead ? times_.kafka_ms : times_.now_ms;
  const Element* element = found.get(Field::kTs);
  if (element == nullptr) {
    ts_ms = fallback;
    source = TimeSource::kAbsent;
    return;
  }
  const auto parsed = time(*element, Field::kTs, found.time_unit);
  if (!parsed) return;
  source = *parsed > ahead ? TimeSource::kAhead : TimeSource::kRecord;
  ts_ms = *parsed > ahead ? fallback : *parsed;
}

void RecordBuilder::durations(const FoundFields& found, InferenceRecord& record) {
  std::optional<std::int64_t> start, end;
  if (const Element* element = found.get(Field::kTs)) {
    start = time(*element, Field::kTs, found.time_unit);
  }
  if (const Element* element = found.get(Field::kTsEnd)) {
    end = time(*element, Field::kTsEnd, found.time_unit);
  }
  record.latency_s = number(found, Field::kLatency);
  record.ttft_s = number(found, Field::kTtft);
  // Two clocks that contradict each other say nothing about a duration.
  if (start && end && *end >= *start) {
    record.ts_end_ms = record.ts_ms + (*end - *start);
    if (!record.latency_s) record.latency_s = static_cast<double>(*end - *start) / 1000.0;
  }
  if (found.has_ttft_from && !record.ttft_s && start) {
    const auto first = time(found.ttft_from_element, Field::kTtft, found.time_unit);
    if (first && *first >= *start) {
      record.ttft_s = static_cast<double>(*first - *start) / 1000.0;
    }
  }
  for (const Field field : {Field::kLatency, Field::kTtft}) {
    const auto& value = field == Field::kLatency ? record.latency_s : record.ttft_s;
    if (value && *value < 0) fail_with(DeadReason::kOutOfRange, field, "is negative");
  }
}

std::span<const float> RecordBuilder::floats(const FoundFields& found, Field field) {
  const Element* element = found.get(field);
  if (element == nullptr) return {};
  dom::array array;
  if (element->get_array().get(array) != simdjson::SUCCESS) {
    fail_with(DeadReason::kBadType, field, "must be an array of numbers");
    return {};
  }
  floats_.clear();
  for (const Element item : array) {
    const auto value = number_of(item, field);
    if (!value) return {};
    const auto narrow = static_cast<float>(*value);
    if (!std::isfinite(narrow)) {
      fail_with(DeadReason::kNonFinite, field, "holds a number too large for a float");
      return {};
    }
    floats_.push_back(narrow);
  }
  return arena_->keep(std::span<const float>(floats_));
}

void RecordBuilder::served(const FoundFields& found, InferenceRecord& record) {
  if (found.has(Field::kAdapter)) {
    record.adapter = text(found, Field::kAdapter);
    // JSON null: the bare base was served. An empty name would be neither.
    const bool null = found.get(Field::kAdapter) == nullptr;
    record.served = null ? Served::kBase : Served::kAdapter;
    if (!null && record.adapter.empty()) {
      fail_with(DeadReason::kBadType, Field::kAdapter, "is empty; null means the bare base");
    }
  }
  record.arm = text(found, Field::kArm);
  record.generation = integer(found, Field::kGeneration);
  if (record.generation && *record.generation < 0) {
    fail_with(DeadReason::kOutOfRange, Field::kGeneration, "is negative");
  }
  record.experiment = text(found, Field::kExperiment);
}

void RecordBuilder::tokens(const FoundFields& found, Tokens& tokens) {
  struct Part {
    Field field;
    std::string_view key;
    std::optional<std::int64_t>& value;
  };
  const Part parts[] = {{Field::kTokIn, "in", tokens.in},
                        {Field::kTokOut, "out", tokens.out},
                        {Field::kTokCacheR, "cache_r", tokens.cache_r},
                        {Field::kTokCacheW, "cache_w", tokens.cache_w},
                        {Field::kTokReason, "reason", tokens.reason}};
  if (const Element* element = found.get(Field::kTok)) {
    dom::object object;
    if (element->get_object().get(object) != simdjson::SUCCESS) {
      return fail_with(DeadReason::kBadType, Field::kTok, "must be an object");
    }
    for (const auto entry : object) {
      for (const Part& part : parts) {
        if (entry.key == part.key && !entry.value.is_null()) {
          part.value = integer_of(entry.value, part.field);
        }
      }
    }
  }
  for (const Part& part : parts) {
    if (found.get(part.field) != nullptr) part.value = integer(found, part.field);
    if (part.value && (*part.value < 0 || *part.value > kMaxTokens)) {
      fail_with(DeadReason::kOutOfRange, part.field, "is no possible token count");
    }
  }
}

void RecordBuilder::target(const FoundFields& found, const TargetRules& targets,
                           InferenceRecord& record) {
  const std::string_view named = text(found, Field::kTarget);
  if (failed()) return;
  std::string_view name = named;
  if (name.empty() && !record.route.empty()) {
    if (const auto at = targets.by_route.find(record.route); at != targets.by_route.end()) {
      name = at->second;
    }
  }
  if (name.empty() && !record.model_req.empty()) {
    const auto at = targets.by_model.find(record.model_req);
    name = at != targets.by_model.end() ? std::string_view(at->second) : record.model_req;
  }
  record.target = targets.known(name);
  if (record.target.empty()) {
    fail_with(DeadReason::kUnknownTarget, Field::kTarget,
              name.empty() ? std::string("absent, and neither route nor model_req leads to one")
                           : fmt::format("'{}' is not configured", name.substr(0, 100)));
  }
}

void RecordBuilder::inference(const FoundFields& found, const TargetRules& targets,
                              InferenceRecord& record) {
  record.id = text(found, Field::kId);
  if (!failed() && record.id.empty()) {
    return fail_with(DeadReason::kMissingId, Field::kId, "absent or empty");
  }
  record.route = text(found, Field::kRoute);
  record.model_req = text(found, Field::kModelReq);
  target(found, targets, record);
  start_time(found, record.ts_ms, record.time_source);
  if (failed()) return;
  durations(found, record);
  record.user_id = text(found, Field::kUserId);
  record.session_id = text(found, Field::kSessionId);
  record.trace_id = text(found, Field::kTraceId);
  record.tenant = text(found, Field::kTenant);
  record.model = text(found, Field::kModel);
  record.provider = text(found, Field::kProvider);
  record.op = text(found, Field::kOp);
  record.finish = text(found, Field::kFinish);
  record.status = text(found, Field::kStatus);
  record.error = text(found, Field::kError, false);
  served(found, record);
  tokens(found, record.tok);
  record.mean_logprob = number(found, Field::kMeanLogprob);
  record.logprobs = floats(found, Field::kLogprobs);
  record.embedding = floats(found, Field::kEmbedding);
  record.attributes = raw(found, Field::kAttributes, true);
  turns(found, record);
  output(found, record);
  if (found.get(Field::kToolCalls) != nullptr) {
    record.tool_calls = raw(found, Field::kToolCalls, false);
  }
}

// The same judgement of the same record by the same source is the same feedback.
void RecordBuilder::derive_feedback_id(Feedback& feedback) {
  scratch_.clear();
  for (const std::string_view part : {feedback.record_id, feedback.trace_id, feedback.name,
                                      label_source_name(feedback.source), feedback.source_id}) {
    scratch_.append(part);
    scratch_ += '\x1f';
  }
  feedback.feedback_id = arena_->keep(fmt::format("fb-{}", sha256_hex(scratch_).substr(0, 32)));
}

void RecordBuilder::feedback(const FoundFields& found, const TargetRules& targets,
                             Feedback& feedback) {
  feedback.record_id = text(found, Field::kId);
  feedback.trace_id = text(found, Field::kTraceId);
  if (!failed() && feedback.record_id.empty() && feedback.trace_id.empty()) {
    return fail_with(DeadReason::kMissingId, Field::kId, "feedback needs id or trace_id");
  }
  const std::string_view named = text(found, Field::kTarget);
  feedback.target = targets.known(named);
  if (!named.empty() && feedback.target.empty()) {
    fail_with(DeadReason::kUnknownTarget, Field::kTarget,
              fmt::format("'{}' is not configured", named.substr(0, 100)));
  }
  start_time(found, feedback.ts_ms, feedback.time_source);
  feedback.feedback_id = text(found, Field::kFeedbackId);
  feedback.name = text(found, Field::kName);
  feedback.label = text(found, Field::kLabel);
  feedback.correction = text(found, Field::kCorrection, false);
  feedback.source_id = text(found, Field::kSourceId);
  feedback.score = number(found, Field::kScore);
  feedback.propensity = number(found, Field::kPropensity);
  if (feedback.score &&
      !(*feedback.score == -1.0 || (*feedback.score >= 0 && *feedback.score <= 1))) {
    fail_with(DeadReason::kOutOfRange, Field::kScore, "must be in 0..1, or -1");
  }
  if (feedback.propensity && !(*feedback.propensity > 0 && *feedback.propensity <= 1)) {
    fail_with(DeadReason::kOutOfRange, Field::kPropensity, "must be in (0, 1]");
  }
  const std::string_view source = text(found, Field::kSource);
  if (source == "judge") {
    feedback.source = LabelSource::kJudge;
  } else if (source == "rule") {
    feedback.source = LabelSource::kRule;
  } else if (!source.empty() && source != "human") {
    fail_with(DeadReason::kOutOfRange, Field::kSource, "must be human, judge or rule");
  }
  const std::string_view selection = text(found, Field::kSelection);
  if (selection == "random") {
    feedback.selection = Selection::kRandom;
  } else if (selection == "judge") {
    feedback.selection = Selection::kJudge;
  } else if (!selection.empty() && selection != "user") {
    fail_with(DeadReason::kOutOfRange, Field::kSelection, "must be random, user or judge");
  }
  if (!failed() && feedback.feedback_id.empty()) derive_feedback_id(feedback);
}

Decoded RecordBuilder::build(const FoundFields& found, std::string_view default_kind,
                             const TargetRules& targets, Times times, TextArena& arena) {
  arena_ = &arena;
  times_ = times;
  numbers_in_text_ = found.numbers_in_text;
  failure_.reset();
  std::string_view kind = found.kind.empty() ? text(found, Field::kKind) : found.kind;
  if (kind.empty()) kind = default_kind;
  const auto schema = integer(found, Field::kSchema);
  if (schema && *schema > kRecordSchema) {
    fail_with(DeadReason::kNewerSchema, Field::kSchema,
              fmt::format("is {}, this trimtab reads up to {}", *schema, kRecordSchema));
  }
  Decoded decoded;
  if (!failed() && kind == "inference") {
    inference(found, targets, std::get<InferenceRecord>(decoded));
  } else if (!failed() && kind == "feedback") {
    feedback(found, targets, decoded.emplace<Feedback>());
  } else {
    fail_with(DeadReason::kUnknownKind, Field::kKind, "must be inference or feedback");
  }
  if (failure_) return DeadLetter{failure_->reason, arena.keep(failure_->message), 0};
  return decoded;
}

}  // namespace trimtab::daemon
