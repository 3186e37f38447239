// The demo's task: sentences of customers, each with the intent name that a good answer consists
// of.
//
// Two sources with one face: a seeded generator written for this project (built in), or two TSV
// files of one's own (`domain<TAB>intent<TAB>text`). Training and test sentences share no sentence
// pattern in the built-in corpus and no line in a file. Immutable after construction: any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/result.h"

namespace trimtab::demo {

struct Sentence {
  std::string domain;
  std::string intent;
  std::string text;
};

enum class Split { kTrain, kTest };

class Corpus {
 public:
  // The built-in corpus: 7 domains of 10 intents, 16 sentence patterns each (12 train, 4 test).
  [[nodiscard]] static Corpus builtin();
  // kInvalid with FILE:LINE for a line that has not three fields; kNotFound for a missing file.
  [[nodiscard]] static Result<Corpus> from_tsv(const std::filesystem::path& train,
                                               const std::filesystem::path& test);

  [[nodiscard]] const std::vector<std::string>& domains() const { return domains_; }
  // All intents of one domain, in a fixed order.
  [[nodiscard]] std::vector<std::string> intents_of(const std::string& domain) const;
  // One sentence of `domain`, every intent alike. REQUIRES: the domain exists in this split.
  [[nodiscard]] Sentence draw(const std::string& domain, Split split, Random& random) const;
  // All training sentences of `domain` that a file listed, each once, an intent after the other;
  // empty for the generator, which has no end of them.
  [[nodiscard]] std::vector<Sentence> listed(const std::string& domain) const;
  // `per_intent` distinct test sentences of each intent of `domain` (fewer when a file has fewer).
  [[nodiscard]] std::vector<Sentence> held_out(const std::string& domain, int per_intent,
                                               std::uint64_t seed) const;

 private:
  struct Intent {
    std::string domain;
    std::string name;
    std::string kind;                                  // built-in: act | ask | fix
    std::vector<std::string> first, second;            // built-in: the two groups
    std::vector<std::string> train_texts, test_texts;  // from files
  };

  [[nodiscard]] std::string text_of(const Intent& intent, Split split, Random& random) const;
  void add(Intent intent);

  std::vector<std::string> domains_;
  std::vector<Intent> intents_;
  std::vector<std::vector<std::size_t>> of_domain_;  // indices into intents_, by domain
};

}  // namespace trimtab::demo
