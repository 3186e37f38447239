"""The work of train_bench.py through PEFT, in an interpreter that has torch, transformers, peft.

    python3 -m venv build/peft && build/peft/bin/pip install 'torch==2.8.*' transformers peft
    ./dev bench train --base DIR --peft build/peft/bin/python

One argument: a JSON file with the work; the last line of the output is a JSON object. Not part of
./dev test. fp32, the model's default attention (SDPA), batches padded to their longest, torch's
AdamW; gradient checkpointing without reentrance, as transformers recommends.
"""

import json
import resource
import sys
import time

BEGUN = time.monotonic()

import torch  # noqa: E402
from peft import LoraConfig, PeftModel, get_peft_model  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

IMPORTED = time.monotonic()


def read_lines(path):
    with open(path) as file:
        return [json.loads(line) for line in file]


def padded(rows, value):
    longest = max(len(r) for r in rows)
    return torch.tensor([r + [value] * (longest - len(r)) for r in rows])


def batch_of(documents):
    ids = [d["input_ids"] for d in documents]
    return {
        "input_ids": padded(ids, 0),
        "labels": padded([d["labels"] for d in documents], -100),
        "attention_mask": padded([[1] * len(i) for i in ids], 0),
    }


def train(work, base):
    config = LoraConfig(
        r=work["lora"]["r"],
        lora_alpha=work["lora"]["lora_alpha"],
        lora_dropout=0.0,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    if work["checkpointing"]:
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        base.enable_input_require_grads()
    model = get_peft_model(base, config)
    model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=2e-4, weight_decay=0.0)
    documents = read_lines(work["data"])
    ready = time.monotonic()
    marks = []
    for step in range(work["steps"]):
        first = step * work["batch"] % len(documents)
        batch = batch_of(documents[first : first + work["batch"]])
        loss = model(**batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        marks.append((time.monotonic(), time.process_time()))
    steps = [(b[0] - a[0], b[1] - a[1]) for a, b in zip(marks, marks[1:])]
    return {
        "step_s": sum(s[0] for s in steps) / len(steps),
        "step_cpu_s": sum(s[1] for s in steps) / len(steps),
        "ready_s": ready - BEGUN,
        "loss": float(loss),
    }


@torch.inference_mode()
def target_logprobs(model, items, batch):
    sums = []
    for first in range(0, len(items), batch):
        part = items[first : first + batch]
        ids = [i["prompt"] + i["target"] for i in part]
        logits = model(
            input_ids=padded(ids, 0), attention_mask=padded([[1] * len(i) for i in ids], 0)
        ).logits
        for row, item in zip(logits, part):
            begin = len(item["prompt"]) - 1
            target = torch.tensor(item["target"])
            logp = row[begin : begin + len(target)].log_softmax(-1)
            sums.append(float(logp.gather(1, target[:, None]).mean()))
    return sums


def score(work, base):
    model = PeftModel.from_pretrained(base, work["adapter"]).eval()
    items = read_lines(work["data"])
    with model.disable_adapter():
        target_logprobs(model, items[:1], work["batch"])  # the first call is not counted
    begun, cpu = time.monotonic(), time.process_time()
    with model.disable_adapter():
        without = target_logprobs(model, items, work["batch"])
    with_adapter = target_logprobs(model, items, work["batch"])
    return {
        "seconds": time.monotonic() - begun,
        "cpu_s": time.process_time() - cpu,
        "mean_base": sum(without) / len(without),
        "mean_adapter": sum(with_adapter) / len(with_adapter),
    }


def main():
    with open(sys.argv[1]) as file:
        work = json.load(file)
    torch.manual_seed(work["seed"])
    torch.set_num_threads(work["threads"])
    base = AutoModelForCausalLM.from_pretrained(work["base"], dtype=torch.float32)
    result = {"train": train, "score": score}[work["mode"]](work, base)
    result["import_s"] = IMPORTED - BEGUN
    result["peak_kb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps(result))


if __name__ == "__main__":
    main()
