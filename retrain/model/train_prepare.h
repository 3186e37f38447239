// From a job file to a trainer that can take its first step: processes joined, base checked and
// loaded, data read, the adapter to begin with, the plan of micro-batches.
//
// Everything here is a function of the job and the files it names; nothing is written. Used by
// train_run.cpp only.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "retrain/job.h"
#include "retrain/model/decoder.h"
#include "retrain/model/lora.h"
#include "retrain/model/peers.h"
#include "retrain/model/train_corpus.h"
#include "retrain/model/train_data.h"
#include "retrain/model/trainer.h"

namespace trimtab::model {

struct Prepared {
  int lanes = 1;
  std::unique_ptr<Peers> peers;
  std::shared_ptr<const Decoder> base;
  std::shared_ptr<const Decoder> decoder;  // what is trained on: the base, or PiSSA's residual
  std::shared_ptr<const Adapter> pissa;    // PiSSA's start
  Corpus corpus;                           // the trainer points into it: `Prepared` stays in place
  Plan plan;
  std::optional<Trainer> trainer;
  std::string identity;  // of job, data, base, adapters, threads and processes: what a checkpoint
                         // must agree with
};

// Fills `ready` and what `result` says of base and data.
[[nodiscard]] Status prepare_training(const retrain::JobSpec& job,
                                      const std::filesystem::path& folder, Prepared& ready,
                                      retrain::JobResult& result);

// Lifts the job's memory_limit_bytes again: a run that died of it still has to write its result.
void release_memory_limit();

}  // namespace trimtab::model
