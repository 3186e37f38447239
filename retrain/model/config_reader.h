// Reads one config.json key by key and remembers which were understood: a key left over may change
// the maths and is refused by name. Used by model_config.cpp and rope_config.cpp only.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "base/json.h"
#include "base/result.h"

namespace trimtab::model {

// One config.json being read. Remembers which keys were understood, so that the rest can be
// refused.
class ConfigReader {
 public:
  explicit ConfigReader(const Json& json) : json_(json) {}

  bool has(const char* key) const { return json_.contains(key) && !json_[key].is_null(); }
  // transformers' own default applies to an absent key; an explicit null switches the feature off.
  template <typename T>
  T absent_or_off(const char* key, T when_absent, T off) const {
    return json_.contains(key) ? off : when_absent;
  }
  std::int64_t count(const char* key, std::int64_t fallback) {
    used_.insert(key);
    if (!has(key)) return fallback;
    if (!json_[key].is_number_integer()) return complain(key, "must be a whole number"), fallback;
    return json_[key].get<std::int64_t>();
  }
  std::int64_t need(const char* key) {
    const std::int64_t value = count(key, 0);
    if (value <= 0 || value > (1LL << 24)) complain(key, "must be a positive count");
    return value;
  }
  double number(const char* key, double fallback) {
    used_.insert(key);
    if (!has(key)) return fallback;
    if (!json_[key].is_number()) return complain(key, "must be a number"), fallback;
    return json_[key].get<double>();
  }
  bool flag(const char* key, bool fallback) {
    used_.insert(key);
    if (!has(key)) return fallback;
    if (!json_[key].is_boolean()) return complain(key, "must be true or false"), fallback;
    return json_[key].get<bool>();
  }
  std::string text(const char* key, std::string fallback) {
    used_.insert(key);
    if (!has(key)) return fallback;
    if (!json_[key].is_string()) return complain(key, "must be a string"), fallback;
    return json_[key].get<std::string>();
  }
  const Json* object(const char* key) {
    used_.insert(key);
    if (!has(key)) return nullptr;
    if (!json_[key].is_object()) return complain(key, "must be an object"), nullptr;
    return &json_[key];
  }
  const Json* raw(const char* key) {
    used_.insert(key);
    return has(key) ? &json_[key] : nullptr;
  }
  // The key may be there with this value only: another one would be another model.
  void only(const char* key, const Json& accepted) {
    used_.insert(key);
    if (has(key) && json_[key] != accepted)
      complain(key, "= " + json_[key].dump() + " is not supported");
  }
  void complain(std::string_view key, const std::string& why) {
    if (error_.empty()) error_ = "key '" + std::string(key) + "' " + why;
  }
  // kInvalid: the first complaint, or a key that nobody asked for and that is not known as
  // harmless.
  [[nodiscard]] Status finish();

 private:
  const Json& json_;
  std::set<std::string> used_;
  std::string error_;
};

}  // namespace trimtab::model
