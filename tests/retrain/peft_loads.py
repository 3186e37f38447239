#!/usr/bin/env python3
"""Hugging Face's own libraries read what trimtab-worker writes, and give the same logits.

    peft_loads.py WORKER VECTORS_LORA_DIR

Run by an interpreter that has torch, transformers and peft (gguf when it is there, too):
TRIMTAB_PEFT_PYTHON, else build/peft/bin/python; peft_loads.sh skips without one. Adapters of several
kinds are trained for a few steps, then read back: the PEFT folder, its folded copy, the merged
snapshot in fp32 and bf16, the GGUF file."""
import json
import os
import subprocess
import sys
import tempfile

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

worker, root = sys.argv[1], sys.argv[2]
torch.set_num_threads(1)
case = json.load(open(os.path.join(root, "train/llama/case.json")))
failures = []

KINDS = {
    "plain": {"r": 4, "lora_alpha": 8},
    "patterns_rslora": {"r": 4, "lora_alpha": 8, "use_rslora": True, "rank_pattern": {"q_proj": 2, "down_proj": 6},
                        "alpha_pattern": {"v_proj": 12}},
    "dora": {"r": 4, "lora_alpha": 8, "use_dora": True},
    "pissa": {"r": 4, "lora_alpha": 4, "init_lora_weights": "pissa"},
    "layers": {"r": 4, "lora_alpha": 8, "layers_to_transform": [1]},
}


def call(*words):
    done = subprocess.run([worker, *words], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{words[0]}: exit {done.returncode}: {done.stderr.strip()}")


def check(what, got, want, tolerance):
    off = (got - want).abs().max().item()
    if not off <= tolerance:
        failures.append(f"{what}: off by {off:.3g}, allowed {tolerance:g}")
    print(f"{'ok  ' if off <= tolerance else 'FAIL'} {what}: {off:.2g}")


def ours(base, folder, ids, tmp):
    save_file({"input_ids": ids}, tmp + "/in.safetensors")
    call("logits", "--base", base, "--adapter", folder, "--ids", tmp + "/in.safetensors", "--out", tmp + "/out.safetensors")
    return load_file(tmp + "/out.safetensors")["logits"]


def gguf_check(name, base, folder, tmp):
    try:
        from gguf import GGUFReader
    except ImportError:
        print("SKIPPED: gguf is not installed in this Python")
        return
    call("export-gguf", "--base", base, "--adapter", folder, "--out", tmp + "/a.gguf")
    reader = GGUFReader(tmp + "/a.gguf")
    fields = {k: f.parts[f.data[0]] for k, f in reader.fields.items()}
    alpha = float(fields["adapter.lora.alpha"][0])
    if bytes(fields["general.type"]) != b"adapter" or bytes(fields["adapter.type"]) != b"lora":
        failures.append(name + " gguf: not an adapter")
    tensors = {t.name: torch.from_numpy(t.data.copy()) for t in reader.tensors}
    folded = load_file(folder + "/folded/adapter_model.safetensors")
    config = json.load(open(base + "/config.json"))
    worst = 0.0
    for key in [k for k in folded if k.endswith("lora_A.weight")]:
        layer, module = key.split("layers.")[1].split(".")[0], key.split(".")[-3]
        part = {"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output", "gate_proj": "ffn_gate",
                "up_proj": "ffn_up", "down_proj": "ffn_down"}[module]
        a, b = tensors[f"blk.{layer}.{part}.weight.lora_a"], tensors[f"blk.{layer}.{part}.weight.lora_b"]
        want_b = folded[key.replace("lora_A", "lora_B")]
        heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}.get(module)
        if heads:  # convert_hf_to_gguf.py, LlamaModel.permute
            want_b = want_b.reshape(heads, 2, want_b.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(want_b.shape)
        scale = alpha / a.shape[0]  # llama.cpp: alpha / rank
        worst = max(worst, (scale * (b @ a) - want_b @ folded[key]).abs().max().item())
    if len(tensors) != len(folded) or not worst < 1e-6:
        failures.append(f"{name} gguf: {len(tensors)} tensors for {len(folded)}, products off by {worst:.3g}")
    print(f"ok   {name} gguf: {len(tensors)} tensors, {worst:.2g}")


def run(name, lora, tmp):
    base = os.path.join(root, case["model"])
    with open(tmp + "/data.jsonl", "w") as f:
        f.writelines(json.dumps(x) + "\n" for x in case["data"])
    job = {"base": base, "out": tmp + "/out", "dtype": "float32", "data": {"tokens": tmp + "/data.jsonl"}, "lora": lora, "steps": 6,
           "optimizer": {"lr": 0.02}, "schedule": {"name": "constant", "warmup_steps": 0}, "threads": 1}
    json.dump(job, open(tmp + "/job.yaml", "w"))
    call("train", tmp + "/job.yaml")
    ids = torch.tensor([case["data"][0]["input_ids"][:24]])
    want = ours(base, tmp + "/out", ids, tmp)

    def load(path, dtype=torch.float32):
        return AutoModelForCausalLM.from_pretrained(path, dtype=dtype, attn_implementation="eager").eval()

    with torch.no_grad():
        bare = load(base)(input_ids=ids).logits.float()
        if (bare - want).abs().max().item() < 1e-2:
            failures.append(name + ": training changed nothing, so nothing is compared")
        check(name + " PEFT folder", PeftModel.from_pretrained(load(base), tmp + "/out")(input_ids=ids).logits, want, 1e-4)
        if not lora.get("use_dora"):
            check(name + " folded copy", PeftModel.from_pretrained(load(base), tmp + "/out/folded")(input_ids=ids).logits, want, 1e-4)
            gguf_check(name, base, tmp + "/out", tmp)
        call("merge", "--base", base, "--adapter", tmp + "/out", "--out", tmp + "/merged", "--dtype", "float32")
        check(name + " merged fp32", load(tmp + "/merged")(input_ids=ids).logits, want, 1e-4)
        call("merge", "--base", base, "--adapter", tmp + "/out", "--out", tmp + "/merged16", "--dtype", "bfloat16")
        stored = load_file(tmp + "/merged16/model.safetensors")
        if any(t.dtype != torch.bfloat16 for t in stored.values()):
            failures.append(name + ": merged bf16 holds other types")
        exact = load_file(tmp + "/merged/model.safetensors")
        rounding = max(((stored[k].float() - exact[k].float()).abs() / exact[k].float().abs().clamp(min=1e-6)).max().item() for k in exact)
        check(name + " merged bf16", torch.tensor([rounding]), torch.tensor([0.0]), 2.0 ** -8)
        load(tmp + "/merged16", torch.bfloat16)(input_ids=ids)


for kind, lora in KINDS.items():
    with tempfile.TemporaryDirectory() as folder:
        run(kind, lora, folder)
for failure in failures:
    print("FAIL", failure)
print(f"{len(failures)} failures")
sys.exit(1 if failures else 0)
