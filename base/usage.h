// One line for a wrong command line: what is wrong, and whose --help tells more. For CLI::App's
// failure_message(). The root must have been given the program's name.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace trimtab {

inline std::string usage_message(const CLI::App* app, const CLI::Error& error) {
  std::string program = app->get_name();
  for (const CLI::App* at = app; !at->get_subcommands().empty();) {
    at = at->get_subcommands().front();
    program += " " + at->get_name();
  }
  std::string what = error.what();
  for (char& c : what) c = c == '\n' ? ' ' : c;
  return app->get_name() + ": " + what + "; see " + program + " --help\n";
}

}  // namespace trimtab
