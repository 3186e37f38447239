#include "retrain/model/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <set>
#include <utility>

#include "base/files.h"
#include "base/json.h"

namespace trimtab::model {
namespace {

struct TypeRow {
  TensorType type;
  std::string_view name;
  std::size_t bytes;
};
constexpr std::array<TypeRow, 10> kTypes = {{{TensorType::kF64, "F64", 8},
                                             {TensorType::kF32, "F32", 4},
                                             {TensorType::kF16, "F16", 2},
                                             {TensorType::kBF16, "BF16", 2},
                                             {TensorType::kI64, "I64", 8},
                                             {TensorType::kI32, "I32", 4},
                                             {TensorType::kI16, "I16", 2},
                                             {TensorType::kI8, "I8", 1},
                                             {TensorType::kU8, "U8", 1},
                                             {TensorType::kBool, "BOOL", 1}}};

// The reference implementation's own bound (safetensors 0.4: MAX_HEADER_SIZE).
constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;
constexpr std::size_t kMaxDimensions = 8;

const TypeRow& row_of(TensorType type) {
  return *std::find_if(kTypes.begin(), kTypes.end(),
                       [&](const TypeRow& r) { return r.type == type; });
}

// Looks for duplicate keys, which nlohmann's DOM would silently merge, and for deep nesting. A pass
// of its own: nlohmann's parser callback takes time in the square of the number of keys.
class HeaderWatch : public nlohmann::json_sax<Json> {
 public:
  std::string trouble;

  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(std::size_t) override {
    seen_.emplace_back();
    return deeper();
  }
  bool key(string_t& name) override {
    if (!seen_.back().insert(name).second) trouble = name;
    return trouble.empty();
  }
  bool end_object() override {
    seen_.pop_back();
    --depth_;
    return true;
  }
  bool start_array(std::size_t) override { return deeper(); }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool parse_error(std::size_t, const std::string&, const Json::exception&) override {
    return false;
  }

