// The canonical JSON line of a record, as the record store keeps it.
#include "base/json.h"
#include "daemon/json_writer.h"
#include "daemon/record_store.h"

namespace trimtab::daemon {
namespace {

void append_floats(std::span<const float> values, std::string& out) {
  out += '[';
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i > 0) out += ',';
    fmt::format_to(std::back_inserter(out), "{}", values[i]);
  }
  out += ']';
}

void append_tokens(const Tokens& tokens, JsonObjectWriter& record, std::string& out) {
  if (!tokens.in && !tokens.out && !tokens.cache_r && !tokens.cache_w && !tokens.reason) return;
  record.key("tok");
  JsonObjectWriter object(out);
  if (tokens.in) object.number("in", *tokens.in);
  if (tokens.out) object.number("out", *tokens.out);
  if (tokens.cache_r) object.number("cache_r", *tokens.cache_r);
  if (tokens.cache_w) object.number("cache_w", *tokens.cache_w);
  if (tokens.reason) object.number("reason", *tokens.reason);
  object.end();
}

void append_turns(std::span<const Turn> turns, const RecordStore::Redactor& redact,
                  std::string& out) {
  out += '[';
  for (std::size_t i = 0; i < turns.size(); ++i) {
    if (i > 0) out += ',';
    JsonObjectWriter turn(out);
    turn.text("role", turns[i].role);
    if (redact) {
      turn.text("content", redact(turns[i].content));
    } else {
      turn.text("content", turns[i].content);
    }
    turn.end();
  }
  out += ']';
}

void redact_values(Json& value, const RecordStore::Redactor& redact) {
  if (value.is_string()) {
    value = redact(value.get_ref<const std::string&>());
  } else if (value.is_structured()) {
    for (auto& inner : value) redact_values(inner, redact);
  }
}

// Only the texts inside: a mask in place of a number would be no JSON.
std::string redact_json(std::string_view raw, const RecordStore::Redactor& redact) {
  if (!redact) return std::string(raw);
  auto value = parse_json(raw);
  if (!value) return "null";  // cannot be: the codec wrote it
  redact_values(*value, redact);
  return dump_json(*value);
}

}  // namespace

void append_json_string(std::string_view text, std::string& out) {
  static constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  std::size_t clean = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const auto c = static_cast<unsigned char>(text[at]);
    if (c >= 0x20 && c != '"' && c != '\\') continue;
    out.append(text, clean, at - clean);
    clean = at + 1;
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      default:
        out += "\\u00";
        out += kHex[c >> 4];
        out += kHex[c & 15];
    }
  }
  out.append(text, clean, text.size() - clean);
  out += '"';
}

void append_record_json(const InferenceRecord& r, const RecordStore::Redactor& redact,
                        std::string& out) {
  JsonObjectWriter record(out);
  record.text("id", r.id);
  record.number("ts", r.ts_ms);
  if (r.ts_end_ms) record.number("ts_end", *r.ts_end_ms);
  record.text("target", r.target);
  record.text_unless_empty("user_id", r.user_id);
  record.text_unless_empty("session_id", r.session_id);
  record.text_unless_empty("trace_id", r.trace_id);
  record.text_unless_empty("tenant", r.tenant);
  record.text_unless_empty("route", r.route);
  record.text_unless_empty("model_req", r.model_req);
  record.text_unless_empty("model", r.model);
  record.text_unless_empty("provider", r.provider);
  record.text_unless_empty("op", r.op);
  if (r.served == Served::kBase) record.raw("adapter", "null");
  if (r.served == Served::kAdapter) record.text("adapter", r.adapter);
  record.text_unless_empty("arm", r.arm);
  if (r.generation) record.number("generation", *r.generation);
  record.text_unless_empty("experiment", r.experiment);
  append_turns(r.input, redact, record.key("input"));
  record.key("output");
  if (r.tool_calls.empty()) {
    append_json_string(redact ? redact(r.output) : std::string(r.output), out);
  } else {
    JsonObjectWriter message(out);
    message.text("role", "assistant");
    message.text("content", redact ? redact(r.output) : std::string(r.output));
    message.raw("tool_calls", redact_json(r.tool_calls, redact));
    message.end();
  }
  append_tokens(r.tok, record, out);
  if (r.latency_s) record.number("latency_s", *r.latency_s);
  if (r.ttft_s) record.number("ttft_s", *r.ttft_s);
  if (r.mean_logprob) record.number("mean_logprob", *r.mean_logprob);
  if (!r.logprobs.empty()) append_floats(r.logprobs, record.key("logprobs"));
  if (!r.embedding.empty()) append_floats(r.embedding, record.key("embedding"));
  record.text_unless_empty("finish", r.finish);
  record.text_unless_empty("status", r.status);
  record.text_unless_empty("error", r.error);
  if (!r.attributes.empty()) {
    record.raw("attributes", redact_json(r.attributes, redact));
  }
  record.end();
}

}  // namespace trimtab::daemon
