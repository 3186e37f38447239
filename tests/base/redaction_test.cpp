// Redaction: what must go goes, what only looks like it stays, and hostile texts cost linear time.
#include "base/redaction.h"

#include <gtest/gtest.h>

#include <chrono>

namespace trimtab {
namespace {

struct Case {
  const char* text;
  const char* redacted;
};

TEST(Redaction, PersonalDataAndSecretsGo) {
  for (const Case& c : {
           Case{"write to jane.doe+x@mail.example.co.uk, please", "write to [EMAIL], please"},
           Case{"mail a@b.de.", "mail [EMAIL]."},
           Case{"call +49 170 1234567 now", "call [PHONE] now"},
           Case{"call (555) 123-4567.", "call [PHONE]."},
           Case{"call 555-123-4567", "call [PHONE]"},
           Case{"ring 01701234567", "ring [PHONE]"},
           Case{"card 4111 1111 1111 1111 exp", "card [CARD] exp"},
           Case{"card 4111111111111111", "card [CARD]"},
           Case{"IBAN DE89 3704 0044 0532 0130 00 ok", "IBAN [IBAN] ok"},
           Case{"IBAN GB29NWBK60161331926819", "IBAN [IBAN]"},
           Case{"from 192.168.17.4: refused", "from [IP]: refused"},
           Case{"from 2001:db8::8a2e:370:7334 in", "from [IP] in"},
           Case{"key sk-abcdefghijklmnopqrstuv1234 end", "key [KEY] end"},
           Case{"AKIAIOSFODNN7EXAMPLE", "[KEY]"},
           Case{"ghp_abcdefghijklmnopqrstuvwxyz0123456789", "[KEY]"},
           Case{"Authorization: Bearer abcdef0123456789abcdef", "Authorization: Bearer [KEY]"},
           Case{"password: hunter22, thanks", "password: [KEY], thanks"},
           Case{"{\"api_key\": \"abcd1234\"}", "{\"api_key\": \"[KEY]\"}"},
           Case{"t eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.SflKxwRJSMeKKF2QT4 u", "t [KEY] u"},
           Case{"-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nx",
                "[KEY]\nx"},
           Case{"d131dd02c5e6eec4693d9a0698aff95c", "[KEY]"},
       }) {
    EXPECT_EQ(redact(c.text), c.redacted);
  }
}

TEST(Redaction, WhatOnlyLooksLikeItStays) {
  for (const char* text : {"order 4111111111111112 shipped",
                           "on 2026-11-23 10:15:00",
                           "due 23.11.2026",
                           "version 1.2.3.4.5",
                           "room 12, floor 3",
                           "pi is 3.14159265358979",
                           "at 12:30:45",
                           "a@b",
                           "user@localhost",
                           "the password is wrong",
                           "std::vector<int> a::b",
                           "1,234,567.89",
                           "ticket 1700000000000",
                           "transfer_money_between_my_accounts_now_please",
                           "AT 20 DEGREES",
                           "https://example.com/a/b?c=d",
                           "what is my token: it",
                           "",
                           "caf\xC3\xA9 \xFF\xFE raw",
                           "0.123456789012"}) {
    EXPECT_EQ(redact(text), text);
  }
}

TEST(Redaction, CountsAndKeeps) {
  RedactionCounts counts;
  EXPECT_EQ(redact("a@x.org b@x.org 10.1.2.3", {"b@x.org"}, &counts), "[EMAIL] b@x.org [IP]");
  EXPECT_EQ(counts.email, 1);
  EXPECT_EQ(counts.ip, 1);
  EXPECT_EQ(counts.total(), 2);
}

TEST(Redaction, IsIdempotent) {
  const std::string once = redact("a@x.org, +49 170 1234567, password=abcd1234");
  EXPECT_EQ(redact(once), once);
}

TEST(Redaction, HostileTextsCostLinearTime) {
  for (const std::string piece : {"(", "@", "a.", "1 ", "1:", "-----BEGIN ", "eyJ.", "A1 ", "+(",
                                  "sk-", "password ", "::", "bearer "}) {
    std::string text;
    while (text.size() < 400'000) text += piece;
    const auto start = std::chrono::steady_clock::now();
    const std::string out = redact(text);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    EXPECT_LT(took.count(), 5.0) << piece;  // quadratic would be minutes
    EXPECT_FALSE(out.empty());
  }
}

}  // namespace
}  // namespace trimtab