 private:
  bool deeper() {
    if (++depth_ > 8) trouble = "(nesting)";
    return trouble.empty();
  }
  int depth_ = 0;
  std::vector<std::set<std::string>> seen_;
};

Result<Json> parse_header(std::string_view text) {
  HeaderWatch watch;
  const bool whole = Json::sax_parse(text.begin(), text.end(), &watch);
  if (!watch.trouble.empty())
    return fail(Code::kCorrupt, "duplicate or too deep key '" + watch.trouble + "'");
  Json header = whole ? Json::parse(text.begin(), text.end(), nullptr, false) : Json();
  if (header.is_discarded() || !header.is_object()) {
    return fail(Code::kCorrupt, "header is not a JSON object");
  }
  return header;
}

Result<std::vector<std::int64_t>> parse_shape(const Json& value) {
  if (!value.is_array() || value.size() > kMaxDimensions) return fail(Code::kCorrupt, "bad shape");
  std::vector<std::int64_t> shape;
  std::uint64_t elements = 1;
  for (const Json& item : value) {
    if (!item.is_number_unsigned()) return fail(Code::kCorrupt, "bad shape");
    const auto size = item.get<std::uint64_t>();
    if (size != 0 && elements > (1ULL << 48) / size) return fail(Code::kCorrupt, "shape too large");
    elements *= size;
    shape.push_back(static_cast<std::int64_t>(size));
  }
  return shape;
}

Result<TensorInfo> parse_entry(const std::string& name, const Json& value,
                               std::uint64_t data_bytes) {
  const auto bad = [&](const std::string& why) {
    return fail(Code::kCorrupt, "tensor '" + name + "': " + why);
  };
  if (!value.is_object() || !value.contains("dtype") || !value.contains("shape") ||
      !value.contains("data_offsets") || !value["dtype"].is_string()) {
    return bad("needs dtype, shape and data_offsets");
  }
  TensorInfo info;
  info.name = name;
  const auto dtype = value["dtype"].get<std::string>();
  const auto row =
      std::find_if(kTypes.begin(), kTypes.end(), [&](const TypeRow& r) { return r.name == dtype; });
  if (row == kTypes.end()) return bad("dtype " + dtype + " is not supported");
  info.type = row->type;
  auto shape = parse_shape(value["shape"]);
  if (!shape) return bad(shape.error().message);
  info.shape = std::move(*shape);
  const Json& offsets = value["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned()) {
    return bad("data_offsets must be two counts");
  }
  info.begin = offsets[0].get<std::uint64_t>();
  info.end = offsets[1].get<std::uint64_t>();
  if (info.begin > info.end || info.end > data_bytes)
    return bad("data_offsets leave the file (truncated?)");
  if (info.end - info.begin != static_cast<std::uint64_t>(info.elements()) * row->bytes) {
    return bad("data_offsets do not match dtype and shape");
  }
  return info;
}

// The format wants the data part covered exactly once, in any order.
Status check_cover(const std::map<std::string, TensorInfo>& tensors, std::uint64_t data_bytes) {
  std::vector<const TensorInfo*> order;
  for (const auto& [name, info] : tensors) order.push_back(&info);
  std::sort(order.begin(), order.end(), [](const TensorInfo* a, const TensorInfo* b) {
    return std::tie(a->begin, a->end) < std::tie(b->begin, b->end);
  });
  std::uint64_t at = 0;
  for (const TensorInfo* info : order) {
    if (info->begin != at) {
      return fail(Code::kCorrupt, "tensor '" + info->name + "': data_offsets " +
                                      (info->begin < at ? "overlap" : "leave a hole"));
    }
    at = info->end;
  }
  if (at != data_bytes) return fail(Code::kCorrupt, "bytes after the last tensor");
  return {};
}

}  // namespace

std::size_t tensor_type_bytes(TensorType type) { return row_of(type).bytes; }
std::string_view tensor_type_name(TensorType type) { return row_of(type).name; }

std::int64_t TensorInfo::elements() const {
  std::int64_t product = 1;
  for (const auto size : shape) product *= size;
  return product;
}

SafetensorsFile::SafetensorsFile(SafetensorsFile&& other) noexcept { *this = std::move(other); }

SafetensorsFile& SafetensorsFile::operator=(SafetensorsFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(tensors_, other.tensors_);
  std::swap(metadata_, other.metadata_);
  std::swap(map_, other.map_);
  std::swap(map_bytes_, other.map_bytes_);
  std::swap(data_, other.data_);
  return *this;
}

SafetensorsFile::~SafetensorsFile() {
  if (map_ != nullptr) ::munmap(const_cast<std::byte*>(map_), map_bytes_);
}

const TensorInfo* SafetensorsFile::find(const std::string& name) const {
  const auto it = tensors_.find(name);
  return it == tensors_.end() ? nullptr : &it->second;
}

Result<SafetensorsFile> SafetensorsFile::open(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return fail(errno == ENOENT ? Code::kNotFound : Code::kIo,
                path.string() + ": cannot open: " + std::strerror(errno));
  }
  struct stat status {};
  SafetensorsFile file;
  file.path_ = path;
  const bool sized = ::fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
  file.map_bytes_ = sized ? static_cast<std::uint64_t>(status.st_size) : 0;
  void* map = file.map_bytes_ >= 8 ? ::mmap(nullptr, file.map_bytes_, PROT_READ, MAP_PRIVATE, fd, 0)
                                   : MAP_FAILED;
  ::close(fd);
  if (map == MAP_FAILED) {
    return fail(Code::kCorrupt, path.string() + ": too short for a safetensors file");
  }
  file.map_ = static_cast<const std::byte*>(map);
  std::uint64_t header_bytes = 0;
  for (int i = 7; i >= 0; --i)
    header_bytes = header_bytes << 8 | std::to_integer<std::uint64_t>(file.map_[i]);
  if (header_bytes > kMaxHeaderBytes || header_bytes > file.map_bytes_ - 8) {
    return fail(Code::kCorrupt, path.string() + ": header length leaves the file");
  }
  file.data_ = file.map_ + 8 + header_bytes;
  const std::uint64_t data_bytes = file.map_bytes_ - 8 - header_bytes;
  auto header = parse_header({reinterpret_cast<const char*>(file.map_) + 8, header_bytes});
  if (!header) return fail_in(path.string(), header.error());
  for (const auto& [name, value] : header->items()) {
    if (name == "__metadata__") {
      if (!value.is_object())
        return fail(Code::kCorrupt, path.string() + ": __metadata__ is no object");
      for (const auto& [key, text] : value.items()) {
        if (!text.is_string())
          return fail(Code::kCorrupt, path.string() + ": __metadata__ holds a non-string");
        file.metadata_[key] = text.get<std::string>();
      }
      continue;
    }
    auto entry = parse_entry(name, value, data_bytes);
    if (!entry) return fail_in(path.string(), entry.error());
    file.tensors_.emplace(name, std::move(*entry));
  }
  if (auto cover = check_cover(file.tensors_, data_bytes); !cover) {
    return fail_in(path.string(), cover.error());
  }
  return file;
}

