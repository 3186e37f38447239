// Snippets of templates against Jinja2's own answers (chat_template_cases.json), and the bounds
// that keep a hostile template from harming the process.
#include <gtest/gtest.h>

#include "base/files.h"
#include "base/json.h"
#include "retrain/model/chat_template.h"
#include "tests/paths.h"

namespace trimtab::model {
namespace {

TEST(ChatTemplate, SnippetsEqualJinja2) {
  const auto file = read_file(tests::source_dir() / "tests/retrain/chat_template_cases.json");
  ASSERT_TRUE(file) << file.error().message;
  const OrderedJson document = OrderedJson::parse(*file);
  ASSERT_GE(document["cases"].size(), 70U);
  for (const auto& c : document["cases"]) {
    const auto source = c["template"].get<std::string>();
    SCOPED_TRACE(source);
    const auto chat = ChatTemplate::parse(source, "<s>", "</s>");
    ASSERT_TRUE(chat) << chat.error().message;
    const auto text = chat->render(document["messages"], document["variables"]);
    if (c.contains("error")) {
      EXPECT_FALSE(text);
      if (!text) {
        EXPECT_EQ(text.error().message, c["error"].get<std::string>());
      }
    } else {
      EXPECT_TRUE(text) << text.error().message;
      if (text) {
        EXPECT_EQ(*text, c["rendered"].get<std::string>());
      }
    }
  }
}

Result<std::string> render(const std::string& source) {
  const auto chat = ChatTemplate::parse(source, "", "");
  if (!chat) return tl::unexpected<Error>(chat.error());
  return chat->render(OrderedJson::parse(R"([{"role":"user","content":"hi"}])"), true);
}

TEST(ChatTemplate, WhatIsNotCoveredIsRefusedByName) {
  for (const auto* source : {"{% include 'x' %}", "{% import 'x' as y %}", "{{ 1|pprint }}",
                             "{{ 1|urlize }}"}) {
    const auto chat = ChatTemplate::parse(source, "", "");
    ASSERT_FALSE(chat) << source;
    EXPECT_NE(chat.error().message.find("not covered"), std::string::npos) << chat.error().message;
    EXPECT_EQ(chat.error().message.find('\n'), std::string::npos);
  }
}

TEST(ChatTemplate, BrokenSyntaxNamesItsLine) {
  const auto chat = ChatTemplate::parse("a\nb\n{% if x %}", "", "");
  ASSERT_FALSE(chat);
  EXPECT_NE(chat.error().message.find("line 3"), std::string::npos) << chat.error().message;
  for (const auto* source :
       {"{{", "{% if %}", "{{ 'abc }}", "{{ ) }}", "{{ a. }}", "{% endif %}", "{% raw %}", "{# x",
        "{{ a | }}", "{{ f(a=1, 2) }}", "{% for x y %}"}) {
    EXPECT_FALSE(ChatTemplate::parse(source, "", "")) << source;
  }
}

TEST(ChatTemplate, HostileTemplatesEndInAnError) {
  const std::string deep(2000, '(');
  EXPECT_FALSE(render("{{ " + deep + "1" + std::string(2000, ')') + " }}"));
  EXPECT_FALSE(render("{{ range(100001) }}"));
  EXPECT_FALSE(render("{{ 'a' * 1000000000 }}"));
  EXPECT_FALSE(render("{{ [0] * 1000000000 }}"));
  EXPECT_FALSE(render("{{ 9223372036854775807 + 1 }}"));
  EXPECT_FALSE(render("{{ 2 ** 100000 }}"));
  EXPECT_FALSE(render("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"));
  EXPECT_FALSE(
      render("{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}"));
  EXPECT_FALSE(
      render("{% set ns = namespace(x='abcdefgh') %}{% for i in range(40) %}"
             "{% set ns.x = ns.x + ns.x %}{% endfor %}"));
  EXPECT_FALSE(render("{% set ns = namespace() %}{% set ns.self = ns %}{{ ns }}"));
}

TEST(ChatTemplate, NoSecondBos) {
  const auto chat = ChatTemplate::parse("{{ bos_token }}{{ messages[0].content }}", "<s>", "</s>");
  ASSERT_TRUE(chat);
  EXPECT_EQ(chat->render(OrderedJson::parse(R"([{"role":"user","content":"x"}])"), false).value(),
            "<s>x");
}

}  // namespace
}  // namespace trimtab::model
