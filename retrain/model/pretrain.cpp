// Over 400 lines because data, loop and export of one command share one state.
#include "retrain/model/pretrain.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <numeric>
#include <sstream>

#include "base/clock.h"
#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "base/random.h"
#include "retrain/model/backward.h"
#include "retrain/model/bpe_trainer.h"
#include "retrain/model/chat_data.h"
#include "retrain/model/compat.h"
#include "retrain/model/generate.h"
#include "retrain/model/lanes.h"
#include "retrain/model/optimizer.h"
#include "retrain/model/safetensors.h"

namespace trimtab::model {
namespace {

// ChatML, as SmolLM2 and Qwen write it, without a default system message.
constexpr std::string_view kChatTemplate =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] "
    "+ "
    "'<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' "
    "}}"
    "{% endif %}";

ModelConfig model_config(const PretrainSettings& s, std::int64_t vocab) {
  ModelConfig c;
  c.family = "llama";
  c.vocab = vocab;
  c.hidden = s.hidden;
  c.layers = s.layers;
  c.heads = s.heads;
  c.kv_heads = s.kv_heads;
  c.head_dim = s.hidden / s.heads;
  c.intermediate = s.intermediate;
  c.max_positions = s.max_positions;
  c.tied = s.tie_word_embeddings;
  c.attention_scale = 1.0 / std::sqrt(static_cast<double>(c.head_dim));
  c.windows.assign(static_cast<std::size_t>(s.layers), 0);
  c.rope.rotary_dim = c.head_dim;
  c.rope.max_positions = c.rope.original_max_positions = s.max_positions;
  return c;
}

// Hands out views of one flat vector in a fixed order: matrices first (weight decay), then norms.
class Carver {
 public:
  explicit Carver(at::Tensor flat) : flat_(std::move(flat)) {}
  at::Tensor take(std::vector<std::int64_t> shape) {
    std::int64_t count = 1;
    for (const auto size : shape) count *= size;
    const std::int64_t begin = used_;
    used_ += count;
    return flat_.defined() ? flat_.narrow(0, begin, count).view(shape) : at::Tensor();
  }
  [[nodiscard]] std::int64_t used() const { return used_; }

