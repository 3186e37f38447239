// The record codec: every field, every mapping, every way to be bad.
// Over 400 lines because most of them are the messages of five mappings.
#include "daemon/record_codec.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "base/clock.h"
#include "base/files.h"
#include "base/random.h"
#include "daemon/record_store.h"
#include "tests/paths.h"

namespace trimtab::daemon {
namespace {

constexpr std::int64_t kNow = 1'763'860'000'000;  // 2025-11-23

class Codec {
 public:
  explicit Codec(config::IngestSettings settings = {})
      : codec_(*RecordCodec::create(settings, {"support-bot", "cat"})) {}
  Decoded operator()(std::string_view json, std::int64_t kafka_ms = kNow) {
    return codec_.decode(json, kafka_ms, kNow, arena_);
  }
  InferenceRecord record(std::string_view json) {
    const Decoded decoded = (*this)(json);
    if (const auto* dead = std::get_if<DeadLetter>(&decoded)) {
      ADD_FAILURE() << dead_reason_name(dead->reason) << ": " << dead->message << "\n" << json;
      return {};
    }
    return std::get<InferenceRecord>(decoded);
  }
  Feedback feedback(std::string_view json) {
    const Decoded decoded = (*this)(json);
    if (const auto* dead = std::get_if<DeadLetter>(&decoded)) {
      ADD_FAILURE() << dead_reason_name(dead->reason) << ": " << dead->message << "\n" << json;
      return {};
    }
    return std::get<Feedback>(decoded);
  }
  // "reason: message", or "" for a good one.
  std::string dead(std::string_view json) {
    const Decoded decoded = (*this)(json);
    const auto* letter = std::get_if<DeadLetter>(&decoded);
    if (letter == nullptr) return "";
    return std::string(dead_reason_name(letter->reason)) + ": " + std::string(letter->message);
  }
  std::string reason(std::string_view json) {
    const std::string text = dead(json);
    return text.substr(0, text.find(':'));
  }
  RecordCodec& codec() { return codec_; }
  TextArena& arena() { return arena_; }

 private:
  RecordCodec codec_;
  TextArena arena_;
};

constexpr std::string_view kFull = R"({"kind":"inference","schema":1,"id":"r-1",
 "ts":"2025-11-22T10:00:00.250+01:00","ts_end":1763802001250,"target":"support-bot",
 "user_id":"u1","session_id":"s1","trace_id":"t1","tenant":"acme","route":"/chat",
 "model_req":"support-bot","model":"llama","provider":"vllm","op":"chat",
 "adapter":"support-bot-20251101T000000Z-abcdef01","arm":"champion","generation":7,
 "experiment":"trial-1","input":[{"role":"system","content":"be kind"},
 {"role":"user","content":[{"type":"text","text":"Grüße"},{"type":"image_url"},{"type":"text",
    "text":"zwei"}]}],
 "output":{"role":"assistant","content":"hallo \"du\"\n","tool_calls":[{"id":"c",
    "function":{"name":"f","arguments":"{}"}}]},
 "tok":{"in":12,"out":34.0,"cache_r":1,"cache_w":2,"reason":3},"ttft_s":0.125,
 "mean_logprob":-0.5,"logprobs":[-0.1,-0.9],"embedding":[0.5,-1,2],"finish":"stop",
 "status":"ok","error":null,"attributes":{"plan":"gold","n":[1,2.5,true,null],"q":"a\"b"},
    "unknown":{"x":1}})";

