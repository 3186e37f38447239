// What each protection against forgetting is worth, on a small real run: a tiny model learns an old
// task, then a new one with and without protection. Judged by the loss on held-out lines of both.
#include <cmath>

#include "base/random.h"
#include "tests/retrain/train_fixture.h"

namespace trimtab::tests {
namespace {

namespace fs = std::filesystem;

class ForgettingTest : public TrainTest {
 protected:
  static constexpr int kItems = 12;  // questions of a task

  // [task, question, answer]: the answer is a fixed permutation of the questions.
  static Json line(int task, int question) {
    const int answer = 4 + kItems + (question * 5 + task * 3) % kItems;
    return {{"input_ids", {task, 4 + question, 3, answer}}, {"labels", {-100, -100, -100, answer}}};
  }
  std::string lines(const std::string& name, const std::vector<Json>& all) {
    std::string text;
    for (const Json& one : all) text += one.dump() + "\n";
    return file(name, text);
  }
  static std::vector<Json> task_lines(int task, int times, const char* kind = nullptr) {
    std::vector<Json> all;
    for (int i = 0; i < kItems * times; ++i) {
      Json one = line(task, i % kItems);
      one["task"] = std::to_string(task);
      if (kind != nullptr) one["kind"] = kind;
      all.push_back(one);
    }
    return all;
  }
  static std::vector<Json> both(std::vector<Json> a, const std::vector<Json>& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  }

  void SetUp() override {
    write_tiny_base(root_.path() / "base");
    old_eval_ = lines("old_eval.jsonl", task_lines(1, 1));
    new_eval_ = lines("new_eval.jsonl", task_lines(2, 1));
    const fs::path folder =
        make_job("champion", "data: {tokens: " + lines("old.jsonl", task_lines(1, 4)) +
                                 ", keep: " + old_eval_ +
                                 "}\nsteps: 250\nbatch_sequences: 24\n"
                                 "lora: {r: 8, lora_alpha: 16}\noptimizer: {lr: 0.01}\n");
    ASSERT_EQ(train(folder).code, 0) << read_file(folder / "stderr").value_or("");
    ASSERT_LT(result(folder)["keep_loss_after"].get<double>(), 0.3) << "the old task is learned";
    champion_ = (folder / "out").string();
  }

  struct Losses {
    double old_task = 0, new_task = 0;
  };
  static constexpr const char* kCourse = "steps: 120\nbatch_sequences: 24\noptimizer: {lr: 0.01}\n";
  Losses run_new(const std::string& name, const std::string& data, const std::string& more,
                 bool from_champion = true, const std::string& course = kCourse) {
    const fs::path folder =
        make_job(name, "data: {tokens: " + data + ", keep: " + old_eval_ + ", eval: " + new_eval_ +
                           "}\nearly_stop_patience: 0\n" + course +
                           (from_champion ? "init_adapter: " + champion_ + "\n" : "") + more);
    EXPECT_EQ(train(folder).code, 0) << name << ": " << read_file(folder / "stderr").value_or("");
    const Json end = result(folder);
    const Losses losses{end.value("keep_loss_after", NAN), end.value("eval_loss_after", NAN)};
    RecordProperty(name + "_old", std::to_string(losses.old_task));
    RecordProperty(name + "_new", std::to_string(losses.new_task));
    std::printf("%-12s old %.3f new %.3f\n", name.c_str(), losses.old_task, losses.new_task);
    return losses;
  }

