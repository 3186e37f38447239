#include "config/load.h"

#include <algorithm>

#include "base/files.h"
#include "config/reader.h"
#include "config/tables.h"
#include "config/validate.h"

namespace trimtab::config {
namespace {

void finish(Settings& settings) {
  for (TargetSettings& target : settings.targets) share_common_fields(target);
}
void finish(GatewaySettings& settings) {
  for (GatewayTarget& target : settings.targets) {
    if (target.served_base_name.empty()) target.served_base_name = target.name;
  }
}

// A field that was rejected holds its default: what that contradicts is no mistake.
bool was_rejected(const std::vector<Problem>& problems, const std::string& path) {
  return std::any_of(problems.begin(), problems.end(), [&](const Problem& problem) {
    return problem.message.starts_with(path + ":") || problem.message.starts_with(path + "[");
  });
}

template <typename Root>
void read_root(const YamlNode& node, const Section& section, Root& root, ReadContext& context) {
  read_section(node, section, &root, "", context);
  if (node.type != YamlNode::Type::kMap) return;
  finish(root);
  for (const Finding& finding : validate(root)) {
    if (was_rejected(context.problems, finding.path)) continue;
    context.problems.push_back(
        {place_of_path(context.places, finding.path), finding.path + ": " + finding.message});
  }
}

template <typename Root>
Result<Root> parse(std::string_view text, const std::string& name,
                   const std::filesystem::path& folder, const Section& section) {
  YamlDocument document = parse_yaml(text);
  Root root;
  ReadContext context{.folder = folder, .problems = std::move(document.problems), .places = {}};
  // After a syntax error the tree is incomplete: what it lacks would be reported as missing.
  if (context.problems.empty()) read_root(document.root, section, root, context);
  if (!context.problems.empty()) {
    return fail(Code::kInvalid, lines_of(std::move(context.problems), name));
  }
  return root;
}

template <typename Root>
Result<Root> load(const std::filesystem::path& path, const Section& section) {
  const auto text = read_file(path, kMaxConfigBytes + 1);
  if (!text) return fail_in("configuration", text.error());
  return parse<Root>(*text, path.string(), path.parent_path(), section);
}

}  // namespace

Result<Settings> parse_settings(std::string_view text, const std::string& name,
                                const std::filesystem::path& folder) {
  return parse<Settings>(text, name, folder, settings_section());
}

Result<GatewaySettings> parse_gateway_settings(std::string_view text, const std::string& name,
                                               const std::filesystem::path& folder) {
  return parse<GatewaySettings>(text, name, folder, gateway_section());
}

Result<Settings> load_settings(const std::filesystem::path& path) {
  return load<Settings>(path, settings_section());
}

Result<GatewaySettings> load_gateway_settings(const std::filesystem::path& path) {
  return load<GatewaySettings>(path, gateway_section());
}

}  // namespace trimtab::config
