#include "daemon/adapter_folder.h"

#include "base/files.h"

namespace trimtab::daemon {
namespace fs = std::filesystem;
namespace {

constexpr auto kFolderMode =
    fs::perms::owner_all | fs::perms::group_read | fs::perms::group_exec | fs::perms::set_gid;
constexpr auto kFileMode = fs::perms::owner_read | fs::perms::owner_write | fs::perms::group_read;

Status failed(const fs::path& path, const char* what, const std::error_code& error) {
  return fail(Code::kIo, path.string() + ": " + what + ": " + error.message());
}

Status copy_one(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::copy_file(from, to, fs::copy_options::overwrite_existing, error);
  if (error) return failed(to, "copy", error);
  fs::permissions(to, kFileMode, error);
  if (error) return failed(to, "open to the group", error);
  return fsync_path(to);
}

}  // namespace

Status place_adapter(const fs::path& from, const fs::path& to) {
  std::error_code error;
  if (fs::exists(to, error)) return {};
  TRIMTAB_CHECK_OK(make_folders(to.parent_path()));
  const fs::path part = to.parent_path() / ("." + to.filename().string() + ".part");
  TRIMTAB_CHECK_OK(remove_tree(part));
  TRIMTAB_CHECK_OK(make_folders(part));
  fs::permissions(part, kFolderMode, error);
  if (error) return failed(part, "open to the group", error);
  std::size_t files = 0;
  fs::directory_iterator entries(from, error), end;
  for (; !error && entries != end; entries.increment(error)) {
    if (!entries->is_regular_file()) continue;  // follows links: snapshots are made of them
    TRIMTAB_CHECK_OK(copy_one(entries->path(), part / entries->path().filename()));
    ++files;
  }
  if (error) return failed(from, "read the folder", error);
  if (files == 0) return fail(Code::kInvalid, from.string() + ": there are no files in it");
  return rename_durable(part, to);
}

}  // namespace trimtab::daemon
