#!/usr/bin/env python3
"""Bad input to the offline verbs: one line FILE:LINE on stderr, exit 2, nothing on stdout; what is
defined is answered; memory stays bounded for streams.

    bad_input.py --bin build/bin/trimtab

Standard library only."""
import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile

NUMBERS = "\n".join(str(i % 17) for i in range(200)) + "\n"
WORDS = "\n".join("abc"[i % 3] for i in range(200)) + "\n"
TABLE = "a,b\n" + "".join(f"{i % 17},{'xy'[i % 2]}\n" for i in range(200))


class Runner:
    def __init__(self, binary):
        self.binary = os.path.abspath(binary)
        self.folder = tempfile.TemporaryDirectory(prefix="trimtab-bad-input")
        self.passed = self.failed = 0

    def run(self, arguments, files, stdin=b""):
        for name, content in files.items():
            mode = "w" if isinstance(content, str) else "wb"
            extra = {"encoding": "utf-8", "newline": ""} if mode == "w" else {}
            with open(os.path.join(self.folder.name, name), mode, **extra) as out:
                out.write(content)
        return subprocess.run([self.binary, *arguments], cwd=self.folder.name, input=stdin,
                              capture_output=True, check=False, timeout=300)

    def verdict(self, good, what, done):
        self.passed += bool(good)
        self.failed += not good
        if not good:
            print(f"FAIL  {what}: exit {done.returncode}\n      stdout {done.stdout[:200]!r}\n"
                  f"      stderr {done.stderr[:300]!r}")

    def refused(self, what, arguments, files, place, stdin=b""):
        """`place`: what the line must begin with, FILE:LINE."""
        done = self.run(arguments, files, stdin)
        error = done.stderr.decode("utf-8", "replace")
        good = (done.returncode == 2 and done.stdout == b"" and error.startswith(place) and
                error.count("\n") == 1 and error.endswith("\n") and len(error) < 600)
        self.verdict(good, f"{what}: {' '.join(arguments)} (expected {place})", done)

    def answered(self, what, arguments, files, check=lambda answer: True, stdin=b""):
        done = self.run([*arguments, "--json"], files, stdin)
        good = done.returncode == 0 and done.stderr == b""
        try:
            good = good and check(json.loads(done.stdout))
        except (ValueError, KeyError, TypeError) as error:
            good = False
            print(f"      {error!r}")
        self.verdict(good, f"{what}: {' '.join(arguments)}", done)


def streams(r):
    for verb in (["detect", "adwin"], ["evidence", "paired_betting"], ["evidence", "hedged_cs"]):
        for what, text, line in (("NaN", "0.5\nNaN\n", 2), ("infinity", "0.5\n0\ninf\n", 3),
                                 ("minus infinity", "-Infinity\n", 1), ("a word", "0.5\nx\n0\n", 2),
                                 ("a blank line", "0.5\n\n0.5\n", 2), ("two numbers", "1 2\n", 1),
                                 ("hexadecimal", "0x10\n", 1), ("overflow", "1e999\n", 1),
                                 ("two signs", "+-1\n", 1), ("a thousands sign", "1,000.0\n", 1)):
            r.refused(what, verb + ["in.txt"], {"in.txt": text}, f"in.txt:{line}: ")
            r.refused(what, verb, {}, f"-:{line}: ", text.encode())
        r.refused("empty", verb + ["in.txt"], {"in.txt": ""}, "in.txt:1: ")
        r.refused("empty", verb, {}, "-:1: ")
        r.refused("only blank lines", verb + ["in.txt"], {"in.txt": "\n\n"}, "in.txt:1: ")
        r.refused("a folder", verb + ["."], {}, ".:1: ")
        r.refused("no such file", verb + ["none.txt"], {}, "none.txt: ")
        r.refused("NUL", verb + ["in.txt"], {"in.txt": b"0.5\n1\x002\n"}, "in.txt:2: ")
        r.refused("a huge line", verb + ["in.txt"], {"in.txt": b"0.5\n" + b"9" * (65 << 20)},
                  "in.txt:2: ")
        r.refused("a long word", verb + ["in.txt"], {"in.txt": "0.5\n" + "y" * 100000 + "\n"},
                  "in.txt:2: ")
    r.refused("not 0 or 1", ["detect", "ddm", "in.txt"], {"in.txt": "0\n1\n2\n"}, "in.txt:3: ")
    r.refused("outside [-1, 1]", ["evidence", "paired_betting", "in.txt"], {"in.txt": "0\n1.5\n"},
              "in.txt:2: ")
    r.refused("outside [0, 1]", ["evidence", "hedged_cs", "in.txt"], {"in.txt": "0.5\n-0.1\n"},
              "in.txt:2: ")
    for what, text in (("CRLF", b"0\r\n1\r\n" * 50), ("BOM", b"\xef\xbb\xbf0\n1\n" + b"0\n1\n" * 49),
                       ("no last newline", b"0\n1\n" * 49 + b"0\n1"),
                       ("blank lines at the end", b"0\n1\n" * 50 + b"\n\n")):
        r.answered(what, ["detect", "adwin", "in.txt"], {"in.txt": text}, lambda a: a["n"] == 100)
    r.answered("constant", ["detect", "adwin", "in.txt"], {"in.txt": "5\n" * 5000},
               lambda a: a["detections"] == [])
    r.answered("one value", ["detect", "adwin", "in.txt"], {"in.txt": "5\n"}, lambda a: a["n"] == 1)
    r.answered("denormal", ["detect", "adwin", "in.txt"], {"in.txt": "1e-400\n0\n"},
               lambda a: a["n"] == 2)