 private:
  at::Tensor flat_;
  std::int64_t used_ = 0;
};

struct Carved {
  Weights weights;
  std::int64_t matrices = 0;  // elements that decay
  std::int64_t total = 0;
};

Carved carve(const ModelConfig& c, const at::Tensor& flat) {
  Carver carver(flat);
  Carved result;
  Weights& w = result.weights;
  w.embedding = carver.take({c.vocab, c.hidden});
  w.head = c.tied ? w.embedding : carver.take({c.vocab, c.hidden});
  w.layers.resize(static_cast<std::size_t>(c.layers));
  for (LayerWeights& layer : w.layers) {
    layer.weight[0] = carver.take({c.qkv_width(), c.hidden});
    layer.weight[1] = carver.take({c.hidden, c.q_width()});
    layer.weight[2] = carver.take({2 * c.intermediate, c.hidden});
    layer.weight[3] = carver.take({c.hidden, c.intermediate});
  }
  result.matrices = carver.used();
  for (LayerWeights& layer : w.layers) {
    layer.norm1 = carver.take({c.hidden});
    layer.norm2 = carver.take({c.hidden});
  }
  w.final_norm = carver.take({c.hidden});
  result.total = carver.used();
  return result;
}

void initialize(const ModelConfig& c, Weights& w, std::uint64_t seed) {
  Random random(seed);
  const auto fill = [&](at::Tensor& tensor, double deviation) {
    float* values = tensor.data_ptr<float>();
    for (std::int64_t i = 0; i < tensor.numel(); ++i)
      values[i] = static_cast<float>(random.normal() * deviation);
  };
  // GPT-2's: N(0, .02), residual outputs divided by sqrt(2 layers).
  const double residual = 0.02 / std::sqrt(2.0 * static_cast<double>(c.layers));
  fill(w.embedding, 0.02);
  if (!c.tied) fill(w.head, 0.02);
  for (LayerWeights& layer : w.layers) {
    fill(layer.weight[0], 0.02);
    fill(layer.weight[1], residual);
    fill(layer.weight[2], 0.02);
    fill(layer.weight[3], residual);
    layer.norm1.fill_(1.0);
    layer.norm2.fill_(1.0);
  }
  w.final_norm.fill_(1.0);
}

struct Corpus {
  std::vector<Example> examples;
  std::vector<ChatLine> eval;
  std::int64_t tokens = 0;
};

Result<std::vector<std::string>> read_lines(const std::string& path) {
  std::vector<std::string> lines;
  if (path.empty()) return lines;
  TRIMTAB_TRY(const std::string content, read_file(path, 4ULL << 30));
  std::istringstream in(content);
  for (std::string line; std::getline(in, line);) {
    if (!line.empty()) lines.push_back(line);
  }
  return lines;
}

Status write_tokenizer(const PretrainSettings& s, const std::vector<std::string>& texts) {
  std::vector<std::string> all = texts;
  TRIMTAB_TRY(const auto chat_lines, read_lines(s.chat));
  for (const std::string& line : chat_lines) {
    const auto json = parse_json(line);
    if (!json || !json->contains("messages")) continue;  // read_chat names the line later
    for (const Json& message : (*json)["messages"]) {
      all.push_back(json_or<std::string>(message, "content", ""));
      all.push_back(json_or<std::string>(message, "role", "") + "\n");
    }
  }
  BpeTrainerSettings settings;
  settings.vocab_size = s.vocab;
  TRIMTAB_TRY(const std::string tokenizer, train_bpe(all, settings));
  const std::filesystem::path out = s.out;
  TRIMTAB_CHECK_OK(write_atomic(out / "tokenizer.json", tokenizer));
  const OrderedJson config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                              {"bos_token", "<|im_start|>"},
                              {"eos_token", "<|im_end|>"},
                              {"pad_token", "<|endoftext|>"},
                              {"add_bos_token", false},
                              {"clean_up_tokenization_spaces", false},
                              {"model_max_length", s.max_positions},
                              {"chat_template", kChatTemplate}};
  return write_atomic(out / "tokenizer_config.json", dump_json(config, 2) + "\n");
}

Result<Corpus> read_corpus(const PretrainSettings& s, const ChatCodec& codec,
                           const std::vector<std::string>& texts) {
  Corpus corpus;
  std::int64_t too_long = 0;
  for (const std::string& text : texts) {
    const OrderedJson messages = OrderedJson::array({{{"role", "user"}, {"content", text}}});
    TRIMTAB_TRY(const std::string rendered, codec.chat.render(messages, false));
    Example example;
    TRIMTAB_TRY(example.ids, codec.tokenizer.encode(rendered, false));
    example.labels = example.ids;
    if (static_cast<std::int64_t>(example.ids.size()) <= s.max_positions)
      corpus.examples.push_back(std::move(example));
  }
  TRIMTAB_TRY(auto chat, read_chat(s.chat, codec, s.max_positions, too_long));
  for (ChatLine& line : chat) corpus.examples.push_back(std::move(line.example));
  if (!s.eval.empty()) {
    TRIMTAB_TRY(corpus.eval, read_chat(s.eval, codec, s.max_positions, too_long));
  }
  if (corpus.examples.empty())
    return fail(Code::kInvalid, "no_data: nothing to train on in data.text and data.chat");
  for (const Example& example : corpus.examples)
    corpus.tokens += static_cast<std::int64_t>(example.ids.size());
  return corpus;
}

// What one lane needs to add its micro-batch's gradient.
struct Lane {
  at::Tensor flat;
  Weights gradients;
  double loss = 0;
};

