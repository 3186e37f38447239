#!/usr/bin/env python3
"""docs/METRICS.md from the sources: every metric that is declared, with type, labels, meaning.

    metrics_table.py [--write]     without --write: exits 1 when the page is not current."""
import os
import re
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
PROGRAMS = (("daemon/gateway/", "trimtab-gateway"), ("retrain/", "trimtab-worker serve"),
            ("base/", "all"), ("daemon/", "trimtabd"))
DECLARED = re.compile(
    r'\b(counter|gauge|histogram)\(\s*"((?:trimtab|process)_[a-z0-9_]+)",\s*((?:"[^"]*"\s*)+)'
    r'((?:,\s*(?:\{[^{}]*\}|\w+))*)', re.S)
HEAD = """# Metrics

Every metric that a program exposes, written by `tests/metrics_table.py --write` from the sources (a test keeps the page current).
Prefix `trimtab_`, base units (seconds, bytes), counters end in `_total`. Labels are bounded: past its cap a family grows one series whose labels are all `overflow`; never users, requests or prompts.
trimtabd and the gateway serve them on a listener of their own (`metrics.port`), so that slow clients cannot starve a scrape.

| metric | type | labels | program | meaning |
|---|---|---|---|---|
"""




def metrics():
    found = {}
    for top in ("base", "daemon", "retrain"):
        for folder, _, names in os.walk(os.path.join(ROOT, top)):
            for name in names:
                path = os.path.relpath(os.path.join(folder, name), ROOT)
                if not path.endswith((".cpp", ".h")):
                    continue
                text = open(os.path.join(ROOT, path), encoding="utf-8").read()
                program = next(p for prefix, p in PROGRAMS if path.startswith(prefix))
                for kind, metric, help_text, rest in DECLARED.findall(text):
                    label_lists = [part for part in re.findall(r"\{([^{}]*)\}", rest) if '"' in part]
                    labels = re.findall(r'"(\w+)"', label_lists[0]) if label_lists else []
                    words = "".join(re.findall(r'"([^"]*)"', help_text)).rstrip(".")
                    row = found.setdefault(metric, [kind, labels, set(), words])
                    row[1] = row[1] or labels
                    row[2].add(program)
    return found


def page():
    rows = []
    for metric, (kind, labels, programs, words) in sorted(metrics().items()):
        label_text = ", ".join(f"`{label}`" for label in labels)
        rows.append(f"| `{metric}` | {kind} | {label_text} | {', '.join(sorted(programs))} | {words} |")
    return HEAD + "\n".join(rows) + "\n"


def main():
    path = os.path.join(ROOT, "docs", "METRICS.md")
    text = page()
    if "--write" in sys.argv:
        open(path, "w", encoding="utf-8").write(text)
        return 0
    if open(path, encoding="utf-8").read() != text:
        print("docs/METRICS.md is not current; run tests/metrics_table.py --write")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
