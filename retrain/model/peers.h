// Data parallel: the processes of one job, one all-reduce of the flat gradient a step.
//
// Launched with torchrun's variables (MASTER_ADDR, MASTER_PORT, RANK, WORLD_SIZE; so torchrun,
// Slurm and Kubernetes can start it), over c10d: Gloo on CPUs. Without WORLD_SIZE there is one
// process and no network. Every rank reads the same job file; rank 0 alone writes. Owned by one
// thread. No torch in this header beyond the tensor.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

namespace trimtab::model {

class Peers {
 public:
  // Meets the others. kInvalid "bad_job: .." for contradictory variables, kUnavailable
  // "lost_peer: .." when they do not come within `timeout_s`.
  [[nodiscard]] static Result<std::unique_ptr<Peers>> join(double timeout_s);
  ~Peers();

  [[nodiscard]] int rank() const { return rank_; }
  [[nodiscard]] int size() const { return size_; }
  [[nodiscard]] bool first() const { return rank_ == 0; }
  // In place, over all ranks; the same bytes everywhere. kUnavailable "lost_peer: .." when one is
  // gone or silent for timeout_s.
  [[nodiscard]] Status sum(at::Tensor& values);
  [[nodiscard]] Status sum(std::vector<double>& values);
  // kInvalid "peer_mismatch: .." unless all ranks give the same text (a digest).
  [[nodiscard]] Status same(const std::string& text);

 private:
  Peers() = default;
  struct Group;
  int rank_ = 0;
  int size_ = 1;
  std::unique_ptr<Group> group_;
};

// What names this process's own lock in the shared job folder: "" of the first one, which speaks
// for the job, ".rank3" of another. By the environment: asked before the processes have met.
[[nodiscard]] std::string rank_suffix();

}  // namespace trimtab::model
