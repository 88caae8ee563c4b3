#!/usr/bin/env python3
"""The same training steps in PyTorch, as the published LoLCATs code computes them.

A Llama of the sizes of stories260K with random weights; Hedgehog maps of 8 columns and a terraced window of 64, LoRA of
rank 8 on q, k, v and o.  Attention forms its N x N weights: keys and values repeated for the query heads, scores
and feature products of all pairs, masks made of the positions, one shared normalizer.  Timed is a whole update: forward,
backward, clipping, AdamW.  Prints a line of JSON for every stage, with the fields of bench_step.

Formulas: LoLCATs, arXiv:2410.10254, Eq. 7.  Needs PyTorch (Debian: python3-torch).
"""
import argparse
import json
import math
import os
import statistics
import time

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--stage", nargs="+", default=["finetune"], choices=["transfer", "finetune"])
parser.add_argument("--student", default="hedgehog8-terraced64",
                    choices=["hedgehog8-terraced64", "hedgehog8-sliding16", "hedgehog8-linear", "softmax"])
parser.add_argument("--batch", type=int, default=8)
parser.add_argument("--length", type=int, default=512)
parser.add_argument("--threads", type=int, default=os.cpu_count())
parser.add_argument("--warmup", type=int, default=1)
parser.add_argument("--repeats", type=int, default=3)
options = parser.parse_args()
os.environ["OMP_NUM_THREADS"] = str(options.threads)

import torch  # noqa: E402  (reads OMP_NUM_THREADS)
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

VOCABULARY, WIDTH, LAYERS, HEADS, KV_HEADS, HEAD, INNER = 512, 64, 5, 8, 4, 8, 172
PROJECTED, RANK, ALPHA = 8, 8, 16
WINDOWS = {"hedgehog8-terraced64": ("terraced", 64), "hedgehog8-sliding16": ("sliding", 16), "hedgehog8-linear": ("nothing", 0)}


class LoraLinear(nn.Module):
    """x W^T + (alpha / rank) x A^T B^T."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.base = nn.Linear(inputs, outputs, bias=False)
        self.lora_a = nn.Linear(inputs, RANK, bias=False)
        self.lora_b = nn.Linear(RANK, outputs, bias=False)
        nn.init.zeros_(self.lora_b.weight)
        self.adapter = True

    def forward(self, x):
        y = self.base(x)
        return y + ALPHA / RANK * self.lora_b(self.lora_a(x)) if self.adapter else y


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * self.weight


def rotate(x, cos, sin):
    """Rotary embedding of (N, H, T, D), halves paired."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


def softmax_attention(q, k, v):
    """Causal; (N, H, T, D)."""
    length = q.shape[2]
    future = torch.ones(length, length, dtype=torch.bool).triu(1)
    scores = (q @ k.transpose(-1, -2) / math.sqrt(HEAD)).masked_fill(future, -math.inf)
    return scores.softmax(dim=-1) @ v