class Run {
 public:
  Run(const PretrainSettings& s, const Corpus& corpus, const ModelConfig& config, at::Tensor flat)
      : s_(s),
        corpus_(corpus),
        config_(config),
        flat_(std::move(flat)),
        random_(static_cast<std::uint64_t>(s.seed) + 1) {
    Carved carved = carve(config_, flat_);
    matrices_ = carved.matrices;
    decoder_ = std::make_shared<const Decoder>(config_, carved.weights);
    lanes_.resize(static_cast<std::size_t>(std::max(1, s.threads)));
    for (Lane& lane : lanes_) {
      lane.flat = at::zeros_like(flat_);
      lane.gradients = carve(config_, lane.flat).weights;
    }
    optimizer_ = AdamW(flat_.numel(), {0.9, 0.98, 1e-8, s.weight_decay});
  }

  Status train(PretrainResult& result, std::ofstream& metrics, const ChatCodec& codec) {
    const SystemClock clock;
    const std::int64_t start = clock.mono_ms();
    const double all_tokens = static_cast<double>(corpus_.tokens) * s_.epochs;
    double done = 0;
    double progress = 0;
    std::int64_t epoch = 0;
    while (progress < 1.0) {
      for (const auto& step_rows : plan_epoch()) {
        const double elapsed = static_cast<double>(clock.mono_ms() - start) / 1000.0;
        progress = done / all_tokens;
        if (s_.max_seconds > 0) progress = std::max(progress, elapsed / s_.max_seconds);
        if (progress >= 1.0) break;
        TRIMTAB_TRY(const double loss, step(step_rows, schedule(progress)));
        if (!std::isfinite(loss))
          return fail(Code::kInternal, "nan_loss: step " + std::to_string(result.steps + 1));
        for (const std::size_t row : step_rows)
          done += static_cast<double>(corpus_.examples[row].ids.size());
        ++result.steps;
        result.final_loss = result.steps == 1 ? loss : 0.98 * result.final_loss + 0.02 * loss;
        metrics << dump_json(OrderedJson{{"step", result.steps},
                                         {"loss", loss},
                                         {"lr", schedule(progress)},
                                         {"epoch", epoch},
                                         {"seconds", elapsed}})
                << '\n';
      }
      progress = std::max(progress, done / all_tokens);
      ++epoch;
      TRIMTAB_TRY(const double accuracy, evaluate(codec, 300));
      metrics << dump_json(OrderedJson{
                     {"step", result.steps}, {"epoch", epoch}, {"eval_accuracy", accuracy}})
              << std::endl;
      log::info("pretrain: epoch {} loss {:.4f} eval {:.3f} after {:.0f} s", epoch,
                result.final_loss, accuracy, static_cast<double>(clock.mono_ms() - start) / 1000.0);
    }
    result.tokens = static_cast<std::int64_t>(done);
    result.seconds = static_cast<double>(clock.mono_ms() - start) / 1000.0;
    return {};
  }

  // Exact match of greedy answers on the first `limit` eval lines, -1 without eval data.
  Result<double> evaluate(const ChatCodec& codec, std::int64_t limit) const {
    const auto count = std::min<std::size_t>(
        corpus_.eval.size(), limit > 0 ? static_cast<std::size_t>(limit) : corpus_.eval.size());
    if (count == 0) return -1.0;
    std::vector<std::vector<std::vector<std::int64_t>>> prompts(lanes_.size());
    for (std::size_t i = 0; i < count; ++i) {
      const std::size_t line = i * corpus_.eval.size() / count;  // spread over the file
      const Example& example = corpus_.eval[line].example;
      prompts[i % lanes_.size()].emplace_back(example.ids.begin(),
                                              example.ids.begin() + example.prompt_length);
    }
    std::vector<std::int64_t> hits(lanes_.size(), 0);
    std::vector<Status> failures(lanes_.size());
    run_lanes(static_cast<int>(lanes_.size()), [&](int lane) {
      const auto l = static_cast<std::size_t>(lane);
      const auto answers = generate_greedy(*decoder_, nullptr, prompts[l], {16, 64, codec.stops});
      if (!answers) {
        failures[l] = tl::unexpected<Error>(answers.error());
        return;
      }
      for (std::size_t j = 0; j < answers->size(); ++j) {
        const std::size_t i = j * lanes_.size() + l;
        const std::size_t line = i * corpus_.eval.size() / count;
        hits[l] += codec.tokenizer.decode((*answers)[j], true) == corpus_.eval[line].target ? 1 : 0;
      }
    });
    for (const Status& failure : failures) TRIMTAB_CHECK_OK(failure);
    return static_cast<double>(std::accumulate(hits.begin(), hits.end(), std::int64_t{0})) /
           static_cast<double>(count);
  }

