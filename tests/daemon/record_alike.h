// What the short way (daemon/record_scan.h) makes of a message against what simdjson and the
// builder make of it: the same record, or not taken. For the codec's test and its fuzz target.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>

#include "daemon/record_codec.h"
#include "daemon/record_fields.h"

namespace trimtab::tests {

// `attributes` written anew; "?" when it is no JSON.
inline std::string rewritten(std::string_view json) {
  if (json.empty()) return {};
  simdjson::dom::parser parser;
  daemon::Element root;
  if (parser.parse(simdjson::padded_string(json)).get(root) != simdjson::SUCCESS) return "?";
  std::string text;
  daemon::append_json(root, text);
  return text;
}

template <typename T>
bool same_floats(std::span<const T> a, std::span<const T> b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end());
}

inline bool alike(const daemon::InferenceRecord& a, const daemon::InferenceRecord& b) {
  const auto turns = [](const daemon::Turn& x, const daemon::Turn& y) {
    return x.role == y.role && x.content == y.content;
  };
  const auto pointers = [](const drift::PointerValue& x, const drift::PointerValue& y) {
    const bool number = x.type == drift::PointerValue::Type::kNumber;
    return x.type == y.type && (!number || x.number == y.number) && x.text == y.text;
  };
  return a.id == b.id && a.ts_ms == b.ts_ms && a.ts_end_ms == b.ts_end_ms &&
         a.time_source == b.time_source && a.target == b.target && a.user_id == b.user_id &&
         a.session_id == b.session_id && a.trace_id == b.trace_id && a.tenant == b.tenant &&
         a.route == b.route && a.model_req == b.model_req && a.model == b.model &&
         a.provider == b.provider && a.op == b.op && a.served == b.served &&
         a.adapter == b.adapter && a.arm == b.arm && a.generation == b.generation &&
         a.experiment == b.experiment && a.output == b.output && a.tool_calls == b.tool_calls &&
         a.tok.in == b.tok.in && a.tok.out == b.tok.out && a.tok.cache_r == b.tok.cache_r &&
         a.tok.cache_w == b.tok.cache_w && a.tok.reason == b.tok.reason &&
         a.latency_s == b.latency_s && a.ttft_s == b.ttft_s &&
         a.mean_logprob == b.mean_logprob && same_floats(a.logprobs, b.logprobs) &&
         same_floats(a.embedding, b.embedding) && a.finish == b.finish && a.status == b.status &&
         a.error == b.error && rewritten(a.attributes) == rewritten(b.attributes) &&
         a.bytes == b.bytes &&
         std::equal(a.input.begin(), a.input.end(), b.input.begin(), b.input.end(), turns) &&
         std::equal(a.pointers.begin(), a.pointers.end(), b.pointers.begin(), b.pointers.end(),
                    pointers);
}

// decode() against decode_by_tree(): the same kind of answer, and of two records the same.
inline bool ways_agree(daemon::RecordCodec& codec, std::string_view message, std::int64_t now_ms,
                       daemon::TextArena& arena) {
  const auto taken = codec.decode(message, now_ms - 5'000, now_ms, arena);
  const auto tree = codec.decode_by_tree(message, now_ms - 5'000, now_ms, arena);
  if (taken.index() != tree.index()) return false;
  const auto* record = std::get_if<daemon::InferenceRecord>(&taken);
  return record == nullptr || alike(*record, std::get<daemon::InferenceRecord>(tree));
}

}  // namespace trimtab::tests
