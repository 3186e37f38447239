// Over 400 lines because the two ways of decoding and the bodies of POST share one state.
#include "daemon/record_codec.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "daemon/json_writer.h"
#include "daemon/record_mappings.h"
#include "daemon/record_scan.h"

namespace trimtab::daemon {
namespace {

namespace dom = simdjson::dom;

// NaN and infinities are no JSON; people write them all the same, and deserve to be told so.
bool holds_non_finite(std::string_view message) {
  bool quoted = false;
  for (std::size_t at = 0; at < message.size(); ++at) {
    const char c = message[at];
    if (quoted) {
      if (c == '\\') ++at;
      if (c == '"') quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == 'N' || c == 'I') {
      const std::string_view rest = message.substr(at);
      if (rest.starts_with("NaN") || rest.starts_with("Infinity")) return true;
    }
  }
  return false;
}

DeadLetter parse_failure(simdjson::error_code error, std::string_view message,
                         std::int64_t max_depth) {
  switch (error) {
    case simdjson::UTF8_ERROR: return {DeadReason::kNotUtf8, "the message is not UTF-8", 0};
    case simdjson::DEPTH_ERROR:
      (void)max_depth;
      return {DeadReason::kTooDeep, "nested deeper than ingest.max_depth", 0};
    case simdjson::EMPTY: return {DeadReason::kEmpty, "the message is empty", 0};
    case simdjson::NUMBER_ERROR:
    case simdjson::TAPE_ERROR:
      if (holds_non_finite(message)) {
        return {DeadReason::kNonFinite, "holds NaN or Infinity, which JSON has not", 0};
      }
      break;
    default: break;
  }
  return {DeadReason::kNotJson, simdjson::error_message(error), 0};
}

// 1e999 is JSON by its grammar, but no finite number.
bool is_overflow(simdjson::error_code error, std::string_view message) {
  if (error != simdjson::NUMBER_ERROR) return false;
  // A long exponent, or a number of more digits than a double can hold.
  for (std::size_t at = 0; at + 3 < message.size(); ++at) {
    if ((message[at] == 'e' || message[at] == 'E') && at > 0 && message[at - 1] >= '0' &&
        message[at - 1] <= '9') {
      std::size_t digit = at + 1;
      if (message[digit] == '+') ++digit;
      std::size_t count = 0;
      while (digit + count < message.size() && message[digit + count] >= '0' &&
             message[digit + count] <= '9') {
        ++count;
      }
      if (count >= 3) return true;
    }
  }
  return false;
}

}  // namespace

void append_json(const Element& element, std::string& out) {
  switch (element.type()) {
    case dom::element_type::ARRAY: {
      out += '[';
      bool first = true;
      for (const Element item : dom::array(element)) {
        if (!first) out += ',';
        first = false;
        append_json(item, out);
      }
      out += ']';
      return;
    }
    case dom::element_type::OBJECT: {
      out += '{';
      bool first = true;
      for (const auto entry : dom::object(element)) {
        if (!first) out += ',';
        first = false;
        append_json_string(entry.key, out);
        out += ':';
        append_json(entry.value, out);
      }
      out += '}';
      return;
    }
    case dom::element_type::STRING:
      return append_json_string(element.get_string().value_unsafe(), out);
    case dom::element_type::INT64:
      fmt::format_to(std::back_inserter(out), "{}", element.get_int64().value_unsafe());
      return;
    case dom::element_type::UINT64:
      fmt::format_to(std::back_inserter(out), "{}", element.get_uint64().value_unsafe());
      return;
    case dom::element_type::DOUBLE: {
      const double value = element.get_double().value_unsafe();
      // "-0" would be read as a whole number, and those have no sign.
      if (value == 0.0 && std::signbit(value)) return void(out += "-0.0");
      fmt::format_to(std::back_inserter(out), "{}", value);
      return;
    }
    case dom::element_type::BOOL:
      out += element.get_bool().value_unsafe() ? "true" : "false";
      return;
    case dom::element_type::NULL_VALUE: out += "null"; return;
  }
}

struct RecordCodec::State {
  explicit State(const config::IngestSettings& given)
      : settings(given), builder(settings), scanner(settings) {}

