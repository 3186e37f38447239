// round made a float of a whole number and rounded by way of a product (1.115 to 1.12); odd, even
// and divisibleby refused floats; a slice of a number was nothing instead of an error. Found by
// random templates; expected: Jinja2 3.1.6 as transformers sets it up.
#include <gtest/gtest.h>

#include "base/json.h"
#include "retrain/model/chat_template.h"

namespace trimtab::model {
namespace {

std::string render(const std::string& source) {
  const auto chat = ChatTemplate::parse(source, "", "");
  if (!chat) return "refused: " + chat.error().message;
  const auto text = chat->render(OrderedJson::array(), true);
  return text ? *text : "error: " + text.error().message;
}

TEST(ChatTemplateNumbers, RoundKeepsWholeNumbersAndRoundsCorrectly) {
  EXPECT_EQ(render("{{ 5|round }} {{ true|round(1) }} {{ 2.5|round }}"), "5 1 2.0");
  EXPECT_EQ(render("{{ 1.115|round(2) }} {{ 5|round(0, 'ceil') }}"), "1.11 5.0");
}

TEST(ChatTemplateNumbers, TestsOfDivisibilityTakeAnyNumber) {
  EXPECT_EQ(render("{{ 2.0 is even }} {{ 2.25 is odd }} {{ 4.5 is divisibleby(1.5) }}"),
            "True False True");
}

TEST(ChatTemplateNumbers, WhatHasNoSlicesIsAnError) {
  EXPECT_EQ(render("{% set n = 3 %}{{ n[::2] }}"), "error: 'int' object is not subscriptable");
  EXPECT_EQ(render("{{ 3[1:] }}|"), "|");  // a constant: folded before
}

}  // namespace
}  // namespace trimtab::model
