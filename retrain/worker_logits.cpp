// trimtab-worker logits: what the golden tests and people who compare with Hugging Face ask for.
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include <CLI/CLI.hpp>

#include "retrain/model/compat.h"
#include "retrain/model/decoder.h"
#include "retrain/model/merge.h"
#include "retrain/model/safetensors.h"
#include "retrain/worker_command.h"

namespace trimtab::retrain {
namespace {

struct Options {
  std::string base, adapter, ids, out;
  std::string dtype = "float32";
  std::string device = "auto";
  bool merge = false;
  int threads = 2;
};

struct Input {
  std::int64_t rows = 0;
  std::int64_t length = 0;
  std::vector<std::int64_t> ids, positions, documents;  // the last two may be empty
};

Result<std::vector<std::int64_t>> integers(const model::SafetensorsFile& file, const char* name,
                                           Input& input) {
  const auto* info = file.find(name);
  if (info == nullptr) return std::vector<std::int64_t>{};
  if (info->type != model::TensorType::kI64 || info->shape.size() != 2) {
    return fail(Code::kInvalid, file.path().string() + ": '" + name + "' must be int64 [rows, T]");
  }
  if (input.rows == 0) input.rows = info->shape[0], input.length = info->shape[1];
  if (info->shape[0] != input.rows || info->shape[1] != input.length) {
    return fail(Code::kInvalid,
                file.path().string() + ": '" + name + "' and input_ids differ in shape");
  }
  std::vector<std::int64_t> values(static_cast<std::size_t>(info->elements()));
  std::memcpy(values.data(), file.data(*info), values.size() * sizeof(std::int64_t));
  return values;
}

Result<Input> read_input(const std::string& path) {
  TRIMTAB_TRY(const auto file, model::SafetensorsFile::open(path));
  Input input;
  TRIMTAB_TRY(input.ids, integers(file, "input_ids", input));
  if (input.ids.empty()) return fail(Code::kInvalid, path + ": no input_ids");
  TRIMTAB_TRY(input.positions, integers(file, "position_ids", input));
  TRIMTAB_TRY(input.documents, integers(file, "document_ids", input));
  return input;
}

// One row as a batch: a segment per document; positions as given, else counted per document.
model::Batch row_batch(const Input& input, std::int64_t row, const model::Adapter* adapter) {
  model::Batch batch;
  const auto at = static_cast<std::size_t>(row * input.length);
  for (std::size_t t = 0; t < static_cast<std::size_t>(input.length);) {
    std::vector<std::int64_t> document;
    const std::size_t first = t;
    do {
      document.push_back(input.ids[at + t++]);
    } while (t < static_cast<std::size_t>(input.length) &&
             (input.documents.empty() || input.documents[at + t] == input.documents[at + first]));
    batch.add(document, adapter);
  }
  if (!input.positions.empty()) {
    batch.positions.assign(
        input.positions.begin() + static_cast<std::ptrdiff_t>(at),
        input.positions.begin() + static_cast<std::ptrdiff_t>(at) + input.length);
  }
  return batch;
}

Result<int> run(const Options& options) {
  model::prepare_process(options.threads);
  const model::ComputeScope scope;
  TRIMTAB_TRY(auto decoder, model::Decoder::load(options.base, {options.dtype, options.device}));
  std::shared_ptr<model::Adapter> adapter;
  if (!options.adapter.empty()) {
    TRIMTAB_TRY(adapter, model::load_adapter(options.adapter, *decoder));
    if (options.merge) {
      TRIMTAB_TRY(decoder, model::merged(*decoder, *adapter));
      adapter = nullptr;
    }
  } else if (options.merge) {
    return fail(Code::kInvalid, "--merge needs --adapter");
  }
  TRIMTAB_TRY(const Input input, read_input(options.ids));
  const std::int64_t vocab = decoder->config().vocab;
  const at::Tensor logits = at::empty({input.rows, input.length, vocab}, at::kFloat);
  for (std::int64_t row = 0; row < input.rows; ++row) {
    auto hidden = decoder->forward(row_batch(input, row, adapter.get()));
    if (!hidden) return fail_in(options.ids, hidden.error());
    logits.select(0, row).copy_(decoder->logits(*hidden));
  }
  const std::vector<model::TensorSource> tensors = {
      {"logits", model::TensorType::kF32, {input.rows, input.length, vocab}, logits.data_ptr()}};
  TRIMTAB_CHECK_OK(model::write_safetensors(options.out, tensors, {}));
  return 0;
}

}  // namespace

Run add_logits(CLI::App& app) {
  auto options = std::make_shared<Options>();
  app.add_option("--base", options->base, "Snapshot folder")->required();
  app.add_option("--adapter", options->adapter, "PEFT folder");
  app.add_flag("--merge", options->merge, "Add the adapter into the weights first");
  app.add_option("--dtype", options->dtype, "float32, bfloat16, float64 or auto");
  app.add_option("--device", options->device, "auto, cpu, cuda, or cpu-at (for tests)");
  app.add_option("--ids", options->ids, "safetensors with input_ids")->required();
  app.add_option("--out", options->out, "safetensors to write")->required();
  app.add_option("--threads", options->threads, "Compute threads")->check(CLI::Range(1, 256));
  return [options] { return run(*options); };
}

}  // namespace trimtab::retrain