Result<SafetensorsFolder> SafetensorsFolder::open(const std::filesystem::path& folder) {
  SafetensorsFolder result;
  std::vector<std::filesystem::path> paths;
  std::map<std::string, std::string> promised;  // tensor -> shard, by the index
  const auto index_path = folder / "model.safetensors.index.json";
  std::error_code ignored;
  if (std::filesystem::exists(folder / "model.safetensors", ignored)) {
    paths.push_back(folder / "model.safetensors");
  } else if (std::filesystem::exists(index_path, ignored)) {
    TRIMTAB_TRY(const std::string text, read_file(index_path, 64ULL << 20));
    auto index = parse_json(text);
    if (!index) return fail_in(index_path.string(), index.error());
    if (!index->contains("weight_map") || !(*index)["weight_map"].is_object()) {
      return fail(Code::kCorrupt, index_path.string() + ": no weight_map");
    }
    std::set<std::string> shards;
    for (const auto& [name, shard] : (*index)["weight_map"].items()) {
      if (!shard.is_string() || shard.get<std::string>().find('/') != std::string::npos) {
        return fail(Code::kCorrupt, index_path.string() + ": bad shard of '" + name + "'");
      }
      promised[name] = shard.get<std::string>();
      shards.insert(promised[name]);
    }
    for (const auto& shard : shards) paths.push_back(folder / shard);
  } else {
    return fail(Code::kNotFound,
                folder.string() + ": neither model.safetensors nor model.safetensors.index.json");
  }
  for (const auto& path : paths) {
    TRIMTAB_TRY(auto file, SafetensorsFile::open(path));
    for (const auto& [name, info] : file.tensors()) {
      if (!result.file_of_.emplace(name, result.files_.size()).second) {
        return fail(Code::kCorrupt, path.string() + ": tensor '" + name + "' is in two shards");
      }
    }
    result.files_.push_back(std::move(file));
  }
  for (const auto& [name, shard] : promised) {
    const Found found = result.find(name);
    if (found.file == nullptr || found.file->path().filename() != shard) {
      return fail(Code::kCorrupt, index_path.string() + ": '" + name + "' is not in " + shard);
    }
  }
  return result;
}

SafetensorsFolder::Found SafetensorsFolder::find(const std::string& name) const {
  const auto it = file_of_.find(name);
  if (it == file_of_.end()) return {};
  const SafetensorsFile& file = files_[it->second];
  return {&file, file.find(name)};
}

std::vector<std::string> SafetensorsFolder::names() const {
  std::vector<std::string> names;
  for (const auto& [name, file] : file_of_) names.push_back(name);
  return names;
}

Status write_safetensors(const std::filesystem::path& path,
                         const std::vector<TensorSource>& tensors,
                         const std::map<std::string, std::string>& metadata) {
  OrderedJson header = OrderedJson::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::uint64_t at = 0;
  std::vector<std::uint64_t> sizes;
  for (const TensorSource& tensor : tensors) {
    if (header.contains(tensor.name)) {
      return fail(Code::kInternal, path.string() + ": tensor '" + tensor.name + "' written twice");
    }
    std::uint64_t bytes = tensor_type_bytes(tensor.type);
    for (const auto size : tensor.shape) bytes *= static_cast<std::uint64_t>(size);
    header[tensor.name] = {{"dtype", tensor_type_name(tensor.type)},
                           {"shape", tensor.shape},
                           {"data_offsets", {at, at + bytes}}};
    at += bytes;
    sizes.push_back(bytes);
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  std::string content;
  content.reserve(8 + text.size() + at);
  for (int i = 0; i < 8; ++i) content.push_back(static_cast<char>(text.size() >> (8 * i) & 0xff));
  content += text;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    content.append(static_cast<const char*>(tensors[i].data), sizes[i]);
  }
  return write_atomic(path, content);
}

}  // namespace trimtab::model
