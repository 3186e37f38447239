#include "retrain/model/train_export.h"

#include <fmt/format.h>

#include <cmath>

#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"
#include "retrain/model/decoder.h"

namespace trimtab::model {
namespace {

OrderedJson number(double value) {
  return std::isfinite(value) ? OrderedJson(value) : OrderedJson(nullptr);
}

OrderedJson provenance(const retrain::JobSpec& job, const Adapter& adapter,
                       const retrain::JobResult& result, const std::string& data_sha256) {
  OrderedJson json = {{"job", job.id},
                      {"target", job.target},
                      {"base_sha256", result.base_sha256},
                      {"tokenizer_sha256", result.tokenizer_sha256},
                      {"data_sha256", data_sha256},
                      {"init_adapter_sha256", nullptr},
                      {"seed", job.seed},
                      {"threads", job.threads},
                      {"r", adapter.layout.spec().r},
                      {"lora_alpha", adapter.layout.spec().alpha},
                      {"learning_rate", job.optimizer.lr},
                      {"kl_weight", job.kl.weight},
                      {"loss", job.loss.name},
                      {"examples", result.examples},
                      {"eval_examples", result.eval_examples},
                      {"steps", result.steps},
                      {"tokens", result.tokens},
                      {"supervised_tokens", result.supervised_tokens},
                      {"final_loss", number(result.final_loss)},
                      {"eval_loss_before", number(result.eval_loss_before)},
                      {"eval_loss_after", number(result.eval_loss_after)},
                      {"early_stopped", result.early_stopped}};
  if (!job.init_adapter.empty()) {
    const auto digest =
        sha256_file_hex(std::filesystem::path(job.init_adapter) / "adapter_model.safetensors");
    if (digest) json["init_adapter_sha256"] = *digest;
  }
  for (const auto& [key, value] : job.provenance) json["notes"][key] = value;
  return json;
}

std::string card(const retrain::JobSpec& job, const Adapter& adapter,
                 const retrain::JobResult& result) {
  std::string eval = "none";
  if (result.eval_examples > 0) {
    eval = fmt::format("{} examples, loss {:.4f} before, {:.4f} after", result.eval_examples,
                       result.eval_loss_before, result.eval_loss_after);
  }
  return fmt::format(
      "---\nlibrary_name: peft\npipeline_tag: text-generation\ntags: [lora, trimtab]\n---\n"
      "# LoRA adapter{}\n\n"
      "Trained by trimtab-worker{} on the base with digest `{}`; it fits no other base.\n\n"
      "| | |\n|---|---|\n| r, alpha | {}, {} |\n| loss | {} |\n| examples | {} |\n| supervised "
      "tokens | {} |\n"
      "| steps | {} |\n| final training loss | {:.4f} |\n| evaluation | {} |\n| seed | {} |\n\n"
      "Load it with PEFT (`PeftModel.from_pretrained(base, folder)`) or with vLLM's "
      "`/v1/load_lora_adapter`.\n"
      "`provenance.json` has the digests of base, tokenizer and data.\n",
      job.target.empty() ? "" : " for " + job.target, job.id.empty() ? "" : " (job " + job.id + ")",
      result.base_sha256, adapter.layout.spec().r, adapter.layout.spec().alpha, job.loss.name,
      result.examples, result.supervised_tokens, result.steps, result.final_loss, eval, job.seed);
}

}  // namespace

Status export_adapter(const retrain::JobSpec& job, const Decoder& decoder, const Adapter& adapter,
                      const retrain::JobResult& result, const std::string& data_sha256,
                      const std::filesystem::path& folder) {
  TRIMTAB_CHECK_OK(save_adapter(adapter, folder, job.base, decoder.config()));
  TRIMTAB_CHECK_OK(
      write_atomic(folder / "provenance.json",
                   dump_json(provenance(job, adapter, result, data_sha256), 2) + "\n"));
  TRIMTAB_CHECK_OK(write_atomic(folder / "README.md", card(job, adapter, result)));
  return fsync_path(folder);
}

}  // namespace trimtab::model
