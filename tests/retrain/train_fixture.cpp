#include "tests/retrain/train_fixture.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <sstream>

#include "base/random.h"
#include "retrain/model/safetensors.h"
#include "tests/paths.h"

extern char** environ;

namespace trimtab::tests {
namespace {

namespace fs = std::filesystem;
using model::TensorSource;
using model::TensorType;

void write_llama(const fs::path& folder, std::int64_t vocab, std::uint64_t seed) {
  constexpr std::int64_t kHidden = 32;
  constexpr std::int64_t kInner = 48;
  ASSERT_TRUE(make_folders(folder));
  const Json config = {{"model_type", "llama"},       {"vocab_size", vocab},
                       {"hidden_size", kHidden},      {"num_hidden_layers", 2},
                       {"num_attention_heads", 2},    {"num_key_value_heads", 1},
                       {"intermediate_size", kInner}, {"max_position_embeddings", 128},
                       {"tie_word_embeddings", true}, {"torch_dtype", "float32"}};
  ASSERT_TRUE(write_atomic(folder / "config.json", config.dump()));
  Random random(seed);
  std::vector<std::vector<float>> values;
  std::vector<TensorSource> sources;
  const auto add = [&](const std::string& name, std::vector<std::int64_t> shape, bool norm) {
    std::int64_t count = 1;
    for (const auto size : shape) count *= size;
    std::vector<float> data(static_cast<std::size_t>(count));
    for (float& value : data)
      value = static_cast<float>((norm ? 1.0 : 0.0) + 0.2 * random.normal());
    values.push_back(std::move(data));
    sources.push_back({name, TensorType::kF32, std::move(shape), nullptr});
  };
  add("model.embed_tokens.weight", {vocab, kHidden}, false);
  for (int layer = 0; layer < 2; ++layer) {
    const std::string at = "model.layers." + std::to_string(layer) + ".";
    add(at + "input_layernorm.weight", {kHidden}, true);
    add(at + "post_attention_layernorm.weight", {kHidden}, true);
    add(at + "self_attn.q_proj.weight", {kHidden, kHidden}, false);
    add(at + "self_attn.k_proj.weight", {kHidden / 2, kHidden}, false);
    add(at + "self_attn.v_proj.weight", {kHidden / 2, kHidden}, false);
    add(at + "self_attn.o_proj.weight", {kHidden, kHidden}, false);
    add(at + "mlp.gate_proj.weight", {kInner, kHidden}, false);
    add(at + "mlp.up_proj.weight", {kInner, kHidden}, false);
    add(at + "mlp.down_proj.weight", {kHidden, kInner}, false);
  }
  add("model.norm.weight", {kHidden}, true);
  for (std::size_t i = 0; i < sources.size(); ++i) sources[i].data = values[i].data();
  ASSERT_TRUE(model::write_safetensors(folder / "model.safetensors", sources, {{"format", "pt"}}));
}

// GPT-2's byte alphabet: printable bytes stand for themselves, the others for U+0100 and on.
std::string byte_symbol(int byte) {
  int code = byte;
  const auto printable = [](int b) {
    return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || (b >= 174 && b <= 255);
  };
  if (!printable(byte)) {
    code = 256;
    for (int b = 0; b < byte; ++b) code += printable(b) ? 0 : 1;
  }
  if (code < 0x80) return std::string(1, static_cast<char>(code));
  return {static_cast<char>(0xC0 | code >> 6), static_cast<char>(0x80 | (code & 0x3F))};
}

}  // namespace

void write_tiny_base(const fs::path& folder, std::uint64_t seed) {
  write_llama(folder, kTinyVocab, seed);
}

void write_text_base(const fs::path& folder, std::uint64_t seed) {
  write_llama(folder, kTextVocab, seed);
  Json vocabulary = Json::object();
  for (int byte = 0; byte < 256; ++byte) vocabulary[byte_symbol(byte)] = byte;
  Json added = Json::array();
  for (const auto& [id, content] :
       std::vector<std::pair<int, std::string>>{{256, "<eos>"}, {257, "<user>"}, {258, "<bot>"}}) {
    added.push_back({{"id", id},
                     {"content", content},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  const Json level = {{"type", "ByteLevel"},
                      {"add_prefix_space", false},
                      {"trim_offsets", true},
                      {"use_regex", true}};
  const Json tokenizer = {
      {"version", "1.0"},
      {"added_tokens", added},
      {"normalizer", nullptr},
      {"pre_tokenizer", level},
      {"post_processor", nullptr},
      {"decoder", level},
      {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", Json::array()}}}};
  ASSERT_TRUE(write_atomic(folder / "tokenizer.json", tokenizer.dump()));
  const Json words = {
      {"eos_token", "<eos>"},
      {"chat_template",
       "{% for m in messages %}{{ '<user>' if m['role'] == 'user' else '<bot>' }}"
       "{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}<bot>{% endif %}"}};
  ASSERT_TRUE(write_atomic(folder / "tokenizer_config.json", words.dump()));
}

std::map<std::string, std::string> read_tensors(const fs::path& path) {
  std::map<std::string, std::string> tensors;
  const auto opened = model::SafetensorsFile::open(path);
  EXPECT_TRUE(opened) << path;
  if (!opened) return tensors;
  for (const auto& [name, info] : opened->tensors()) {
    tensors[name] = {reinterpret_cast<const char*>(opened->data(info)),
                     static_cast<std::size_t>(info.end - info.begin)};
  }
  return tensors;
}

std::string TrainTest::file(const std::string& name, const std::string& text) {
  EXPECT_TRUE(write_atomic(root_.path() / name, text));
  return (root_.path() / name).string();
}

fs::path TrainTest::make_job(const std::string& name, const std::string& more) {
  const fs::path folder = root_.path() / name;
  EXPECT_TRUE(make_folders(folder));
  const fs::path base = base_.is_absolute() ? base_ : root_.path() / base_;
  const std::string job = "base: " + base.string() + "\nout: " + (folder / "out").string() +
                          "\ndtype: float32\nthreads: 1\n" + more;
  EXPECT_TRUE(write_atomic(folder / "job.yaml", job));
  return folder;
}

pid_t TrainTest::start(const std::vector<std::string>& arguments, const fs::path& folder,
                       const Environment& environment) {
  std::vector<std::string> words = {(bin_dir() / "trimtab-worker").string()};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) variables.push_back(*variable);
  for (const auto& [key, value] : environment) variables.push_back(key + "=" + value);
  std::vector<char*> argv, envp;
  for (std::string& word : words) argv.push_back(word.data());
  for (std::string& variable : variables) envp.push_back(variable.data());
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  const int how = O_WRONLY | O_CREAT | O_TRUNC;
  posix_spawn_file_actions_addopen(&files, 1, (folder / "stdout").c_str(), how, 0644);
  posix_spawn_file_actions_addopen(&files, 2, (folder / "stderr").c_str(), how, 0644);
  pid_t pid = -1;
  const int wrong = posix_spawn(&pid, argv[0], &files, nullptr, argv.data(), envp.data());
  posix_spawn_file_actions_destroy(&files);
  EXPECT_EQ(wrong, 0) << "cannot start " << words[0];
  return wrong == 0 ? pid : -1;
}

void TrainTest::signal_it(pid_t pid, int number) {
  EXPECT_GT(pid, 1) << "no worker to signal";
  if (pid > 1) ::kill(pid, number);
}

Ended TrainTest::finish(pid_t pid, const fs::path& folder) {
  Ended ended;
  if (pid <= 1) return ended;
  int status = 0;
  EXPECT_EQ(waitpid(pid, &status, 0), pid);
  ended.code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
  ended.out = read_file(folder / "stdout").value_or("");
  ended.err = read_file(folder / "stderr").value_or("");
  return ended;
}

Ended TrainTest::run(const std::vector<std::string>& arguments, const fs::path& folder,
                     const Environment& environment) {
  return finish(start(arguments, folder, environment), folder);
}

Json TrainTest::result(const fs::path& folder) {
  return parse_json(read_file(folder / "result.json").value_or("")).value_or(Json::object());
}

std::vector<Json> TrainTest::metrics(const fs::path& folder) {
  std::vector<Json> lines;
  std::istringstream in(read_file(folder / "out" / "metrics.jsonl").value_or(""));
  for (std::string line; std::getline(in, line);)
    lines.push_back(parse_json(line).value_or(Json::object()));
  return lines;
}

}  // namespace trimtab::tests