  [[nodiscard]] const Decoder& decoder() const { return *decoder_; }

 private:
  [[nodiscard]] double schedule(double progress) const {
    if (progress < s_.warmup_share) return s_.lr * progress / s_.warmup_share;
    const double p = (progress - s_.warmup_share) / (1.0 - s_.warmup_share);
    return s_.lr * (0.02 + 0.98 * 0.5 * (1.0 + std::cos(3.14159265358979 * p)));
  }

  // A shuffled epoch in steps of about batch_tokens.
  std::vector<std::vector<std::size_t>> plan_epoch() {
    std::vector<std::size_t> order(corpus_.examples.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    random_.shuffle(order);
    std::vector<std::vector<std::size_t>> steps(1);
    std::int64_t tokens = 0;
    for (const std::size_t row : order) {
      const auto length = static_cast<std::int64_t>(corpus_.examples[row].ids.size());
      if (tokens + length > s_.batch_tokens && !steps.back().empty())
        steps.emplace_back(), tokens = 0;
      steps.back().push_back(row);
      tokens += length;
    }
    return steps;
  }

  Result<double> step(const std::vector<std::size_t>& rows, double lr) {
    double total_weight = 0;
    for (const std::size_t row : rows) total_weight += weight_of(corpus_.examples[row]);
    if (total_weight <= 0) return 0.0;
    std::vector<Status> failures(lanes_.size());
    run_lanes(static_cast<int>(lanes_.size()), [&](int lane) {
      const auto l = static_cast<std::size_t>(lane);
      failures[l] = lane_step(rows, l, total_weight);
    });
    for (const Status& failure : failures) TRIMTAB_CHECK_OK(failure);
    const ComputeScope scope;
    double loss = 0;
    for (std::size_t l = 0; l < lanes_.size(); ++l) {
      loss += lanes_[l].loss;
      if (l > 0) lanes_[0].flat.add_(lanes_[l].flat);
    }
    const double norm = gradient_norm(lanes_[0].flat);
    const double scale = s_.clip_norm > 0 ? std::min(1.0, s_.clip_norm / (norm + 1e-6)) : 1.0;
    optimizer_.next_step();
    optimizer_.update(flat_, lanes_[0].flat, 0, matrices_, lr, scale, true);
    optimizer_.update(flat_, lanes_[0].flat, matrices_, flat_.numel(), lr, scale, false);
    return loss / total_weight;
  }

  [[nodiscard]] double token_weight(const Example& example, std::size_t i) const {
    return example.labels[i] >= 0 ? example.weight : s_.prompt_weight * example.weight;
  }
  [[nodiscard]] double weight_of(const Example& example) const {
    double total = 0;
    for (std::size_t i = 1; i < example.ids.size(); ++i) total += token_weight(example, i);
    return total;
  }

  Status lane_step(const std::vector<std::size_t>& rows, std::size_t lane, double total_weight) {
    const ComputeScope scope;
    Lane& mine = lanes_[lane];
    mine.flat.zero_();
    mine.loss = 0;
    Batch batch;
    std::vector<HeadRow> heads;
    std::vector<double> weights;
    for (std::size_t r = lane; r < rows.size(); r += lanes_.size()) {
      const Example& example = corpus_.examples[rows[r]];
      const auto first = static_cast<std::int64_t>(batch.ids.size());
      batch.add(example.ids);
      for (std::size_t i = 1; i < example.ids.size(); ++i) {
        const double weight = token_weight(example, i);
        if (weight <= 0) continue;
        heads.push_back({first + static_cast<std::int64_t>(i) - 1, example.ids[i]});
        weights.push_back(weight / total_weight);
      }
    }
    if (batch.ids.empty()) return {};
    Tape tape;
    TRIMTAB_TRY(const at::Tensor hidden, decoder_->forward(batch, &tape));
    at::Tensor d_hidden = at::zeros_like(hidden);
    Gradients gradients{{}, &mine.gradients};
    const auto losses = cross_entropy(*decoder_, hidden, heads, weights, d_hidden, gradients);
    for (std::size_t i = 0; i < losses.size(); ++i)
      mine.loss += losses[i] * weights[i] * total_weight;
    backward(*decoder_, batch, nullptr, tape, d_hidden, gradients);
    return {};
  }

  const PretrainSettings& s_;
  const Corpus& corpus_;
  ModelConfig config_;
  at::Tensor flat_;
  std::int64_t matrices_ = 0;
  std::shared_ptr<const Decoder> decoder_;
  std::vector<Lane> lanes_;
  AdamW optimizer_;
  Random random_;
};

OrderedJson config_json(const ModelConfig& c, const ChatCodec& codec) {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"vocab_size", c.vocab},
          {"hidden_size", c.hidden},
          {"intermediate_size", c.intermediate},
          {"num_hidden_layers", c.layers},
          {"num_attention_heads", c.heads},
          {"num_key_value_heads", c.kv_heads},
          {"head_dim", c.head_dim},
          {"hidden_act", "silu"},
          {"max_position_embeddings", c.max_positions},
          {"initializer_range", 0.02},
          {"rms_norm_eps", c.norm_eps},
          {"rope_theta", c.rope.theta},
          {"rope_scaling", nullptr},
          {"attention_bias", false},
          {"attention_dropout", 0.0},
          {"mlp_bias", false},
          {"tie_word_embeddings", c.tied},
          {"use_cache", true},
          {"bos_token_id", codec.tokenizer.token_id("<|im_start|>").value_or(1)},
          {"eos_token_id", codec.eos},
          {"torch_dtype", "bfloat16"}};
}