TEST(RecordCodec, ReadsEveryField) {
  Codec codec;
  ASSERT_TRUE(codec.codec().set_pointers("support-bot", {"/attributes/plan", "/attributes/n/1",
                                                         "/attributes/none", "/attributes/n/2"}));
  const InferenceRecord r = codec.record(kFull);
  EXPECT_EQ(r.id, "r-1");
  EXPECT_EQ(format_rfc3339(r.ts_ms), "2025-11-22T09:00:00.250Z");
  EXPECT_EQ(r.ts_end_ms, 1763802001250);
  EXPECT_EQ(r.time_source, TimeSource::kRecord);
  EXPECT_EQ(r.target, "support-bot");
  EXPECT_EQ(r.user_id, "u1");
  EXPECT_EQ(r.session_id, "s1");
  EXPECT_EQ(r.trace_id, "t1");
  EXPECT_EQ(r.tenant, "acme");
  EXPECT_EQ(r.route, "/chat");
  EXPECT_EQ(r.model, "llama");
  EXPECT_EQ(r.provider, "vllm");
  EXPECT_EQ(r.served, Served::kAdapter);
  EXPECT_EQ(r.adapter, "support-bot-20251101T000000Z-abcdef01");
  EXPECT_EQ(r.generation, 7);
  EXPECT_EQ(r.experiment, "trial-1");
  ASSERT_EQ(r.input.size(), 2U);
  EXPECT_EQ(r.input[0].role, "system");
  EXPECT_EQ(r.input[1].content, "Grüße\nzwei");
  EXPECT_EQ(r.output, "hallo \"du\"\n");
  EXPECT_EQ(r.tool_calls, R"([{"id":"c","function":{"name":"f","arguments":"{}"}}])");
  EXPECT_EQ(r.tok.in, 12);
  EXPECT_EQ(r.tok.out, 34);
  EXPECT_EQ(r.tok.reason, 3);
  EXPECT_DOUBLE_EQ(*r.latency_s, 1.0);  // from ts and ts_end
  EXPECT_DOUBLE_EQ(*r.ttft_s, 0.125);
  EXPECT_DOUBLE_EQ(*r.mean_logprob, -0.5);
  ASSERT_EQ(r.embedding.size(), 3U);
  EXPECT_FLOAT_EQ(r.embedding[2], 2.0F);
  EXPECT_EQ(r.attributes, R"({"plan":"gold","n":[1,2.5,true,null],"q":"a\"b"})");
  EXPECT_EQ(r.error, "");
  EXPECT_EQ(r.bytes, kFull.size());
  ASSERT_EQ(r.pointers.size(), 4U);
  EXPECT_EQ(r.pointers[0].text, "gold");
  EXPECT_DOUBLE_EQ(r.pointers[1].number, 2.5);
  EXPECT_EQ(r.pointers[2].type, drift::PointerValue::Type::kAbsent);
  EXPECT_EQ(r.pointers[3].text, "true");

  const drift::RecordView view = to_drift_view(r, 42);
  EXPECT_EQ(view.input_text, "Grüße\nzwei");
  EXPECT_EQ(view.offset, 42U);
  EXPECT_DOUBLE_EQ(view.tokens_out, 34.0);
  EXPECT_TRUE(view.has_output);
}

TEST(RecordCodec, WhatIsStoredReadsBackTheSame) {
  Codec codec;
  const InferenceRecord first = codec.record(kFull);
  std::string line;
  append_record_json(first, {}, line);
  const InferenceRecord again = codec.record(line);
  std::string second;
  append_record_json(again, {}, second);
  EXPECT_EQ(line, second);
  EXPECT_EQ(again.tool_calls, first.tool_calls);
  EXPECT_EQ(again.adapter, first.adapter);
  line.clear();
  append_record_json(
      first, [](std::string_view) { return std::string("[X]"); }, line);
  const InferenceRecord masked = codec.record(line);
  EXPECT_EQ(masked.output, "[X]");
  EXPECT_EQ(masked.input[1].content, "[X]");
  EXPECT_EQ(masked.attributes, R"({"n":[1,2.5,true,null],"plan":"[X]","q":"[X]"})");
  EXPECT_EQ(masked.id, "r-1");
}

TEST(RecordCodec, TheServedAdapterHasThreeStates) {
  Codec codec;
  EXPECT_EQ(codec.record(R"({"id":"a","target":"cat"})").served, Served::kUnattested);
  EXPECT_EQ(codec.record(R"({"id":"a","target":"cat","adapter":null})").served, Served::kBase);
  EXPECT_EQ(codec.record(R"({"id":"a","target":"cat","adapter":"x"})").served, Served::kAdapter);
  EXPECT_EQ(codec.reason(R"({"id":"a","target":"cat","adapter":""})"), "bad_type");
}

