#!/usr/bin/env python3
"""LoRA finetuning of a Llama on several GPUs with PyTorch: transformers, peft, and DDP or FSDP.  A line of JSON per way.

    torchrun --standalone --nproc-per-node 2 bench/peers_ranks.py --shape llama3-8b --way ddp fsdp

What a user would run instead of `bench_llama_step --gpus 2 --stage finetune`: softmax attention (scaled_dot_product_attention), random
bf16 weights, LoRA of rank 8 on q, k, v, o in fp32, AdamW, clipping at 1, `--batch` rows of `--length` tokens on each GPU, the median of
`--repeats` whole updates.  FSDP is fully_shard of every layer and of the model: a rank holds its share of the base and of the adapters.
`--checkpointing` runs layers again in the backward pass.  A way that runs out of memory has "milliseconds": null.
"""
import argparse
import json
import os
import statistics
import time

SHAPES = {"llama3-8b": (4096, 32, 32, 8, 14336, 128256), "llama3-70b": (8192, 80, 64, 8, 28672, 128256), "tiny": (512, 2, 8, 2, 1024, 1000)}

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--shape", choices=SHAPES, default="llama3-8b")
parser.add_argument("--layers", type=int, default=0, help="0: all of the shape")
parser.add_argument("--way", nargs="+", choices=["ddp", "fsdp"], default=["ddp", "fsdp"])
parser.add_argument("--batch", type=int, default=8, help="rows of each GPU")
parser.add_argument("--length", type=int, default=1024)
parser.add_argument("--checkpointing", action="store_true")
parser.add_argument("--warmup", type=int, default=2)
parser.add_argument("--repeats", type=int, default=5)
options = parser.parse_args()

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402
from torch.distributed.fsdp import fully_shard  # noqa: E402
from torch.nn.parallel import DistributedDataParallel  # noqa: E402
from transformers import LlamaConfig, LlamaForCausalLM  # noqa: E402
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding  # noqa: E402

on_gpu = torch.cuda.is_available()
rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if on_gpu else torch.device("cpu")
if on_gpu:
    torch.cuda.set_device(device)
dist.init_process_group("nccl" if on_gpu else "gloo")


def model_of(shape, way):
    hidden, layers, heads, kv_heads, intermediate, vocabulary = SHAPES[shape]
    config = LlamaConfig(hidden_size=hidden, num_hidden_layers=options.layers or layers, num_attention_heads=heads,
                         num_key_value_heads=kv_heads, intermediate_size=intermediate, vocab_size=vocabulary,
                         max_position_embeddings=8192, use_cache=False, attn_implementation="sdpa")
    with torch.device("meta"):
        model = LlamaForCausalLM(config).to(torch.bfloat16)
        model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "k_proj", "v_proj", "o_proj"]))
    if options.checkpointing:
        model.base_model.model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    inner = model.base_model.model.model
    if way == "fsdp":
        for layer in inner.layers:
            fully_shard(layer)
        fully_shard(model)
    model.to_empty(device=device)
    inner.rotary_emb = LlamaRotaryEmbedding(config).to(device)  # a buffer that to_empty leaves without values
    with torch.no_grad():
        for name, p in model.named_parameters():
            local = p.to_local() if way == "fsdp" else p
            local.fill_(0) if "lora_B" in name else local.fill_(1) if "norm" in name else local.normal_(std=0.02)
    return DistributedDataParallel(model, device_ids=[device.index] if on_gpu else None) if way == "ddp" else model


def measure(way):
    torch.manual_seed(0)  # the same base on all ranks of DDP
    model = model_of(options.shape, way)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0)
    torch.manual_seed(1 + rank)
    tokens = torch.randint(0, SHAPES[options.shape][5], (options.batch, options.length), device=device)
    seconds = []
    for i in range(options.warmup + options.repeats):
        dist.barrier()
        if on_gpu:
            torch.cuda.synchronize()
        start = time.perf_counter()
        optimizer.zero_grad()
        loss = model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        if on_gpu:
            torch.cuda.synchronize()
        if i >= options.warmup:
            seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds)
    return {"milliseconds": round(1e3 * median, 2), "tokens_per_second": round(ranks * tokens.numel() / median), "loss": round(loss.item(), 3),
            "gpu_gib": round(torch.cuda.max_memory_reserved() / 2**30, 1) if on_gpu else None}


for way in options.way:
    line = {"bench": "llama_step", "implementation": f"pytorch {torch.__version__} {way}", "model_shape": options.shape, "stage": "finetune",
            "student": "softmax", "gpus": ranks, "batch": ranks * options.batch, "length": options.length, "recompute": options.checkpointing,
            "device": torch.cuda.get_device_name() if on_gpu else "cpu", "milliseconds": None}
    try:
        line.update(measure(way))
    except torch.cuda.OutOfMemoryError as error:
        line["reason"] = str(error).split("\n")[0][:120]
    if rank == 0:
        print(json.dumps(line), flush=True)
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
dist.destroy_process_group()