def references(r):
    verb = ["detect", "rank_e", "--reference", "ref.txt", "in.txt"]
    r.refused("a short reference", verb, {"ref.txt": NUMBERS, "in.txt": NUMBERS}, "rank_e: ")
    r.refused("NaN in the reference", verb, {"ref.txt": "1\nnan\n", "in.txt": NUMBERS}, "ref.txt:2: ")
    r.refused("an empty reference", verb, {"ref.txt": "", "in.txt": NUMBERS}, "ref.txt:1: ")
    constant = {"ref.txt": "7\n" * 1000, "in.txt": "7\n" * 3000}
    r.answered("a constant reference, the same stream", verb, constant,
               lambda a: a["detections"] == [])
    r.answered("a constant reference, another value", verb + ["--set", "arl=2000"],
               {"ref.txt": "7\n" * 1000, "in.txt": "7\n" * 1000 + "8\n" * 500},
               lambda a: len(a["detections"]) >= 1)
    r.answered("an unseen category", verb + ["--set", "kind=categorical", "--set", "arl=2000"],
               {"ref.txt": WORDS * 5, "in.txt": WORDS + "new\n" * 300},
               lambda a: any(i >= 200 for i in a["detections"]))


def comparisons(r):
    two = ["ref.txt", "cur.txt"]
    good = {"ref.txt": NUMBERS, "cur.txt": NUMBERS}
    for test in ("ks", "t", "wasserstein", "mann_whitney", "anderson_darling", "cvm"):
        r.refused("text among numbers", ["compare", test, *two], dict(good, **{"cur.txt": "1\nx\n"}),
                  "cur.txt:2: ")
        r.refused("empty", ["compare", test, *two], dict(good, **{"ref.txt": ""}), "ref.txt:1: ")
        r.refused("infinity", ["compare", test, *two], dict(good, **{"ref.txt": "1\n2\n-inf\n"}),
                  "ref.txt:3: ")
    for test in ("psi", "js", "chi2"):
        r.refused("NaN among numbers", ["compare", test, *two],
                  dict(good, **{"cur.txt": "1\n2\nNaN\n"}), "cur.txt:3: ")
        r.answered("unseen categories", ["compare", test, *two],
                   {"ref.txt": WORDS, "cur.txt": WORDS + "new\n" * 40}, lambda a: a["n"][1] == 240)
        r.answered("numbers against text", ["compare", test, *two],
                   {"ref.txt": NUMBERS, "cur.txt": WORDS}, lambda a: a["drift"])
    for test in ("ks", "psi", "js", "tvd", "wasserstein", "energy"):
        r.answered("constant and equal", ["compare", test, *two],
                   {"ref.txt": "3\n" * 50, "cur.txt": "3\n" * 40},
                   lambda a: a["statistic"] == 0 and not a["drift"])
    for test, files in (("t", ("3\n" * 50, "3\n" * 40)), ("epps_singleton", ("3\n" * 50, "3\n" * 40)),
                        ("anderson_darling", ("3\n", "3\n")), ("t", ("1\n", "2\n")),
                        ("cvm", ("1\n", "2\n"))):
        r.refused("undefined", ["compare", test, *two], dict(zip(two, files)), "ref.txt")
    r.refused("vectors of two lengths", ["compare", "mmd", *two],
              {"ref.txt": "[1,2]\n[3]\n", "cur.txt": "[1,2]\n"}, "ref.txt:2: ")
    r.refused("a vector with text", ["compare", "mmd", *two],
              {"ref.txt": "[1,2]\n[3,\"x\"]\n", "cur.txt": "[1,2]\n"}, "ref.txt:2: ")