TEST(RecordCodec, TimesAreSane) {
  Codec codec;
  const auto at = [&](const std::string& ts) {
    return codec.record(R"({"id":"a","target":"cat","ts":)" + ts + "}");
  };
  EXPECT_EQ(at("1763859999999").ts_ms, 1763859999999);
  EXPECT_EQ(at(std::to_string(kNow + 299'000)).time_source, TimeSource::kRecord);
  const InferenceRecord ahead = at(std::to_string(kNow + 301'000));
  EXPECT_EQ(ahead.time_source, TimeSource::kAhead);
  EXPECT_EQ(ahead.ts_ms, kNow);
  EXPECT_EQ(at("\"2999-01-01T00:00:00Z\"").ts_ms, kNow);
  EXPECT_EQ(at("\"2001-01-01T00:00:00Z\"").ts_ms, 978'307'200'000);  // old logs are replayed
}

TEST(RecordCodec, AKafkaTimeInTheFutureIsNoTimeEither) {
  Codec codec;
  const Decoded decoded = codec(R"({"id":"a","target":"cat"})", kNow + 86'400'000);
  EXPECT_EQ(std::get<InferenceRecord>(decoded).ts_ms, kNow);
  EXPECT_EQ(std::get<InferenceRecord>(decoded).time_source, TimeSource::kAbsent);
}

TEST(RecordCodec, TheTargetIsDerivedByRule) {
  config::IngestSettings settings;
  settings.target_by_route = {{"/cats", "cat"}};
  settings.target_by_model = {{"gpt-x", "support-bot"}};
  Codec codec(settings);
  EXPECT_EQ(codec.record(R"({"id":"a","route":"/cats"})").target, "cat");
  EXPECT_EQ(codec.record(R"({"id":"a","model_req":"gpt-x"})").target, "support-bot");
  EXPECT_EQ(codec.record(R"({"id":"a","model_req":"cat"})").target, "cat");
  EXPECT_EQ(codec.record(R"({"id":"a","target":"cat","route":"x"})").target, "cat");
  EXPECT_EQ(codec.dead(R"({"id":"a","target":"dog","model_req":"cat"})"),
            "unknown_target: target: 'dog' is not configured");
  EXPECT_EQ(codec.reason(R"({"id":"a"})"), "unknown_target");
}

struct Bad {
  const char* reason;
  std::string json;
};

TEST(RecordCodec, BadInputHasANameEach) {
  Codec codec;
  std::string deep;
  for (int i = 0; i < 10'000; ++i) deep += "[";
  deep += std::string(10'000, ']');
  std::string nested = R"({"id":"a","target":"cat","attributes":)";
  for (int i = 0; i < 40; ++i) nested += "{\"a\":";
  nested += "1" + std::string(40, '}') + "}";
  const std::string good_tail = R"(,"target":"cat"})";
  const std::vector<Bad> cases = {
      {"empty", ""},
      {"not_json", "{"},
      {"not_json", "hello"},
      {"not_json", R"({"id":"a","target":"cat"} {"id":"b"})"},
      {"not_json", R"({"id":"a","target":"cat","x":01})"},
      {"not_json", R"({"id":"a","target":"cat","attributes":{"x":tru}})"},
      {"not_json", R"({'id':'a'})"},
      {"not_json", std::string("{\"id\":\"a\0b\",\"target\":\"cat\"}", 27)},
      {"not_utf8", "{\"id\":\"\xc3\x28\",\"target\":\"cat\"}"},
      {"not_utf8", "{\"id\":\"a\",\"output\":\"\xed\xa0\x80\",\"target\":\"cat\"}"},
      {"too_large", "{\"id\":\"" + std::string(2 << 20, 'x') + "\"}"},
      {"too_deep", deep},
      {"too_deep", nested},
      {"bad_type", "[1,2]"},
      {"bad_type", "3"},
      {"missing_id", R"({"target":"cat"})"},
      {"missing_id", R"({"id":null,"target":"cat"})"},
      {"missing_id", R"({"id":"","target":"cat"})"},
      {"bad_type", R"({"id":7,"target":"cat"})"},
      {"bad_type", R"({"id":"a\u0000b","target":"cat"})"},
      {"out_of_range", "{\"id\":\"" + std::string(2000, 'x') + "\"" + good_tail},
      {"unknown_kind", R"({"kind":"metric","id":"a","target":"cat"})"},
      {"bad_type", R"({"kind":5,"id":"a","target":"cat"})"},
      {"newer_schema", R"({"schema":2,"id":"a","target":"cat"})"},
      {"bad_type", R"({"schema":"one","id":"a","target":"cat"})"},
      {"bad_time", R"({"id":"a","target":"cat","ts":"yesterday"})"},
      {"bad_time", R"({"id":"a","target":"cat","ts":"2025-02-30T00:00:00Z"})"},
      {"bad_time", R"({"id":"a","target":"cat","ts":1763860000})"},  // seconds
      {"bad_time", R"({"id":"a","target":"cat","ts":-5})"},
      {"bad_type", R"({"id":"a","target":"cat","ts":[]})"},
      {"bad_time", R"({"id":"a","target":"cat","ts_end":"x"})"},
      {"non_finite", R"({"id":"a","target":"cat","latency_s":NaN})"},
      {"non_finite", R"({"id":"a","target":"cat","latency_s":-Infinity})"},
      {"non_finite", R"({"id":"a","target":"cat","latency_s":1e999})"},
      {"non_finite", R"({"id":"a","target":"cat","embedding":[1e300]})"},
      {"bad_type", R"({"id":"a","target":"cat","latency_s":"fast"})"},
      {"out_of_range", R"({"id":"a","target":"cat","latency_s":-1})"},
      {"out_of_range", R"({"id":"a","target":"cat","tok":{"in":-1}})"},
      {"bad_type", R"({"id":"a","target":"cat","tok":{"in":1.5}})"},
      {"bad_type", R"({"id":"a","target":"cat","tok":[1]})"},
      {"bad_type", R"({"id":"a","target":"cat","generation":"x"})"},
      {"out_of_range", R"({"id":"a","target":"cat","generation":-3})"},
      {"bad_type", R"({"id":"a","target":"cat","input":5})"},
      {"bad_type", R"({"id":"a","target":"cat","input":[{"role":7}]})"},
      {"bad_type", R"({"id":"a","target":"cat","output":true})"},
      {"bad_type", R"({"id":"a","target":"cat","attributes":"x"})"},
      {"bad_type", R"({"id":"a","target":"cat","embedding":["x"]})"},
      {"missing_id", R"({"kind":"feedback","score":1})"},
      {"out_of_range", R"({"kind":"feedback","id":"a","score":2})"},
      {"out_of_range", R"({"kind":"feedback","id":"a","score":-0.5})"},
      {"out_of_range", R"({"kind":"feedback","id":"a","propensity":0})"},
      {"out_of_range", R"({"kind":"feedback","id":"a","selection":"some"})"},
      {"out_of_range", R"({"kind":"feedback","id":"a","source":"dog"})"},
      {"unknown_target", R"({"kind":"feedback","id":"a","target":"dog"})"},
  };
  for (const Bad& bad : cases) {
    EXPECT_EQ(codec.reason(bad.json), bad.reason)
        << bad.json.substr(0, 100) << "\n  says " << codec.dead(bad.json);
  }
  // And after all of that the codec still reads.
  EXPECT_EQ(codec.record(R"({"id":"a","target":"cat"})").id, "a");
}

TEST(RecordCodec, OfADoubledKeyTheLastCounts) {
  Codec codec;
  EXPECT_EQ(codec.record(R"({"id":"a","id":"b","target":"cat"})").id, "b");
}

TEST(RecordCodec, Feedback) {
  Codec codec;
  const Feedback f = codec.feedback(
      R"({"kind":"feedback","feedback_id":"f1","id":"r-1","name":"thumb","score":-1,
          "label":"wrong","correction":"right","source":"judge","source_id":"j","ts":1763860000000,
          "selection":"random","propensity":0.3})");
  EXPECT_EQ(f.feedback_id, "f1");
  EXPECT_EQ(f.record_id, "r-1");
  EXPECT_EQ(f.selection, Selection::kRandom);
  EXPECT_EQ(f.source, LabelSource::kJudge);
  EXPECT_DOUBLE_EQ(*f.propensity, 0.3);
  EXPECT_DOUBLE_EQ(*unit_score(f), 0.0);
  EXPECT_EQ(f.correction, "right");
  // Without an id of its own: the same judgement is the same feedback, by default from a user.
  const std::string a(codec.feedback(R"({"kind":"feedback","id":"r","score":1})").feedback_id);
  const std::string b(codec.feedback(R"({"kind":"feedback","id":"r","score":0})").feedback_id);
  const std::string c(codec.feedback(R"({"kind":"feedback","id":"s","score":0})").feedback_id);
  EXPECT_EQ(a, b);
  EXPECT_NE(a, c);
  EXPECT_EQ(codec.feedback(R"({"kind":"feedback","trace_id":"t"})").selection, Selection::kUser);
}

TEST(RecordCodec, OpenTelemetry) {
  config::IngestSettings settings;
  settings.mapping = config::Mapping::kOtel;
  Codec codec(settings);
  const InferenceRecord flat = codec.record(R"({"trace_id":"abc","timestamp":"2025-11-22T10:00:00Z",
    "attributes":{"gen_ai.response.id":"r1","gen_ai.conversation.id":"s",
    "gen_ai.operation.name":"chat",
    "gen_ai.system":"openai","gen_ai.request.model":"cat","gen_ai.response.model":"m",
    "gen_ai.usage.prompt_tokens":5,"gen_ai.usage.output_tokens":6,
    "gen_ai.response.finish_reasons":["stop"],"gen_ai.response.time_to_first_chunk":0.2,
    "gen_ai.input.messages":
    "[{\"role\":\"user\",\"parts\":[{\"type\":\"text\",\"content\":\"hi\"}]}]",
    "gen_ai.output.messages":[{"role":"assistant","parts":[{"type":"text","content":"yo"}],
    "finish_reason":"stop"}],
    "gen_ai.system_instructions":[{"type":"text","content":"be brief"}]}})");
  EXPECT_EQ(flat.id, "r1");
  EXPECT_EQ(flat.trace_id, "abc");
  EXPECT_EQ(flat.session_id, "s");
  EXPECT_EQ(flat.provider, "openai");
  EXPECT_EQ(flat.target, "cat");
  EXPECT_EQ(flat.tok.in, 5);
  EXPECT_EQ(flat.tok.out, 6);
  EXPECT_EQ(flat.finish, "stop");
  EXPECT_DOUBLE_EQ(*flat.ttft_s, 0.2);
  ASSERT_EQ(flat.input.size(), 2U);
  EXPECT_EQ(flat.input[0].role, "system");
  EXPECT_EQ(flat.input[1].content, "hi");
  EXPECT_EQ(flat.output, "yo");
  const InferenceRecord otlp =
      codec.record(R"({"traceId":"abc","startTimeUnixNano":"1763800000000000000",
    "endTimeUnixNano":"1763800002000000000","attributes":[
    {"key":"gen_ai.response.id","value":{"stringValue":"r2"}},
    {"key":"gen_ai.request.model","value":{"stringValue":"cat"}},
    {"key":"gen_ai.usage.input_tokens","value":{"intValue":"7"}},
    {"key":"gen_ai.response.finish_reasons",
    "value":{"arrayValue":{"values":[{"stringValue":"length"}]}}}]})");
  EXPECT_EQ(otlp.id, "r2");
  EXPECT_EQ(otlp.ts_ms, 1763800000000);
  EXPECT_DOUBLE_EQ(*otlp.latency_s, 2.0);
  EXPECT_EQ(otlp.tok.in, 7);
  EXPECT_EQ(otlp.finish, "length");
  const Feedback judged = codec.feedback(R"({"attributes":{"gen_ai.evaluation.name":"relevance",
    "gen_ai.evaluation.score.value":0.75,"gen_ai.evaluation.score.label":"good",
    "gen_ai.response.id":"r1"}})");
  EXPECT_EQ(judged.record_id, "r1");
  EXPECT_DOUBLE_EQ(*judged.score, 0.75);
  EXPECT_EQ(judged.name, "relevance");
}

TEST(RecordCodec, LiteLlm) {
  config::IngestSettings settings;
  settings.mapping = config::Mapping::kLitellm;
  Codec codec(settings);
  const InferenceRecord r =
      codec.record(R"({"id":"chatcmpl-1","trace_id":"t","call_type":"acompletion",
    "custom_llm_provider":"openai","model":"gpt-4o","model_group":"cat","startTime":1763800000.5,
    "endTime":1763800002.5,"completionStartTime":1763800001.0,"prompt_tokens":3,
    "completion_tokens":4,
    "status":"success","messages":[{"role":"user","content":"hi"}],
    "metadata":{"user_api_key_team_id":"team",
    "session_id":"s","adapter":null},"response":{"choices":[{"message":{"role":"assistant",
    "content":"yo"},
    "finish_reason":"stop"}]},"error_information":{"error_class":""}})");
  EXPECT_EQ(r.target, "cat");
  EXPECT_EQ(r.ts_ms, 1763800000500);
  EXPECT_DOUBLE_EQ(*r.latency_s, 2.0);
  EXPECT_DOUBLE_EQ(*r.ttft_s, 0.5);
  EXPECT_EQ(r.tok.in, 3);
  EXPECT_EQ(r.output, "yo");
  EXPECT_EQ(r.finish, "stop");
  EXPECT_EQ(r.tenant, "team");
  EXPECT_EQ(r.session_id, "s");
  EXPECT_EQ(r.served, Served::kBase);
  // Feedback comes in trimtab's own form whatever the mapping.
  EXPECT_EQ(codec.feedback(R"({"kind":"feedback","id":"chatcmpl-1","score":1})").record_id,
            "chatcmpl-1");
}

TEST(RecordCodec, Langfuse) {
  config::IngestSettings settings;
  settings.mapping = config::Mapping::kLangfuse;
  Codec codec(settings);
  const InferenceRecord r =
      codec.record(R"({"id":"e","type":"generation-create","timestamp":"2025-11-22T10:00:03Z",
    "body":{"id":"g1","traceId":"t","startTime":"2025-11-22T10:00:00Z",
    "endTime":"2025-11-22T10:00:02Z",
    "completionStartTime":"2025-11-22T10:00:00.500Z","model":"gpt","input":"hi","output":"yo",
    "usageDetails":{"input":3,"output":4},"metadata":{"target":"cat","session_id":"s"},
    "level":"DEFAULT"}})");
  EXPECT_EQ(r.id, "g1");
  EXPECT_EQ(r.target, "cat");
  EXPECT_DOUBLE_EQ(*r.ttft_s, 0.5);
  EXPECT_EQ(r.tok.out, 4);
  EXPECT_EQ(r.input[0].content, "hi");
  const Feedback f =
      codec.feedback(R"({"type":"score-create","body":{"id":"sc","name":"user","value":1,
    "dataType":"NUMERIC","traceId":"t","observationId":"g1"}})");
  EXPECT_EQ(f.feedback_id, "sc");
  EXPECT_EQ(f.record_id, "g1");
  EXPECT_DOUBLE_EQ(*f.score, 1.0);
}

