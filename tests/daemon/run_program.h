// Runs a program to its end, for tests: exit code, standard output and standard error apart.
#pragma once

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/files.h"

namespace trimtab::tests {

struct Ran {
  int code = -1;  // 1000 + the signal's number when one ended it
  std::string out, err;
};

// `input` is its standard input. `folder` takes the streams' files. Ends it after 60 s (SIGALRM).
inline Ran run_program(const std::vector<std::string>& argv, const std::filesystem::path& folder,
                       const std::string& input = "") {
  const std::string in = folder / "stdin", out = folder / "stdout", err = folder / "stderr";
  static_cast<void>(write_atomic(in, input));
  std::vector<char*> words;  // before the fork: another thread may hold the allocator's lock
  for (const auto& word : argv) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::dup2(::open(in.c_str(), O_RDONLY), 0);
    ::dup2(::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 1);
    ::dup2(::open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 2);
    ::alarm(60);
    ::execv(words[0], words.data());
    ::_exit(127);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  Ran ran;
  ran.code = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
  ran.out = read_file(out).value_or("");
  ran.err = read_file(err).value_or("");
  return ran;
}

}  // namespace trimtab::tests
