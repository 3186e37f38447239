#!/usr/bin/env python3
"""`trimtab compare report` over 20 numeric columns, read from CSV: wall seconds, CPU seconds and peak
memory; the files are written first and removed after. Standard library only."""
import argparse
import array
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time

COLUMNS = 20


def write(path, rows, seed, shift):
    """Twenty columns: normal, lognormal and uniform ones, a tenth of them shifted. Blocks of 20,000
    distinct rows are drawn and their columns rotated, so that a million rows take seconds."""
    rng = random.Random(seed)
    block = 20000
    pool = [array.array("d", (rng.gauss(0, 1) for _ in range(block))) for _ in range(COLUMNS)]
    with open(path, "w", encoding="ascii") as out:
        out.write(",".join(f"c{i}" for i in range(COLUMNS)) + "\n")
        done = 0
        while done < rows:
            scale = 1 + rng.random() * 1e-3
            moved = [shift if i % 10 == 0 else 0.0 for i in range(COLUMNS)]
            lines = []
            for j in range(min(block, rows - done)):
                lines.append(",".join(f"{pool[i][(j + i) % block] * scale + moved[i]:.9g}"
                                      for i in range(COLUMNS)))
            out.write("\n".join(lines) + "\n")
            done += len(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--bin", required=True)
    parser.add_argument("--keep", help="folder for the two files; used again when they are there")
    parser.add_argument("rows", nargs="?", type=int, default=1000000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or temporary
        paths = [os.path.join(folder, f"{name}.csv") for name in ("reference", "current")]
        for path, seed, shift in ((paths[0], 1, 0.0), (paths[1], 2, 0.01)):
            if not os.path.exists(path):
                write(path, given.rows, seed, shift)
        size = sum(os.path.getsize(path) for path in paths)
        start = time.monotonic()
        done = subprocess.run([given.bin, "compare", "report", *paths, "--json"],
                              capture_output=True, check=False)
        seconds = time.monotonic() - start
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode != 0:
            sys.exit(done.stderr.decode())
        answer = json.loads(done.stdout)
        tests = [t["test"] for t in answer["columns"][0]["tests"]]
        print(f"{answer['n'][0]} + {answer['n'][1]} rows, {len(answer['columns'])} columns, "
              f"{len(tests)} tests a column, {size / 1e6:.0f} MB of CSV")
        print(f"tests: {' '.join(tests)}")
        print(f"{seconds:.2f} s wall, {used.ru_utime + used.ru_stime:.2f} s CPU, peak "
              f"{used.ru_maxrss / 1024:.0f} MB")
        good = seconds <= 5 and used.ru_maxrss <= 500 * 1024
        print("within 5 s and 500 MB" if good else "NOT within 5 s and 500 MB")
        return 0 if good or given.rows != 1000000 else 1


if __name__ == "__main__":
    sys.exit(main())