TEST(RecordCodec, OnesOwnPointers) {
  config::IngestSettings settings;
  settings.pointers = {{"id", "/meta/uuid"}, {"output", "/answer/0"}, {"tok.in", "/n"}};
  Codec codec(settings);
  const InferenceRecord r =
      codec.record(R"({"meta":{"uuid":"x"},"answer":["yes"],"n":9,"target":"cat"})");
  EXPECT_EQ(r.id, "x");
  EXPECT_EQ(r.output, "yes");
  EXPECT_EQ(r.tok.in, 9);
  settings.pointers = {{"idd", "/x"}};
  EXPECT_FALSE(RecordCodec::create(settings, {"cat"}));
  settings.pointers = {{"id", "x"}};
  EXPECT_FALSE(RecordCodec::create(settings, {"cat"}));
}

TEST(RecordCodec, Bodies) {
  Codec codec;
  RecordBatch batch;
  ASSERT_TRUE(codec.codec().decode_body(
      R"([{"id":"a","target":"cat"},{"id":"b"},7,{"kind":"feedback","id":"a","score":1}])",
      "inference", kNow, batch));
  ASSERT_EQ(batch.records.size(), 4U);
  EXPECT_TRUE(std::holds_alternative<InferenceRecord>(batch.records[0].value));
  EXPECT_TRUE(std::holds_alternative<DeadLetter>(batch.records[1].value));
  EXPECT_TRUE(std::holds_alternative<DeadLetter>(batch.records[2].value));
  EXPECT_TRUE(std::holds_alternative<Feedback>(batch.records[3].value));
  EXPECT_EQ(batch.records[2].origin.offset, 2);
  batch.reset();
  ASSERT_TRUE(codec.codec().decode_body("{\"id\":\"a\",\"score\":1}\n\n{bad\n{\"id\":\"b\"}\n",
                                        "feedback", kNow, batch));
  ASSERT_EQ(batch.records.size(), 3U);
  EXPECT_EQ(std::get<Feedback>(batch.records[2].value).record_id, "b");
  for (const char* bad : {"", "  ", "hello", "[{]", "[1,", "\xff"}) {
    batch.reset();
    EXPECT_FALSE(codec.codec().decode_body(bad, "inference", kNow, batch)) << bad;
  }
}

