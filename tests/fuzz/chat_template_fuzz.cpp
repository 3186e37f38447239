// Chat templates: parsed, and rendered over a conversation.
#include <nlohmann/json.hpp>

#include "retrain/model/chat_template.h"
#include "tests/fuzz/fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace trimtab;
  static const nlohmann::ordered_json messages = nlohmann::ordered_json::parse(
      R"([{"role":"system","content":"Be brief."},{"role":"user","content":"Hi  there\n"},
          {"role":"assistant","content":null,"tool_calls":[{"id":"a","function":{"name":"f",
          "arguments":{"x":[1,2.5,true]}}}]}])");
  static const nlohmann::ordered_json variables =
      nlohmann::ordered_json::parse(R"({"add_generation_prompt":true,"tools":[{"name":"f"}]})");
  const auto parsed = model::ChatTemplate::parse(fuzz::text_of(data, size), "<s>", "</s>");
  fuzz::check_answer(parsed);
  if (parsed) fuzz::check_answer(parsed->render(messages, variables));
  return 0;
}
