// More lines from the ones that are there: typing errors and rewording of the user's words. The
// answer stays. Seeded; rewording is kept in a file, so that a second run has the same lines.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "retrain/job.h"
#include "retrain/model/line_reader.h"

namespace trimtab::model {

// Each ASCII letter, with probability `rate`: swapped with the next, left out, doubled, or replaced
// by a neighbour on a QWERTY keyboard (Belinkov and Bisk 2018). Same arguments, same text.
[[nodiscard]] std::string with_typos(std::string_view text, double rate, std::uint64_t seed);

struct Augmented {
  std::vector<DataLine> lines;
  std::map<std::string, std::int64_t> added;     // typos, paraphrases
  std::map<std::string, std::int64_t> left_out;  // paraphrase_unfit: empty, equal or far too long
};

// Copies of chat or prompt lines that are not replay, chosen by a stable hash. Rewording asks
// filters.paraphrase_url (POST /chat/completions) and keeps its answers in `folder`
// /paraphrases.jsonl. kUnavailable "paraphrase: .." when the server does not answer with 200.
[[nodiscard]] Result<Augmented> augment(const std::vector<DataLine>& lines,
                                        const retrain::JobFilters& filters, std::uint64_t seed,
                                        const std::filesystem::path& folder);

}  // namespace trimtab::model
