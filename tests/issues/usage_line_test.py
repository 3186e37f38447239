#!/usr/bin/env python3
"""A wrong command line took two lines, without the program's name.

    usage_line_test.py BIN_FOLDER [PROGRAM..]

Standard library only."""
import os
import subprocess
import sys

WRONG = {"trimtab": ["status", "--bogus"], "trimtabd": ["--bogus"], "trimtab-gateway": [],
         "trimtab-demo": ["--bogus"], "trimtab-worker": ["train", "--bogus"]}


def main():
    folder, programs = sys.argv[1], sys.argv[2:] or sorted(WRONG)
    failed = 0
    for program in programs:
        done = subprocess.run([os.path.join(folder, program), *WRONG[program]], text=True,
                              capture_output=True, check=False, timeout=60)
        good = (done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1 and
                done.stderr.startswith("trimtab") and "--help" in done.stderr)
        failed += not good
        if not good:
            print(f"FAIL  {program}: exit {done.returncode}, {done.stdout!r}, {done.stderr!r}")
    print(f"{len(programs) - failed} of {len(programs)} passed")
    return 1 if failed or not programs else 0


if __name__ == "__main__":
    sys.exit(main())
