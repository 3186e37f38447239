// Fills a structure from a YAML tree by its table. Internal to config/: load.h is the door.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "config/table.h"
#include "config/yaml_tree.h"

namespace trimtab::config {

// Where each key was written, by its path: `targets[0].promotion.plan.margin`.
using Places = std::map<std::string, Place>;

struct ReadContext {
  std::filesystem::path folder;
  std::vector<Problem> problems;
  Places places;
};

// Reads `node` into `owner` (of the type that `section` was made for).
void read_section(const YamlNode& node, const Section& section, void* owner,
                  const std::string& path, ReadContext& context);

// The place of `path`, else of the nearest enclosing path that was written, else 1:1.
[[nodiscard]] Place place_of_path(const Places& places, std::string path);

}  // namespace trimtab::config
