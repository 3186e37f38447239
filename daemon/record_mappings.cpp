#include "daemon/record_mappings.h"

#include <array>
#include <optional>

namespace trimtab::daemon {
namespace {

namespace dom = simdjson::dom;

std::optional<Element> at(dom::object object, std::string_view key) {
  Element element;
  if (object.at_key(key).get(element) != simdjson::SUCCESS) return std::nullopt;
  return element;
}

// A chain of keys through objects.
template <typename... Keys>
std::optional<Element> at(dom::object object, std::string_view key, Keys... rest) {
  const auto next = at(object, key);
  dom::object inner;
  if (!next || next->get_object().get(inner) != simdjson::SUCCESS) return std::nullopt;
  return at(inner, rest...);
}

void take(FoundFields& found, Field field, const std::optional<Element>& element) {
  if (element && !element->is_null()) found.set_if_absent(field, *element);
}

std::optional<dom::object> as_object(const std::optional<Element>& element) {
  dom::object object;
  if (!element || element->get_object().get(object) != simdjson::SUCCESS) return std::nullopt;
  return object;
}

void take_tokens(FoundFields& found, dom::object usage, std::string_view in, std::string_view out,
                 std::string_view cache_r, std::string_view cache_w) {
  take(found, Field::kTokIn, at(usage, in));
  take(found, Field::kTokOut, at(usage, out));
  take(found, Field::kTokCacheR, at(usage, cache_r));
  take(found, Field::kTokCacheW, at(usage, cache_w));
}

// An OTLP value: {"stringValue": ..} | {"intValue": "5"} | ..; anything else stands for itself.
Element otlp_value(Element value) {
  dom::object object;
  if (value.get_object().get(object) != simdjson::SUCCESS) return value;
  for (const auto key : {"stringValue", "intValue", "doubleValue", "boolValue"}) {
    if (const auto inner = at(object, key)) return *inner;
  }
  if (const auto array = at(object, "arrayValue", "values")) return *array;
  return value;
}

// The attributes of an OTel record: flat keys of the record itself, of an `attributes` object, or
// OTLP's list of {key, value}. Looked up by name, first found.
class OtelAttributes {
 public:
  explicit OtelAttributes(dom::object record) : record_(record) {
    const auto attributes = at(record, "attributes");
    if (!attributes) return;
    if (attributes->get_array().get(list_) == simdjson::SUCCESS) has_list_ = true;
    if (attributes->get_object().get(object_) == simdjson::SUCCESS) has_object_ = true;
  }

  [[nodiscard]] std::optional<Element> get(std::string_view name) const {
    if (has_object_) {
      if (const auto value = at(object_, name)) return otlp_value(*value);
    }
    if (has_list_) {
      for (Element entry : list_) {
        std::string_view key;
        if (entry["key"].get(key) != simdjson::SUCCESS || key != name) continue;
        Element value;
        if (entry["value"].get(value) == simdjson::SUCCESS) return otlp_value(value);
      }
    }
    return at(record_, name);
  }