  config::IngestSettings settings;
  TargetRules targets;
  std::vector<std::pair<Field, std::string>> own;
  std::map<std::string, std::vector<std::string>, std::less<>> drift_pointers;
  dom::parser parser;
  NestedJson nested;
  FoundFields found;
  RecordBuilder builder;
  RecordScanner scanner;
  // Of targets whose pointers are all "/attributes/KEY"; with another one `scannable` is off.
  RecordScanner::PointerKeys attribute_keys;
  bool scannable = false;
  std::vector<char> padded;
  std::vector<drift::PointerValue> values;

  Decoded from_element(Element root, std::string_view default_kind, RecordBuilder::Times times,
                       TextArena& arena);
  void attach_pointers(Element root, InferenceRecord& record, TextArena& arena);
  Decoded parse(std::string_view message, std::string_view default_kind, RecordBuilder::Times times,
                TextArena& arena);
  void note_pointers();
  Status parse_array(std::string_view body, std::string_view default_kind,
                     RecordBuilder::Times times, RecordBatch& batch);
};

// Whether the short way may be taken at all, and with which keys of the attributes.
void RecordCodec::State::note_pointers() {
  constexpr std::string_view kAttributes = "/attributes/";
  scannable = settings.mapping == config::Mapping::kCanonical && own.empty();
  attribute_keys.clear();
  for (const auto& [target, pointers] : drift_pointers) {
    for (const std::string& pointer : pointers) {
      const bool plain = pointer.starts_with(kAttributes) &&
                         pointer.find_first_of("/~", kAttributes.size()) == std::string::npos;
      scannable &= plain;
      if (plain) attribute_keys[target].push_back(pointer.substr(kAttributes.size()));
    }
  }
}

void RecordCodec::State::attach_pointers(Element root, InferenceRecord& record, TextArena& arena) {
  if (drift_pointers.empty()) return;
  const auto pointers = drift_pointers.find(record.target);
  if (pointers == drift_pointers.end()) return;
  // The attributes have been found already, unless a mapping of one's own calls something else so.
  constexpr std::string_view kAttributes = "/attributes";
  const bool canonical = settings.mapping == config::Mapping::kCanonical && own.empty();
  const Element* attributes = canonical ? found.get(Field::kAttributes) : nullptr;
  values.clear();
  for (const std::string& pointer : pointers->second) {
    drift::PointerValue value;
    Element element;
    std::string_view text;
    const bool near = attributes != nullptr && pointer.size() > kAttributes.size() &&
                      pointer.starts_with(kAttributes) && pointer[kAttributes.size()] == '/';
    const auto at = near ? attributes->at_pointer(pointer.c_str() + kAttributes.size())
                         : root.at_pointer(pointer);
    if (at.get(element) == simdjson::SUCCESS) {
      if (element.get_double().get(value.number) == simdjson::SUCCESS) {
        value.type = drift::PointerValue::Type::kNumber;
      } else if (element.get_string().get(text) == simdjson::SUCCESS) {
        value.type = drift::PointerValue::Type::kText;
        value.text = arena.keep(text);
      } else if (element.is_bool()) {
        value.type = drift::PointerValue::Type::kText;
        value.text = element.get_bool().value_unsafe() ? "true" : "false";
      }
    }
    values.push_back(value);
  }
  record.pointers = arena.keep(std::span<const drift::PointerValue>(values));
}

Decoded RecordCodec::State::from_element(Element root, std::string_view default_kind,
                                         RecordBuilder::Times times, TextArena& arena) {
  dom::object object;
  if (root.get_object().get(object) != simdjson::SUCCESS) {
    return DeadLetter{DeadReason::kBadType, "record: must be a JSON object", 0};
  }
  found.reset();
  nested.reset();
  switch (settings.mapping) {
    case config::Mapping::kCanonical: map_canonical(object, found); break;
    case config::Mapping::kOtel:
      map_otel(object, nested, static_cast<std::size_t>(settings.max_depth), found);
      break;
    case config::Mapping::kLitellm: map_litellm(object, found); break;
    case config::Mapping::kLangfuse: map_langfuse(object, found); break;
  }
  // Feedback is trimtab's own form in every mapping that has none of its own.
  std::string_view kind;
  if (settings.mapping != config::Mapping::kCanonical &&
      object.at_key("kind").get_string().get(kind) == simdjson::SUCCESS &&
      (kind == "feedback" || kind == "inference")) {
    found.reset();
    map_canonical(object, found);
  }
  if (!own.empty()) map_pointers(root, own, found);
  Decoded decoded = builder.build(found, default_kind, targets, times, arena);
  if (auto* record = std::get_if<InferenceRecord>(&decoded)) attach_pointers(root, *record, arena);
  return decoded;
}

Decoded RecordCodec::State::parse(std::string_view message, std::string_view default_kind,
                                  RecordBuilder::Times times, TextArena& arena) {
  if (message.size() > static_cast<std::size_t>(settings.max_record_bytes)) {
    return DeadLetter{DeadReason::kTooLarge, "larger than ingest.max_record", 0};
  }
  if (padded.size() < message.size() + simdjson::SIMDJSON_PADDING) {
    padded.resize(2 * message.size() + simdjson::SIMDJSON_PADDING);
  }
  if (!message.empty()) std::memcpy(padded.data(), message.data(), message.size());
  Element root;
  const auto error = parser.parse(padded.data(), message.size(), false).get(root);
  if (error != simdjson::SUCCESS) {
    if (is_overflow(error, message)) {
      return DeadLetter{DeadReason::kNonFinite, "holds a number beyond the range of a double", 0};
    }
    return parse_failure(error, message, settings.max_depth);
  }
  return from_element(root, default_kind, times, arena);
}

Result<RecordCodec> RecordCodec::create(const config::IngestSettings& settings,
                                        std::vector<std::string> targets) {
  auto state = std::make_unique<State>(settings);
  std::sort(targets.begin(), targets.end());
  state->targets.targets = std::move(targets);
  for (const auto& [route, target] : settings.target_by_route) {
    state->targets.by_route[route] = target;
  }
  for (const auto& [model, target] : settings.target_by_model) {
    state->targets.by_model[model] = target;
  }
  for (const auto& [name, pointer] : settings.pointers) {
    const Field field = field_by_name(name);
    if (field == Field::kNone) {
      return fail(Code::kInvalid, "ingest.pointers: '" + name + "' is no field of a record");
    }
    if (pointer.empty() || pointer.front() != '/') {
      return fail(Code::kInvalid, "ingest.pointers." + name + ": '" + pointer +
                                      "' is no JSON pointer; it must begin with '/'");
    }
    state->own.emplace_back(field, pointer);
  }
  if (settings.max_depth < 4 || settings.max_record_bytes < 1) {
    return fail(Code::kInvalid, "ingest.max_depth must be at least 4, max_record_bytes positive");
  }
  // simdjson counts the root as one level.
  const auto error =
      state->parser.allocate(64 * 1024, static_cast<std::size_t>(settings.max_depth) + 1);
  if (error != simdjson::SUCCESS) return fail(Code::kInternal, "simdjson: cannot allocate");
  state->note_pointers();
  return RecordCodec(std::move(state));
}

RecordCodec::RecordCodec(std::unique_ptr<State> state) : state_(std::move(state)) {}
RecordCodec::RecordCodec(RecordCodec&&) noexcept = default;
RecordCodec& RecordCodec::operator=(RecordCodec&&) noexcept = default;
RecordCodec::~RecordCodec() = default;

Status RecordCodec::set_pointers(const std::string& target, std::vector<std::string> pointers) {
  if (state_->targets.known(target).empty()) {
    return fail(Code::kInvalid, "'" + target + "' is no configured target");
  }
  for (const std::string& pointer : pointers) {
    if (pointer.empty() || pointer.front() != '/') {
      return fail(Code::kInvalid, target + ": '" + pointer + "' is no JSON pointer");
    }
  }
  if (pointers.empty()) {
    state_->drift_pointers.erase(target);
  } else {
    state_->drift_pointers[target] = std::move(pointers);
  }
  state_->note_pointers();
  return {};
}

Decoded RecordCodec::decode(std::string_view message, std::int64_t kafka_ms, std::int64_t now_ms,
                            TextArena& arena) {
  Decoded decoded;  // one name for every return: nothing is moved
  auto& record = std::get<InferenceRecord>(decoded);
  if (state_->scannable && state_->scanner.scan(message, state_->targets, state_->attribute_keys,
                                                {kafka_ms, now_ms}, arena, record)) {
    record.bytes = static_cast<std::uint32_t>(message.size());
    return decoded;
  }
  decoded = decode_by_tree(message, kafka_ms, now_ms, arena);
  return decoded;
}

Decoded RecordCodec::decode_by_tree(std::string_view message, std::int64_t kafka_ms,
                                    std::int64_t now_ms, TextArena& arena) {
  Decoded decoded = state_->parse(message, "inference", {kafka_ms, now_ms}, arena);
  std::visit([&](auto& value) { value.bytes = static_cast<std::uint32_t>(message.size()); },
             decoded);
  return decoded;
}

Status RecordCodec::State::parse_array(std::string_view body, std::string_view default_kind,
                                       RecordBuilder::Times times, RecordBatch& batch) {
  dom::parser whole;  // its memory goes with the request
  if (whole.allocate(body.size() + 64, static_cast<std::size_t>(settings.max_depth) + 2) !=
      simdjson::SUCCESS) {
    return fail(Code::kInternal, "simdjson: cannot allocate");
  }
  Element root;
  if (const auto error = whole.parse(body.data(), body.size(), true).get(root);
      error != simdjson::SUCCESS) {
    const DeadLetter why = parse_failure(error, body, settings.max_depth);
    return fail(Code::kInvalid, fmt::format("the body is no JSON array: {} ({})", why.message,
                                            dead_reason_name(why.reason)));
  }
  std::int64_t index = 0;
  for (const Element element : dom::array(root)) {
    batch.records.push_back({Origin{0, -1, index++, times.now_ms},
                             from_element(element, default_kind, times, batch.arena)});
  }
  return {};
}

Status RecordCodec::decode_body(std::string_view body, std::string_view default_kind,
                                std::int64_t now_ms, RecordBatch& batch) {
  const RecordBuilder::Times times{now_ms, now_ms};
  const std::size_t start = body.find_first_not_of(" \t\r\n");
  if (start == std::string_view::npos) return fail(Code::kInvalid, "the body is empty");
  if (body[start] == '[') {
    return state_->parse_array(body.substr(start), default_kind, times, batch);
  }
  if (body[start] != '{') {
    return fail(Code::kInvalid, "the body must be a JSON array or one JSON object a line");
  }
  std::int64_t index = 0;
  while (!body.empty()) {
    const std::size_t end = std::min(body.find('\n'), body.size());
    const std::string_view line = body.substr(0, end);
    body.remove_prefix(std::min(end + 1, body.size()));
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    batch.records.push_back(
        {Origin{0, -1, index++, now_ms}, state_->parse(line, default_kind, times, batch.arena)});
  }
  return {};
}

drift::RecordView to_drift_view(const InferenceRecord& record, std::uint64_t number) {
  const auto value = [](const auto& optional) {
    return optional ? static_cast<double>(*optional) : drift::RecordView::kAbsent;
  };
  // All at once: nothing is written twice.
  drift::RecordView view{.id = record.id,
                         .ts_ms = record.ts_ms,
                         .offset = number,
                         .session_id = record.session_id,
                         .user_id = record.user_id,
                         .tenant = record.tenant,
                         .route = record.route,
                         .model = record.model,
                         .op = record.op,
                         .arm = record.arm,
                         .latency_s = value(record.latency_s),
                         .ttft_s = value(record.ttft_s),
                         .tokens_in = value(record.tok.in),
                         .tokens_out = value(record.tok.out),
                         .mean_logprob = value(record.mean_logprob),
                         .input_text = {},
                         .output_text = record.output,
                         .has_input = false,
                         .has_output = !record.output.empty(),
                         .finish = record.finish,
                         .status = record.status,
                         .embedding = record.embedding,
                         .pointers = record.pointers};
  for (const Turn& turn : record.input) {
    if (turn.role != "user") continue;
    view.input_text = turn.content;
    view.has_input = true;
  }
  return view;
}

}  // namespace trimtab::daemon
