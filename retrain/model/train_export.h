// What a finished job leaves: the PEFT folder, provenance.json and a model card.
#pragma once

#include <filesystem>
#include <string>

#include "base/result.h"
#include "retrain/job.h"
#include "retrain/model/lora.h"

namespace trimtab::model {

// Writes into `folder`, which exists. `data_sha256` is the digest over all data files.
[[nodiscard]] Status export_adapter(const retrain::JobSpec& job, const Decoder& decoder,
                                    const Adapter& adapter, const retrain::JobResult& result,
                                    const std::string& data_sha256,
                                    const std::filesystem::path& folder);

// kInvalid, bad_job, when `out` holds what no job wrote: a result replaces the whole folder.
[[nodiscard]] Status check_out(const std::filesystem::path& out);
// Where the result of `out` grows until it is whole.
[[nodiscard]] std::filesystem::path unfinished(const std::filesystem::path& out);

// The finished folder takes the place of an earlier one; a kill leaves one of the two whole.
[[nodiscard]] Status put_in_place(const std::filesystem::path& temporary,
                                  const std::filesystem::path& out);
// What a kill left of unfinished atomic writes in `folder`; the job's lock says that nobody writes
// there now.
[[nodiscard]] Status remove_leftovers(const std::filesystem::path& folder);

}  // namespace trimtab::model
