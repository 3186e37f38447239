// One YAML document as a tree that keeps what a strict reader needs and yaml-cpp's Node loses:
// duplicate keys, the place of every key, and whether a scalar was quoted.
//
// Refused with a place, since they hide mistakes: a second document, anchors and aliases, tags of
// one's own, tabs in the indentation, text that is not UTF-8, nesting beyond kMaxDepth.
// Implemented in load_yaml.cpp (the only file that includes yaml-cpp). Pure; thread-safe.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace trimtab::config {

// Both from 1.
struct Place {
  int line = 1;
  int column = 1;
};

struct Problem {
  Place place;
  std::string message;
};

struct YamlPair;

struct YamlNode {
  enum class Type { kNull, kScalar, kList, kMap };
  Type type = Type::kNull;
  Place place;
  std::string text;             // scalar
  bool quoted = false;          // scalar written as "..", '..', | or >
  std::vector<YamlNode> items;  // list
  std::vector<YamlPair> pairs;  // map, in order, duplicates included
};

struct YamlPair {
  YamlNode key, value;
};

inline constexpr int kMaxDepth = 16;
inline constexpr std::size_t kMaxConfigBytes = 1U << 20;

struct YamlDocument {
  YamlNode root;
  std::vector<Problem> problems;  // not empty: `root` may be incomplete
};

[[nodiscard]] YamlDocument parse_yaml(std::string_view text);

}  // namespace trimtab::config
