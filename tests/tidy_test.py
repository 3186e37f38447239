#!/usr/bin/env python3
"""The house's rules as a test (ARCHITECTURE.md, "Rules that are tests").

    tidy_test.py [--bin DIR] [ROOT]

Arrows between folders, where foreign headers may appear, lengths of lines, files and functions,
banned words; with --bin also that only trimtab-worker links libtorch. Prints a line per finding and
'N passed, N failed'. Standard library only."""
import argparse
import os
import re
import subprocess
import sys

FOLDERS = ("base", "config", "drift", "retrain", "shadow", "daemon")
# folder -> the folders it may include from (itself is always allowed).
ARROWS = {
    "base": set(),
    "config": {"base"},
    "drift": {"base", "config"},
    "retrain": {"base", "config"},
    "shadow": {"base", "config"},
    "daemon": {"base", "config", "drift", "retrain", "shadow"},
}
ROOMS = ("daemon/gateway", "daemon/cli", "daemon/demo")  # do not include one another
# include pattern -> where it may stand
HOMES = [
    (r"<(torch|ATen|c10|caffe2)/", ("retrain/model/", "retrain/serve/", "retrain/worker")),
    (r"<httplib", ("base/net/",)),
    (r"<librdkafka", ("daemon/kafka_", "daemon/embedded_broker")),
    (r"<sqlite3", ("daemon/state_store",)),
    (r"<yaml-cpp", ("config/load",)),
    (r"<spdlog", ("base/log.cpp",)),
    (r"<prometheus/", ("base/metrics.cpp",)),
    (r"<CLI/", ("daemon/", "retrain/worker", "base/usage")),
]
BANNED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|std::this_thread::sleep|\busleep\(|system_clock::now")
BANNED_HOMES = ("base/clock.cpp",)
MAX_LINE, MAX_FUNCTION, MAX_FILE = 100, 70, 400


def sources(root):
    for top in FOLDERS + ("tests",):
        for folder, _, names in os.walk(os.path.join(root, top)):
            for name in sorted(names):
                if name.endswith((".h", ".cpp")):
                    path = os.path.join(folder, name)
                    yield os.path.relpath(path, root), open(path, encoding="utf-8").read()


def check_includes(path, text):
    top = path.split("/")[0]
    for number, line in enumerate(text.splitlines(), 1):
        found = re.match(r'\s*#\s*include\s*(["<][^">]+[">])', line)
        if not found:
            continue
        what = found.group(1)
        for pattern, homes in HOMES:
            if re.match(pattern, what) and top != "tests" and not path.startswith(homes):
                yield f"{path}:{number}: {what} may only stand in {', '.join(homes)}"
        other = what.strip('"').split("/")[0]
        if top in ARROWS and what[0] == '"' and other in FOLDERS:
            if other != top and other not in ARROWS[top]:
                yield f"{path}:{number}: {top} must not include {what}"
            for room in ROOMS:
                mine = [r for r in ROOMS if path.startswith(r + "/")]
                if mine and room not in mine and what.strip('"').startswith(room + "/"):
                    yield f"{path}:{number}: {mine[0]} must not include {what}"


def function_lengths(text):
    """(first line, length) of every brace block that begins a function body, by indentation:
    a body opens on a line that ends in ') {', ') const {' .. and closes at the same indent."""
    lines = text.splitlines()
    opened = re.compile(r"^(\s*).*\)\s*(const|noexcept|override|final|->\s*[\w:<>*& ]+|\s)*\{$")
    for i, line in enumerate(lines):
        match = opened.match(line)
        if not match or "](" in line or re.match(r"\s*(if|for|while|switch|else|do|\}|return|TEST)", line):
            continue
        indent = re.match(r"\s*", line).group(0)
        start = i
        while start > 0 and len(re.match(r"\s*", lines[start]).group(0)) > 0 and \
                not lines[start - 1].rstrip().endswith((";", "}", "{", ":")) and lines[start - 1].strip():
            start -= 1
            indent = re.match(r"\s*", lines[start]).group(0)
        for j in range(i + 1, len(lines)):
            if lines[j].startswith(indent + "}"):
                yield start + 1, j - start + 1
                break


def reason_of(lines):
    """What the head of a file says about itself, on one line."""
    return " ".join(line.strip("/ ") for line in lines[:30]).lower()


def check_shape(path, text):
    lines = text.splitlines()
    for number, line in enumerate(lines, 1):
        if len(line) > MAX_LINE:
            yield f"{path}:{number}: {len(line)} characters, at most {MAX_LINE}"
        if BANNED.search(line) and path not in BANNED_HOMES and not path.startswith("tests/"):
            yield f"{path}:{number}: {BANNED.search(line).group(0)} has no place here"
    if path.startswith("tests/"):
        return
    if path.endswith(".h") and "#pragma once" not in text and "included more than once" not in reason_of(lines):
        yield f"{path}: no #pragma once"
    if path.endswith(".h") and not text.startswith("//"):
        yield f"{path}: a public header begins with what it is and why"
    reason = reason_of(lines)
    if len(lines) > MAX_FILE and "lines because" not in reason:
        yield f"{path}: {len(lines)} lines; split it, or say why ('over 400 lines because ..') at the top"
    for number, length in function_lengths(text):
        if length > MAX_FUNCTION:
            yield f"{path}:{number}: a function of {length} lines, at most {MAX_FUNCTION}"


def check_links(folder):
    for name in ("trimtabd", "trimtab-gateway", "trimtab"):
        path = os.path.join(folder, name)
        if not os.path.exists(path):
            yield f"{path}: missing"
            continue
        linked = subprocess.run(["ldd", path], capture_output=True, text=True, check=False).stdout
        if re.search(r"libtorch|libc10", linked):
            yield f"{path}: links libtorch"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("root", nargs="?", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    parser.add_argument("--bin", default="")
    options = parser.parse_args()
    files, findings = 0, []
    for path, text in sources(os.path.abspath(options.root)):
        files += 1
        findings += check_includes(path, text)
        findings += check_shape(path, text)
    if options.bin:
        findings += check_links(options.bin)
    for finding in findings:
        print(finding)
    print(f"{files} passed, {len(findings)} failed")
    return 1 if findings or not files else 0


if __name__ == "__main__":
    sys.exit(main())