def tables(r):
    csv = ["detect", "adwin", "--column", "a", "in.csv"]
    r.refused("wrong column", ["detect", "adwin", "--column", "z", "in.csv"], {"in.csv": TABLE},
              "in.csv:1: ")
    r.refused("no column named", ["detect", "adwin", "in.csv"], {"in.csv": TABLE}, "in.csv:1: ")
    r.refused("text in the column", csv, {"in.csv": "a,b\n1,2\nx,2\n"}, "in.csv:3: ")
    r.refused("a short row", csv, {"in.csv": "a,b\n1,2\n3\n"}, "in.csv:3: ")
    r.refused("a long row", csv, {"in.csv": "a,b\n1,2\n3,4,5\n"}, "in.csv:3: ")
    r.refused("an empty field", csv, {"in.csv": "a,b\n1,2\n,4\n"}, "in.csv:3: ")
    r.refused("a blank line", csv, {"in.csv": "a,b\n1,2\n\n3,4\n"}, "in.csv:3: ")
    r.refused("an open quote", csv, {"in.csv": 'a,b\n1,2\n"3,4\n5,6\n'}, "in.csv:3: ")
    r.refused("a column twice", csv, {"in.csv": "a,a\n1,2\n"}, "in.csv:1: ")
    r.refused("a header only", csv, {"in.csv": "a,b\n"}, "in.csv:1: ")
    r.refused("empty", csv, {"in.csv": ""}, "in.csv:1: ")
    r.answered("BOM and CRLF", csv, {"in.csv": b"\xef\xbb\xbfa,b\r\n1,2\r\n3,4\r\n"},
               lambda a: a["n"] == 2)
    r.answered("quotes with line breaks", csv, {"in.csv": 'b,a\n"x\ny, ""z""",5\nq,6\n'},
               lambda a: a["n"] == 2)
    many = '"' + "x\n" * 200000  # must not be quadratic
    r.refused("an open quote before many lines", csv, {"in.csv": "a,b\n1," + many}, "in.csv:2: ")
    jsonl = ["detect", "adwin", "--column", "/a/b", "in.jsonl"]
    for what, text, line in (("broken JSON", '{"a":{"b":1}}\n{"a":\n', 2),
                             ("an absent field", '{"a":{"b":1}}\n{"a":{}}\n', 2),
                             ("null", '{"a":{"b":null}}\n', 1), ("a list", '{"a":{"b":[1]}}\n', 1),
                             ("text", '{"a":{"b":"x"}}\n', 1), ("NaN", '{"a":{"b":NaN}}\n', 1),
                             ("too large", '{"a":{"b":1e999}}\n', 1),
                             ("deep", "[" * 100000 + "\n", 1)):
        r.refused(what, jsonl, {"in.jsonl": text}, f"in.jsonl:{line}: ")


