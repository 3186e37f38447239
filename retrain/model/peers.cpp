#include "retrain/model/peers.h"

#include <ATen/ops/empty.h>

#include <chrono>
#include <cstdlib>
#include <string>

#include "base/hash.h"
#include "retrain/model/compat.h"

#ifdef TRIMTAB_GLOO  // c10d's Gloo needs gloo's headers (libgloo-dev)
#define USE_C10D_GLOO
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#undef CHECK
#include "base/check.h"
#endif

namespace trimtab::model {
namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

Result<int> whole_number(const char* name, int low, int high) {
  const std::string text = variable(name);
  char* end = nullptr;
  const long value = std::strtol(text.c_str(), &end, 10);
  if (text.empty() || *end != '\0' || value < low || value > high) {
    return fail(Code::kInvalid, std::string("bad_job: ") + name + " is '" + text +
                                    "'; data parallel needs MASTER_ADDR, MASTER_PORT, RANK and "
                                    "WORLD_SIZE as torchrun sets them");
  }
  return static_cast<int>(value);
}

}  // namespace

#ifdef TRIMTAB_GLOO

struct Peers::Group {
  c10::intrusive_ptr<c10d::Store> store;
  std::unique_ptr<c10d::ProcessGroupGloo> gloo;
};

Result<std::unique_ptr<Peers>> Peers::join(double timeout_s) {
  std::unique_ptr<Peers> peers(new Peers());
  if (variable("WORLD_SIZE").empty()) return peers;
  TRIMTAB_TRY(peers->size_, whole_number("WORLD_SIZE", 1, 65'536));
  if (peers->size_ == 1) return peers;
  TRIMTAB_TRY(peers->rank_, whole_number("RANK", 0, peers->size_ - 1));
  TRIMTAB_TRY(const int port, whole_number("MASTER_PORT", 1, 65'535));
  const std::string master = variable("MASTER_ADDR");
  if (master.empty()) return fail(Code::kInvalid, "bad_job: MASTER_ADDR is not set");
  const auto timeout = std::chrono::milliseconds(static_cast<std::int64_t>(timeout_s * 1000));
  peers->group_ = std::make_unique<Group>();
  try {
    c10d::TCPStoreOptions how;
    how.port = static_cast<std::uint16_t>(port);
    // torchrun's own agent serves the store then.
    how.isServer = peers->rank_ == 0 && variable("TORCHELASTIC_USE_AGENT_STORE") != "True";
    how.numWorkers = static_cast<std::size_t>(peers->size_);
    how.waitWorkers = false;
    how.timeout = timeout;
    peers->group_->store = c10::make_intrusive<c10d::TCPStore>(master, how);
    auto options = c10d::ProcessGroupGloo::Options::create(timeout);
    const bool local = master == "localhost" || master.rfind("127.", 0) == 0;
    options->devices.push_back(local ? c10d::ProcessGroupGloo::createDeviceForHostname("127.0.0.1")
                                     : c10d::ProcessGroupGloo::createDefaultDevice());
    peers->group_->gloo = std::make_unique<c10d::ProcessGroupGloo>(
        peers->group_->store, peers->rank_, peers->size_, options);
  } catch (const std::exception& error) {  // c10d's sockets throw
    const std::string what = error.what();
    return fail(Code::kUnavailable, "lost_peer: rank " + std::to_string(peers->rank_) + " of " +
                                        std::to_string(peers->size_) +
                                        " found no others: " + what.substr(0, what.find('\n')));
  }
  return peers;
}

Status Peers::sum(at::Tensor& values) {
  if (size_ == 1) return {};
  try {
    std::vector<at::Tensor> parts = {values};
    group_->gloo->allreduce(parts)->wait();
  } catch (const std::exception& error) {  // the connection broke, or its timeout passed
    const std::string what = error.what();
    return fail(Code::kUnavailable, "lost_peer: a process of this job is gone or silent: " +
                                        what.substr(0, what.find('\n')));
  }
  return {};
}

#else

struct Peers::Group {};

Result<std::unique_ptr<Peers>> Peers::join(double) {
  std::unique_ptr<Peers> peers(new Peers());
  if (variable("WORLD_SIZE").empty()) return peers;
  TRIMTAB_TRY(peers->size_, whole_number("WORLD_SIZE", 1, 65'536));
  if (peers->size_ == 1) return peers;
  return fail(Code::kInvalid,
              "bad_job: WORLD_SIZE above 1, but this build has no gloo (install libgloo-dev)");
}

Status Peers::sum(at::Tensor&) { return {}; }

#endif

Peers::~Peers() = default;

Status Peers::sum(std::vector<double>& values) {
  if (size_ == 1) return {};
  at::Tensor tensor = at::empty({static_cast<std::int64_t>(values.size())}, at::kDouble);
  std::copy(values.begin(), values.end(), tensor.data_ptr<double>());
  TRIMTAB_CHECK_OK(sum(tensor));
  std::copy_n(tensor.data_ptr<double>(), values.size(), values.begin());
  return {};
}

Status Peers::same(const std::string& text) {
  if (size_ == 1) return {};
  // 48 bits, so that sums of squares tell and stay exact enough in fp64.
  const auto code = static_cast<double>(stable_hash(text) >> 16) / static_cast<double>(1ULL << 48);
  std::vector<double> values(static_cast<std::size_t>(size_), 0.0);
  values[static_cast<std::size_t>(rank_)] = code;
  TRIMTAB_CHECK_OK(sum(values));
  for (const double other : values) {
    if (other != values.front())
      return fail(Code::kInvalid,
                  "peer_mismatch: the processes of this job have not the same job, "
                  "data, base and checkpoint");
  }
  return {};
}

std::string rank_suffix() {
  const char* size = std::getenv("WORLD_SIZE");
  const char* rank = std::getenv("RANK");
  if (size == nullptr || rank == nullptr || std::string(size) == "1") return "";
  return std::string(rank) == "0" ? "" : std::string(".rank") + rank;
}

}  // namespace trimtab::model
