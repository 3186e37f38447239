#include "retrain/model/train_prepare.h"

#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <future>
#include <thread>
#include <utility>
#include <vector>

#include "base/base_digest.h"
#include "base/hash.h"
#include "retrain/model/compat.h"
#include "retrain/model/many_tasks.h"
#include "retrain/model/pissa.h"
#include "retrain/model/train_settings.h"

namespace trimtab::model {
namespace {

namespace fs = std::filesystem;

class Preparation {
 public:
  Preparation(const retrain::JobSpec& job, fs::path folder, Prepared& ready,
              retrain::JobResult& result)
      : job_(job), folder_(std::move(folder)), ready_(ready), result_(result) {}

  Status run() {
    ready_.lanes = static_cast<int>(
        job_.threads > 0 ? job_.threads : std::max(1U, std::thread::hardware_concurrency()));
    prepare_process(1);
    if (job_.memory_limit_bytes > 0) TRIMTAB_CHECK_OK(limit_memory());
    TRIMTAB_TRY(ready_.peers, Peers::join(job_.peer_timeout_s));
    // The digest reads the same bytes as the loader: side by side on two cores.
    auto digest = std::async(std::launch::async, [this] { return base_digest(job_.base); });
    auto loaded = Decoder::load(job_.base, {job_.dtype, job_.device});
    TRIMTAB_TRY(result_.base_sha256, digest.get());
    TRIMTAB_CHECK_OK(check_base());
    TRIMTAB_TRY(ready_.base, std::move(loaded));
    ready_.decoder = ready_.base;
    TRIMTAB_TRY(ready_.corpus, read_corpus(job_, ready_.decoder->config(), folder_));
    std::shared_ptr<Adapter> adapter;
    TRIMTAB_CHECK_OK(make_start(adapter));
    TRIMTAB_CHECK_OK(make_the_plan(*adapter));
    return make_trainer(std::move(adapter));
  }

 private:
  Status limit_memory() const {
    // The soft limit alone: a run that dies of it still has to say so.
    rlimit bound{};
    if (getrlimit(RLIMIT_DATA, &bound) != 0) return fail(Code::kIo, "no memory limit to be had");
    bound.rlim_cur = std::min(bound.rlim_max, static_cast<rlim_t>(job_.memory_limit_bytes));
    if (setrlimit(RLIMIT_DATA, &bound) != 0) return fail(Code::kIo, "cannot set the memory limit");
    return {};
  }

  Status check_base() {
    if (fs::exists(fs::path(job_.base) / "tokenizer.json")) {
      TRIMTAB_TRY(result_.tokenizer_sha256, tokenizer_digest(job_.base));
    }
    if (!job_.base_sha256.empty() && job_.base_sha256 != result_.base_sha256) {
      return fail(Code::kInvalid, "wrong_base: " + job_.base + " has digest " +
                                      result_.base_sha256 + ", the job wants " + job_.base_sha256);
    }
    if (!job_.tokenizer_sha256.empty() && job_.tokenizer_sha256 != result_.tokenizer_sha256) {
      return fail(Code::kInvalid, "wrong_base: tokenizer.json of " + job_.base +
                                      " is not the one that the job wants");
    }
    return {};
  }

  // The adapter that training begins with, and for PiSSA the base that it begins on.
  Status make_start(std::shared_ptr<Adapter>& adapter) {
    const auto seed = static_cast<std::uint64_t>(job_.seed);
    if (!job_.init_adapter.empty()) {
      TRIMTAB_TRY(adapter, load_adapter(job_.init_adapter, *ready_.decoder));
      if (adapter->layout.spec().use_dora && job_.lora.lora_dropout > 0)
        return fail(Code::kInvalid, "bad_job: init_adapter is a DoRA: set lora_dropout: 0");
      TRIMTAB_TRY(const std::string digest,
                  sha256_file_hex(fs::path(job_.init_adapter) / "adapter_model.safetensors"));
      inputs_digest_ += digest;
      return {};
    }
    const LoraSpec spec = lora_spec(job_, ready_.decoder->config());
    if (job_.lora.init_lora_weights == "pissa") {
      TRIMTAB_TRY(auto start,
                  make_pissa(spec, *ready_.base, job_.lora.pissa_niter, seed, ready_.lanes));
      ready_.decoder = start.residual;
      adapter = start.adapter;
      const ComputeScope scope;
      ready_.pissa = std::make_shared<Adapter>(
          Adapter{adapter->layout, adapter->parameters.clone(), adapter->dora_norms});
      return {};
    }
    TRIMTAB_TRY(adapter, make_adapter(spec, *ready_.decoder, seed));
    return {};
  }

