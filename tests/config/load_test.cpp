// The strict loader: the example is complete, every kind of mistake is named with its place, all at
// once, and no text whatever crashes it.
#include "config/load.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <regex>

#include "base/files.h"
#include "base/random.h"
#include "config/document.h"
#include "config/tables.h"
#include "tests/paths.h"

namespace trimtab::config {
namespace {

using testing::HasSubstr;

const std::string kExample = tests::source_dir() / "config/trimtab.example.yaml";
const std::string kGatewayExample =
    tests::source_dir() / "config/gateway.example.yaml";

// A valid file of the fewest lines; `more` goes below it.
std::string minimal(const std::string& more = "") {
  return "targets:\n"
         "  - name: bot\n"
         "    base: /models/base\n"
         "    serving: {endpoints: [{url: \"http://127.0.0.1:8000\"}]}\n" +
         more;
}

std::string errors_of(const std::string& text) {
  const auto settings = parse_settings(text, "f.yaml");
  return settings ? "" : settings.error().message;
}

void collect_keys(const Section& section, const std::string& path, std::vector<std::string>& keys) {
  for (const Row& row : section.rows) {
    keys.push_back(path + row.key);
    if (row.section) collect_keys(*row.section, path + row.key + ".", keys);
  }
}

void collect_keys(const YamlNode& node, const std::string& path, std::set<std::string>& keys) {
  for (const auto& [key, value] : node.pairs) {
    keys.insert(path + key.text);
    collect_keys(value, path + key.text + ".", keys);
    for (const YamlNode& item : value.items) collect_keys(item, path + key.text + ".", keys);
  }
}

TEST(ExampleConfig, LoadsAndShowsEveryKey) {
  const auto settings = load_settings(kExample);
  ASSERT_TRUE(settings) << settings.error().message;
  const auto text = read_file(kExample);
  ASSERT_TRUE(text);
  std::set<std::string> shown;
  collect_keys(parse_yaml(*text).root, "", shown);
  std::vector<std::string> keys;
  collect_keys(settings_section(), "", keys);
  EXPECT_GT(keys.size(), 200U);
  for (const auto& key : keys) EXPECT_TRUE(shown.contains(key)) << "the example lacks " << key;
}

TEST(ExampleConfig, ShowsTheDefaults) {
  const auto example = load_settings(kExample);
  ASSERT_TRUE(example) << example.error().message;
  Settings expected;
  expected.http.tokens = example->http.tokens;
  TargetSettings target;
  const TargetSettings& shown = example->targets.at(0);
  target.name = shown.name;
  target.base = shown.base;
  target.drift.signals = shown.drift.signals;
  target.drift.segments = shown.drift.segments;
  target.drift.harm = shown.drift.harm;
  target.serving.endpoints = shown.serving.endpoints;
  target.serving.served_base_name = shown.serving.served_base_name;
  target.serving.path_map = shown.serving.path_map;
  share_common_fields(target);
  expected.targets.push_back(target);
  EXPECT_EQ(settings_yaml(*example), settings_yaml(expected));
}

TEST(ExampleConfig, OfTheGatewayLoadsAndShowsEveryKey) {
  const auto settings = load_gateway_settings(kGatewayExample);
  ASSERT_TRUE(settings) << settings.error().message;
  const auto text = read_file(kGatewayExample);
  ASSERT_TRUE(text);
  std::set<std::string> shown;
  collect_keys(parse_yaml(*text).root, "", shown);
  std::vector<std::string> keys;
  collect_keys(gateway_section(), "", keys);
  for (const auto& key : keys) EXPECT_TRUE(shown.contains(key)) << "the example lacks " << key;
}

TEST(Load, MinimalFileGivesTheDefaults) {
  const auto settings = parse_settings(minimal(), "f.yaml");
  ASSERT_TRUE(settings) << settings.error().message;
  EXPECT_EQ(settings->state.commit_interval_ms, 250);
  EXPECT_EQ(settings->targets.at(0).promotion.plan.ladder.size(), 5U);
  EXPECT_EQ(settings->targets[0].promotion.plan.live_metric, LiveMetric::kAuto);
}

TEST(Load, FieldsReachTheirStructs) {
  const auto settings = parse_settings(
      "kafka: {brokers: 'a:1,b:2', isolation: read_uncommitted, properties: {linger.ms: 5}}\n"
      "store: {rate: .25, retention: 1.5GiB, redact: false}\n"
      "log: {level: warning}\n"
      "targets:\n"
      "  - name: bot\n"
      "    base: /b\n"
      "    unit_key: session_id\n"
      "    eval_share: 0.3\n"
      "    drift: {false_alarms: 2 per 7d, segments: [tenant, route]}\n"
      "    retrain: {triggers: [drift, manual], cooldown: 20s, retry_attempts: 5,\n"
      "      allowed_hours: [22:00-06:00], training: {init_from: base, kl: {reference: base}}}\n"
      "    promotion: {plan: {ladder: [.1, .5], ship: non_inferior, score: judge,\n"
      "      live_metric: accuracy, max_dwell: {ab: 90s}, ab_min_dwell: 5s},\n"
      "      judge: {url: 'http://127.0.0.1:9', model: m}}\n"
      "    serving: {driver: file}\n",
      "f.yaml");
  ASSERT_TRUE(settings) << settings.error().message;
  EXPECT_EQ(settings->kafka.connection.brokers, "a:1,b:2");
  EXPECT_EQ(settings->kafka.connection.properties.at("linger.ms"), "5");
  EXPECT_EQ(settings->kafka.isolation, Isolation::kReadUncommitted);
  EXPECT_EQ(settings->store.retention_bytes, 3LL << 29);
  EXPECT_FALSE(settings->store.redact);
  EXPECT_EQ(settings->log.level, LogLevel::kWarning);
  const TargetSettings& target = settings->targets.at(0);
  EXPECT_EQ(target.unit_key, UnitKey::kSession);
  EXPECT_STREQ(unit_key_name(target.unit_key), "session_id");
  EXPECT_DOUBLE_EQ(target.drift.false_alarms, 2);
  EXPECT_EQ(target.drift.false_alarms_per_ms, 7LL * 86'400'000);
  EXPECT_EQ(target.retrain.triggers, (std::vector{Trigger::kDrift, Trigger::kManual}));
  EXPECT_EQ(target.retrain.training.init_from, InitFrom::kBase);
  EXPECT_EQ(target.retrain.training.kl.reference, InitFrom::kBase);
  EXPECT_EQ(target.promotion.plan.ship, Ship::kNonInferior);
  EXPECT_EQ(target.promotion.plan.score, PairScore::kJudge);
  EXPECT_EQ(target.promotion.plan.live_metric, LiveMetric::kAccuracy);
  EXPECT_EQ(target.promotion.plan.max_dwell.ab_ms, 90'000);
  EXPECT_EQ(target.serving.driver, ServingDriver::kFile);
  // Shared fields are copied where the rooms look for them.
  EXPECT_DOUBLE_EQ(target.retrain.data.eval_share, 0.3);
  EXPECT_EQ(target.promotion.cooldown_ms, 20'000);
  EXPECT_EQ(target.promotion.max_tries, 5);
}

TEST(Load, RelativePathsStartAtTheFilesFolder) {
  TempFolder folder;
  ASSERT_TRUE(write_atomic(folder.path() / "c.yaml",
                           "state: {dir: ./state}\n" + minimal("    golden: ../g.jsonl\n")));
  const auto settings = load_settings(folder.path() / "c.yaml");
  ASSERT_TRUE(settings) << settings.error().message;
  EXPECT_EQ(settings->state.dir, (folder.path() / "state").string());
  EXPECT_EQ(settings->targets.at(0).base, "/models/base");
  EXPECT_EQ(settings->targets[0].golden, (folder.path().parent_path() / "g.jsonl").string());
}

struct Mistake {
  const char* name;
  std::string text;
  std::string error;  // whole, exactly
};

void PrintTo(const Mistake& mistake, std::ostream* out) { *out << mistake.name; }

class Mistakes : public testing::TestWithParam<Mistake> {};

TEST_P(Mistakes, AreNamedWithTheirPlace) {
  EXPECT_EQ(errors_of(GetParam().text), GetParam().error);
}

INSTANTIATE_TEST_SUITE_P(
    Load, Mistakes,
    testing::Values(
        Mistake{"unknown_key", minimal("kafka:\n  broker: \"a:1\"\n"),
                "f.yaml:6:3: kafka.broker: unknown key; did you mean 'brokers'?"},
        Mistake{
            "key_of_elsewhere", minimal("margin: 0.1\n"),
            "f.yaml:5:1: margin: unknown key here; it belongs under 'targets[].promotion.plan'"},
        Mistake{"unknown_and_far", minimal("log:\n  quux_zz: 1\n"),
                "f.yaml:6:3: log.quux_zz: unknown key; valid here: level"},
        Mistake{"duplicate", minimal("http:\n  port: 1\n  host: localhost\n  port: 2\n"),
                "f.yaml:8:3: http.port: given twice; the first is at line 6"},
        Mistake{
            "no_unit", minimal("state: {commit_interval: 250}\n"),
            "f.yaml:5:26: state.commit_interval: '250' is not a duration (the unit is missing); "
            "write a number and ms, s, m, h, d or w: 10s"},
        Mistake{
            "unknown_unit", minimal("http: {max_body: 8MB}\n"),
            "f.yaml:5:18: http.max_body: '8MB' is not a size (unknown unit 'MB'); write a number "
            "and B, KiB, MiB, GiB or TiB: 64MiB"},
        Mistake{"suffix_on_integer", minimal("http: {port: 10s}\n"),
                "f.yaml:5:14: http.port: '10s' is not an integer"},
        Mistake{"octal", minimal("http: {port: 0755}\n"),
                "f.yaml:5:14: http.port: '0755' has a leading zero (some YAML readers take it as "
                "octal); write it without"},
        Mistake{"quoted_number", minimal("http: {port: \"8500\"}\n"),
                "f.yaml:5:14: http.port: is the text \"8500\"; write an integer"},
        Mistake{"range", minimal("http: {port: 65536}\n"),
                "f.yaml:5:14: http.port: '65536' is out of range; allowed: from 0 to 65535"},
        Mistake{
            "duration_range", minimal("state: {commit_interval: 2m}\n"),
            "f.yaml:5:26: state.commit_interval: '2m' is out of range; allowed: from 10ms to 1m"},
        Mistake{"nan", minimal("store: {rate: .nan}\n"),
                "f.yaml:5:15: store.rate: '.nan' is not a number"},
        Mistake{"yes_is_no_bool", minimal("store: {redact: yes}\n"),
                "f.yaml:5:17: store.redact: is 'yes'; write true or false"},
        Mistake{"choice", minimal("log: {level: warn}\n"),
                "f.yaml:5:14: log.level: 'warn' is not one of trace, debug, info, warning, error"},
        Mistake{
            "near_choice", minimal("log: {level: debugg}\n"),
            "f.yaml:5:14: log.level: 'debugg' is not one of trace, debug, info, warning, error; "
            "did you mean 'debug'?"},
        Mistake{"list_for_value", minimal("kafka: {brokers: [\"a:1\"]}\n"),
                "f.yaml:5:18: kafka.brokers: is a list; write a text"},
        Mistake{"value_for_section", minimal("kafka: a:1\n"),
                "f.yaml:5:8: kafka: is 'a:1'; write key: value lines"},
        Mistake{"no_value", minimal("http:\n  port:\n"),
                "f.yaml:6:3: http.port: has no value; write an integer or remove the key"},
        Mistake{
            "bad_rate",
            "targets: [{name: b, base: /b, serving: {driver: file}, drift: {false_alarms: "
            "1/30d}}]\n",
            "f.yaml:1:78: targets[0].drift.false_alarms: '1/30d' is not a rate; write NUMBER per "
            "DURATION: 1 per 30d"},
        Mistake{"second_document", minimal("---\nlog: {}\n"),
                "f.yaml:6:1: a second document (---); a configuration is one document"},
        Mistake{"tab", minimal("http:\n\tport: 1\n"),
                "f.yaml:6:1: a tab in the indentation; use spaces"},
        Mistake{"anchor", minimal("http: &h {port: 1}\n"),
                "f.yaml:5:7: anchors (&name) are not used here; write the value out"},
        Mistake{"nul", std::string("log: {}\nht\0tp: 1\n", 17),
                "f.yaml:2:3: a control character; remove it"},
        Mistake{"latin1", "log: {}\n# caf\xE9\n", "f.yaml:2:6: not UTF-8; save the file as UTF-8"},
        Mistake{"empty", "", "f.yaml:1:1: the configuration: is nothing; write key: value lines"},
        Mistake{"a_list", "- 1\n",
                "f.yaml:1:1: the configuration: is a list; write key: value lines"},
        Mistake{"no_targets", "log: {level: info}\n",
                "f.yaml:1:1: targets: missing; one alias each"},
        Mistake{"empty_targets", "targets: []\n",
                "f.yaml:1:10: targets: empty; trimtab needs at least one target to look after"},
        Mistake{"missing_in_target", "targets:\n  - name: bot\n    serving: {driver: file}\n",
                "f.yaml:2:5: targets[0].base: missing; folder of the base snapshot, Hugging Face "
                "format"},
        Mistake{
            "bad_name", "targets: [{name: My Bot, base: /b, serving: {driver: file}}]\n",
            "f.yaml:1:18: targets[0].name: 'My Bot' is not a name; write 1 to 63 of a-z 0-9 - _ . "
            "starting with a letter or digit"},
        Mistake{
            "url_with_password",
            "targets: [{name: b, base: /b, serving: {endpoints: [{url: \"http://u:p@h:1\"}]}}]\n",
            "f.yaml:1:59: targets[0].serving.endpoints[0].url: 'http://u:p@h:1' has a password in "
            "it; put the secret into a *_file"}),
    [](const auto& mistake) { return mistake.param.name; });

INSTANTIATE_TEST_SUITE_P(
    CrossField, Mistakes,
    testing::Values(
        Mistake{
            "ladder_falls",
            "targets: [{name: b, base: /b, serving: {driver: file},\n"
            "  promotion: {plan: {ladder: [.1, .5, .25]}}}]\n",
            "f.yaml:2:30: targets[0].promotion.plan.ladder: 0.25 after 0.5: a ladder only widens; "
            "write rising shares"},
        Mistake{
            "ladder_above_half",
            "targets: [{name: b, base: /b, serving: {driver: file},\n"
            "  promotion: {plan: {ladder: [.1, .6]}}}]\n",
            "f.yaml:2:35: targets[0].promotion.plan.ladder: '.6' is out of range; allowed: from "
            "0.001 to 0.5"},
        Mistake{"dwell",
                "targets: [{name: b, base: /b, serving: {driver: file},\n"
                "  promotion: {plan: {bake: 20d}}}]\n",
                "f.yaml:2:28: targets[0].promotion.plan.bake: 20d is longer than max_dwell.baking "
                "(14d): the state would always end by its dwell"},
        Mistake{
            "same_topic", minimal("kafka: {topics: {dead_letters: trimtab.records}}\n"),
            "f.yaml:5:32: kafka.topics.dead_letters: 'trimtab.records' is read, too: dead letters "
            "would come back; write another topic"},
        Mistake{
            "open_port", minimal("http: {host: 0.0.0.0}\n"),
            "f.yaml:5:14: http.host: '0.0.0.0' is not loopback and http.tokens is empty: anybody "
            "could promote; add a token or listen on 127.0.0.1"},
        Mistake{
            "secret_in_properties", minimal("kafka: {properties: {sasl.password: hunter2}}\n"),
            "f.yaml:5:21: kafka.properties: 'sasl.password' is a secret; put it into a file and "
            "name that under property_files"},
        Mistake{
            "own_property", minimal("kafka: {properties: {enable.auto.commit: true}}\n"),
            "f.yaml:5:21: kafka.properties: 'enable.auto.commit' is trimtab's own; use the key of "
            "this section or remove it"},
        Mistake{"rank_above_fleet",
                "targets: [{name: b, base: /b, serving: {driver: file},\n"
                "  retrain: {training: {lora: {r: 64}}}}]\n",
                "f.yaml:2:34: targets[0].retrain.training.lora.r: above serving.max_lora_rank "
                "(16): the "
                "fleet would refuse the adapter"},
        Mistake{
            "no_endpoints", "targets: [{name: b, base: /b}]\n",
            "f.yaml:1:11: targets[0].serving.endpoints: empty, but the driver is vllm; list the "
            "servers"},
        Mistake{
            "same_target_twice",
            "targets:\n  - {name: b, base: /b, serving: {driver: file}}\n"
            "  - {name: b, base: /c, serving: {driver: file}}\n",
            "f.yaml:3:12: targets[1].name: 'b' is taken by another target; all state goes by it"},
        Mistake{
            "mapped_to_nobody", minimal("ingest: {target_by_route: {/chat: bott}}\n"),
            "f.yaml:5:27: ingest.target_by_route: 'bott' (of '/chat') is no target of this file"},
        Mistake{
            "pointer_without_kind",
            "targets: [{name: b, base: /b, serving: {driver: file},\n"
            "  drift: {signals: [{source: /attributes/q}]}}]\n",
            "f.yaml:2:21: targets[0].drift.signals[0]: the source /attributes/q is a JSON pointer; "
            "say kind: numeric or kind: categorical"}),
    [](const auto& mistake) { return mistake.param.name; });

TEST(Load, AllMistakesAtOnceInTheOrderOfTheFile) {
  EXPECT_EQ(
      errors_of("stat: {}\n"
                "http:\n"
                "  port: 99999\n"
                "  prot: 1\n"
                "log: {level: loud}\n"
                "targets:\n"
                "  - name: bot\n"
                "    retrain: {cooldown: 6}\n"),
      "f.yaml:1:1: stat: unknown key; did you mean 'state'?\n"
      "f.yaml:3:9: http.port: '99999' is out of range; allowed: from 0 to 65535\n"
      "f.yaml:4:3: http.prot: unknown key; did you mean 'port'?\n"
      "f.yaml:5:14: log.level: 'loud' is not one of trace, debug, info, warning, error\n"
      "f.yaml:7:5: targets[0].base: missing; folder of the base snapshot, Hugging Face format\n"
      "f.yaml:7:5: targets[0].serving.endpoints: empty, but the driver is vllm; list the servers\n"
      "f.yaml:8:25: targets[0].retrain.cooldown: '6' is not a duration (the unit is missing); "
      "write a number and ms, s, m, h, d or w: 10s");
}

TEST(Load, SyntaxErrorHasAPlace) {
  EXPECT_THAT(errors_of("http: {port: 1\nlog: {}\n"), HasSubstr("f.yaml:"));
  EXPECT_THAT(errors_of("http: {port: 1\nlog: {}\n"), HasSubstr(": not YAML: "));
}

TEST(Load, AbsentAndUnreadableFilesAreErrors) {
  const auto absent = load_settings("/nonexistent/c.yaml");
  ASSERT_FALSE(absent);
  EXPECT_EQ(absent.error().code, Code::kNotFound);
  EXPECT_THAT(absent.error().message, HasSubstr("/nonexistent/c.yaml"));
}

TEST(Load, DeepAndHugeTextsAreRefused) {
  std::string deep;
  for (int i = 0; i < 2'000; ++i) deep += "{a: ";
  EXPECT_NE(errors_of(deep), "");
  EXPECT_NE(errors_of(std::string(20'000, '[')), "");
  EXPECT_THAT(errors_of(std::string(kMaxConfigBytes + 1, ' ')), HasSubstr("larger than 1MiB"));
}

// A text broken at random: every answer is settings or lines with places, never a crash.
TEST(Load, NoTextCrashesIt) {
  const auto example = read_file(kExample);
  ASSERT_TRUE(example);
  const std::regex line(R"(f\.yaml:[0-9]+:[0-9]+: .+)");
  constexpr std::uint64_t kSeed = 20261123;
  Random random(kSeed);
  const std::string alphabet = "{}[]:,-#&*!|>'\"%@` \n\t\r0a~?\\\xC3\x28\x00\xFF";
  int refused = 0;
  for (int round = 0; round < 150; ++round) {
    // A window of the example keeps a round short.
    std::string text = *example;
    const int edits = 1 + static_cast<int>(random.below(6));
    for (int edit = 0; edit < edits; ++edit) {
      const std::size_t at = random.below(text.size());
      const char c = alphabet[random.below(alphabet.size())];
      switch (random.below(3)) {
        case 0: text[at] = c; break;
        case 1: text.insert(at, 1, c); break;
        default: text.erase(at, 1 + random.below(20)); break;
      }
    }
    const std::string errors = errors_of(text);
    refused += errors.empty() ? 0 : 1;
    std::istringstream lines(errors);
    for (std::string one; std::getline(lines, one);) {
      EXPECT_TRUE(std::regex_match(one, line))
          << "seed " << kSeed << ", round " << round << ": " << one;
    }
  }
  EXPECT_GT(refused, 50);
}

TEST(Load, GatewayMistakes) {
  const auto settings = parse_gateway_settings(
      "targets: [{name: bot, upstreams: []}]\nrouting: {source: file}\nunits: {}\n", "g.yaml");
  ASSERT_FALSE(settings);
  EXPECT_EQ(settings.error().message,
            "g.yaml:1:34: targets[0].upstreams: empty; list at least one model server\n"
            "g.yaml:2:10: routing.dir: empty, but the source is file\n"
            "g.yaml:3:1: units: unknown key; did you mean 'unit'?");
  const auto fine = parse_gateway_settings(
      "targets: [{name: bot, upstreams: [{url: \"http://127.0.0.1:1\"}]}]\n", "g.yaml");
  ASSERT_TRUE(fine) << fine.error().message;
  EXPECT_EQ(fine->targets.at(0).served_base_name, "bot");
}

}  // namespace
}  // namespace trimtab::config
