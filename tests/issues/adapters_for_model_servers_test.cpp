// Model servers run as another user: an adapter was copied with the daemon's own umask (0077) or
// renamed out of the job's folder, and nobody else could read it.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/files.h"
#include "daemon/adapter_folder.h"

namespace trimtab::daemon {
namespace {

namespace fs = std::filesystem;

mode_t mode_of(const fs::path& path) {
  struct stat info {};
  EXPECT_EQ(::stat(path.c_str(), &info), 0) << path;
  return info.st_mode & 07777;
}

class Umask {
 public:
  explicit Umask(mode_t mask) : before_(::umask(mask)) {}
  ~Umask() { ::umask(before_); }

 private:
  mode_t before_;
};

TEST(AdaptersForModelServers, TheGroupCanReadThem) {
  const TempFolder folder;
  const Umask as_the_unit_sets_it(0077);
  const fs::path from = folder.path() / "out", to = folder.path() / "adapters/bot-1";
  ASSERT_TRUE(make_folders(from / "checkpoint-50"));
  ASSERT_TRUE(write_atomic(from / "adapter_config.json", "{}"));
  ASSERT_TRUE(write_atomic(folder.path() / "blob", "weights"));
  fs::create_symlink(folder.path() / "blob", from / "adapter_model.safetensors");
  ASSERT_TRUE(make_folders(folder.path() / "adapters/.bot-1.part/left-over"));
  const auto placed = place_adapter(from, to);
  ASSERT_TRUE(placed) << placed.error().message;
  EXPECT_EQ(mode_of(to) & 0777, 0750U);
  EXPECT_EQ(mode_of(to / "adapter_config.json"), 0640U);
  EXPECT_EQ(mode_of(to / "adapter_model.safetensors"), 0640U);
  EXPECT_FALSE(fs::is_symlink(to / "adapter_model.safetensors")) << "the original may change";
  EXPECT_EQ(read_file(to / "adapter_model.safetensors").value(), "weights");
  EXPECT_FALSE(fs::exists(to / "checkpoint-50"));
  EXPECT_FALSE(fs::exists(to / "left-over"));
  EXPECT_TRUE(place_adapter(folder.path() / "nowhere", to)) << "it is there already";
  EXPECT_FALSE(place_adapter(folder.path() / "nowhere", folder.path() / "adapters/bot-2"));
  EXPECT_FALSE(place_adapter(from / "checkpoint-50", folder.path() / "adapters/bot-3"));
  EXPECT_FALSE(fs::exists(folder.path() / "adapters/bot-3"));
}

}  // namespace
}  // namespace trimtab::daemon