Status write_model(const std::filesystem::path& out, const ModelConfig& c, const Weights& w,
                   const ChatCodec& codec) {
  const ComputeScope scope;
  std::vector<TensorSource> sources;
  std::vector<at::Tensor> keep;
  const auto add = [&](const std::string& name, const at::Tensor& tensor) {
    keep.push_back(tensor.to(at::kBFloat16).contiguous());
    sources.push_back({name, TensorType::kBF16, tensor.sizes().vec(), keep.back().data_ptr()});
  };
  add("model.embed_tokens.weight", w.embedding);
  for (std::size_t i = 0; i < w.layers.size(); ++i) {
    const std::string at = "model.layers." + std::to_string(i) + ".";
    const LayerWeights& layer = w.layers[i];
    add(at + "input_layernorm.weight", layer.norm1);
    add(at + "self_attn.q_proj.weight", layer.weight[0].narrow(0, 0, c.q_width()));
    add(at + "self_attn.k_proj.weight", layer.weight[0].narrow(0, c.q_width(), c.kv_width()));
    add(at + "self_attn.v_proj.weight",
        layer.weight[0].narrow(0, c.q_width() + c.kv_width(), c.kv_width()));
    add(at + "self_attn.o_proj.weight", layer.weight[1]);
    add(at + "post_attention_layernorm.weight", layer.norm2);
    add(at + "mlp.gate_proj.weight", layer.weight[2].narrow(0, 0, c.intermediate));
    add(at + "mlp.up_proj.weight", layer.weight[2].narrow(0, c.intermediate, c.intermediate));
    add(at + "mlp.down_proj.weight", layer.weight[3]);
  }
  add("model.norm.weight", w.final_norm);
  if (!c.tied) add("lm_head.weight", w.head);
  TRIMTAB_CHECK_OK(write_safetensors(out / "model.safetensors", sources, {{"format", "pt"}}));
  TRIMTAB_CHECK_OK(write_atomic(out / "config.json", dump_json(config_json(c, codec), 2) + "\n"));
  const OrderedJson generation = {
      {"bos_token_id", codec.tokenizer.token_id("<|im_start|>").value_or(1)},
      {"eos_token_id", codec.eos},
      {"pad_token_id", codec.tokenizer.token_id("<|endoftext|>").value_or(0)},
      {"do_sample", false}};
  return write_atomic(out / "generation_config.json", dump_json(generation, 2) + "\n");
}

