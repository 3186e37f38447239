#!/usr/bin/env python3
"""What each protection against forgetting costs and is worth (./dev bench forgetting).

The base knows five domains; a sixth arrives. Every row trains the same new lines with another
protection and measures exact match on held-out sentences of the new domain and of the old ones.
Seeded; standard library only. Writes the table between the marks of docs/TRAINING.md."""
import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile

ap = argparse.ArgumentParser()
ap.add_argument("--bin", required=True)
ap.add_argument("--base", required=True)
ap.add_argument("--out", default="docs/TRAINING.md")
ap.add_argument("--quick", action="store_true")
ap.add_argument("--seed", type=int, default=1)
A = ap.parse_args()
worker, base = os.path.join(A.bin, "trimtab-worker"), os.path.abspath(A.base)
NEW, KNOWN = "health", "banking,shopping,home,travel,work"
FRESH, EPOCHS, OLD_EVAL, NEW_EVAL = (120, 3, 60, 40) if A.quick else (300, 5, 200, 100)


def run(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"forgetting: {' '.join(words[:2])}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def children_cpu():
    """CPU seconds, which a busy machine does not change much."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def lines_of(path):
    return [json.loads(line) for line in open(path, encoding="utf-8")]


def draw(tmp, name, domains):
    """Labelled and held-out lines of the demo's own generator."""
    folder = os.path.join(tmp, name)
    run(os.path.join(A.bin, "trimtab-demo"), "data", "--out", folder, "--base-out", folder + "-base", "--known", domains,
        "--texts-per-domain", "1", "--labelled-per-intent", "60")
    return lines_of(folder + "/chat.jsonl"), lines_of(folder + "/eval.jsonl")


def write(path, lines):
    with open(path, "w", encoding="utf-8") as f:
        f.writelines(json.dumps(line) + "\n" for line in lines)
    return path


def accuracy(tmp, adapter, lines):
    items = [{"id": str(i), "messages": line["messages"][:-1], "text": line["messages"][-1]["content"]} for i, line in enumerate(lines)]
    out = run(worker, "score", "--base", base, "--adapter", adapter, "--max-new-tokens", "12", write(tmp + "/score.jsonl", items))
    return sum(json.loads(line)["results"][0]["match"] for line in out.splitlines()) / len(items)


def main():
    rng = random.Random(A.seed)
    with tempfile.TemporaryDirectory() as tmp:
        new, new_eval = draw(tmp, "new", NEW)
        old, old_eval = draw(tmp, "old", KNOWN)
        for lines in (new, old, new_eval, old_eval):
            rng.shuffle(lines)
        fresh, new_eval, old_eval = new[:FRESH], new_eval[:NEW_EVAL], old_eval[:OLD_EVAL]
        for line in fresh:
            line["kind"], line["task"] = "correction", "new"

        def replay(count):
            return [{**line, "kind": "replay", "task": "old"} for line in old[:count]]

        earlier = os.path.join(tmp, "earlier")  # an adapter of an old task, for the orthogonal penalty
        rows = [("nothing", 0, {}), ("replay 1:2", FRESH // 2, {}), ("replay 1:1", FRESH, {}), ("replay 2:1", 2 * FRESH, {}),
                ("replay 1:2, KL .4", FRESH // 2, {"kl": {"weight": 0.4, "reference": "base"}}),
                ("replay 2:1, KL .4", 2 * FRESH, {"kl": {"weight": 0.4, "reference": "base"}}),
                ("replay 2:1, KL 1.0", 2 * FRESH, {"kl": {"weight": 1.0, "reference": "base"}}),
                ("replay 1:1, PCGrad", FRESH, {"gradient_surgery": "pcgrad"}),
                ("replay 1:1, easy first", FRESH, {"curriculum": {"order": "easy_first"}}),
                ("orthogonal penalty", 0, {"orthogonal": {"weight": 1.0, "adapters": [earlier + "/out"]}}),
                ("upper half of the layers only", 0, {"lora": {"freeze_first": 2}}),
                ("a tenth of the rate", 0, {"optimizer": {"lr": 2e-4}})]

        def train(folder, lines, more):
            os.makedirs(folder)
            job = {"base": base, "out": folder + "/out", "data": {"chat": write(folder + "/train.jsonl", lines)}, "epochs": EPOCHS,
                   "seed": A.seed, "threads": 1, "lora": {}, "optimizer": {"lr": 2e-3}, **more}
            json.dump(job, open(folder + "/job.yaml", "w"))
            before = children_cpu()
            run(worker, "train", folder + "/job.yaml")
            return children_cpu() - before

        train(earlier, replay(FRESH), {})
        table = [f"| protection | new domain ({len(new_eval)}) | old domains ({len(old_eval)}) | lines | CPU seconds |", "|---|---|---|---|---|",
                 f"| (the base) | {accuracy(tmp, 'none', new_eval):.2f} | {accuracy(tmp, 'none', old_eval):.2f} | 0 | 0 |"]
        for i, (name, count, more) in enumerate(rows):
            folder = os.path.join(tmp, f"job{i}")
            lines = fresh + replay(count)
            rng_lines = random.Random(A.seed)
            rng_lines.shuffle(lines)
            seconds = train(folder, lines, more)
            out = folder + "/out"
            table.append(f"| {name} | {accuracy(tmp, out, new_eval):.2f} | {accuracy(tmp, out, old_eval):.2f} | {len(lines)} | {seconds:.0f} |")
            print(table[-1], flush=True)
    begin, end = "<!-- forgetting: begin -->", "<!-- forgetting: end -->"
    page = open(A.out, encoding="utf-8").read()
    if begin not in page or end not in page:
        sys.exit(f"forgetting: {A.out} has no marks '{begin}' and '{end}'")
    head, tail = page.split(begin)[0], page.split(end)[1]
    text = f"{len(fresh)} new lines, {EPOCHS} epochs, learning rate 2e-3, r 16, one thread; `./dev bench forgetting`, seed {A.seed}.\n\n"
    open(A.out, "w", encoding="utf-8").write(head + begin + "\n" + text + "\n".join(table) + "\n" + end + tail)
    print("\n".join(table))


main()
