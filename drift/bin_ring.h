// BinRing: the bins of one detector's last 256 events, six bits each, for attribution and trails.
// There is one a signal and segment, so bytes count: four events share three bytes.
// Plain bytes without padding: copy it to save it.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "drift/reference.h"

namespace trimtab::drift {

class BinRing {
 public:
  static constexpr std::size_t kEvents = 256;
  static constexpr std::uint8_t kNotFed = 63;  // the event did not feed the detector

  BinRing() {
    for (std::uint64_t event = 0; event < kEvents; ++event) set(event, kNotFed);
  }

  // `bin` of event number `event`; what was kept 256 events before is forgotten.
  void set(std::uint64_t event, std::uint8_t bin) {
    const std::size_t slot = event % kEvents;
    std::uint8_t* three = &bytes_[slot / 4 * 3];
    const unsigned shift = slot % 4 * 6;
    std::uint32_t word = load(three);
    word = (word & ~(63U << shift)) | static_cast<std::uint32_t>(bin) << shift;
    store(word, three);
  }
  // set() of events from `first` on.
  void set_all(std::uint64_t first, std::span<const std::uint8_t> bins) {
    std::size_t i = 0;
    for (; i < bins.size() && (first + i) % 4 != 0; ++i) set(first + i, bins[i]);
    for (; i + 4 <= bins.size(); i += 4) {
      const std::uint32_t word = static_cast<std::uint32_t>(bins[i]) |
                                 static_cast<std::uint32_t>(bins[i + 1]) << 6 |
                                 static_cast<std::uint32_t>(bins[i + 2]) << 12 |
                                 static_cast<std::uint32_t>(bins[i + 3]) << 18;
      store(word, &bytes_[(first + i) % kEvents / 4 * 3]);
    }
    for (; i < bins.size(); ++i) set(first + i, bins[i]);
  }
  // REQUIRES: one of the last 256 events.
  [[nodiscard]] std::uint8_t get(std::uint64_t event) const {
    const std::size_t slot = event % kEvents;
    return static_cast<std::uint8_t>(load(&bytes_[slot / 4 * 3]) >> (slot % 4 * 6) & 63U);
  }

 private:
  [[nodiscard]] static std::uint32_t load(const std::uint8_t* three) {
    return static_cast<std::uint32_t>(three[0]) | static_cast<std::uint32_t>(three[1]) << 8 |
           static_cast<std::uint32_t>(three[2]) << 16;
  }
  static void store(std::uint32_t word, std::uint8_t* three) {
    three[0] = static_cast<std::uint8_t>(word);
    three[1] = static_cast<std::uint8_t>(word >> 8);
    three[2] = static_cast<std::uint8_t>(word >> 16);
  }
  std::array<std::uint8_t, kEvents / 4 * 3> bytes_{};
};
static_assert(kMaxBins <= BinRing::kNotFed, "a bin fits six bits");

}  // namespace trimtab::drift
