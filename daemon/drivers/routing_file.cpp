#include "daemon/drivers/routing_file.h"

#include <filesystem>

#include "base/files.h"
#include "base/json.h"

namespace trimtab::daemon {

EndpointResult publish_file(const std::string& folder, const std::string& target,
                            std::uint64_t generation, const std::string& routing_json) {
  const auto path = std::filesystem::path(folder) / (target + ".json");
  const EndpointResult already{path.string(), CallOutcome::kAlready, "already there"};
  const auto present = read_file(path, 4 << 20);
  if (present && *present == routing_json) return already;
  if (present) {
    const auto json = parse_json(*present);
    // A file that cannot be read is replaced: doubt is settled by what control wants now.
    if (json && json_or<std::uint64_t>(*json, "generation", 0) > generation) {
      return {path.string(), CallOutcome::kConflict,
              "holds a newer generation than " + std::to_string(generation)};
    }
  }
  auto made = make_folders(folder);
  if (made) made = write_atomic(path, routing_json);
  if (!made) return {path.string(), CallOutcome::kRetry, made.error().message};
  return {path.string(), CallOutcome::kDone, "written"};
}

Result<std::string> read_token(const std::string& path) {
  if (path.empty()) return std::string();
  TRIMTAB_TRY(std::string text, read_file(path, 64 << 10));
  const auto end = text.find_last_not_of(" \t\r\n");
  text.erase(end == std::string::npos ? 0 : end + 1);
  if (text.empty()) return fail(Code::kInvalid, path + ": is empty; put the secret into it");
  return text;
}

}  // namespace trimtab::daemon
