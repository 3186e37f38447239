// Tables that a bench writes into docs/BENCHMARKS.md, between markers of its name.
#pragma once

#include <fstream>
#include <iterator>
#include <string>

namespace trimtab::bench {

// False when the file lacks the markers or cannot be written.
inline bool write_between_markers(const std::string& path, const std::string& name,
                                  const std::string& table) {
  const std::string begin = "<!-- " + name + ": begin, written by ./dev bench " + name + " -->";
  const std::string end = "<!-- " + name + ": end -->";
  std::ifstream in(path);
  std::string text((std::istreambuf_iterator<char>(in)), {});
  const auto from = text.find(begin);
  const auto to = text.find(end);
  if (from == std::string::npos || to == std::string::npos || to < from) return false;
  text.replace(from, to - from, begin + "\n" + table);
  std::ofstream out(path, std::ios::trunc);
  out << text;
  return static_cast<bool>(out.flush());
}

}  // namespace trimtab::bench
