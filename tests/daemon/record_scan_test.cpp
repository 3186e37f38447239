// The short way of decoding against simdjson and the builder: messages as they come, and messages
// with every kind of damage.
#include <gtest/gtest.h>

#include "base/random.h"
#include "daemon/record_scan.h"
#include "tests/bench/hot_path.h"
#include "tests/daemon/record_alike.h"

namespace trimtab::daemon {
namespace {

constexpr std::int64_t kNow = bench::kNowMs;

RecordCodec codec() {
  auto made = *RecordCodec::create({}, {"bot"});
  EXPECT_TRUE(made.set_pointers("bot", {"/attributes/plan", "/attributes/score", "/attributes/x"}));
  return made;
}

constexpr std::string_view kHead = R"({"id":"a","target":"bot","ts":1763859000000)";

std::string with(std::string_view fields) {
  return std::string(kHead) + "," + std::string(fields) + "}";
}

TEST(RecordScan, TakesWhatItShouldAndMakesTheSameOfIt) {
  RecordCodec made = codec();
  TextArena arena;
  config::IngestSettings settings;
  RecordScanner scanner(settings);
  const TargetRules targets{.targets = {"bot"}};
  const auto taken = [&](std::string_view message) {
    EXPECT_TRUE(tests::ways_agree(made, message, kNow, arena)) << message;
    InferenceRecord record;
    return scanner.scan(message, targets, {}, {kNow, kNow}, arena, record);
  };
  for (std::uint64_t n = 0; n < 300; ++n) {
    EXPECT_TRUE(taken(bench::record_json(n, 200 + n * 5)));
    arena.reset();
  }
  for (const char* fields :
       {R"("input":"say \"hi\"\n\u00e9\ud83d\ude00\/","output":"ok")",
        R"("input":[{"role":"system","content":"be \\kind","name":"x"},{"content":null}])",
        R"("attributes":{"plan":"a\"b","score":-0.5e3,"x":true,"deep":{"a":[1,{"b":[]}]}})",
        R"("attributes" : { "x" : [ 1 , 2 ] , "plan":null} , "unknown":{"a":[{}]} )",
        R"("adapter":null,"arm":"champion","generation":0)", R"("adapter":"x")",
        R"("tok":{"in":1,"out":null,"other":"x"},"latency_s":1e-3,"ttft_s":null)",
        R"("ts_end":"2025-11-23T01:00:00Z","logprobs":[-0.25,-1e-3,0],"embedding":[1,2.5])",
        R"("user_id":"","session_id":null,"score":0.5,"label":"x","schema":1,"kind":"inference")",
        R"("error":"caf\u00e9 é","status":"ok","finish":"stop")"}) {
    EXPECT_TRUE(taken(with(fields))) << fields;
  }
}

// What follows what is remembered from the records before; it may be wrong.
TEST(RecordScan, KeysInAnyOrder) {
  RecordCodec made = codec();
  TextArena arena;
  config::IngestSettings settings;
  RecordScanner scanner(settings);
  const TargetRules targets{.targets = {"bot"}};
  Random random(4);
  std::vector<std::string> members = {
      R"("id":"a")",          R"("target":"bot")",     R"("ts":1763859000000)", R"("status":"ok")",
      R"("latency_s":0.5)",   R"("model" : "m")",      R"("mod\u0065l_req":"r")",
      R"("output":"x")",      R"("mean_logprob":-1)",  R"("unknown":1)",       R"( "route":"/a")"};
  for (int round = 0; round < 500; ++round) {
    for (std::size_t i = members.size(); i > 1; --i) {
      std::swap(members[i - 1], members[random.below(i)]);
    }
    const std::size_t left_out = random.below(members.size());
    std::string text = "{";
    for (std::size_t i = 0; i < members.size(); ++i) {
      if (i != left_out || round % 2 == 0) text += (text.size() > 1 ? "," : "") + members[i];
    }
    text += "}";
    EXPECT_TRUE(tests::ways_agree(made, text, kNow, arena)) << text;
    InferenceRecord record;
    const auto holds = [&](const char* key) { return text.find(key) != std::string::npos; };
    EXPECT_EQ(scanner.scan(text, targets, {}, {kNow, kNow}, arena, record),
              holds("\"id\"") && holds("\"ts\"") && holds("\"target\""))
        << text;
    arena.reset();
  }
}

TEST(RecordScan, Numbers) {
  RecordCodec made = codec();
  TextArena arena;
  Random random(6);
  const auto digits = [&](std::size_t count) {
    std::string text;
    while (text.size() < count) text += static_cast<char>('0' + random.below(10));
    return text;
  };
  for (int round = 0; round < 20'000; ++round) {
    std::string number = (random.chance(0.3) ? "-" : "") + digits(1 + random.below(18));
    if (random.chance(0.7)) number += "." + digits(random.below(20));
    if (random.chance(0.2)) number += random.chance(0.5) ? "e-3" : "E+2";
    const std::string text =
        with("\"attributes\":{\"score\":" + number + "},\"mean_logprob\":" + number);
    EXPECT_TRUE(tests::ways_agree(made, text, kNow, arena)) << text;
    arena.reset();
  }
}

