// The report of `trimtab compare`: two tables, every column by every test that fits it. Reads both
// files in chunks, on two threads; holds 8 bytes a number and the work space of two columns.
#pragma once

#include <string>

#include "daemon/cli/offline.h"

namespace trimtab::cli {

// REQUIRES: two files. kInvalid: bad parameters, bad input (FILE:LINE), headers that differ.
[[nodiscard]] Result<OfflineAnswer> run_report(const OfflineArguments& arguments);
[[nodiscard]] std::string report_help();

}  // namespace trimtab::cli
