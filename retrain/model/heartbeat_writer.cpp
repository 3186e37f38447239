#include "retrain/model/heartbeat_writer.h"

#include <utility>

#include "base/files.h"
#include "base/log.h"

namespace trimtab::model {
namespace {

constexpr std::int64_t kHeartbeatMs = 2'000;  // the daemon wants one at least every 5 s

}  // namespace

HeartbeatWriter::HeartbeatWriter(std::filesystem::path path)
    : path_(std::move(path)), thread_([this](std::stop_token stop) { run(std::move(stop)); }) {}

void HeartbeatWriter::set(const retrain::Heartbeat& value) {
  const std::lock_guard lock(mutex_);
  value_ = value;
}

void HeartbeatWriter::run(std::stop_token stop) {
  while (!stop.stop_requested()) {
    retrain::Heartbeat value;
    {
      const std::lock_guard lock(mutex_);
      value = value_;
    }
    value.ts_ms = clock_.now_ms();
    // A full disk must not end a healthy step: the step's own writes will say so.
    if (auto status = write_atomic(path_, retrain::heartbeat_json(value)); !status)
      log::warn("heartbeat: {}", status.error().message);
    clock_.sleep_ms(kHeartbeatMs, stop);
  }
}

}  // namespace trimtab::model