TEST(RecordScan, LeavesTheRestToSimdjson) {
  RecordCodec made = codec();
  TextArena arena;
  config::IngestSettings settings;
  RecordScanner scanner(settings);
  const TargetRules targets{.targets = {"bot"}};
  std::vector<std::string> messages = {
      "", "{}", "[]", "null", R"({"id":"a","target":"bot"})", std::string(kHead) + "} x",
      std::string(kHead) + ",}", std::string(kHead),
      R"({"id":"","target":"bot","ts":1763859000000})",
      R"({"id":"a","target":"cat","ts":1763859000000})", R"({"id":"a","target":"bot","ts":12})",
      R"({"id":"a","id":"b","target":"bot","ts":1763859000000})",
      R"({"id":"a","target":"bot","ts":1763999999999})"};
  for (const char* fields :
       {R"("kind":"feedback")", R"("schema":2)", R"("latency_s":-1)", R"("latency_s":"1")",
        R"("latency_s":01)", R"("latency_s":1.)", R"("latency_s":.5)", R"("latency_s":+1)",
        R"("latency_s":1e999)", R"("latency_s":NaN)", R"("latency_s":1e)", R"("latency_s":-)",
        R"("latency_s":123456789012345678901234567890)", R"("input":[{"content":["a"]}])",
        R"("input":{"content":"a"})", R"("output":["a"])", R"("output":{"content":"x"})",
        R"("output":"a\x")", R"("output":"\ud800")", R"("output":"\udc00\ud800")",
        R"("output":"\u0000")", R"("output":"\u00g0")", R"("id":"b")", R"("adapter":"")",
        R"("generation":-1)", R"("generation":1.5)", R"("attributes":[1])",
        R"("attributes":{"a":tru})", R"("attributes":{"a":"b)", R"("tok":{"in":-1})",
        R"("tok":{"in":1,"in":2})", R"("tok":[])", R"("system":"x")", R"("tool_calls":[])",
        R"("logprobs":[1,"a"])", R"("logprobs":[1,])", R"("embedding":[1e39])",
        R"("ts_end":"yesterday")", R"("x":[[[[[[[[[[]]]]]]]]]])", R"("a":1 "b":2)", R"("a" 1)",
        R"('a':1)", R"("a":'b')", R"("a":nul)", R"("model":5)"}) {
    messages.push_back(with(fields));
  }
  messages.push_back(with(std::string("\"output\":\"a\tb\"")));
  messages.push_back(with(std::string("\"output\":\"\xC3\x28\"")));
  messages.push_back(with("\"user_id\":\"" + std::string(1'025, 'x') + "\""));
  messages.push_back(with("\"output\":\"" + std::string(RecordScanner::kMostBytes, 'x') + "\""));
  for (const std::string& message : messages) {
    EXPECT_TRUE(tests::ways_agree(made, message, kNow, arena)) << message.substr(0, 200);
    InferenceRecord record;
    EXPECT_FALSE(scanner.scan(message, targets, {}, {kNow, kNow}, arena, record))
        << message.substr(0, 200);
  }
}

// Bytes changed, dropped, doubled and cut at random: whatever comes of it, the two ways agree.
TEST(RecordScan, DamagedMessagesAreReadAlike) {
  RecordCodec made = codec();
  TextArena arena;
  Random random(77);
  constexpr std::string_view kBytes = "\"\\{}[]:,0129.-+eEnulltrue \n\t\x01\x80\xC3\xA9/u";
  int taken = 0;
  for (int round = 0; round < 60'000; ++round) {
    constexpr std::string_view kFields =
        R"("input":[{"role":"user","content":"a\n\u00e9"}],"tok":{"in":1},)"
        R"("attributes":{"plan":"x\"","score":-1.5e2},"adapter":null)";
    std::string message =
        round % 2 == 0 ? bench::record_json(random.below(1'000), 400) : with(kFields);
    const std::size_t changes = 1 + random.below(3);
    for (std::size_t i = 0; i < changes && !message.empty(); ++i) {
      const std::size_t at = random.below(message.size());
      switch (random.below(5)) {
        case 0: message[at] = kBytes[random.below(kBytes.size())]; break;
        case 1: message.erase(at, 1 + random.below(4)); break;
        case 2: message.insert(at, 1, kBytes[random.below(kBytes.size())]); break;
        case 3: message.insert(at, message.substr(at, random.below(30))); break;
        default: message.resize(at); break;
      }
    }
    ASSERT_TRUE(tests::ways_agree(made, message, kNow, arena)) << message;
    taken += std::holds_alternative<InferenceRecord>(made.decode(message, kNow, kNow, arena));
    arena.reset();
  }
  EXPECT_GT(taken, 5'000);
}

}  // namespace
}  // namespace trimtab::daemon
