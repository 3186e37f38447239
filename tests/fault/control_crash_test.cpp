// kill -9 at every arrow of control's main path: the final state equals the uninterrupted run's,
// byte by byte (HOUSE.md sections 3 and 10; OPERATIONS.md section 5, fault 1).
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <vector>

#include "base/files.h"
#include "daemon/kill_point.h"
#include "tests/fault/control_scenario.h"

namespace trimtab::daemon {
namespace {

// Runs the scenario in a process of its own. True: it ran to its end; false: it was killed.
bool run_in_child(const std::filesystem::path& folder, const std::string& kill_at, Scenario which) {
  std::fflush(stdout);
  const pid_t pid = ::fork();
  if (pid == 0) {
    if (kill_at.empty()) {
      ::unsetenv("TRIMTAB_KILL_AT");
    } else {
      ::setenv("TRIMTAB_KILL_AT", kill_at.c_str(), 1);
    }
    const auto done = run_scenario(folder, which);
    if (!done) std::fprintf(stderr, "scenario: %s\n", done.error().message.c_str());
    ::_exit(done ? 0 : 1);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) == 0) << "kill at " << kill_at;
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

std::string final_state(const std::string& kill_at, int& kills, Scenario which = Scenario::kWhole) {
  TempFolder folder("trimtab-crash");
  kills = 0;
  if (!run_in_child(folder.path(), kill_at, which)) {
    ++kills;
    EXPECT_TRUE(run_in_child(folder.path(), "", which)) << "no second life after " << kill_at;
  }
  auto text = dump_state(folder.path());
  EXPECT_TRUE(text.has_value()) << (text ? "" : text.error().message);
  return text ? *text : "";
}

const std::string& uninterrupted() {
  static const std::string text = [] {
    int kills = 0;
    return final_state("", kills);
  }();
  return text;
}

std::string first_difference(const std::string& a, const std::string& b) {
  std::size_t i = 0;
  while (i < a.size() && i < b.size() && a[i] == b[i]) ++i;
  const std::size_t from = i < 150 ? 0 : i - 150;
  return "...expected: " + a.substr(from, 400) + "\n...got:      " + b.substr(from, 400);
}

TEST(ControlCrash, TheScenarioVisitsWhatItShould) {
  const auto& text = uninterrupted();
  for (const char* sign : {"PROMOTED", "trial-2", "job-1 ok", "event", "units", "undo"}) {
    EXPECT_NE(text.find(sign), std::string::npos) << sign;
  }
}

TEST(ControlCrash, TwoUninterruptedRunsAreEqual) {
  int kills = 0;
  const auto again = final_state("", kills);
  EXPECT_TRUE(uninterrupted() == again) << first_difference(uninterrupted(), again);
}

// A good part of the passages of a point; TRIMTAB_EVERY_KILL=1 takes them all.
std::vector<int> kill_counts() {
  std::vector<int> counts = {1, 2, 3, 5, 9, 11, 21, 34, 42, 43, 44, 45, 46, 50, 57};
  if (std::getenv("TRIMTAB_EVERY_KILL") == nullptr) return counts;
  counts.resize(4 * kScenarioSteps);
  std::iota(counts.begin(), counts.end(), 1);
  return counts;
}

class KillPoint : public ::testing::TestWithParam<std::string_view> {};

TEST_P(KillPoint, FinalStateIsTheSame) {
  int visited = 0;
  for (const int count : kill_counts()) {
    int kills = 0;
    const std::string at = std::string(GetParam()) + ":" + std::to_string(count);
    const auto text = final_state(at, kills);
    visited += kills;
    ASSERT_TRUE(uninterrupted() == text) << at << "\n" << first_difference(uninterrupted(), text);
    if (kills == 0) break;
  }
  EXPECT_GT(visited, 0) << GetParam() << " was never passed";
}

INSTANTIATE_TEST_SUITE_P(Arrows, KillPoint,
                         ::testing::ValuesIn(kill_point_names().begin(), kill_point_names().end()));

// PROMOTION.md section 1: REGISTERED .. SHADOW -> SUPERSEDED by a newer candidate, whole or killed.
TEST(Supersede, ANewerCandidateTakesThePlaceOfOneInTheShadow) {
  int kills = 0;
  const auto whole = final_state("", kills, Scenario::kSupersede);
  EXPECT_NE(whole.find("trial-2 OFFLINE_EVAL>SUPERSEDED superseded"), std::string::npos) << whole;
  EXPECT_NE(whole.find("trial-3 REGISTERED>OFFLINE_EVAL"), std::string::npos);
  EXPECT_NE(whole.find("job job-2 ok"), std::string::npos);
  for (const auto& point : kill_point_names()) {
    for (const int count : {48, 49}) {
      const std::string at = std::string(point) + ":" + std::to_string(count);
      const auto text = final_state(at, kills, Scenario::kSupersede);
      ASSERT_TRUE(whole == text) << at << "\n" << first_difference(whole, text);
    }
  }
}

}  // namespace
}  // namespace trimtab::daemon
