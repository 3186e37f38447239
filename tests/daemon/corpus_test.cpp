// The demo's task must be fair: enough of everything, and nothing of the test in the training.
#include "daemon/demo/corpus.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/files.h"
#include "daemon/demo/pretrain_data.h"
#include "retrain/job.h"

namespace trimtab::demo {
namespace {

TEST(Corpus, BuiltInIsLargeEnough) {
  const Corpus corpus = Corpus::builtin();
  EXPECT_GE(corpus.domains().size(), 6u);
  std::set<std::string> names;
  for (const auto& domain : corpus.domains()) {
    EXPECT_GE(corpus.intents_of(domain).size(), 10u) << domain;
    for (const auto& name : corpus.intents_of(domain))
      EXPECT_TRUE(names.insert(name).second) << name;
  }
}

TEST(Corpus, TestSentencesNeverOccurInTraining) {
  const Corpus corpus = Corpus::builtin();
  Random random(7);
  std::set<std::string> train;
  for (int i = 0; i < 20'000; ++i) {
    train.insert(corpus.draw(corpus.domains()[random.below(7)], Split::kTrain, random).text);
  }
  EXPECT_GT(train.size(), 12'000u);
  int test = 0;
  for (const auto& domain : corpus.domains()) {
    for (const auto& sentence : corpus.held_out(domain, 30, 5)) {
      ++test;
      EXPECT_EQ(train.count(sentence.text), 0u) << sentence.text;
      EXPECT_EQ(sentence.text.find('{'), std::string::npos) << sentence.text;
    }
  }
  EXPECT_EQ(test, 7 * 10 * 30);
}

TEST(Corpus, IsTheSameForTheSameSeed) {
  const Corpus corpus = Corpus::builtin();
  Random a(3), b(3);
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(corpus.draw("travel", Split::kTrain, a).text,
              corpus.draw("travel", Split::kTrain, b).text);
  }
}

TEST(Corpus, FilesAreReadStrictly) {
  TempFolder folder;
  const auto train = folder.path() / "train.tsv";
  const auto test = folder.path() / "test.tsv";
  ASSERT_TRUE(write_atomic(train, "a\tx\thello\na\ty\tgood bye\n"));
  ASSERT_TRUE(write_atomic(test, "a\tx\thi there\na\ty\tbye\n"));
  const auto corpus = Corpus::from_tsv(train, test);
  ASSERT_TRUE(corpus) << corpus.error().message;
  EXPECT_EQ(corpus->held_out("a", 9, 1).size(), 2u);
  ASSERT_TRUE(write_atomic(test, "a\tx\thi there\n\na\ty\n"));
  const auto bad = Corpus::from_tsv(train, test);
  ASSERT_FALSE(bad);
  EXPECT_NE(bad.error().message.find("test.tsv:3"), std::string::npos) << bad.error().message;
  ASSERT_TRUE(write_atomic(test, "a\tx\thi there\n"));
  EXPECT_NE(Corpus::from_tsv(train, test).error().message.find("'y'"), std::string::npos);
}

// Sentences of files are taken once each, so that none is left out, with shorter copies of the
// labelled ones; what arrives later is text without a label.
TEST(PretrainData, TakesEverySentenceOfAFileOnce) {
  TempFolder folder("pretrain-data");
  const auto train = folder.path() / "train.tsv";
  const auto test = folder.path() / "test.tsv";
  ASSERT_TRUE(write_atomic(train, "a\tx\tplease open my new account today\na\tx\thello\n"
                                  "a\tx\thello\nb\ty\tlate one\n"));
  ASSERT_TRUE(write_atomic(test, "a\tx\thi there\nb\ty\tbye\n"));
  const auto corpus = Corpus::from_tsv(train, test);
  ASSERT_TRUE(corpus) << corpus.error().message;
  EXPECT_EQ(corpus->listed("a").size(), 2U);
  EXPECT_TRUE(Corpus::builtin().listed("banking").empty());
  PretrainOptions options;
  options.known = {"a"};
  options.variants = 30;
  ASSERT_TRUE(write_pretrain_data(*corpus, options, folder.path(), folder.path() / "base"));
  const std::string text = read_file(folder.path() / "text.txt").value();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3);
  EXPECT_NE(text.find("late one"), std::string::npos);
  const std::string chat = read_file(folder.path() / "chat.jsonl").value();
  EXPECT_EQ(std::count(chat.begin(), chat.end(), '\n'), 2 * 31);
  EXPECT_EQ(chat.find("late one"), std::string::npos);
  std::size_t whole = 0;  // "hello" is too short to leave anything out of
  for (std::size_t at = 0; (at = chat.find("\"hello\"", at)) != std::string::npos; ++at) ++whole;
  EXPECT_EQ(whole, 31U);
  EXPECT_NE(chat.find("\"please open my new account today\""), std::string::npos);
  EXPECT_EQ(chat.find("\"\""), std::string::npos);
}

// A base of one's own is taught the known domains by an adapter: an ordinary job of the trainer.
TEST(PretrainData, AnOwnBaseGetsAJobForItsFirstAdapter) {
  TempFolder folder("first-job");
  const auto train = folder.path() / "train.tsv";
  const auto test = folder.path() / "test.tsv";
  ASSERT_TRUE(write_atomic(train, "a\tgreet\thello\nb\tleave\tlate one\n"));
  ASSERT_TRUE(write_atomic(test, "a\tgreet\thi\nb\tleave\tbye\n"));
  const auto corpus = Corpus::from_tsv(train, test);
  ASSERT_TRUE(corpus) << corpus.error().message;
  PretrainOptions options;
  options.known = {"a"};
  options.variants = 0;
  options.epochs = 2;
  const auto out = folder.path() / "data";
  ASSERT_TRUE(write_first_job(*corpus, options, out, folder.path() / "own base"));
  const auto job = retrain::load_job(out / "first.yaml");
  ASSERT_TRUE(job) << job.error().message;
  EXPECT_EQ(job->base, (folder.path() / "own base").string());
  EXPECT_EQ(job->out, (out / "adapter").string());
  EXPECT_EQ(job->epochs, 2);
  const std::string chat = read_file(job->data.chat).value();
  EXPECT_EQ(std::count(chat.begin(), chat.end(), '\n'), 1);
  EXPECT_NE(chat.find("hello"), std::string::npos);
  EXPECT_EQ(chat.find("late one"), std::string::npos);
  EXPECT_TRUE(std::filesystem::exists(job->data.eval));
}

}  // namespace
}  // namespace trimtab::demo
