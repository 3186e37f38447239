// Bytes: how detector and monitor state is written and read back.
//
// Little-endian memory images of trivially copyable values behind a tag and a version; the reader
// checks every length, so truncated or foreign bytes are an Error, never undefined behaviour.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/result.h"

namespace trimtab::drift {

static_assert(std::endian::native == std::endian::little, "saved state is little-endian");

class ByteWriter {
 public:
  ByteWriter(std::uint32_t tag, std::uint32_t version) {
    put(tag);
    put(version);
  }
  template <typename T>
  void put(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(T));
  }
  void put_text(std::string_view text) {
    put(static_cast<std::uint64_t>(text.size()));
    bytes_.append(text);
  }
  template <typename T>
  void put_all(const std::vector<T>& values) {
    static_assert(std::is_trivially_copyable_v<T>);
    put(static_cast<std::uint64_t>(values.size()));
    if (!values.empty()) {
      bytes_.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
    }
  }
  [[nodiscard]] std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

// Reads fail softly: after the first short read every get returns a zero value and ok() is false.
class ByteReader {
 public:
  // `what` names the thing in the error message.
  ByteReader(std::string_view bytes, std::uint32_t tag, std::uint32_t version, const char* what)
      : bytes_(bytes), what_(what) {
    const auto got_tag = get<std::uint32_t>();
    version_ = get<std::uint32_t>();
    if (got_tag != tag || version_ != version) ok_ = false;
  }
  template <typename T>
  T get() {
    static_assert(std::is_trivially_copyable_v<T>);
    T value{};
    get_into(value);
    return value;
  }
  template <typename T>
  void get_into(T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    if (!ok_ || bytes_.size() - at_ < sizeof(T)) {
      ok_ = false;
      return;
    }
    std::memcpy(static_cast<void*>(&value), bytes_.data() + at_, sizeof(T));
    at_ += sizeof(T);
  }
  std::string get_text() {
    const auto size = get<std::uint64_t>();
    if (!ok_ || size > bytes_.size() - at_) {
      ok_ = false;
      return {};
    }
    std::string text(bytes_.substr(at_, size));
    at_ += size;
    return text;
  }
  template <typename T>
  std::vector<T> get_all() {
    const auto count = get<std::uint64_t>();
    if (!ok_ || count > (bytes_.size() - at_) / sizeof(T)) {
      ok_ = false;
      return {};
    }
    std::vector<T> values(count);
    if (count > 0) std::memcpy(values.data(), bytes_.data() + at_, count * sizeof(T));
    at_ += count * sizeof(T);
    return values;
  }
  void reject() { ok_ = false; }
  [[nodiscard]] bool ok() const { return ok_; }
  // Ok while nothing was amiss.
  [[nodiscard]] Status so_far() const {
    if (ok_) return {};
    return unfit();
  }
  // Ok when everything was read, exactly.
  [[nodiscard]] Status finish() const {
    if (ok_ && at_ == bytes_.size()) return {};
    return unfit();
  }

 private:
  [[nodiscard]] Status unfit() const {
    return fail(Code::kCorrupt, std::string(what_) +
                                    ": saved state does not fit this version (truncated, foreign "
                                    "or from another build); re-take the reference");
  }
  std::string_view bytes_;
  const char* what_;
  std::size_t at_ = 0;
  std::uint32_t version_ = 0;
  bool ok_ = true;
};

constexpr std::uint32_t make_tag(const char (&text)[5]) {
  return static_cast<std::uint32_t>(static_cast<unsigned char>(text[0])) |
         static_cast<std::uint32_t>(static_cast<unsigned char>(text[1])) << 8 |
         static_cast<std::uint32_t>(static_cast<unsigned char>(text[2])) << 16 |
         static_cast<std::uint32_t>(static_cast<unsigned char>(text[3])) << 24;
}

}  // namespace trimtab::drift
