"""The trainer's speed and memory on a real base, and the same work through PEFT.

./dev bench train --base DIR [--threads 1,2] [--peft PYTHON]
    [--only full,checkpointing,prompts,score,rank] [--dtype float32|bfloat16]

Every figure is a ratio within this run or stands beside the machine's own matrix-product rate
(tests/bench/gemm_rate.cpp), measured before and after each piece. Wall seconds are what counts;
CPU seconds stand beside them, for a machine that is not idle. Peak memory is the process's VmHWM
(ru_maxrss). Data: made from a seed, or CLINC150's queries where ../shared/data/clinc150 is.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TICKS = os.sysconf("SC_CLK_TCK")
LORA = {"r": 16, "lora_alpha": 32}
SEQUENCE = 512
PROMPT_BATCH = 16
SCORED = 200
LABELS = 15
PIECES = ["full", "checkpointing", "prompts", "score", "rank"]


def run(command, **options):
    done = subprocess.run(command, text=True, capture_output=True, **options)
    if done.returncode != 0:
        sys.exit(f"{command[0]}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


class Model:
    """What a token costs, from config.json."""

    def __init__(self, base):
        c = json.loads((base / "config.json").read_text())
        self.hidden, self.layers = c["hidden_size"], c["num_hidden_layers"]
        self.vocab, inner = c["vocab_size"], c["intermediate_size"]
        head = c.get("head_dim") or self.hidden // c["num_attention_heads"]
        self.q = head * c["num_attention_heads"]
        kv = head * c.get("num_key_value_heads", c["num_attention_heads"])
        h = self.hidden
        sites = [(h, self.q), (h, kv), (h, kv), (self.q, h), (h, inner), (h, inner), (inner, h)]
        self.block = sum(i * o for i, o in sites)
        self.lora = self.layers * sum(LORA["r"] * (i + o) for i, o in sites)

    def flops(self, lengths, supervised, recomputed):
        """Of one step: 4N (6N when blocks are run again) + attention + LoRA + the head's 4Vh where
        supervised. Attention is causal: two products forward, four backward, over the keys seen."""
        tokens, seen = sum(lengths), sum(n * (n + 1) // 2 for n in lengths)
        matrices = (6 if recomputed else 4) * self.block * self.layers * tokens
        attention = (16 if recomputed else 12) * self.q * self.layers * seen
        lora = (8 if recomputed else 6) * self.lora * tokens
        return matrices + attention + lora + 4 * self.vocab * self.hidden * supervised


class Bench:
    def __init__(self, args):
        self.args = args
        self.base = args.base.resolve()
        self.worker = args.build / "bin" / "trimtab-worker"
        self.gemm_program = args.build / "tests" / "gemm_rate"
        self.model = Model(self.base)
        self.random = random.Random(args.seed)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="trimtab-bench-train-"))
        self.best_gemm = {}
        self.best_cpu_gemm = 0
        self.rows = []

    # --- data -----------------------------------------------------------------------------------
    def ids(self, texts):
        lines = "".join(json.dumps(text) + "\n" for text in texts)
        out = run([str(self.worker), "tokenize", "--base", str(self.base)], input=lines)
        return [json.loads(line) for line in out.splitlines()]

    def prompts(self, conversations):
        lines = "".join(json.dumps(messages) + "\n" for messages in conversations)
        out = run(
            [str(self.worker), "render-chat", "--base", str(self.base), "--generation-prompt"],
            input=lines,
        )
        return [json.loads(line) for line in out.splitlines()]

    def queries(self, count):
        """(query, intent): CLINC150's, or made of a seed with about its lengths."""
        source = self.args.clinc / "train.tsv"
        if source.exists():
            rows = [line.split("\t") for line in source.read_text().splitlines()]
            return [(row[2], row[1].replace("_", " ")) for row in self.random.sample(rows, count)]
        words = "please can you tell me how much money is on my card for next week".split()
        intents = ["balance", "transfer money", "book flight", "report lost card", "oil change how"]
        return [
            (
                " ".join(self.random.choices(words, k=self.random.randint(4, 14))),
                self.random.choice(intents),
            )
            for _ in range(count)
        ]

    @staticmethod
    def messages(query):
        return [
            {
                "role": "system",
                "content": "You route a customer's query. Answer with the intent alone.",
            },
            {"role": "user", "content": query},
        ]

    def prompt_documents(self, count):
        pairs = self.queries(count)
        prompts = self.ids(self.prompts([self.messages(query) for query, _ in pairs]))
        answers = self.ids([intent for _, intent in pairs])
        end = json.loads((self.base / "config.json").read_text())["eos_token_id"]
        return [
            {"input_ids": p + a + [end], "labels": [-100] * len(p) + a + [end]}
            for p, a in zip(prompts, answers)
        ]

    def full_documents(self):
        documents = []
        for _ in range(2):
            ids = [self.random.randrange(3, self.model.vocab) for _ in range(SEQUENCE)]
            documents.append({"input_ids": ids, "labels": ids})
        return documents

    def write_lines(self, name, objects):
        path = self.folder / name
        path.write_text("".join(json.dumps(o) + "\n" for o in objects))
        return path

    # --- the machine ----------------------------------------------------------------------------
    def gemm(self, threads):
        wall, cpu = (float(x) for x in run([str(self.gemm_program), str(threads)]).split())
        self.best_gemm[threads] = max(self.best_gemm.get(threads, 0), wall)
        self.best_cpu_gemm = max(self.best_cpu_gemm, cpu)

    # --- the trainer ----------------------------------------------------------------------------
    def job(self, name, documents, batch, steps, threads, checkpointing):
        folder = self.folder / f"{name}-{threads}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        data = folder / "tokens.jsonl"
        data.write_text("".join(json.dumps(d) + "\n" for d in documents))
        job = {
            "base": str(self.base),
            "out": str(folder / "adapter"),
            "dtype": self.args.dtype,
            "data": {"tokens": str(data)},
            "steps": steps,
            "batch_sequences": batch,
            "lora": LORA,
            "checkpoint_activations": checkpointing,
            "threads": threads,
            "checkpoint_every_steps": 0,
            "checkpoint_every_s": 0,
            "seed": self.args.seed,
        }
        path = folder / "job.yaml"
        path.write_text(json.dumps(job))
        return path

    def train(self, path):
        """Runs the job; (seconds from the program's start to its first step and to its first loss,
        [(wall, cpu) of each later step], peak kB)."""
        metrics = path.parent / "adapter.tmp" / "metrics.jsonl"
        log_path, first_step = path.parent / "log", None
        with open(log_path, "w") as log:
            begun = time.monotonic()
            process = subprocess.Popen(
                [str(self.worker), "train", str(path)], stdout=log, stderr=log
            )
        seen, marks = 0, []
        while True:
            if first_step is None and "first step begins" in log_path.read_text():
                first_step = time.monotonic() - begun
            ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            lines = metrics.read_bytes().count(b"\n") if metrics.exists() else seen
            if lines > seen:
                seen = lines
                marks.append((time.monotonic(), cpu_seconds(process.pid)))
            if ended:
                break
            time.sleep(0.002)
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            sys.exit(f"trimtab-worker train failed:\n{log_path.read_text()[-2000:]}")
        if first_step is None or len(marks) < 2:
            sys.exit("trimtab-worker train: fewer than two steps were seen")
        steps = [(b[0] - a[0], b[1] - a[1]) for a, b in zip(marks, marks[1:])]
        return first_step, marks[0][0] - begun, steps, usage.ru_maxrss

    # --- PEFT -----------------------------------------------------------------------------------
    def peft(self, mode, path, **work):
        if not self.args.peft:
            return None
        spec = self.folder / f"peft-{mode}.json"
        spec.write_text(
            json.dumps(
                {
                    "mode": mode,
                    "base": str(self.base),
                    "lora": LORA,
                    "data": str(path),
                    "seed": self.args.seed,
                    **work,
                }
            )
        )
        return json.loads(
            run([str(self.args.peft), str(HERE / "peft_baseline.py"), str(spec)]).splitlines()[-1]
        )

    # --- the pieces -----------------------------------------------------------------------------
    def training(self, name, documents, batch, steps, threads, checkpointing=False):
        path = self.job(name, documents, batch, steps, threads, checkpointing)
        self.gemm(threads)
        start, first, times, peak = self.train(path)
        other = self.peft(
            "train",
            path.parent / "tokens.jsonl",
            batch=batch,
            steps=min(steps, 1 + len(times)),
            threads=threads,
            checkpointing=checkpointing,
        )
        self.gemm(threads)
        wall, cpu = (statistics.mean(t[i] for t in times) for i in (0, 1))
        tokens = sum(len(d["input_ids"]) for d in documents) * batch / len(documents)
        scale = batch / len(documents)
        supervised = sum(sum(1 for x in d["labels"][1:] if x >= 0) for d in documents)
        flops = scale * self.model.flops(
            [len(d["input_ids"]) for d in documents], supervised, checkpointing
        )
        row = {
            "piece": name,
            "dtype": self.args.dtype,
            "threads": threads,
            "tokens_per_s": tokens / wall,
            "tokens_per_cpu_s": tokens / cpu,
            "examples_per_s": batch / wall,
            "gflops_per_s": flops / wall / 1e9,
            "gflops_per_cpu_s": flops / cpu / 1e9,
            # Above 1 is possible where documents share prefixes: they are counted apart.
            "share": flops / wall / 1e9 / self.best_gemm[threads],
            "cpu_share": flops / cpu / 1e9 / self.best_cpu_gemm,
            "peak_mb": peak / 1e3,
            "start_to_first_step_s": start,
            "start_to_first_loss_s": first,
        }
        if other:
            row["peft"] = other
            row["speed_ratio"] = other["step_s"] / wall
            row["cpu_ratio"] = other["step_cpu_s"] / cpu
            row["memory_ratio"] = peak / other["peak_kb"]
            row["peft_cpu_share"] = flops / other["step_cpu_s"] / 1e9 / self.best_cpu_gemm
            row["peft_share"] = flops / other["step_s"] / 1e9 / self.best_gemm[threads]
        self.show(row)

    def adapter(self):
        """Any trained adapter for the scoring pieces: one step on two short documents."""
        path = self.job("adapter", self.prompt_documents(4), 4, 2, 1, False)
        self.train(path)
        return path.parent / "adapter"

    def timed(self, command):
        begun = time.monotonic()
        with open(self.folder / "score.err", "w") as errors:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
            _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            sys.exit(f"trimtab-worker score failed:\n{(self.folder / 'score.err').read_text()}")
        return time.monotonic() - begun, usage.ru_utime + usage.ru_stime, usage.ru_maxrss

    def score_command(self, path, adapters, threads, *more):
        command = [
            str(self.worker),
            "score",
            "--base",
            str(self.base),
            "--dtype",
            self.args.dtype,
            "--threads",
            str(threads),
            *more,
        ]
        for adapter in adapters:
            command += ["--adapter", str(adapter)]
        return command + [str(path)]

    def scoring(self, threads):
        adapter = self.adapter()
        pairs = self.queries(SCORED)
        items = [
            {"id": str(i), "messages": self.messages(q), "text": t}
            for i, (q, t) in enumerate(pairs)
        ]
        path = self.write_lines("score.jsonl", items)
        empty = self.write_lines("one.jsonl", items[:1])
        both = self.score_command(path, ["none", adapter], threads, "--likelihood")
        start = self.timed(self.score_command(empty, ["none", adapter], threads, "--likelihood"))
        whole = self.timed(both)
        greedy = self.timed(self.score_command(path, ["none", adapter], threads))
        wall, cpu = whole[0] - start[0], whole[1] - start[1]
        row = {
            "piece": "score",
            "dtype": self.args.dtype,
            "threads": threads,
            "examples_per_s": SCORED / wall,
            "examples_per_cpu_s": SCORED / cpu,
            "start_s": start[0],
            "peak_mb": whole[2] / 1e3,
            "with_greedy_answers_examples_per_s": SCORED / (greedy[0] - start[0]),
        }
        if self.args.peft:
            ids = zip(
                self.ids(self.prompts([self.messages(q) for q, _ in pairs])),
                self.ids([t for _, t in pairs]),
            )
            tokens = self.write_lines(
                "score-ids.jsonl", [{"prompt": p, "target": t} for p, t in ids]
            )
            other = self.peft(
                "score", tokens, adapter=str(adapter), batch=PROMPT_BATCH, threads=threads
            )
            row["peft"] = other
            row["speed_ratio"] = other["seconds"] / wall
            row["cpu_ratio"] = other["cpu_s"] / cpu
        self.show(row)

    def ranking(self, threads):
        """15 labels behind one prompt that lists them: shared prefix against each one whole."""
        adapter = self.adapter()
        labels = sorted({t for _, t in self.queries(400)})[:LABELS]
        texts = [f"{q}\nChoose one of: {', '.join(labels)}." for q, _ in self.queries(20)]
        shared = [
            {"id": str(i), "messages": self.messages(t), "labels": labels}
            for i, t in enumerate(texts)
        ]
        whole = [
            {"id": f"{i}-{l}", "messages": self.messages(t), "text": l}
            for i, t in enumerate(texts)
            for l in labels
        ]
        # Whole: each by itself; in a batch they would share their beginning too.
        common = [[adapter], threads, "--likelihood", "--batch", "1"]
        times = {}
        for name, items in [("shared", shared), ("whole", whole)]:
            one = self.write_lines("one.jsonl", items[:1])
            lines = self.write_lines(f"{name}.jsonl", items)
            start = self.timed(self.score_command(one, *common))
            both = self.timed(self.score_command(lines, *common))
            times[name] = (both[0] - start[0], both[1] - start[1])
        self.show(
            {
                "piece": "rank",
                "threads": threads,
                "labels": len(labels),
                "items_per_s": len(shared) / times["shared"][0],
                "against_whole": times["whole"][0] / times["shared"][0],
                "cpu_against_whole": times["whole"][1] / times["shared"][1],
            }
        )

    def show(self, row):
        row["gemm_gflops_per_s"] = self.best_gemm.get(row["threads"])
        row["gemm_gflops_per_cpu_s"] = self.best_cpu_gemm
        self.rows.append(row)
        print(json.dumps(row, default=str), flush=True)

    def all(self):
        only = self.args.only.split(",")
        for threads in (int(t) for t in self.args.threads.split(",")):
            if "full" in only:
                self.training("full", self.full_documents(), 2, self.args.steps, threads)
            if "checkpointing" in only:
                self.training(
                    "checkpointing", self.full_documents(), 2, self.args.steps, threads, True
                )
            if "prompts" in only:
                self.training(
                    "prompts", self.prompt_documents(PROMPT_BATCH * 8), PROMPT_BATCH, 8, threads
                )
            if "score" in only:
                self.scoring(threads)
            if "rank" in only:
                self.ranking(threads)
        if self.args.out:
            self.args.out.write_text(json.dumps(self.rows, indent=1))
        shutil.rmtree(self.folder)


def cpu_seconds(pid):
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", type=pathlib.Path, required=True, help="a snapshot folder")
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--threads", default="1,2" if (os.cpu_count() or 1) > 1 else "1")
    parser.add_argument(
        "--peft", type=pathlib.Path, help="a Python with torch, transformers and peft"
    )
    parser.add_argument("--only", default=",".join(PIECES))
    parser.add_argument(
        "--dtype",
        default="float32",
        choices=["float32", "bfloat16"],
        help="of the trainer's frozen weights; PEFT and the matrix-product rate stay fp32",
    )
    parser.add_argument(
        "--steps", type=int, default=3, help="of the 2 x 512 pieces; the first is not counted"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--clinc", type=pathlib.Path, default=ROOT.parent / "shared" / "data" / "clinc150"
    )
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    unknown = set(args.only.split(",")) - set(PIECES)
    if unknown:
        parser.error(f"--only: unknown {sorted(unknown)}; known: {','.join(PIECES)}")
    print(f"seed {args.seed}", file=sys.stderr)
    Bench(args).all()


if __name__ == "__main__":
    main()
