// Golden indices of the classical detectors (River's, from the shared vectors) and the conformance
// suite that every detector of the table passes.
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <sstream>

#include "base/files.h"
#include "base/json.h"
#include "base/random.h"
#include "drift/detector.h"
#include "tests/paths.h"

namespace trimtab::drift {
namespace {

const std::filesystem::path kShared = tests::shared_dir();

std::vector<double> numbers_of(const std::string& text) {
  std::vector<double> values;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) values.push_back(std::stod(line));
  return values;
}

std::vector<double> normals(std::size_t n, std::uint64_t seed) {
  Random random(seed);
  std::vector<double> values(n);
  for (double& x : values) x = random.normal();
  return values;
}

// A detector of the table with its defaults (and what it cannot do without).
std::unique_ptr<Detector> make(const DetectorRow& row, const ParameterPairs& extra = {}) {
  ParameterPairs given = extra;
  if (std::string_view(row.name) == "mean_e") {
    given.emplace_back("baseline", "0.1");
    given.emplace_back("tolerance", "0.05");
  }
  const auto parameters = Parameters::parse(row.parameters, given);
  EXPECT_TRUE(parameters.has_value()) << parameters.error().message;
  static const std::vector<double> reference = normals(1000, 7);
  auto made = row.make({.parameters = *parameters, .numbers = &reference, .categories = nullptr});
  EXPECT_TRUE(made.has_value()) << made.error().message;
  return std::move(*made);
}

// A stream that fits every input kind: 0/1 for all, so that binary detectors accept it.
std::vector<double> binary_stream(std::size_t n, std::uint64_t seed) {
  Random random(seed);
  std::vector<double> values(n);
  for (std::size_t i = 0; i < n; ++i) values[i] = random.chance(i < n / 2 ? 0.1 : 0.6) ? 1.0 : 0.0;
  return values;
}

std::vector<std::size_t> detections(Detector& detector, const std::vector<double>& stream,
                                    bool reset) {
  std::vector<std::size_t> found;
  bool restart = false;
  for (std::size_t i = 0; i < stream.size(); ++i) {
    if (restart) detector.reset();
    restart = false;
    if (!detector.update(stream[i]).drift) continue;
    found.push_back(i);
    restart = reset && !detector.restarts_itself();
  }
  return found;
}

class Golden : public testing::TestWithParam<const char*> {};

TEST_P(Golden, DetectsWhereTheReferenceLibraryDoes) {
  const auto file = kShared / "vectors" / "detectors" / (std::string(GetParam()) + ".json");
  if (!std::filesystem::exists(file)) GTEST_SKIP() << file << " is not there";
  const auto text = read_file(file);
  ASSERT_TRUE(text.has_value());
  const auto cases = parse_json(*text);
  ASSERT_TRUE(cases.has_value());
  int ran = 0;
  for (const Json& item : *cases) {
    if (!item["stdin"].contains("stream")) continue;
    const std::string stream = item["stdin"]["stream"];
    const auto values = read_file(kShared / "vectors" / stream);
    ASSERT_TRUE(values.has_value()) << stream;
    ParameterPairs given;
    for (const Json& word : item["command"]) {
      const std::string pair = word;
      const auto equals = pair.find('=');
      if (equals != std::string::npos) {
        given.emplace_back(pair.substr(0, equals), pair.substr(equals + 1));
      }
    }
    const DetectorRow* row = find_detector(GetParam());
    ASSERT_NE(row, nullptr);
    const auto detector = make(*row, given);
    const std::vector<std::size_t> expected = item["expect"]["detections"];
    const auto parameters = Parameters::parse(row->parameters, given);
    EXPECT_EQ(detections(*detector, numbers_of(*values), parameters->flag("reset")), expected)
        << item["id"];
    ++ran;
  }
  EXPECT_GE(ran, 5);
}

INSTANTIATE_TEST_SUITE_P(Classical, Golden, testing::Values("adwin", "page_hinkley"));

// The indices that the headers state.
TEST(Adwin, FindsAStepWhereItsHeaderSays) {
  const auto file = kShared / "vectors/streams/num_abrupt.txt";
  if (!std::filesystem::exists(file)) GTEST_SKIP() << file << " is not there";
  const auto stream = numbers_of(*read_file(file));
  EXPECT_EQ(detections(*make(*find_detector("adwin")), stream, true),
            (std::vector<std::size_t>{1023}));
  EXPECT_EQ(detections(*make(*find_detector("page_hinkley")), stream, true),
            (std::vector<std::size_t>{633, 1025}));
}

TEST(Adwin, WithoutResetTheShrunkenWindowLivesOn) {
  const auto stream = binary_stream(4000, 3);
  const auto detector = make(*find_detector("adwin"), {{"reset", "false"}});
  EXPECT_FALSE(detections(*detector, stream, false).empty());
  const auto state = detector->state();
  EXPECT_EQ(state[0].first, "width");
  EXPECT_GT(state[0].second, 1500.0);
  EXPECT_LT(state[0].second, 2600.0);  // the old half was dropped
  EXPECT_NEAR(state[1].second / state[0].second, 0.6, 0.05);
}

// ---- the conformance suite -----------------------------------------------------------------

class Conformance : public testing::TestWithParam<std::size_t> {
 protected:
  const DetectorRow& row() const { return detector_table()[GetParam()]; }
};

TEST_P(Conformance, SameInputSameAnswerSameBytes) {
  const auto stream = binary_stream(3000, 11);
  const auto a = make(row());
  const auto b = make(row());
  EXPECT_EQ(detections(*a, stream, true), detections(*b, stream, true));
  EXPECT_EQ(a->save(), b->save());
}

TEST_P(Conformance, SavedMidStreamItGoesOnAsIfNothingHappened) {
  const auto stream = binary_stream(3000, 12);
  for (const std::size_t cut : {1UL, 700UL, 1633UL}) {
    const auto whole = make(row());
    const auto first = make(row());
    for (std::size_t i = 0; i < cut; ++i) {
      (void)whole->update(stream[i]);
      (void)first->update(stream[i]);
    }
    const auto second = make(row());
    ASSERT_TRUE(second->restore(first->save()).has_value());
    for (std::size_t i = cut; i < stream.size(); ++i) {
      const Verdict expected = whole->update(stream[i]);
      const Verdict got = second->update(stream[i]);
      ASSERT_EQ(got.drift, expected.drift) << i;
      ASSERT_EQ(got.warning, expected.warning) << i;
      if (expected.drift) {
        whole->reset();
        second->reset();
      }
    }
    EXPECT_EQ(second->save(), whole->save());
  }
}

TEST_P(Conformance, ForeignOrTruncatedBytesAreRefusedAndChangeNothing) {
  const auto detector = make(row());
  for (const double x : binary_stream(500, 13)) (void)detector->update(x);
  const std::string saved = detector->save();
  EXPECT_FALSE(detector->restore("").has_value());
  EXPECT_FALSE(detector->restore("nonsense that is long enough to be read").has_value());
  EXPECT_FALSE(detector->restore(saved.substr(0, saved.size() - 1)).has_value());
  EXPECT_FALSE(detector->restore(saved + "x").has_value());
  EXPECT_EQ(detector->save(), saved);
}

TEST_P(Conformance, NaNAndInfinityAreNeverDrift) {
  // Against a reference missing values have a bin of their own, and many of them are a change.
  const bool counts_missing = row().reference == DetectorRow::Reference::kRequired;
  const auto detector = make(row());
  for (const double x : binary_stream(200, 14)) (void)detector->update(x);
  for (const double x :
       {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(),
        -std::numeric_limits<double>::infinity()}) {
    const bool drift = detector->update(x).drift;
    EXPECT_TRUE(counts_missing || !drift);
  }
  for (const auto& [name, value] : detector->state()) EXPECT_TRUE(std::isfinite(value)) << name;
}

TEST_P(Conformance, AConstantStreamIsNoDrift) {
  const auto detector = make(row());
  const auto found = detections(*detector, std::vector<double>(20'000, 0.0), true);
  if (std::string_view(row().name) == "stepd") {
    // Frouros' STEPD divides by a zero deviation and says drift (golden stepd-007).
    ASSERT_FALSE(found.empty());
    EXPECT_EQ(found.front(), 59U);
  } else if (row().reference == DetectorRow::Reference::kRequired) {
    EXPECT_FALSE(found.empty()) << "against a normal reference a constant is a change";
  } else {
    EXPECT_TRUE(found.empty());
  }
}

TEST_P(Conformance, MemoryIsBounded) {
  const auto detector = make(row());
  for (const double x : binary_stream(2000, 15)) (void)detector->update(x);
  const std::size_t before = detector->state_bytes();
  const auto stream = binary_stream(20'000, 16);
  for (const double x : stream) {
    if (detector->update(x).drift) detector->reset();
  }
  EXPECT_LE(detector->state_bytes(), std::max<std::size_t>(before, 65'536));
  EXPECT_LE(detector->save().size(), std::size_t{65'536});
}

TEST_P(Conformance, ResetForgetsEverything) {
  const auto detector = make(row());
  const std::string fresh = detector->save();
  for (const double x : binary_stream(900, 17)) (void)detector->update(x);
  detector->reset();
  const auto stream = binary_stream(2000, 18);
  EXPECT_EQ(detections(*detector, stream, true), detections(*make(row()), stream, true));
}

TEST_P(Conformance, EveryParameterHasAValueADocAndASource) {
  for (const Parameter& parameter : row().parameters) {
    EXPECT_GT(std::string_view(parameter.doc).size(), 5U) << parameter.name;
    EXPECT_GE(std::string_view(parameter.source).size(), 3U) << parameter.name;
  }
  EXPECT_FALSE(Parameters::parse(row().parameters, {{"no_such", "1"}}).has_value());
  EXPECT_FALSE(Parameters::parse(row().parameters, {{"reset", "maybe"}}).has_value());
}

std::string row_name(const testing::TestParamInfo<std::size_t>& info) {
  return detector_table()[info.param].name;
}
INSTANTIATE_TEST_SUITE_P(All, Conformance, testing::Range<std::size_t>(0, detector_table().size()),
                         row_name);

// ---- parameters ----------------------------------------------------------------------------

TEST(Parameters, SaysWhatIsWrong) {
  const auto& row = *find_detector("adwin");
  const auto bad = [&row](const char* name, const char* value) {
    return Parameters::parse(row.parameters, {{name, value}}).error().message;
  };
  EXPECT_NE(bad("detla", ".1").find("known: delta"), std::string::npos);
  EXPECT_NE(bad("delta", "abc").find("not a number"), std::string::npos);
  EXPECT_NE(bad("delta", "7").find("above 0 and at most 1"), std::string::npos);
  EXPECT_NE(bad("clock", "1.5").find("whole number"), std::string::npos);
  EXPECT_NE(Parameters::parse(row.parameters, {{"clock", "1"}, {"clock", "2"}})
                .error()
                .message.find("twice"),
            std::string::npos);
  EXPECT_FALSE(parse_number("nan").has_value());
  EXPECT_FALSE(parse_number("1e999").has_value());
  EXPECT_FALSE(parse_number("1 ").has_value());
  EXPECT_DOUBLE_EQ(*parse_number("+.5"), 0.5);
}

}  // namespace
}  // namespace trimtab::drift
