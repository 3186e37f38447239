#!/usr/bin/env python3
"""How trimtab's own detectors and decisions are judged, through the command line.

    acceptance.py --bin build/bin/trimtab [--full] [--seed N] [NUMBER ..]

The eleven criteria: rank_e (1 false alarms, 2 delays against ADWIN at equal false alarms, 3 any
monotone scale, 4 determinism and speed, 5 new categories), mean_e (6), paired betting (7 A/A and
boundary, 8 sizing, 9 harm, 10 dependence) and confidence sequences (11). Random streams from the
seed that is printed; a new reference for every run. Statistical bounds: a procedure that keeps its
promise exactly fails with probability below 1 %. Reduced counts by default (ctest), all with --full
(./dev bench acceptance). Standard library only."""
import argparse
import json
import math
import os
import random
import resource
import subprocess
import sys
import tempfile
import time


class Judge:
    def __init__(self, binary, full, seed):
        self.binary, self.full, self.seed = binary, full, seed
        self.folder = tempfile.TemporaryDirectory(prefix="trimtab-acceptance")
        self.passed = self.failed = 0

    def count(self, reduced, full):
        return full if self.full else reduced

    def random(self, *names):
        return random.Random(f"{self.seed}/{'/'.join(map(str, names))}")

    def path(self, name, values):
        path = os.path.join(self.folder.name, name)
        with open(path, "w", encoding="utf-8") as out:
            out.write("\n".join(map(str, values)) + "\n")
        return path

    def run(self, verb, name, values, settings=(), reference=None, raw=False):
        command = [self.binary, verb, name, "--json"]
        for setting in settings:
            command += ["--set", setting]
        if reference is not None:
            command += ["--reference", self.path("reference.txt", reference)]
        done = subprocess.run(command + ["-"], input="\n".join(map(str, values)) + "\n",
                              capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}: exit {done.returncode}: {done.stderr.strip()}")
        return done.stdout if raw else json.loads(done.stdout)

    def verdict(self, number, good, text):
        self.passed += bool(good)
        self.failed += not good
        print(f"{'pass' if good else 'FAIL'}  {number}  {text}", flush=True)


def poisson_limit(mean, level=0.99):
    """Smallest k with P(X <= k) >= level."""
    k, term, total = 0, math.exp(-mean), math.exp(-mean)
    while total < level:
        k += 1
        term *= mean / k
        total += term
    return k


def binomial_limit(n, p, level=0.99):
    k, term = 0, (1 - p) ** n
    total = term
    while total < level:
        k += 1
        term *= (n - k + 1) / k * p / (1 - p)
        total += term
    return k


