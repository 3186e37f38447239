// Units, spelling, and what the tables give beside the loader.
#include "config/document.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/files.h"
#include "base/json.h"
#include "config/check.h"
#include "config/load.h"
#include "config/spelling.h"
#include "config/tables.h"
#include "config/units.h"
#include "tests/paths.h"

namespace trimtab::config {
namespace {

using testing::HasSubstr;

const std::string kSource = tests::source_dir();

TEST(Units, Durations) {
  EXPECT_EQ(parse_duration_ms("250ms").value(), 250);
  EXPECT_EQ(parse_duration_ms("1.5h").value(), 5'400'000);
  EXPECT_EQ(parse_duration_ms(".5s").value(), 500);
  EXPECT_EQ(parse_duration_ms("2w").value(), 1'209'600'000);
  EXPECT_EQ(parse_duration_ms("0").value(), 0);
  for (const char* bad : {"", "10", "s", "10 s", "1.0001ms", "10S", "1h30m", "+1s", "0x1s", "1e3s",
                          "99999999999999999999d", "nan", "01s", "10s "}) {
    EXPECT_FALSE(parse_duration_ms(bad)) << bad;
  }
  for (const std::int64_t ms :
       {0LL, 1LL, 1'000LL, 90'000LL, 3'600'000LL, 86'400'000LL, 123'457LL}) {
    EXPECT_EQ(parse_duration_ms(format_duration(ms)).value(), ms);
  }
  EXPECT_EQ(format_duration(90'000), "90s");
}

TEST(Units, SizesRatesNumbers) {
  EXPECT_EQ(parse_size_bytes("64KiB").value(), 65'536);
  EXPECT_EQ(format_size(3LL << 29), "1536MiB");
  EXPECT_FALSE(parse_size_bytes("64KB"));
  EXPECT_EQ(parse_rate("1 per 30d").value(), (Rate{1, 2'592'000'000}));
  for (const char* bad : {"1per 30d", "0 per 1d", "1 per 0s", "1 per", "per 1d", "-1 per 1d"}) {
    EXPECT_FALSE(parse_rate(bad)) << bad;
  }
  EXPECT_DOUBLE_EQ(parse_number("1e-3").value(), 0.001);
  for (const char* bad : {"1e", "inf", ".", "-", "1.2.3", "0x10", "1_000", "1e999"}) {
    EXPECT_FALSE(parse_number(bad)) << bad;
  }
  EXPECT_EQ(format_number(0.1), "0.1");
}

TEST(Spelling, FindsNeighboursOnly) {
  EXPECT_EQ(edit_distance("prot", "port"), 1U);
  EXPECT_EQ(nearest_word("prot", {"host", "port"}), "port");
  EXPECT_EQ(nearest_word("zzz", {"host", "port"}), "");
  EXPECT_EQ(nearest_word(std::string(10'000, 'a'), {"a"}), "");
}

TEST(Document, WrittenYamlReadsBackToTheSame) {
  const auto first = load_settings(kSource + "/config/trimtab.example.yaml");
  ASSERT_TRUE(first) << first.error().message;
  const auto second = parse_settings(settings_yaml(*first), "written");
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ(canonical_json(settings_section(), &*first),
            canonical_json(settings_section(), &*second));
  EXPECT_EQ(config_hash(*first), config_hash(*second));
  const auto documented =
      parse_settings(write_yaml(settings_section(), &*first, {.docs = true}), "documented");
  ASSERT_TRUE(documented) << documented.error().message;
  EXPECT_EQ(config_hash(*first), config_hash(*documented));
}

TEST(Document, HashSeesEveryChange) {
  auto settings = load_settings(kSource + "/config/trimtab.example.yaml");
  ASSERT_TRUE(settings);
  const std::string before = config_hash(*settings);
  EXPECT_EQ(before.size(), 64U);
  settings->targets[0].promotion.plan.margin = 0.021;
  EXPECT_NE(config_hash(*settings), before);
}

void expect_described(const Json& schema, const std::string& path) {
  for (const auto& [key, value] : schema.at("properties").items()) {
    EXPECT_NE(value.value("description", ""), "") << path << key;
    if (value.contains("properties")) expect_described(value, path + key + ".");
    if (value.contains("items") && value["items"].contains("properties")) {
      EXPECT_EQ(value["items"]["additionalProperties"], false) << path << key;
      expect_described(value["items"], path + key + "[].");
    }
  }
}

TEST(Document, SchemaDescribesEveryKey) {
  for (const std::string& text : {settings_schema(), gateway_schema()}) {
    const auto schema = parse_json(text);
    ASSERT_TRUE(schema) << schema.error().message;
    EXPECT_EQ((*schema)["additionalProperties"], false);
    EXPECT_EQ((*schema)["required"], Json::array({"targets"}));
    expect_described(*schema, "");
  }
  const Json schema = *parse_json(settings_schema());
  const Json& port = schema["properties"]["http"]["properties"]["port"];
  EXPECT_EQ(port["maximum"], 65'535);
  EXPECT_EQ(schema["properties"]["state"]["properties"]["commit_interval"]["default"], "250ms");
}

// docs/CONFIG.md is the reference, generated from the tables.
TEST(Document, ReferencePageIsUpToDate) {
  const auto page = read_file(kSource + "/docs/CONFIG.md");
  ASSERT_TRUE(page) << page.error().message;
  if (std::getenv("TRIMTAB_WRITE_REFERENCE") != nullptr) {
    ASSERT_TRUE(write_atomic(kSource + "/docs/CONFIG.md", settings_reference()));
    return;
  }
  EXPECT_EQ(*page, settings_reference())
      << "run TRIMTAB_WRITE_REFERENCE=1 config_test --gtest_filter='*ReferencePage*'";
}

TEST(Check, DelaysOfDriftAreTheMeasuredOnes) {
  EXPECT_NEAR(drift_delay_events(0.5, 10'000, 1e5), 92, 0.5);
  EXPECT_NEAR(drift_delay_events(0.25, 1'500, 1e5), 447, 0.5);
  EXPECT_NEAR(drift_delay_events(2, 10'000, 1e5), 9, 0.5);
  EXPECT_GT(drift_delay_events(0.5, 500, 1e5), drift_delay_events(0.5, 1'500, 1e5));
  EXPECT_GT(drift_delay_events(0.5, 10'000, 1e7), drift_delay_events(0.5, 10'000, 1e5));
}

// STATISTICS.md section 7: D = +.05, 70 % ties, margin .02: non-inferior after 378 pairs, superior
// after 751 with the grid of that page; the grid in use may differ a little.
TEST(Check, SampleSizesAgreeWithTheMeasuredOnes) {
  const auto equal = sample_size(Question::kNonInferior, 0.05, 0.02, 0.05, 0.3, 9'000);
  ASSERT_TRUE(equal.median && equal.p80);
  EXPECT_NEAR(static_cast<double>(*equal.median), 378, 130);
  EXPECT_GE(*equal.p80, *equal.median);
  const auto better = sample_size(Question::kSuperior, 0.05, 0.02, 0.05, 0.3, 9'000);
  ASSERT_TRUE(better.median);
  EXPECT_NEAR(static_cast<double>(*better.median), 751, 250);
  EXPECT_FALSE(sample_size(Question::kSuperior, 0.05, 0.02, 0.0, 0.3, 500).median);
}

// STATISTICS.md section 7, "honest power": about 7,000 labelled units an arm.
TEST(Check, TellsTheHonestPower) {
  const auto size = sample_size(Question::kNonInferior, 0.05, 0.02, 0, 2 * 0.2 * 0.8, 60'000);
  ASSERT_TRUE(size.median);
  EXPECT_NEAR(static_cast<double>(*size.median), 7'000, 2'500);
  auto settings = load_settings(kSource + "/config/trimtab.example.yaml");
  ASSERT_TRUE(settings);
  settings->targets[0].expected.base_rate = 0.2;
  EXPECT_THAT(notes_text(check_notes(*settings)),
              HasSubstr("takes " + std::to_string(*size.median) + " labelled units an arm"));
}

TEST(Check, SaysWhatThePlanCannotDo) {
  auto settings = load_settings(kSource + "/config/trimtab.example.yaml");
  ASSERT_TRUE(settings);
  const std::string fine = notes_text(check_notes(*settings));
  EXPECT_THAT(fine, HasSubstr("support-bot: drift: armed after about 5 d"));
  EXPECT_THAT(fine, HasSubstr("support-bot: loop: from a change of .5 sigma to PROMOTED"));
  settings->targets[0].expected = {.records_per_day = 100, .units_per_day = 20, .label_rate = 0};
  settings->store.redact = false;
  const std::string small = notes_text(check_notes(*settings));
  EXPECT_THAT(small, HasSubstr("support-bot: WARNING: drift: the reference takes about 500 d"));
  EXPECT_THAT(small, HasSubstr("WARNING: shadow: no random-selected labels are expected"));
  EXPECT_THAT(small, HasSubstr("WARNING: canary: the step of 1 % would take about 250 d"));
  EXPECT_THAT(small, HasSubstr("WARNING: store: store.redact is off"));
  EXPECT_TRUE(parse_json(notes_json(check_notes(*settings))));
}

}  // namespace
}  // namespace trimtab::config