def reports(r):
    report = ["compare", "report", "ref.csv", "cur.csv"]
    good = {"ref.csv": TABLE, "cur.csv": TABLE}
    r.answered("two equal tables", report, good, lambda a: a["drifting_columns"] == 0 and
               [c["kind"] for c in a["columns"]] == ["numeric", "categorical"])
    moved = TABLE.replace(",x\n", ",z\n")
    r.answered("an unseen category", report, dict(good, **{"cur.csv": moved}),
               lambda a: a["columns"][1]["drifting_tests"] > 0)
    for what, text, place in (("mixed types", "a,b\n1,x\ny,x\n", "cur.csv:3: "),
                              ("NaN", "a,b\n1,x\nnan,x\n", "cur.csv:3: "),
                              ("an empty field", "a,b\n1,x\n,x\n", "cur.csv:3: "),
                              ("a short row", "a,b\n1,x\n1\n", "cur.csv:3: "),
                              ("a long row", "a,b\n1,x\n1,x,y\n", "cur.csv:3: "),
                              ("text for numbers", "a,b\nq,x\n", "cur.csv:2: "),
                              ("another header", "a,c\n1,x\n", "cur.csv:1: "),
                              ("no rows", "a,b\n", "cur.csv:2: "), ("empty", "", "cur.csv:1: "),
                              ("an open quote", 'a,b\n1,"x\n', "cur.csv:2: ")):
        r.refused(what, report, dict(good, **{"cur.csv": text}), place)
    r.refused("no such column", report + ["--set", "columns=z"], good, "ref.csv:1: ")
    r.refused("no such test", report + ["--set", "tests=nope"], good, "no test 'nope'")
    r.refused("no such parameter", report + ["--set", "ks.nope=1"], good, "--set nope")
    r.answered("a constant column says what is undefined", report,
               {"ref.csv": "a\n" + "1\n" * 50, "cur.csv": "a\n" + "1\n" * 50},
               lambda a: any(t["test"] == "t" and t["drift"] is None and t["error"]
                             for t in a["columns"][0]["tests"]))


def each_test_as_alone(r):
    """The report gives what every test gives on its own."""
    import random
    rng = random.Random(7)
    sides = {side: [[rng.gauss(shift, 1), float(rng.randrange(9)), rng.choice("pqrs")]
                    for _ in range(6000)] for side, shift in (("ref", 0), ("cur", .1))}
    files = {f"{side}.csv": "g,d,c\n" + "".join(f"{a!r},{b!r},{c}\n" for a, b, c in rows)
             for side, rows in sides.items()}
    done = r.run(["compare", "report", "ref.csv", "cur.csv", "--json"], files)
    for column in json.loads(done.stdout)["columns"]:
        for test in column["tests"]:
            alone = r.run(["compare", test["test"], "--column", column["column"], "ref.csv",
                           "cur.csv", "--json"], {})
            want = json.loads(alone.stdout)
            good = all((test[k] is None) == (want[k] is None) and
                       (test[k] is None or abs(test[k] - want[k]) <= 1e-9 * abs(want[k]) + 1e-12)
                       for k in ("statistic", "p_value")) and test["drift"] == want["drift"]
            r.verdict(good, f"{column['column']} {test} against {want}", done)


def bounded(r):
    """10^7 values: a stream's memory does not grow with it."""
    path = os.path.join(r.folder.name, "long.txt")
    with open(path, "w", encoding="ascii") as out:
        block = "\n".join(str((i * 7919) % 1000 / 1000) for i in range(100000)) + "\n"
        for _ in range(100):
            out.write(block)
    # hedged_cs is not among them: its exact roots need every value, 8 bytes each.
    for verb in (["detect", "adwin"], ["evidence", "empirical_bernstein_cs"]):
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        done = r.run([*verb, "long.txt", "--json"], {})
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        good = done.returncode == 0 and json.loads(done.stdout)["n"] == 10000000
        r.verdict(good and (peak <= 96 * 1024 or peak == before),
                  f"{' '.join(verb)}: 10^7 values in {peak // 1024} MB", done)


