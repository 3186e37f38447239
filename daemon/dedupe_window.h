// DedupeWindow: has this record id been seen among the last N? (RECORDS.md section 1: `id`)
//
// A ring of 8-byte hashes with a hash set over it: 24 bytes an id. Ids of a batch are staged and
// become part of the window only when the batch's transaction committed, so that a failed commit
// leaves no trace. Two ids collide with chance N / 2^64. Control thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace trimtab::daemon {

class DedupeWindow {
 public:
  explicit DedupeWindow(std::size_t capacity);

  // The hash that is stored for a record.
  [[nodiscard]] static std::uint64_t key(std::string_view target, std::string_view id);

  // False when the key is in the window or was staged already; else it is staged.
  [[nodiscard]] bool stage(std::uint64_t key);
  [[nodiscard]] const std::vector<std::uint64_t>& staged() const { return staged_; }
  void commit();
  void rollback();

  // At start: the batches that StateQueries::seen_batches() returned, oldest first.
  void load(std::string_view batch);
  [[nodiscard]] bool contains(std::uint64_t key) const;
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::size_t capacity() const { return ring_.size(); }

 private:
  void insert(std::uint64_t key);
  void erase(std::uint64_t key);
  [[nodiscard]] std::size_t home(std::uint64_t key) const { return (key >> 3) & mask_; }
  void push(std::uint64_t key);

  std::vector<std::uint64_t> ring_;
  std::size_t head_ = 0;  // next to overwrite
  std::size_t size_ = 0;
  std::vector<std::uint64_t> table_;  // open addressing, linear probing; 0 = free
  std::size_t mask_ = 0;
  std::vector<std::uint64_t> staged_;
};

}  // namespace trimtab::daemon
