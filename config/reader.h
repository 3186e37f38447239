// Fills a structure from a YAML tree by its table. For the two configuration files load.h is the
// door; read_document reads other strict documents (retrain/job.h).
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
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

// One line a mistake, `name:line:col: message`, in the order of the file.
[[nodiscard]] std::string lines_of(std::vector<Problem> problems, const std::string& name);

// A whole document. kInvalid with lines_of().
[[nodiscard]] Status read_document(std::string_view text, const std::string& name,
                                   const std::filesystem::path& folder, const Section& section,
                                   void* owner);

// The place of `path`, else of the nearest enclosing path that was written, else 1:1.
[[nodiscard]] Place place_of_path(const Places& places, std::string path);

}  // namespace trimtab::config
