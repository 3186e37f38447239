#!/usr/bin/env python3
"""Writes peft_cases.json: loss curves of Hugging Face PEFT for what the shared goldens do not cover.

    make_peft_cases.py VECTORS_LORA_DIR OUT.json

Needs torch, transformers and peft (made with 2.8.0, 5.24.0, 0.21.2). Model, data and plan are those
of train/llama; adapters begin as filled() says, so that no weights have to be stored.
"""
import json
import math
import os
import sys

import torch
from peft import LoraConfig, get_peft_model
from peft.optimizers import create_loraplus_optimizer
from transformers import AutoModelForCausalLM

root, out = sys.argv[1], sys.argv[2]
torch.manual_seed(0)
torch.set_num_threads(1)
case = json.load(open(os.path.join(root, "train/llama/case.json")))
STEPS, LR = 10, 2e-3
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

CASES = [
    {"name": "loraplus", "lora": {"r": 4, "lora_alpha": 8}, "loraplus_lr_ratio": 8.0, "weight_decay": 0.01},
    {"name": "pissa", "lora": {"r": 4, "lora_alpha": 4, "init_lora_weights": "pissa"}},
    {"name": "pissa_rslora", "lora": {"r": 4, "lora_alpha": 8, "use_rslora": True, "init_lora_weights": "pissa"}},
    {"name": "dora", "lora": {"r": 4, "lora_alpha": 8, "use_dora": True}},
    {"name": "layers", "lora": {"r": 4, "lora_alpha": 8, "layers_to_transform": [1]}},
    {"name": "patterns_rslora", "lora": {"r": 4, "lora_alpha": 8, "use_rslora": True,
                                         "rank_pattern": {"q_proj": 2, "layers.1.mlp.down_proj": 6},
                                         "alpha_pattern": {"v_proj": 12}}},
    {"name": "dora_loraplus", "lora": {"r": 4, "lora_alpha": 8, "use_dora": True}, "loraplus_lr_ratio": 4.0},
]


def filled(names_and_parameters):
    """Parameter p (sorted by name), element k: 0.05 sin(0.7 k + p); magnitudes times 1 + that."""
    for p, (name, parameter) in enumerate(sorted(names_and_parameters)):
        values = torch.tensor([0.05 * math.sin(0.7 * k + p) for k in range(parameter.numel())], dtype=torch.float64)
        values = values.reshape(parameter.shape).to(parameter.dtype)
        with torch.no_grad():
            if "magnitude" in name:
                parameter.mul_(1 + values)
            else:
                parameter.copy_(values)


def run(spec):
    model = AutoModelForCausalLM.from_pretrained(os.path.join(root, case["model"]), dtype=torch.float32,
                                                 attn_implementation="eager")
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", target_modules=ALL, lora_dropout=0.0, **spec["lora"]))
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    if "init_lora_weights" not in spec["lora"]:
        filled([(n.replace(".default", ""), p) for n, p in named])
    decay = spec.get("weight_decay", 0.0)
    if "loraplus_lr_ratio" in spec:
        optimizer = create_loraplus_optimizer(model, torch.optim.AdamW, lr=LR, loraplus_lr_ratio=spec["loraplus_lr_ratio"],
                                              loraplus_weight_decay=decay, eps=1e-8, betas=(0.9, 0.999))
    else:
        optimizer = torch.optim.AdamW([p for _, p in named], lr=LR, weight_decay=decay)
    losses, norms = [], []
    for step in case["plan"][:STEPS]:
        supervised = sum(1 for micro in step for i in micro for label in case["data"][i]["labels"][1:] if label != -100)
        optimizer.zero_grad()
        total = 0.0
        for micro in step:
            for i in micro:
                ids = torch.tensor([case["data"][i]["input_ids"]])
                labels = torch.tensor(case["data"][i]["labels"][1:])
                logits = model(input_ids=ids).logits[0, :-1].float()
                loss = torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum") / supervised
                if loss.requires_grad and loss.isfinite():
                    loss.backward()
                total += loss.item()
        norms.append(torch.nn.utils.clip_grad_norm_([p for _, p in named], 1.0).item())
        optimizer.step()
        losses.append(total)
    return {**spec, "loss": losses, "grad_norm": norms}


import peft
import transformers

document = {"made_with": {"torch": torch.__version__, "transformers": transformers.__version__, "peft": peft.__version__},
            "data": "train/llama", "steps": STEPS, "lr": LR, "cases": [run(spec) for spec in CASES]}
json.dump(document, open(out, "w"), indent=1)
print("\n".join(f"{c['name']}: {c['loss'][0]:.6f} .. {c['loss'][-1]:.6f}" for c in document["cases"]))