  Status make_the_plan(const Adapter& adapter) {
    std::vector<double> losses;
    if (job_.filters.outlier_z > 0) {
      TRIMTAB_TRY(losses,
                  item_losses(*ready_.decoder, &adapter, ready_.corpus.items, ready_.lanes));
      drop_outliers(ready_.corpus, losses, job_.filters.outlier_z);
    }
    if (!job_.plan.empty()) {
      if (!ready_.corpus.left_out.empty() || !ready_.corpus.added.empty())
        return fail(Code::kInvalid,
                    "bad_job: plan counts the lines of the file, but filters, "
                    "replay_share or max_length changed them");
      TRIMTAB_TRY(ready_.plan, read_plan(job_.plan, ready_.corpus.items.size()));
      if (const std::size_t planned = ready_.plan.size();
          static_cast<std::int64_t>(planned) < job_.steps)
        return fail(Code::kInvalid, "bad_job: " + job_.plan + ": has " + std::to_string(planned) +
                                        " of " + std::to_string(job_.steps) +
                                        " steps; add the others or lower steps");
    } else {
      const int ranks = ready_.peers->size();
      PlanSettings how{job_.steps,
                       job_.epochs,
                       job_.batch_sequences * ranks,
                       job_.batch_tokens * ranks,
                       job_.seed,
                       ready_.lanes * ranks,
                       {},
                       job_.curriculum.epochs};
      if (job_.curriculum.order != "none") {
        TRIMTAB_TRY(how.difficulty,
                    item_losses(*ready_.decoder, &adapter, ready_.corpus.items, ready_.lanes));
        const double sign = job_.curriculum.order == "hard_first" ? -1.0 : 1.0;
        for (double& value : how.difficulty) value = std::isfinite(value) ? sign * value : 0.0;
      }
      ready_.plan = make_plan(ready_.corpus.items, how);
    }
    if (job_.steps > 0 && static_cast<std::int64_t>(ready_.plan.size()) > job_.steps)
      ready_.plan.resize(static_cast<std::size_t>(job_.steps));
    std::int64_t count = 0;
    for (const Item& item : ready_.corpus.items) count += supervised(item.example);
    if (ready_.plan.empty() || count == 0)
      return fail(Code::kInvalid, "no_data: no supervised token in the training data");
    if (const std::size_t steps = ready_.plan.size();
        job_.save_grads_at_step > static_cast<std::int64_t>(steps))
      return fail(Code::kInvalid, "bad_job: save_grads_at_step: " +
                                      std::to_string(job_.save_grads_at_step) +
                                      " is beyond the last step; the job has " +
                                      std::to_string(steps));
    result_.examples = static_cast<std::int64_t>(ready_.corpus.items.size());
    result_.eval_examples = static_cast<std::int64_t>(ready_.corpus.eval.size());
    result_.left_out = ready_.corpus.left_out;
    result_.added = ready_.corpus.added;
    return {};
  }

  Status make_trainer(std::shared_ptr<Adapter> adapter) {
    TRIMTAB_TRY(TrainerSettings settings, trainer_settings(job_, ready_.lanes));
    settings.reference = ready_.base;
    settings.peers = ready_.peers.get();
    if (!job_.init_adapter.empty())
      settings.layers = trained_layers(job_.lora, ready_.decoder->config().layers);
    if (job_.orthogonal.weight > 0) {
      std::vector<std::shared_ptr<Adapter>> earlier;
      for (const std::string& path : job_.orthogonal.adapters) {
        TRIMTAB_TRY(auto loaded, load_adapter(path, *ready_.base));
        earlier.push_back(std::move(loaded));
        TRIMTAB_TRY(const std::string digest,
                    sha256_file_hex(fs::path(path) / "adapter_model.safetensors"));
        inputs_digest_ += digest;
      }
      TRIMTAB_TRY(auto penalty,
                  OrthogonalPenalty::build(adapter->layout, earlier, job_.orthogonal.weight));
      settings.orthogonal = std::make_shared<const OrthogonalPenalty>(std::move(penalty));
    }
    TRIMTAB_TRY(auto trainer,
                Trainer::create(ready_.decoder, std::move(adapter), ready_.corpus.items, settings));
    ready_.trainer.emplace(std::move(trainer));
    ready_.identity =
        sha256_hex(config_digest(job_) + ready_.corpus.digest + result_.base_sha256 +
                   result_.tokenizer_sha256 + inputs_digest_ + std::to_string(ready_.lanes) + "x" +
                   std::to_string(ready_.peers->size()));
    return {};
  }

  const retrain::JobSpec& job_;
  fs::path folder_;
  Prepared& ready_;
  retrain::JobResult& result_;
  std::string inputs_digest_;  // of adapters that are read
};

}  // namespace

Status prepare_training(const retrain::JobSpec& job, const fs::path& folder, Prepared& ready,
                        retrain::JobResult& result) {
  return Preparation(job, folder, ready, result).run();
}

void release_memory_limit() {
  rlimit bound{};
  if (getrlimit(RLIMIT_DATA, &bound) != 0) return;
  bound.rlim_cur = bound.rlim_max;
  (void)setrlimit(RLIMIT_DATA, &bound);
}

}  // namespace trimtab::model