 private:
  dom::object record_;
  dom::object object_;
  dom::array list_;
  bool has_object_ = false;
  bool has_list_ = false;
};

struct Alias {
  Field field;
  std::string_view name;
};

// Newest name first; the old ones stay as aliases, for the conventions still change.
constexpr Alias kOtelNames[] = {
    {Field::kId, "gen_ai.response.id"},
    {Field::kSessionId, "gen_ai.conversation.id"},
    {Field::kSessionId, "session.id"},
    {Field::kUserId, "enduser.id"},
    {Field::kUserId, "user.id"},
    {Field::kOp, "gen_ai.operation.name"},
    {Field::kProvider, "gen_ai.provider.name"},
    {Field::kProvider, "gen_ai.system"},
    {Field::kModelReq, "gen_ai.request.model"},
    {Field::kModel, "gen_ai.response.model"},
    {Field::kTokIn, "gen_ai.usage.input_tokens"},
    {Field::kTokIn, "gen_ai.usage.prompt_tokens"},
    {Field::kTokOut, "gen_ai.usage.output_tokens"},
    {Field::kTokOut, "gen_ai.usage.completion_tokens"},
    {Field::kTokCacheR, "gen_ai.usage.cache_read.input_tokens"},
    {Field::kTokCacheR, "gen_ai.usage.cache_read_input_tokens"},
    {Field::kTokCacheW, "gen_ai.usage.cache_creation.input_tokens"},
    {Field::kTokCacheW, "gen_ai.usage.cache_creation_input_tokens"},
    {Field::kTokReason, "gen_ai.usage.reasoning.output_tokens"},
    {Field::kTtft, "gen_ai.response.time_to_first_chunk"},
    {Field::kTtft, "gen_ai.server.time_to_first_token"},
    {Field::kLatency, "gen_ai.client.operation.duration"},
    {Field::kError, "error.type"},
    {Field::kTarget, "trimtab.target"},
    {Field::kRoute, "http.route"},
    {Field::kTenant, "tenant.id"},
    {Field::kAdapter, "trimtab.adapter"},
    {Field::kArm, "trimtab.arm"},
    {Field::kGeneration, "trimtab.generation"},
    {Field::kExperiment, "trimtab.experiment"},
    {Field::kInput, "gen_ai.input.messages"},
    {Field::kInput, "gen_ai.prompt"},
    {Field::kOutput, "gen_ai.output.messages"},
    {Field::kOutput, "gen_ai.completion"},
    {Field::kSystem, "gen_ai.system_instructions"},
};
constexpr Alias kOtelFeedback[] = {
    {Field::kId, "gen_ai.response.id"},
    {Field::kName, "gen_ai.evaluation.name"},
    {Field::kScore, "gen_ai.evaluation.score.value"},
    {Field::kLabel, "gen_ai.evaluation.score.label"},
    {Field::kFeedbackId, "gen_ai.evaluation.id"},
    {Field::kSource, "gen_ai.evaluation.source"},
    {Field::kSourceId, "enduser.id"},
    {Field::kSelection, "trimtab.selection"},
    {Field::kPropensity, "trimtab.propensity"},
    {Field::kCorrection, "trimtab.correction"},
};

void otel_times(dom::object record, FoundFields& found) {
  for (const auto key : {"startTimeUnixNano", "timeUnixNano", "observedTimeUnixNano"}) {
    if (const auto time = at(record, key)) {
      found.set_if_absent(Field::kTs, *time);
      found.time_unit = TimeUnit::kNanoseconds;
    }
  }
  take(found, Field::kTsEnd, at(record, "endTimeUnixNano"));
  for (const auto key : {"start_time", "timestamp", "time"}) {
    take(found, Field::kTs, at(record, key));
  }
  take(found, Field::kTsEnd, at(record, "end_time"));
}

void otel_finish(const OtelAttributes& attributes, FoundFields& found) {
  const auto reasons = attributes.get("gen_ai.response.finish_reasons");
  if (!reasons) return;
  dom::array list;
  if (reasons->get_array().get(list) != simdjson::SUCCESS)
    return take(found, Field::kFinish, reasons);
  for (Element reason : list) return take(found, Field::kFinish, otlp_value(reason));
}

// Messages may stand as JSON inside a string attribute.
void unfold(Field field, NestedJson& nested, std::size_t max_depth, FoundFields& found) {
  const Element* element = found.get(field);
  std::string_view text;
  if (element == nullptr || element->get_string().get(text) != simdjson::SUCCESS) return;
  if (const auto inner = nested.parse(text, max_depth)) found.set(field, *inner);
}

}  // namespace

std::optional<Element> NestedJson::parse(std::string_view text, std::size_t max_depth) {
  const std::size_t start = text.find_first_not_of(" \t\r\n");
  if (start == std::string_view::npos || (text[start] != '[' && text[start] != '{')) {
    return std::nullopt;
  }
  if (used_ == parsers_.size()) parsers_.push_back(std::make_unique<dom::parser>());
  dom::parser& parser = *parsers_[used_++];
  if (parser.max_depth() != max_depth &&
      parser.allocate(text.size() + 64, max_depth) != simdjson::SUCCESS) {
    return std::nullopt;
  }
  Element element;
  if (parser.parse(text.data(), text.size(), true).get(element) != simdjson::SUCCESS) {
    return std::nullopt;
  }
  return element;
}

void map_canonical(dom::object record, FoundFields& found) {
  for (const auto field : record) {
    const Field known = field_by_name(field.key);
    if (known != Field::kNone) found.set(known, field.value);
  }
}

void map_otel(dom::object record, NestedJson& nested, std::size_t max_depth, FoundFields& found) {
  const OtelAttributes attributes(record);
  found.numbers_in_text = true;
  otel_times(record, found);
  for (const auto key : {"traceId", "trace_id"}) take(found, Field::kTraceId, at(record, key));
  take(found, Field::kTraceId, at(record, "span_context", "trace_id"));
  take(found, Field::kTraceId, at(record, "context", "trace_id"));
  if (attributes.get("gen_ai.evaluation.name")) {
    found.kind = "feedback";
    for (const Alias& alias : kOtelFeedback) take(found, alias.field, attributes.get(alias.name));
    return;
  }
  for (const Alias& alias : kOtelNames) take(found, alias.field, attributes.get(alias.name));
  otel_finish(attributes, found);
  if (!found.has(Field::kId)) {
    for (const auto key : {"spanId", "span_id"}) take(found, Field::kId, at(record, key));
  }
  for (const Field field : {Field::kInput, Field::kOutput, Field::kSystem}) {
    unfold(field, nested, max_depth, found);
  }
  if (const auto all = at(record, "attributes"); all && all->is_object()) {
    found.set(Field::kAttributes, *all);
  }
}

void map_litellm(dom::object record, FoundFields& found) {
  found.time_unit = TimeUnit::kSeconds;  // StandardLoggingPayload: seconds as a float
  take(found, Field::kId, at(record, "id"));
  take(found, Field::kTraceId, at(record, "trace_id"));
  take(found, Field::kTs, at(record, "startTime"));
  take(found, Field::kTsEnd, at(record, "endTime"));
  if (const auto first = at(record, "completionStartTime")) {
    found.has_ttft_from = !first->is_null();
    found.ttft_from_element = *first;
  }
  take(found, Field::kLatency, at(record, "response_time"));
  take(found, Field::kOp, at(record, "call_type"));
  take(found, Field::kProvider, at(record, "custom_llm_provider"));
  take(found, Field::kModelReq, at(record, "model_group"));
  take(found, Field::kModel, at(record, "model"));
  take(found, Field::kTokIn, at(record, "prompt_tokens"));
  take(found, Field::kTokOut, at(record, "completion_tokens"));
  take(found, Field::kUserId, at(record, "end_user"));
  take(found, Field::kStatus, at(record, "status"));
  take(found, Field::kError, at(record, "error_information", "error_class"));
  take(found, Field::kInput, at(record, "messages"));
  if (const auto metadata = as_object(at(record, "metadata"))) {
    found.set(Field::kAttributes, *at(record, "metadata"));
    take(found, Field::kSessionId, at(*metadata, "session_id"));
    take(found, Field::kUserId, at(*metadata, "user_api_key_end_user_id"));
    take(found, Field::kTenant, at(*metadata, "user_api_key_team_id"));
    for (const Field field : {Field::kTarget, Field::kRoute, Field::kAdapter, Field::kArm,
                              Field::kGeneration, Field::kExperiment}) {
      if (const auto value = at(*metadata, field_name(field))) found.set_if_absent(field, *value);
    }
  }
  const auto response = at(record, "response");
  const auto body = as_object(response);
  if (!body) return take(found, Field::kOutput, response);
  dom::array choices;
  const auto list = at(*body, "choices");
  if (!list || list->get_array().get(choices) != simdjson::SUCCESS) return;
  for (Element choice : choices) {
    const auto first = as_object(choice);
    if (!first) return;
    take(found, Field::kOutput, at(*first, "message"));
    take(found, Field::kOutput, at(*first, "text"));
    take(found, Field::kFinish, at(*first, "finish_reason"));
    return;
  }
}

void map_langfuse(dom::object record, FoundFields& found) {
  const auto type = at(record, "type");
  std::string_view kind;
  if (type && type->is_string()) kind = type->get_string().value_unsafe();
  const dom::object body = as_object(at(record, "body")).value_or(record);
  take(found, Field::kTraceId, at(body, "traceId"));
  if (kind == "score-create") {
    found.kind = "feedback";
    take(found, Field::kFeedbackId, at(body, "id"));
    take(found, Field::kId, at(body, "observationId"));
    take(found, Field::kName, at(body, "name"));
    const auto value = at(body, "value");
    std::string_view text;
    const bool category = value && value->get_string().get(text) == simdjson::SUCCESS;
    take(found, category ? Field::kLabel : Field::kScore, value);
    take(found, Field::kTs, at(record, "timestamp"));
    if (const auto metadata = as_object(at(body, "metadata"))) {
      for (const Field field : {Field::kSelection, Field::kPropensity, Field::kCorrection,
                                Field::kSource, Field::kSourceId, Field::kTarget}) {
        take(found, field, at(*metadata, field_name(field)));
      }
    }
    return;
  }
  take(found, Field::kId, at(body, "id"));
  take(found, Field::kSessionId, at(body, "sessionId"));
  take(found, Field::kUserId, at(body, "userId"));
  take(found, Field::kTs, at(body, "startTime"));
  take(found, Field::kTs, at(record, "timestamp"));
  take(found, Field::kTsEnd, at(body, "endTime"));
  if (const auto first = at(body, "completionStartTime")) {
    found.has_ttft_from = !first->is_null();
    found.ttft_from_element = *first;
  }
  take(found, Field::kModel, at(body, "model"));
  take(found, Field::kInput, at(body, "input"));
  take(found, Field::kOutput, at(body, "output"));
  take(found, Field::kStatus, at(body, "level"));
  take(found, Field::kError, at(body, "statusMessage"));
  for (const auto key : {"usageDetails", "usage"}) {
    if (const auto usage = as_object(at(body, key))) {
      take_tokens(found, *usage, "input", "output", "cache_read_input_tokens",
                  "cache_creation_input_tokens");
    }
  }
  if (const auto metadata = as_object(at(body, "metadata"))) {
    found.set(Field::kAttributes, *at(body, "metadata"));
    for (const Field field :
         {Field::kTarget, Field::kRoute, Field::kTenant, Field::kAdapter, Field::kArm,
          Field::kGeneration, Field::kExperiment, Field::kSessionId, Field::kUserId,
          Field::kProvider, Field::kOp, Field::kModelReq}) {
      // Null is kept: a null adapter attests the bare base.
      if (const auto value = at(*metadata, field_name(field))) found.set_if_absent(field, *value);
    }
  }
}

void map_pointers(Element record, const std::vector<std::pair<Field, std::string>>& pointers,
                  FoundFields& found) {
  for (const auto& [field, pointer] : pointers) {
    Element element;
    if (record.at_pointer(pointer).get(element) == simdjson::SUCCESS) found.set(field, element);
  }
}

}  // namespace trimtab::daemon
