#include "retrain/model/config_reader.h"

namespace trimtab::model {
namespace {

// Keys that never change the logits of a causal LM in evaluation mode: names, training-time dropout
// (HF's own training recipes apply it; PEFT runs on these families have it at 0), tokens, versions.
const std::set<std::string, std::less<>> kHarmless = {"_name_or_path",
                                                      "architectures",
                                                      "attention_dropout",
                                                      "attn_pdrop",
                                                      "auto_map",
                                                      "bos_token_id",
                                                      "dtype",
                                                      "embd_pdrop",
                                                      "eos_token_id",
                                                      "finetuning_task",
                                                      "forced_bos_token_id",
                                                      "forced_eos_token_id",
                                                      "gradient_checkpointing",
                                                      "id2label",
                                                      "initializer_range",
                                                      "is_decoder",
                                                      "is_encoder_decoder",
                                                      "is_llama_config",
                                                      "label2id",
                                                      "layer_norm_epsilon",
                                                      "layer_norm_eps",
                                                      "model_type",
                                                      "n_ctx",
                                                      "output_attentions",
                                                      "output_hidden_states",
                                                      "pad_token_id",
                                                      "problem_type",
                                                      "resid_pdrop",
                                                      "resid_pdrop_prob",
                                                      "return_dict",
                                                      "rms_norm_eps",
                                                      "sep_token_id",
                                                      "summary_activation",
                                                      "summary_first_dropout",
                                                      "summary_proj_to_labels",
                                                      "summary_type",
                                                      "summary_use_proj",
                                                      "task_specific_params",
                                                      "tie_word_embeddings",
                                                      "tokenizer_class",
                                                      "torch_dtype",
                                                      "torchscript",
                                                      "transformers.js_config",
                                                      "transformers_version",
                                                      "unk_token_id",
                                                      "unsloth_fixed",
                                                      "unsloth_version",
                                                      "use_cache",
                                                      "chunk_size_feed_forward",
                                                      "cache_implementation",
                                                      "mup_init",
                                                      "pretraining_dtype",
                                                      "_attn_implementation_autoset",
                                                      "attn_implementation",
                                                      "use_bfloat16",
                                                      "initializer_factor",
                                                      "model_max_length"};

}  // namespace

Status ConfigReader::finish() {
  for (const auto& [key, value] : json_.items()) {
    if (value.is_null() || used_.count(key) != 0 || kHarmless.count(key) != 0) continue;
    complain(key, "is not understood and may change the maths");
  }
  if (!error_.empty()) return fail(Code::kInvalid, error_);
  return {};
}

}  // namespace trimtab::model