def never_a_silent_pass(r):
    """What an audit of every command found to be answered though it says nothing."""
    two = ["ref.txt", "cur.txt"]
    words = dict(zip(two, (WORDS, WORDS)))
    r.refused("values beyond mean_e's range", ["detect", "mean_e", "--set", "baseline=.1", "in.txt"],
              {"in.txt": "0.5\n1\n50\n"}, "in.txt:3: ")
    r.answered("values within the range named",
               ["detect", "mean_e", "--set", "baseline=20", "--set", "high=100", "in.txt"],
               {"in.txt": "1\n50\n" * 50}, lambda a: a["n"] == 100)
    for test in ("psi", "js", "chi2"):
        r.refused("nothing but NaN", ["compare", test, *two],
                  dict(zip(two, ("nan\nnan\n", "nan\nnan\n"))), "ref.txt:1: ")
    table = "a,b\nnan,x\n1,y\n2,y\n"
    r.refused("a column that begins with NaN", ["compare", "report", "r.csv", "c.csv"],
              {"r.csv": table, "c.csv": table}, "r.csv:2: ")
    table = "a,b\n1,x\n2,y\n"
    r.refused("tests that fit no column",
              ["compare", "report", "--set", "tests=ks", "--set", "columns=b", "r.csv", "c.csv"],
              {"r.csv": table, "c.csv": table}, "r.csv:1: ")
    r.refused("--set twice",
              ["compare", "report", "--set", "columns=a", "--set", "columns=b", "r.csv", "c.csv"],
              {"r.csv": table, "c.csv": table}, "--set columns: given twice")
    r.refused("an empty cell", ["compare", "chi2", "--column", "a", "r.csv", "c.csv"],
              {"r.csv": "a,b\n,1\nx,2\n", "c.csv": "a,b\nx,1\n"}, "r.csv:2: ")
    r.refused("neither label nor prediction", ["score-labels", "accuracy", "l.csv"],
              {"l.csv": "label,prediction\n,\na,a\n"}, "l.csv:2: ")
    for arguments, option in ((["compare", "chi2", "--reference", "x", *two], "--reference"),
                              (["detect", "adwin", "--ref", "x", "ref.txt"], "--ref"),
                              (["evidence", "bernoulli_ci", "--exit-code", "ref.txt"], "--exit-code"),
                              (["score-labels", "accuracy", "--column", "x", "ref.txt"], "--column")):
        r.refused("another verb's option", arguments, words, f"{arguments[0]} has no {option}")
    arms = ["--set", "effect=absolute", "--set", "n_a=2", "--set", "n_b=2"]
    r.refused("arms that do not vary", ["evidence", "asymptotic_cs", *arms, "--set", "sum_a=0", "--set",
              "sum_b=2", "--set", "metric=proportion"], {}, "asymptotic_cs: the values do not vary")
    r.refused("a stream that does not vary", ["evidence", "asymptotic_cs", "in.txt"],
              {"in.txt": "1\n1\n1\n"}, "asymptotic_cs: the values do not vary")
    r.refused("a sum beside a stream", ["evidence", "asymptotic_cs", "--set", "sum_a=3", "in.txt"],
              {"in.txt": "1\n2\n3\n"}, "two samples need effect=")
    r.answered("a stream of zeros and ones",
               ["evidence", "asymptotic_cs", "--set", "metric=proportion", "in.txt"],
               {"in.txt": "0\n1\n0\n1\n1\n"}, lambda a: abs(a["se"] - (.24 / 5) ** .5) < 1e-12)
    vectors = {"ref.txt": "[1,2]\n[2,3]\n[3,1]\n" * 4, "cur.txt": "[1,2]\n[2,2]\n[3,1]\n" * 4}
    r.refused("permutations that reach no alpha",
              ["compare", "mmd", "--set", "permutations=18", *two], vectors,
              "ref.txt, cur.txt: permutations: 18")
    r.answered("permutations enough", ["compare", "mmd", "--set", "permutations=19", *two], vectors)
    r.refused("a line behind a field of two lines", ["score-labels", "ece", "e.csv"],
              {"e.csv": "confidence,correct,note\n.5,1,\"a\nb\"\n.7,x,c\n"}, "e.csv:4: ")
    r.refused("log-probabilities above 0", ["score-text", "perplexity", "in.txt"],
              {"in.txt": "1,2\n"}, "in.txt: line 1: ")
    r.refused("no such command", ["nope"], {}, "trimtab: no command 'nope'")
    r.refused("an option before the verb", ["--json", "detect", "adwin"], {},
              "trimtab: options of detect stand behind it")
    r.refused("a unit that is missing", ["evidence", "assignment_hash"], {}, "assignment_hash: ")


def outputs(r):
    """What is no file is written to and stays what it is; a full disk is no success."""
    if not os.path.exists("/dev/full"):
        return
    done = subprocess.run([r.binary, "detect", "--list"], stdout=open("/dev/full", "w"),
                          stderr=subprocess.PIPE, check=False)
    r.verdict(done.returncode == 1 and done.stderr.startswith(b"standard output: cannot write"),
              "a full disk behind stdout", done)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--bin", required=True)
    r = Runner(parser.parse_args().bin)
    bounded(r)  # first: the peak of all children counts
    for part in (streams, references, comparisons, tables, reports, each_test_as_alone,
                 never_a_silent_pass, outputs):
        part(r)
    print(f"{r.passed} passed, {r.failed} failed")
    return 1 if r.failed else 0


if __name__ == "__main__":
    sys.exit(main())