class HybridAttention(nn.Module):
    """Near keys by softmax, far keys by feature maps, one normalizer; N x N weights."""

    def __init__(self, window):
        super().__init__()
        self.window = window
        start = torch.eye(HEAD, PROJECTED).repeat(HEADS, 1, 1)
        self.map_q = nn.Parameter(start.clone())
        self.map_k = nn.Parameter(start.clone())
        self.window_factors = nn.Parameter(torch.full((1, HEADS, 1, 1), math.log(0.1 / 0.9)))

    def near(self, length):
        """Masks (T, T) of near and of far keys."""
        kind, width = self.window
        n, j = torch.arange(length)[:, None], torch.arange(length)[None]
        begin = {"terraced": ((n // width - 1) * width).clamp(min=0) if width else n,
                 "sliding": (n - width + 1).clamp(min=0), "nothing": n + 1}[kind]
        return (begin <= j) & (j <= n), j < begin

    @staticmethod
    def features(x, w):
        z = torch.einsum("nhtd,hdf->nhtf", x, w)
        return torch.cat([z.softmax(dim=-1), (-z).softmax(dim=-1)], dim=-1).clamp(min=1e-12)

    def forward(self, q, k, v):
        phi_q, phi_k = self.features(q, self.map_q), self.features(k, self.map_k)
        if self.window[0] == "nothing":
            causal = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool).tril()
            weights = (phi_q @ phi_k.transpose(-1, -2)).masked_fill(~causal, 0)
            return weights / (weights.sum(dim=-1, keepdim=True) + 1e-12) @ v
        near, far = self.near(q.shape[2])
        scores = (q @ k.transpose(-1, -2) / math.sqrt(HEAD)).masked_fill(~near, -math.inf)
        weights = torch.sigmoid(self.window_factors) * torch.exp(scores - scores.amax(dim=-1, keepdim=True))
        weights = weights + (phi_q @ phi_k.transpose(-1, -2)).masked_fill(~far, 0)
        return weights / weights.sum(dim=-1, keepdim=True) @ v


class Layer(nn.Module):
    def __init__(self, window):
        super().__init__()
        self.norm, self.mlp_norm = Norm(), Norm()
        self.q, self.o = LoraLinear(WIDTH, HEADS * HEAD), LoraLinear(HEADS * HEAD, WIDTH)
        self.k, self.v = LoraLinear(WIDTH, KV_HEADS * HEAD), LoraLinear(WIDTH, KV_HEADS * HEAD)
        self.gate, self.up = nn.Linear(WIDTH, INNER, bias=False), nn.Linear(WIDTH, INNER, bias=False)
        self.down = nn.Linear(INNER, WIDTH, bias=False)
        self.attention = HybridAttention(window) if window else None

    def project(self, x, cos, sin):
        x = self.norm(x)
        heads = lambda y, count: y.view(*y.shape[:2], count, HEAD).transpose(1, 2)  # noqa: E731
        q = rotate(heads(self.q(x), HEADS), cos, sin)
        k = rotate(heads(self.k(x), KV_HEADS), cos, sin)
        v = heads(self.v(x), KV_HEADS)
        return q, k.repeat_interleave(HEADS // KV_HEADS, dim=1), v.repeat_interleave(HEADS // KV_HEADS, dim=1)

    def finish(self, x, y):
        x = x + self.o(y.transpose(1, 2).reshape(*x.shape[:2], HEADS * HEAD))
        z = self.mlp_norm(x)
        return x + self.down(F.silu(self.gate(z)) * self.up(z))

    def forward(self, x, cos, sin):
        q, k, v = self.project(x, cos, sin)
        return self.finish(x, self.attention(q, k, v) if self.attention else softmax_attention(q, k, v))


class Llama(nn.Module):
    def __init__(self, window):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.layers = nn.ModuleList([Layer(window) for _ in range(LAYERS)])
        self.norm = Norm()
        for name, p in self.named_parameters():
            p.requires_grad_(False)
            if p.dim() == 2 and "lora_b" not in name:
                nn.init.normal_(p, std=0.02)

    def rotary(self, length):
        frequencies = 10000.0 ** (-torch.arange(0, HEAD, 2) / HEAD)
        angles = torch.arange(length)[:, None] * frequencies
        angles = torch.cat([angles, angles], dim=-1)
        return angles.cos(), angles.sin()

    def loss(self, tokens):
        """Mean next-token loss."""
        rotary = self.rotary(tokens.shape[1])
        x = self.embedding(tokens)
        for layer in self.layers:
            x = layer(x, *rotary)
        logits = F.linear(self.norm(x), self.embedding.weight)
        return F.cross_entropy(logits[:, :-1].reshape(-1, VOCABULARY), tokens[:, 1:].reshape(-1))

    def transfer_loss(self, tokens):
        """1000 times the mean squared error between both attentions; softmax goes on to the next layer."""
        rotary = self.rotary(tokens.shape[1])
        x, error = self.embedding(tokens), 0
        for layer in self.layers:
            q, k, v = layer.project(x, *rotary)
            y = softmax_attention(q, k, v)
            error = error + F.mse_loss(layer.attention(q, k, v), y)
            x = layer.finish(x, y)
        return 1000 * error / LAYERS


def measure(stage):
    torch.manual_seed(0)
    model = Llama(WINDOWS.get(options.student))
    wanted = "lora_" if stage == "finetune" else "attention."
    trained = [p for name, p in model.named_parameters() if wanted in name]
    for p in trained:
        p.requires_grad_(True)
    for module in model.modules():
        if isinstance(module, LoraLinear):
            module.adapter = stage == "finetune"
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0)
    tokens = torch.randint(0, VOCABULARY, (options.batch, options.length))
    step_loss = model.loss if stage == "finetune" else model.transfer_loss

    seconds, processor = [], []
    for i in range(options.warmup + options.repeats):
        start, busy = time.perf_counter(), time.process_time()
        optimizer.zero_grad()
        loss = step_loss(tokens)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        if i >= options.warmup:
            seconds.append(time.perf_counter() - start)
            processor.append(time.process_time() - busy)
    assert math.isfinite(loss.item())
    median = statistics.median(seconds)
    return {"bench": "step", "implementation": f"pytorch {torch.__version__}", "stage": stage, "student": options.student,
            "batch": options.batch, "length": options.length, "threads": torch.get_num_threads(),
            "milliseconds": 1e3 * median, "least_milliseconds": 1e3 * min(seconds),
            "processor_milliseconds": 1e3 * statistics.median(processor), "repeats": options.repeats,
            "tokens_per_second": options.batch * options.length / median}


torch.set_num_threads(options.threads)
for stage in options.stage:
    if stage == "finetune" or options.student in WINDOWS:
        print(json.dumps(measure(stage)), flush=True)
