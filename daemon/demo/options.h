// What a demo run was asked to do; filled from the command line (main.cpp).
#pragma once

#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

namespace trimtab::demo {

struct DemoOptions {
  bool headless = false;
  std::filesystem::path out = "trimtab-demo";  // state, logs, report.json, report.html
  std::filesystem::path bin;                   // folder of the programs
  std::filesystem::path base;                  // Hugging Face snapshot; empty: the shipped one
  std::filesystem::path first_adapter;         // first champion; empty: the bare base
  std::filesystem::path train, test;           // own data (TSV); empty: built in
  std::vector<std::string> known;              // empty: all domains but the arrivals
  std::vector<std::string> arrivals;           // empty: the last two domains
  std::set<int> phases = {1, 2, 3, 4, 5, 6};
  std::uint64_t seed = 1;
  double requests_per_s = 150;
  std::int64_t phase_limit_s = 600;  // a wait that takes longer has failed
  std::size_t sabotaged = 4;         // adapters registered by hand in phase 4, at least 4
  int port = 0;                      // of the web page
  // How much is looked at before and after; smaller is quicker and says less.
  std::int64_t reference_size = 1500;
  std::int64_t evaluation_records = 1000;  // randomly labelled ones before the first arrival
  int held_out_per_intent = 45;            // 5 known domains of 10 intents: n = 2,250, paired
  // Passed into the target's configuration, for bases other than the shipped one.
  double learning_rate = 3e-3;
  double epochs = 6;
  std::int64_t minimum_examples = 400;

  // What real sentences need where the command line says nothing (main.cpp): no two of an intent
  // share a pattern, so each teaches less, and a base that knows more intents has more to forget.
  // A hundred an arriving intent: three in five are corrections of it, the rest confirms what was
  // known.
  static constexpr std::int64_t kOwnExamplesPerIntent = 100;
  static constexpr std::int64_t kOwnEvaluationRecords = 4000;  // as many again are replayed
};

}  // namespace trimtab::demo
