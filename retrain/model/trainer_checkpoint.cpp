// A trainer's state on disk: flat parameters, moments, the best so far, one digest over all.
#include <ATen/ops/zeros.h>

#include "base/hash.h"
#include "retrain/model/any_device.h"
#include "retrain/model/compat.h"
#include "retrain/model/safetensors.h"
#include "retrain/model/tensor_io.h"
#include "retrain/model/trainer_state.h"

namespace trimtab::model {

Status Trainer::save_gradients(const std::filesystem::path& path) const {
  const ComputeScope scope;
  Adapter gradients{state_->adapter->layout, state_->lanes[0].gradients, {}};
  return save_tensors(gradients, path);
}

Status Trainer::save(const std::filesystem::path& path,
                     const std::map<std::string, std::string>& words) const {
  const ComputeScope scope;
  const State& s = *state_;
  AdamW optimizer = s.optimizer;
  const std::vector<std::pair<std::string, at::Tensor>> parts = {
      {"parameters", s.adapter->parameters},
      {"m", optimizer.first_moment()},
      {"v", optimizer.second_moment()},
      {"best", s.best.defined() ? s.best : at::zeros({0}, s.adapter->parameters.options())}};
  std::vector<TensorSource> sources;
  std::vector<at::Tensor> here;  // on the CPU
  std::string digests;
  for (const auto& [name, tensor] : parts) {
    const TensorType type =
        tensor.scalar_type() == at::kDouble ? TensorType::kF64 : TensorType::kF32;
    here.push_back(tensor.to(at::kCPU));
    const at::Tensor& t = here.back();
    sources.push_back({name, type, t.sizes().vec(), t.data_ptr()});
    digests +=
        sha256_hex({static_cast<const char*>(t.data_ptr()), static_cast<std::size_t>(t.nbytes())});
  }
  auto metadata = words;
  metadata["optimizer_step"] = std::to_string(s.optimizer.step());
  metadata["digest"] = sha256_hex(digests + metadata["optimizer_step"]);
  return write_safetensors(path, sources, metadata);
}

Result<std::map<std::string, std::string>> Trainer::restore(const std::filesystem::path& path) {
  const ComputeScope scope;
  State& s = *state_;
  TRIMTAB_TRY(const auto file, SafetensorsFile::open(path));
  auto words = file.metadata();
  const auto bad = [&](const std::string& why) {
    return fail(Code::kCorrupt,
                path.string() + ": " + why + "; remove the checkpoint to start over");
  };
  std::string digests;
  std::vector<at::Tensor> views;
  for (const char* name : {"parameters", "m", "v", "best"}) {
    const TensorInfo* info = file.find(name);
    if (info == nullptr) return bad(std::string("no '") + name + "'");
    views.push_back(view_of(file, *info));
    const bool optional = std::string(name) == "best" && info->elements() == 0;
    if (!optional && info->elements() != s.adapter->parameters.numel())
      return bad("made for another adapter");
    digests +=
        sha256_hex({reinterpret_cast<const char*>(file.data(*info)), info->end - info->begin});
  }
  if (words["digest"] != sha256_hex(digests + words["optimizer_step"]))
    return bad("its digest does not match");
  s.adapter->parameters.copy_(views[0]);
  s.optimizer.first_moment().copy_(views[1]);
  s.optimizer.second_moment().copy_(views[2]);
  if (views[3].numel() > 0) s.best = beside(views[3], s.adapter->parameters).clone();
  s.optimizer.restore(std::stoll(words["optimizer_step"]));
  refresh_dora(*s.adapter, *s.decoder);
  return words;
}

}  // namespace trimtab::model
