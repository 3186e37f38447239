#include "retrain/model/train_export.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
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
                       const retrain::JobResult& result, const std::string& data_sha256,
                       const std::string& adapter_sha256) {
  OrderedJson json = {{"job", job.id},
                      {"target", job.target},
                      {"adapter_sha256", adapter_sha256},
                      {"base_sha256", result.base_sha256},
                      {"tokenizer_sha256", result.tokenizer_sha256},
                      {"data_sha256", data_sha256},
                      {"init_adapter_sha256", nullptr},
                      {"seed", job.seed},
                      {"threads", job.threads},
                      {"r", adapter.layout.spec().r},
                      {"lora_alpha", adapter.layout.spec().alpha},
                      {"init_lora_weights", job.lora.init_lora_weights},
                      {"learning_rate", job.optimizer.lr},
                      {"loraplus_lr_ratio", job.optimizer.loraplus_lr_ratio},
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
                      {"keep_loss_before", number(result.keep_loss_before)},
                      {"keep_loss_after", number(result.keep_loss_after)},
                      {"left_out", result.left_out},
                      {"added", result.added},
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
  const LoraSpec& spec = adapter.layout.spec();
  std::string eval = "none";
  if (result.eval_examples > 0) {
    eval = fmt::format("{} examples, loss {:.4f} before, {:.4f} after", result.eval_examples,
                       result.eval_loss_before, result.eval_loss_after);
  }
  std::string kept = "not measured";
  if (std::isfinite(result.keep_loss_after)) {
    kept = fmt::format("loss {:.4f} before, {:.4f} after", result.keep_loss_before,
                       result.keep_loss_after);
  }
  std::string how = spec.use_dora ? "DoRA" : (spec.use_rslora ? "rsLoRA" : "LoRA");
  if (job.lora.init_lora_weights == "pissa") how += ", begun by PiSSA and converted";
  const std::string served =
      spec.use_dora ? "vLLM does not take DoRA: merge it (`trimtab-worker merge`)."
                    : "vLLM: load `folded/` (`/v1/load_lora_adapter`), which has one rank and one "
                      "scale; start it with `--max-lora-rank` of at least " +
                          std::to_string(adapter.layout.largest_rank()) + ".";
  return fmt::format(
      "---\nlibrary_name: peft\npipeline_tag: text-generation\nbase_model: {}\n"
      "tags: [lora, trimtab]\n---\n# LoRA adapter{}\n\n"
      "Trained by trimtab-worker{} on the base with digest `{}`; it fits no other base.\n\n"
      "| | |\n|---|---|\n| kind | {} |\n| r, alpha | {}, {} |\n| loss | {} |\n| examples | {} |\n"
      "| supervised tokens | {} |\n| steps, learning rate | {}, {} |\n"
      "| final training loss | {:.4f} |\n| evaluation | {} |\n| old tasks | {} |\n| seed | {} |\n\n"
      "## Use\nPEFT: `PeftModel.from_pretrained(base, folder)`. {}\n"
      "llama.cpp: `trimtab-worker export-gguf`.\n\n"
      "## Limits\nTrained on what users of one service corrected; it answers like them, mistakes "
      "included. Nothing was measured beyond the table above and the promotion's evidence.\n\n"
      "`provenance.json` has the digests of base, tokenizer, data and of the adapter it began "
      "from, `data_manifest.json` what was left out and why, `metrics.jsonl` every step.\n",
      job.base.empty() ? "unknown" : std::filesystem::path(job.base).filename().string(),
      job.target.empty() ? "" : " for " + job.target, job.id.empty() ? "" : " (job " + job.id + ")",
      result.base_sha256, how, spec.r, spec.alpha, job.loss.name, result.examples,
      result.supervised_tokens, result.steps, job.optimizer.lr, result.final_loss, eval, kept,
      job.seed, served);
}

// Also a link that leads nowhere.
bool there(const std::filesystem::path& path) {
  return std::filesystem::symlink_status(path).type() != std::filesystem::file_type::not_found;
}

// Does a job write a file or folder of this name into its result?
bool is_ours(const std::string& name) {
  constexpr std::array kNames = {"adapter_config.json", "adapter_model.safetensors",
                                 "data_manifest.json",  "folded",
                                 "metrics.jsonl",       "provenance.json",
                                 "README.md",           "search.json"};
  if (std::find(kNames.begin(), kNames.end(), name) != kNames.end()) return true;
  return name.rfind("grads_step", 0) == 0 || name.find(".tmp-") != std::string::npos;
}

// A former result is replaced as a whole, so it must hold nothing else. `whole`: a job finished it.
Status check_ours(const std::filesystem::path& folder, bool whole) {
  if (!there(folder)) return {};
  std::error_code error;
  std::string what;
  bool result = !whole || std::filesystem::is_empty(folder, error);
  if (!std::filesystem::is_directory(folder, error)) what = "is no folder";
  for (std::filesystem::directory_iterator entry(folder, error), end;
       what.empty() && !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!is_ours(name)) what = "holds '" + name + "', which no job wrote";
    result = result || name == "adapter_config.json";
  }
  if (what.empty() && !error && !result) what = "holds files, but no adapter_config.json,";
  if (what.empty() && error) what = "cannot be read (" + error.message() + ")";
  if (what.empty()) return {};
  return fail(Code::kInvalid, "bad_job: out: " + folder.string() + " " + what +
                                  " and would be replaced; name another out or move it away");
}

}  // namespace

