#!/usr/bin/env python3
"""Random checkpoints written by transformers, adapters by peft: our program must give their logits.

    check_qwen.py WRITE_LOGITS [FOLDER]

WRITE_LOGITS is the program of tests/interop/write_logits.cpp.  Families: Llama with llama3 scaling, Mistral with its
window, Qwen2 (tied, untied, with a window), Qwen3; configs as transformers 5 writes them and in version 4's keys;
adapters of several ranks, targets and kinds, merged and unmerged; and back: what we write, transformers loads.
Needs torch, transformers 5, peft and safetensors.  Ends with status 1 if a logit is off by more than 1e-4 of the largest.
"""
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from peft import EvaConfig, LoraConfig, PeftModel, get_peft_model, initialize_lora_eva_weights
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config
from transformers.utils import logging

PROGRAM = sys.argv[1]
ROOT = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else tempfile.mkdtemp())
SIZES = dict(vocab_size=83, hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=6,
             num_key_value_heads=2, max_position_embeddings=256, bos_token_id=1, eos_token_id=2)
PLAIN = {"rope_type": "default", "rope_theta": 1e6}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}
FAMILIES = {
    "llama": LlamaConfig(**SIZES, rope_parameters=LLAMA3, tie_word_embeddings=True),
    "mistral": MistralConfig(**SIZES, rope_parameters=PLAIN, sliding_window=5, head_dim=8),
    "qwen2": Qwen2Config(**SIZES, rope_parameters=PLAIN, sliding_window=7, max_window_layers=2),
    "qwen2_tied": Qwen2Config(**SIZES, rope_parameters=PLAIN, tie_word_embeddings=True),
    "qwen2_window": Qwen2Config(**SIZES, rope_parameters=PLAIN, use_sliding_window=True, sliding_window=5,
                                max_window_layers=0),
    "qwen3": Qwen3Config(**SIZES, rope_parameters=PLAIN, head_dim=16),
    "qwen3_tied": Qwen3Config(**SIZES, rope_parameters=LLAMA3, head_dim=12, tie_word_embeddings=True),
}
QKVO = ["q_proj", "k_proj", "v_proj", "o_proj"]
ADAPTERS = {
    "qkvo": LoraConfig(r=8, lora_alpha=16, target_modules=QKVO),
    "rslora_all": LoraConfig(r=3, lora_alpha=5, target_modules="all-linear", use_rslora=True),
    "expression": LoraConfig(r=2, lora_alpha=3, target_modules=r"^(?!.*layers\.0).*\.(q|down)_proj$"),
    "patterns": LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "up_proj"],
                           rank_pattern={"q_proj": 7, r"layers\.1.*up_proj": 1}, alpha_pattern={"v_proj": 3}),
    "eva": LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "down_proj"], init_lora_weights="eva",
                      eva_config=EvaConfig(rho=2.0)),
}
worst = 0.0
logging.set_verbosity_error()
logging.disable_progress_bar()


def off(what, got, expected):
    global worst
    error = ((got - expected).abs().max() / expected.abs().max()).item()
    worst = max(worst, error if error == error else float("inf"))
    print(f"{what}: {error:.1e}{'' if error <= 1e-4 else '   <-- TOO FAR'}")


def shake(model):
    """Every weight matters: biases are not zero, norms not one."""
    for name, parameter in model.named_parameters():
        with torch.no_grad():
            parameter.normal_(0, 0.25)
            if "norm" in name:
                parameter.add_(1)


def version_four(path):
    """The same config in the keys of transformers 4."""
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    config["torch_dtype"] = config.pop("dtype")
    config.pop("layer_types", None)
    config["transformers_version"] = "4.57.0"
    path.write_text(json.dumps(config))


def ours(base, out, *adapter):
    subprocess.run([PROGRAM, base, ROOT / "ids.safetensors", out, *adapter], check=True)
    return load_file(out / "logits.safetensors")


torch.manual_seed(3)
ids = torch.randint(0, SIZES["vocab_size"], (2, 40))
save_file({"ids": ids}, ROOT / "ids.safetensors")
for family, config in FAMILIES.items():
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    shake(model)
    with torch.no_grad():
        expected = model(ids).logits
    base = ROOT / family
    model.save_pretrained(base)
    off(f"{family}, keys of version 5", ours(base, base / "out5")["logits"], expected)
    version_four(base / "config.json")
    off(f"{family}, keys of version 4", ours(base, base / "out4")["logits"], expected)
    again = AutoModelForCausalLM.from_pretrained(base / "out4" / "again", dtype=torch.float32).eval()
    with torch.no_grad():
        off(f"{family}, written by us", again(ids).logits, expected)

    for kind, lora in ADAPTERS.items():
        tuned = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), lora)
        if kind == "eva":
            batches = [{"input_ids": torch.randint(0, SIZES["vocab_size"], (4, 40))} for _ in range(8)]
            initialize_lora_eva_weights(tuned, dataloader=batches, show_progress_bar=False)
        for name, parameter in tuned.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, 0, 0.25)
        tuned.save_pretrained(base / kind)
        # What the folder says, not what is in memory.
        tuned = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), base / kind).eval()
        with torch.no_grad():
            expected_here = tuned(ids).logits
            merged = tuned.merge_and_unload()(ids).logits
        got = ours(base, base / kind / "out", base / kind)
        for name in ("merged", "unmerged"):
            if name in got:
                off(f"{family}, {kind}, {name}", got[name], merged if name == "merged" else expected_here)
        moved = (expected_here - expected).abs().max() / expected.abs().max()
        assert moved > 1e-2, f"the adapter does nothing: {moved}"

print(f"largest difference {worst:.1e} of the largest logit")
sys.exit(0 if worst <= 1e-4 else 1)
