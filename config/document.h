// What else the tables give: documents written from a structure, the JSON Schema, the reference
// page, and the hash that names a configuration in the journal. Pure; thread-safe.
#pragma once

#include <string>
#include <vector>

#include "config/gateway_settings.h"
#include "config/settings.h"
#include "config/table.h"

namespace trimtab::config {

// Every field in the table's order, durations in ms, sizes in bytes: equal text = equal settings.
[[nodiscard]] std::string canonical_json(const Section& section, const void* owner);

struct YamlStyle {
  bool docs = false;        // each field's doc as a comment above it
  bool skip_empty = false;  // leave out empty texts, lists and maps
};
// Block-style YAML that the strict reader takes back to the same structure.
[[nodiscard]] std::string write_yaml(const Section& section, const void* owner,
                                     const YamlStyle& style = {});

// JSON Schema (draft 2020-12) of the YAML as people write it, units included.
[[nodiscard]] std::string schema_json(const Section& section, const std::string& title);
// Markdown: a table a section, one line a field: key, type, default, range, meaning.
[[nodiscard]] std::string reference_markdown(const Section& section, const std::string& title);

// sha256 of the canonical JSON: the `config_hash` of journal and experiments.
[[nodiscard]] std::string config_hash(const Settings& settings);
[[nodiscard]] std::string settings_schema();
[[nodiscard]] std::string gateway_schema();
[[nodiscard]] std::string settings_reference();  // both files

// The keys whose values differ, such as kafka.brokers or targets[0].drift.reference_size, in the
// table's order; a list of sections that grew or shrank is one key.
[[nodiscard]] std::vector<std::string> changed_keys(const Settings& a, const Settings& b);

// The settings without anything secret in them (there is nothing: secrets are files).
[[nodiscard]] std::string settings_yaml(const Settings& settings);

}  // namespace trimtab::config