Status export_adapter(const retrain::JobSpec& job, const Decoder& decoder, const Adapter& adapter,
                      const retrain::JobResult& result, const std::string& data_sha256,
                      const std::filesystem::path& folder) {
  TRIMTAB_CHECK_OK(save_adapter(adapter, folder, job.base, decoder.config()));
  if (!adapter.layout.spec().use_dora) {
    const std::filesystem::path folded = folder / "folded";
    TRIMTAB_CHECK_OK(make_folders(folded));
    TRIMTAB_CHECK_OK(save_adapter(adapter, folded, job.base, decoder.config(), true));
    TRIMTAB_CHECK_OK(fsync_path(folded));
  }
  // Preflight holds the weights against it, wherever the folder has been copied to.
  TRIMTAB_TRY(const std::string digest, sha256_file_hex(folder / "adapter_model.safetensors"));
  TRIMTAB_CHECK_OK(
      write_atomic(folder / "provenance.json",
                   dump_json(provenance(job, adapter, result, data_sha256, digest), 2) + "\n"));
  TRIMTAB_CHECK_OK(write_atomic(folder / "README.md", card(job, adapter, result)));
  return fsync_path(folder);
}

Status check_out(const std::filesystem::path& out) {
  // The unfinished folder beside it becomes the result: what a stranger has there would go along.
  TRIMTAB_CHECK_OK(check_ours(unfinished(out), false));
  return check_ours(out, true);
}

std::filesystem::path unfinished(const std::filesystem::path& out) { return out.string() + ".tmp"; }

Status put_in_place(const std::filesystem::path& temporary, const std::filesystem::path& out) {
  if (!there(out)) return rename_durable(temporary, out);
  TRIMTAB_CHECK_OK(check_ours(out, true));  // again: training may have taken days
  // At every moment there is a whole result at `out`; the former one is where the next job clears.
  if (exchange_durable(temporary, out)) return remove_tree(temporary);
  // A file system that cannot exchange, as some of the network's.
  std::filesystem::path old;
  for (int i = 0; old.empty() || there(old); ++i)
    old = out.string() + ".old-" + std::to_string(i);
  TRIMTAB_CHECK_OK(rename_durable(out, old));
  TRIMTAB_CHECK_OK(rename_durable(temporary, out));
  return remove_tree(old);
}

Status remove_leftovers(const std::filesystem::path& folder) {
  std::error_code ignored;
  std::vector<std::filesystem::path> leftovers;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    if (entry.path().filename().string().find(".tmp-") != std::string::npos)
      leftovers.push_back(entry.path());
  }
  for (const auto& path : leftovers) TRIMTAB_CHECK_OK(remove_tree(path));
  return {};
}

}  // namespace trimtab::model
