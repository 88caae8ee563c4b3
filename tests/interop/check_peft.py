#!/usr/bin/env python3
"""Loads an adapter that write_adapter wrote with Python's peft, and compares the logits.

    write_adapter BASE OUT && check_peft.py BASE OUT

Needs torch, transformers, peft and safetensors.  Ends with status 1 if a logit is off by more than 1e-4 of the largest.
"""
import sys

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

base, out = sys.argv[1:3]
expected = load_file(f"{out}/logits.safetensors")
model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
model = PeftModel.from_pretrained(model, out).eval()
for name, m in (("unmerged", model), ("merged", model.merge_and_unload())):
    with torch.no_grad():
        logits = m(expected["ids"]).logits
    error = ((logits - expected["logits"]).abs().max() / expected["logits"].abs().max()).item()
    print(f"{name}: largest difference {error:.2e} of the largest logit")
    if not error <= 1e-4:
        sys.exit(1)