Status check_settings(const PretrainSettings& s) {
  if (s.out.empty() || s.chat.empty())
    return fail(Code::kInvalid, "'out' and 'data.chat' are needed");
  if (s.hidden <= 0 || s.heads <= 0 || s.hidden % s.heads != 0 || (s.hidden / s.heads) % 2 != 0) {
    return fail(Code::kInvalid,
                "architecture.hidden must be an even multiple of architecture.heads");
  }
  if (s.kv_heads <= 0 || s.heads % s.kv_heads != 0)
    return fail(Code::kInvalid, "architecture.kv_heads must divide heads");
  if (s.layers <= 0 || s.intermediate <= 0 || s.max_positions < 8)
    return fail(Code::kInvalid, "architecture is out of range");
  if (!(s.epochs > 0) || !(s.lr > 0) || s.batch_tokens < 16 || s.threads < 1) {
    return fail(Code::kInvalid, "epochs, lr, batch_tokens or threads is out of range");
  }
  return {};
}

}  // namespace

Result<PretrainResult> pretrain(const PretrainSettings& s) {
  TRIMTAB_CHECK_OK(check_settings(s));
  const ComputeScope scope;
  TRIMTAB_CHECK_OK(make_folders(s.out));
  TRIMTAB_TRY(const auto texts, read_lines(s.text));
  TRIMTAB_CHECK_OK(write_tokenizer(s, texts));
  TRIMTAB_TRY(const ChatCodec codec, ChatCodec::load(s.out));
  TRIMTAB_TRY(const Corpus corpus, read_corpus(s, codec, texts));
  const ModelConfig config = model_config(s, codec.tokenizer.vocab_size());
  const at::Tensor flat = at::zeros({carve(config, {}).total}, at::kFloat);
  Weights weights = carve(config, flat).weights;
  initialize(config, weights, static_cast<std::uint64_t>(s.seed));
  PretrainResult result;
  result.parameters = flat.numel();
  log::info("pretrain: {} parameters, {} documents, {} tokens an epoch", result.parameters,
            corpus.examples.size(), corpus.tokens);
  std::ofstream metrics(std::filesystem::path(s.out) / "metrics.jsonl");
  Run run(s, corpus, config, flat);
  TRIMTAB_CHECK_OK(run.train(result, metrics, codec));
  flat.copy_(flat.to(at::kBFloat16));  // what is written is what is judged
  TRIMTAB_TRY(result.accuracy, run.evaluate(codec, s.eval_limit));
  result.eval_examples = static_cast<std::int64_t>(corpus.eval.size());
  TRIMTAB_CHECK_OK(write_model(s.out, config, weights, codec));
  return result;
}

}  // namespace trimtab::model