// Damaged copies of a good record never crash, and are either read or named.
TEST(RecordCodec, SurvivesDamage) {
  Codec codec;
  Random random(99);
  std::string text(kFull);
  int good = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string damaged = text;
    for (std::uint64_t hits = 1 + random.below(3); hits > 0; --hits) {
      const auto at = static_cast<std::size_t>(random.below(damaged.size()));
      switch (random.below(3)) {
        case 0: damaged[at] = static_cast<char>(random.below(256)); break;
        case 1: damaged.erase(at, 1 + random.below(8)); break;
        default: damaged.insert(at, damaged.substr(random.below(damaged.size()), 5)); break;
      }
    }
    good += codec.dead(damaged).empty() ? 1 : 0;
    if (round % 100 == 0) codec.arena().reset();
  }
  EXPECT_GT(good, 100);
  EXPECT_LT(good, 19'900);
}

// Crash inputs are kept in tests/fuzz/records and read here for ever.
TEST(RecordCodec, ReplaysTheCorpus) {
  int files = 0;
  for (const auto mapping : {config::Mapping::kCanonical, config::Mapping::kOtel,
                             config::Mapping::kLitellm, config::Mapping::kLangfuse}) {
    config::IngestSettings settings;
    settings.mapping = mapping;
    Codec codec(settings);
    for (const auto& entry : std::filesystem::directory_iterator(
             tests::source_dir() / "tests" / "fuzz" / "records")) {
      const auto text = read_file(entry.path());
      ASSERT_TRUE(text) << entry.path();
      (void)codec(*text);
      RecordBatch batch;
      (void)codec.codec().decode_body(*text, "inference", kNow, batch);
      ++files;
    }
  }
  EXPECT_GE(files, 20);
}

TEST(RecordCodec, NoMemoryGrowsWithBadRecords) {
  Codec codec;
  const std::string bad[] = {"{broken", R"({"id":"a","target":"dog"})",
                             R"({"id":"a","target":"cat","latency_s":NaN})"};
  for (int i = 0; i < 1'000; ++i) (void)codec(bad[i % 3]);
  codec.arena().reset();
  const std::size_t before = codec.arena().capacity_bytes();
  for (int i = 0; i < 1'000'000; ++i) {
    (void)codec(bad[i % 3]);
    if (i % 1'000 == 999) codec.arena().reset();
  }
  EXPECT_LE(codec.arena().capacity_bytes(), before + 256 * 1024);
}

}  // namespace
}  // namespace trimtab::daemon