  std::string old_eval_, new_eval_, champion_;
};

TEST_F(ForgettingTest, ReplayAndKlKeepTheOldTask) {
  const auto fresh = task_lines(2, 4);
  const auto plain = run_new("plain", lines("new.jsonl", fresh), "");
  EXPECT_LT(plain.new_task, 0.5);
  EXPECT_GT(plain.old_task, 0.8) << "without protection the old task has to suffer";

  const auto replayed =
      run_new("replay", lines("replay.jsonl", both(fresh, task_lines(1, 2, "replay"))), "");
  EXPECT_LT(replayed.new_task, 0.5);
  EXPECT_LT(replayed.old_task, 0.5 * plain.old_task);

  // Few replayed lines, one for two questions: KL to the champion makes more of them.
  std::vector<Json> few;
  for (int i = 0; i < kItems; i += 2) {
    few.push_back(line(1, i));
    few.back()["kind"] = "replay";
  }
  const std::string some = lines("few.jsonl", both(fresh, few));
  const auto without = run_new("few", some, "");
  const auto with = run_new("few_kl", some, "kl: {weight: 4}\n");
  EXPECT_LT(with.new_task, 0.5);
  EXPECT_LT(with.old_task, without.old_task);
}

// O-LoRA keeps a new adapter out of the subspace that the old one reads: merged into the base, the
// old task suffers less from it.
TEST_F(ForgettingTest, TheOrthogonalPenaltyKeepsTheOldTask) {
  const fs::path merged = root_.path() / "merged";
  const Ended ended = run({"merge", "--base", (root_.path() / "base").string(), "--adapter",
                           champion_, "--out", merged.string()},
                          root_.path());
  ASSERT_EQ(ended.code, 0) << ended.err;
  base_ = merged;
  const std::string data = lines("new.jsonl", task_lines(2, 4));
  const std::string lora = "lora: {r: 8, lora_alpha: 16}\n";
  const auto plain = run_new("olora_off", data, lora, false);
  const auto kept = run_new(
      "olora_on", data, lora + "orthogonal: {weight: 3, adapters: ['" + champion_ + "']}\n", false);
  EXPECT_LT(kept.new_task, 0.8);
  EXPECT_LT(kept.old_task, plain.old_task);
}

// Two lines of the old task among thirty new ones, every step over all of them: added up, the large
// task's gradient goes against the small one's until that has grown; projected, it may not. What is
// asked is what is trained: surgery says nothing about questions that are not in the batch.
TEST_F(ForgettingTest, SurgeryKeepsTheSmallTask) {
  std::vector<Json> few;
  for (int i = 0; i < 2; ++i) {
    few.push_back(line(1, i));
    few.back()["task"] = "1";
  }
  old_eval_ = lines("few_eval.jsonl", few);
  std::vector<Json> all = task_lines(2, 3);
  all.resize(30);
  const std::string data = lines("mixed.jsonl", both(all, few));
  const std::string course = "steps: 10\nbatch_sequences: 32\noptimizer: {lr: 0.02}\n";
  const auto plain = run_new("sum", data, "", true, course);
  const auto surgery = run_new("pcgrad", data, "gradient_surgery: pcgrad\n", true, course);
  EXPECT_LT(surgery.old_task, 0.85 * plain.old_task);
  EXPECT_LT(surgery.new_task, plain.new_task + 0.05);
}

// Easy first: with noise among the lines, the early steps go to what the model can already explain.
TEST_F(ForgettingTest, TheCurriculumBeginsWithTheEasyLines) {
  std::vector<Json> all = both(task_lines(1, 2), task_lines(2, 2));  // the champion knows task 1
  const std::string data = lines("both.jsonl", all);
  const auto first_steps = [&](const std::string& name, const std::string& order) {
    const fs::path folder = make_job(name, "data: {tokens: " + data +
                                               "}\nepochs: 1\nbatch_sequences: 12\n"
                                               "init_adapter: " +
                                               champion_ +
                                               "\noptimizer: {lr: 0.001}\n"
                                               "curriculum: {order: " +
                                               order + "}\n");
    EXPECT_EQ(train(folder).code, 0) << read_file(folder / "stderr").value_or("");
    const auto steps = metrics(folder);
    EXPECT_EQ(steps.size(), 4U);
    return std::pair(steps.front()["loss"].get<double>(), steps.back()["loss"].get<double>());
  };
  const auto easy = first_steps("easy", "easy_first"), hard = first_steps("hard", "hard_first");
  EXPECT_LT(easy.first, 0.5);
  EXPECT_GT(easy.second, 1.0);
  EXPECT_GT(hard.first, 1.0);
  EXPECT_LT(hard.second, easy.second);
}

}  // namespace
}  // namespace trimtab::tests
