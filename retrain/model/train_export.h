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

}  // namespace trimtab::model