def median(values):
    ordered = sorted(values)
    return ordered[len(ordered) // 2]


# ---- streams ------------------------------------------------------------------------------------

def normals(rng, n, shift=0.0, scale=1.0):
    return [rng.gauss(shift, scale) for _ in range(n)]


def lognormals(rng, n):
    return [math.exp(x) for x in normals(rng, n)]


def bimodals(rng, n):
    return [rng.gauss(2 if rng.random() < .5 else -2, .5) for _ in range(n)]


def student3(rng, n):
    return [rng.gauss(0, 1) / math.sqrt(rng.gammavariate(1.5, 2) / 3) for _ in range(n)]


CATEGORIES = [f"c{k}" for k in range(1, 13)]


def zipf(rng, n):
    return rng.choices(CATEGORIES, [1 / k for k in range(1, 13)], k=n)


LAWS = {"normal": normals, "lognormal": lognormals, "bimodal": bimodals, "student t 3": student3,
        "zipf 12": zipf}
REFERENCE = 10000


def kind_of(law):
    return ["kind=categorical"] if law == "zipf 12" else []


# ---- rank_e -------------------------------------------------------------------------------------

def false_alarms(judge):
    for arl in (2000, 20000):
        for law, draw in LAWS.items():
            streams, length = judge.count(4, 20), judge.count(5, 10) * arl
            alarms = 0
            for s in range(streams):
                rng = judge.random(1, arl, law, s)
                reference = draw(rng, REFERENCE)
                got = judge.run("detect", "rank_e", draw(rng, length),
                                [f"arl={arl}"] + kind_of(law), reference)
                alarms += len(got["detections"])
            events = streams * length
            limit = poisson_limit(events / arl)
            judge.verdict(1, alarms <= limit, f"{law}, promise {arl}: {alarms} alarms in {events} "
                          f"events, at most {limit} (mean run {events // max(alarms, 1)})")


def calm_run(judge, name, settings, with_reference):
    alarms = 0
    for s in range(6):
        rng = judge.random(2, "calm", s)
        reference = normals(rng, REFERENCE)
        got = judge.run("detect", name, normals(rng, 100000), settings,
                        reference if with_reference else None)
        alarms += len(got["detections"])
    return 600000 / max(alarms, 1)


def delays(judge, name, settings, change, runs, with_reference):
    shift, scale = change
    found, early = [], 0
    for r in range(runs):
        rng = judge.random(2, "delay", change, r)
        reference = normals(rng, REFERENCE)
        stream = normals(rng, 2000) + normals(rng, 6000, shift, scale)
        got = judge.run("detect", name, stream, settings, reference if with_reference else None)
        early += sum(1 for i in got["detections"] if i < 2000)
        after = [i - 1999 for i in got["detections"] if i >= 2000]
        found.append(after[0] if after else 6001)
    return found, early


def delay_against_adwin(judge):
    ours = calm_run(judge, "rank_e", ["arl=20000"], True)
    measured = {d: calm_run(judge, "adwin", [f"delta={d}"], False)
                for d in (.1, .03, .01, .003, .001)}
    delta = min(measured, key=lambda d: abs(math.log(measured[d] / ours)))
    print(f"      2  rank_e's mean run {ours:.0f} at a promise of 20000; ADWIN delta {delta}: "
          f"{measured[delta]:.0f}")
    runs = judge.count(21, 100)
    for change, allowed in (((.25, 1), 1.5), ((.5, 1), 1.1), ((1, 1), 1.1), ((2, 1), 1.1),
                            ((0, 1.5), None)):
        mine, early = delays(judge, "rank_e", ["arl=20000"], change, runs, True)
        limit = poisson_limit(runs * 2000 / 20000)
        judge.verdict(2, early <= limit, f"alarms before the change: {early}, at most {limit}")
        theirs, _ = delays(judge, "adwin", [f"delta={delta}"], change, runs, False)
        text = (f"shift {change[0]} scale {change[1]}: median {median(mine)} events, ADWIN "
                f"{median(theirs)}{'' if median(mine) <= median(theirs) else ' (goal missed)'}")
        if allowed is None:
            seen = sum(d <= 2000 for d in mine)
            judge.verdict(2, seen >= .95 * runs, f"{text}; within 2000 events {seen} of {runs}")
        else:
            judge.verdict(2, median(mine) <= allowed * median(theirs), f"{text}, allowed x {allowed}")


def monotone_scale(judge):
    for r in range(judge.count(3, 20)):
        rng = judge.random(3, r)
        reference = normals(rng, REFERENCE)
        stream = normals(rng, 3000) + normals(rng, 3000, .5)
        straight = judge.run("detect", "rank_e", stream, ["arl=2000"], reference)
        raised = judge.run("detect", "rank_e", [repr(math.exp(x)) for x in stream], ["arl=2000"],
                           [repr(math.exp(x)) for x in reference])
        if straight["detections"] != raised["detections"]:
            return judge.verdict(3, False, f"{straight['detections']} against {raised['detections']}")
    return judge.verdict(3, True, "a lognormal and its logarithm alarm at the same indices")


def determinism(judge):
    rng = judge.random(4)
    reference, stream = normals(rng, REFERENCE), normals(rng, 1000000)
    answers = []
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        answers.append(judge.run("detect", "rank_e", stream, ["arl=20000"], reference, raw=True))
        seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    judge.verdict(4, answers[0] == answers[1], "the same input twice: the same bytes")
    # CPU seconds of the program: a wall clock would measure the machine's other work.
    judge.verdict(4, seconds <= 2.0, f"10^6 values in {seconds:.2f} s of CPU")


def new_category(judge):
    runs = judge.count(10, 60)
    found = 0
    for r in range(runs):
        rng = judge.random(5, r)
        reference = zipf(rng, REFERENCE)
        stream = zipf(rng, 2000) + ["new" if rng.random() < .05 else c for c in zipf(rng, 3000)]
        got = judge.run("detect", "rank_e", stream, ["arl=20000", "kind=categorical"], reference)
        found += any(2000 <= i < 5000 for i in got["detections"])
    judge.verdict(5, found >= .95 * runs, f"5 % of an unseen category: seen within 3000 events in "
                  f"{found} of {runs} runs")


# ---- mean_e -------------------------------------------------------------------------------------

MEAN_E = ["baseline=.10", "tolerance=.02", "direction=up", "arl=10000"]


def errors(rng, n, rate):
    return [int(rng.random() < rate) for _ in range(n)]


def harm_rate(judge):
    for rate in (.10, .12):
        alarms, events = 0, 0
        for s in range(judge.count(4, 30)):
            got = judge.run("detect", "mean_e", errors(judge.random(6, rate, s), 100000, rate), MEAN_E)
            alarms, events = alarms + len(got["detections"]), events + 100000
        limit = poisson_limit(events / 10000)
        judge.verdict(6, alarms <= limit, f"rate {rate}: {alarms} alarms in {events} events, at most "
                      f"{limit}")
    for rate, allowed in ((.20, 400), (.15, 2500)):
        found = []
        for r in range(judge.count(21, 100)):
            rng = judge.random(6, "delay", rate, r)
            stream = errors(rng, 2000, .10) + errors(rng, 12000, rate)
            got = judge.run("detect", "mean_e", stream, MEAN_E)
            after = [i - 1999 for i in got["detections"] if i >= 2000]
            found.append(after[0] if after else 12001)
        judge.verdict(6, median(found) <= allowed, f"rate {rate}: median delay {median(found)} events, "
                      f"at most {allowed}")
    fallen = errors(judge.random(6, "fall"), 50000, .05)
    got = judge.run("detect", "mean_e", fallen, MEAN_E)
    judge.verdict(6, not got["detections"], f"a fall to .05: {len(got['detections'])} alarms")


# ---- paired betting -----------------------------------------------------------------------------

def pairs(rng, n, mean, ties=.7):
    up = (1 - ties + mean) / 2
    return rng.choices((1, 0, -1), (up, ties, 1 - ties - up), k=n)


def crossings(judge, number, runs, length, draw, settings=()):
    """Index of each crossing, a list a name."""
    found = {"non_inferior": [], "harm": [], "superior": []}
    for r in range(runs):
        got = judge.run("evidence", "paired_betting", draw(judge.random(number, r), length), settings)
        for name, crossed in found.items():
            at = got["crossed_at"][name]
            if at is not None:
                crossed.append(at)
    return found


def same_model(judge):
    runs = judge.count(60, 2000)
    limit = binomial_limit(runs, .05)
    got = crossings(judge, "7a", runs, 10000, lambda rng, n: pairs(rng, n, 0), ["margin=0"])
    for name in ("superior", "harm"):
        count = len(got[name])
        judge.verdict(7, count <= limit, f"A/A, margin 0: {name} in {count} of {runs}, at most {limit}")
    got = crossings(judge, "7b", runs, 10000, lambda rng, n: pairs(rng, n, -.02))
    for name in ("non_inferior", "harm"):
        count = len(got[name])
        judge.verdict(7, count <= limit,
                      f"D = -margin: {name} in {count} of {runs}, at most {limit}")


def sizing(judge):
    runs = judge.count(60, 600)
    for mean, length in ((.05, 10000), (.02, 20000)):
        got = crossings(judge, f"8/{mean}", runs, length, lambda rng, n: pairs(rng, n, mean))
        sizes = {name: median(at + [length + 1] * (runs - len(at))) + 1
                 for name, at in got.items() if name != "harm"}
        good = mean != .05 or sizes["non_inferior"] <= 450
        judge.verdict(8, good, f"D = +{mean}: non_inferior {sizes['non_inferior']}, superior "
                      f"{sizes['superior']} pairs (medians of {runs})")


def harmful(judge):
    runs = judge.count(60, 600)
    got = crossings(judge, "9a", runs, 1500, lambda rng, n: pairs(rng, n, -.15))
    judge.verdict(9, len(got["harm"]) >= .95 * runs,
                  f"D = -.15: harm within 1500 pairs in {len(got['harm'])} of {runs}")
    got = crossings(judge, "9b", runs, 5000, lambda rng, n: pairs(rng, n, .05))
    limit = binomial_limit(runs, .05)
    judge.verdict(9, len(got["harm"]) <= limit,
                  f"D = +.05: harm in {len(got['harm'])} of {runs}, at most {limit}")


def past_sized(rng, n):
    """Mean 0 given the past; its size follows the running sum: large after losses, small after
    gains, and skewed the other way round."""
    values, total = [], 0.0
    for _ in range(n):
        size = .9 if total < 0 else .15
        if rng.random() < .5:
            value = size if rng.random() < .25 else -size / 3
        else:
            value = -size if rng.random() < .25 else size / 3
        total += value
        values.append(round(value, 6))
    return values


def falling_mean(rng, n):
    """Conditional mean never above 0, moving between 0 and -.3 with the last outcome."""
    values, last = [], 0
    for i in range(n):
        mean = -.3 if last > 0 and i % 7 == 0 else 0.0
        last = pairs(rng, 1, mean, .4)[0]
        values.append(last)
    return values


def dependence(judge):
    runs = judge.count(40, 1000)
    limit = binomial_limit(runs, .05)
    for name, draw in (("size by the past", past_sized), ("mean by the past, <= 0", falling_mean)):
        got = crossings(judge, f"10/{name}", runs, 5000, draw)
        count = len(got["superior"])
        judge.verdict(10, count <= limit, f"{name}: superior in {count} of {runs}, at most {limit}")


# ---- confidence sequences -----------------------------------------------------------------------

LOOKS = [10, 20, 40, 70, 100, 150, 220, 320, 450, 650, 900, 1300, 1900, 2700, 4000]


def coverage(judge):
    runs = judge.count(20, 100)
    limit = binomial_limit(runs, .05)
    laws = {"beta(10,30)": (lambda rng: rng.betavariate(10, 30), .25),
            "bernoulli(.1)": (lambda rng: float(rng.random() < .1), .1)}
    for name in ("hedged_cs", "empirical_bernstein_cs"):
        for law, (draw, mean) in laws.items():
            missed = 0
            for r in range(runs):
                rng = judge.random(11, law, r)
                values = [draw(rng) for _ in range(LOOKS[-1])]
                looks = (judge.run("evidence", name, values[:n]) for n in LOOKS)
                missed += any(not got["lower"] <= mean <= got["upper"] for got in looks)
            judge.verdict(11, missed <= limit, f"{name}, {law}: not covered at some of 15 looks in "
                          f"{missed} of {runs}, at most {limit}")


CRITERIA = {1: false_alarms, 2: delay_against_adwin, 3: monotone_scale, 4: determinism,
            5: new_category, 6: harm_rate, 7: same_model, 8: sizing, 9: harmful, 10: dependence,
            11: coverage}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--bin", required=True)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--seed", default="1")
    parser.add_argument("numbers", nargs="*", type=int)
    given = parser.parse_args()
    judge = Judge(os.path.abspath(given.bin), given.full, given.seed)
    print(f"seed {given.seed}, {'full' if given.full else 'reduced'} counts")
    for number in given.numbers or CRITERIA:
        start = time.monotonic()
        CRITERIA[number](judge)
        print(f"      {number}  {time.monotonic() - start:.0f} s", flush=True)
    print(f"{judge.passed} passed, {judge.failed} failed")
    return 1 if judge.failed else 0


if __name__ == "__main__":
    sys.exit(main())
