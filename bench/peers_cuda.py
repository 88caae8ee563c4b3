#!/usr/bin/env python3
"""What PyTorch needs on this GPU for the attentions that lolcats has kernels for.  Prints a line of JSON per measurement.

    bench/peers_cuda.py --op softmax hybrid published decode > peers.jsonl

32 query and 8 key/value heads of 128, bf16, at the (sequences, tokens) of `--shapes`; fresh normal inputs, three sets in
turn, the median of `--repeats` runs between CUDA events after warming up.

  softmax     scaled_dot_product_attention by FlashAttention and by cuDNN: forward, forward + backward of q, k and v
  hybrid      LoLCATs' layer (Hedgehog 64, terraced 64) in chunks under torch.compile: forward, forward + backward of q, k
              and v (finetuning) and of maps and gamma (transfer)
  published   the same layer with N x N weights, as the published training code computes it
  decode      one query per sequence over a key/value cache of `tokens` each (shapes: sequences x tokens)

Formulas: LoLCATs, arXiv:2410.10254, Eq. 5 to 7.  A measurement that runs out of memory or is refused has "ms": null.
"""
import argparse
import json
import math
import statistics

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--op", nargs="+", default=["softmax", "hybrid", "published", "decode"],
                    choices=["softmax", "hybrid", "published", "decode"])
parser.add_argument("--shapes", nargs="+", default=["8x1024", "2x4096", "1x8192", "1x32768"])
parser.add_argument("--decode-shapes", nargs="+", default=["1x32768", "64x1024", "64x8192"])
parser.add_argument("--repeats", type=int, default=20)
parser.add_argument("--check", action="store_true", help="first compare both forms of the hybrid layer at 2 x 320 tokens")
options = parser.parse_args()

import torch  # noqa: E402
from torch.nn import functional as F  # noqa: E402
from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402

HEADS, KV_HEADS, HEAD = 32, 8, 128
PROJECTED, TILE = 64, 64
SETS = 3
SDPA = {"SDPA FlashAttention": SDPBackend.FLASH_ATTENTION, "SDPA cuDNN": SDPBackend.CUDNN_ATTENTION}


def normal(*shape, grad=False):
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16).requires_grad_(grad)


def heads_first(count, sequences, tokens, grad=False):
    """(N, heads, T, D) over token-major memory, as a projection leaves it."""
    return normal(sequences, tokens, count, HEAD, grad=grad).transpose(1, 2)


def milliseconds(run):
    times = []
    for i in range(options.repeats + 3):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        run(i % SETS)
        end.record()
        end.synchronize()
        if i >= 3:
            times.append(begin.elapsed_time(end))
    return statistics.median(times)


def report(op, shape, implementation, run):
    line = {"op": op, "shape": shape, "implementation": implementation, "ms": None, "device": torch.cuda.get_device_name(),
            "torch": torch.__version__}
    try:
        line["ms"] = round(milliseconds(run), 4)
    except RuntimeError as error:  # out of memory, or a backend that does not take the problem
        line["reason"] = str(error).split("\n")[0][:120]
        torch.cuda.empty_cache()
    print(json.dumps(line), flush=True)


def report_passes(op, shape, implementation, function, inputs, gradients):
    """function(*inputs[i]): forward alone, then with the backward pass of each named group of arguments."""
    with torch.no_grad():
        report(f"{op} forward", shape, implementation, lambda i: function(*inputs[i]))
    with torch.no_grad():
        dy = torch.randn_like(inputs[0][0])
    for name, wanted in gradients.items():
        for args in inputs:
            for j, x in enumerate(args):
                x.requires_grad_(j in wanted)

        def both(i):
            y = function(*inputs[i])
            torch.autograd.grad(y, [inputs[i][j] for j in wanted], dy)

        report(f"{op} forward+backward{name}", shape, implementation, both)
    for args in inputs:
        for x in args:
            x.requires_grad_(False)


def softmax(shape):
    sequences, tokens = map(int, shape.split("x"))
    inputs = [[heads_first(n, sequences, tokens) for n in (HEADS, KV_HEADS, KV_HEADS)] for _ in range(SETS)]
    for name, backend in SDPA.items():
        with sdpa_kernel(backend):
            report_passes("softmax", shape, name, lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True),
                          inputs, {"": [0, 1, 2]})


def hedgehog(x, w):
    """[softmax(xW), softmax(-xW)] of x (N, H, ..., D) and w (H, D, f)."""
    z = torch.einsum("nh...d,hdf->nh...f", x, w)
    return torch.cat([z.softmax(dim=-1), (-z).softmax(dim=-1)], dim=-1).clamp(min=1e-12)


def repeated(x):
    return x.repeat_interleave(HEADS // KV_HEADS, dim=1)


def hybrid_chunked(q, k, v, map_q, map_k, factors):
    """Terraced window of two tiles; sums over far keys are prefix sums over the tiles, in fp32."""
    tiles = lambda x: x.unflatten(2, (-1, TILE))  # noqa: E731  (N, H, c, 64, .)
    previous = lambda x: F.pad(x, (0, 0, 0, 0, 1, 0))[:, :, :-1]  # noqa: E731  the tile before
    k, v = repeated(k), repeated(v)
    phi_q, phi_k = tiles(hedgehog(q, map_q)), tiles(hedgehog(k, map_k))  # (N, H, c, 64, F)
    q, k, v = tiles(q), tiles(k), tiles(v)
    keys, values = torch.cat([previous(k), k], dim=3), torch.cat([previous(v), v], dim=3)  # (N, H, c, 128, D)
    at = torch.arange(TILE, device=q.device)
    near = torch.cat([torch.ones(TILE, TILE, dtype=torch.bool, device=q.device), at[:, None] >= at[None]], dim=1)
    near = near & ((torch.arange(q.shape[2], device=q.device) > 0)[:, None, None] | (torch.arange(2 * TILE, device=q.device) >= TILE))
    scores = (q @ keys.transpose(-1, -2)).float() / math.sqrt(HEAD)
    scores = scores.masked_fill(~near, -math.inf)
    weights = torch.sigmoid(factors.float())[None, :, None, None, None] * torch.exp(scores - scores.amax(dim=-1, keepdim=True))
    far = lambda x: F.pad(x.cumsum(dim=2), (0, 0, 0, 0, 2, 0))[:, :, :-2]  # noqa: E731  tiles 0 ... c - 2
    states = far((phi_k.transpose(-1, -2) @ v).float())                       # (N, H, c, F, D)
    normalizers = far(phi_k.float().sum(dim=3, keepdim=True))                 # (N, H, c, 1, F)
    numerator = weights.to(q.dtype) @ values + phi_q @ states.to(q.dtype)
    denominator = weights.sum(dim=-1, keepdim=True) + (phi_q.float() * normalizers).sum(dim=-1, keepdim=True)
    return (numerator / denominator).to(q.dtype).flatten(2, 3)


def hybrid_published(q, k, v, map_q, map_k, factors):
    """All pairs of tokens: scores, feature products, masks and weights are (T, T)."""
    k, v = repeated(k), repeated(v)
    n, j = torch.arange(q.shape[2], device=q.device)[:, None], torch.arange(q.shape[2], device=q.device)[None]
    begin = ((n // TILE - 1) * TILE).clamp(min=0)
    scores = (q @ k.transpose(-1, -2)) / math.sqrt(HEAD)
    scores = scores.masked_fill(~((begin <= j) & (j <= n)), -math.inf)
    weights = torch.sigmoid(factors)[None, :, None, None] * torch.exp(scores - scores.amax(dim=-1, keepdim=True))
    weights = weights + (hedgehog(q, map_q) @ hedgehog(k, map_k).transpose(-1, -2)).masked_fill(~(j < begin), 0)
    return (weights @ v) / weights.sum(dim=-1, keepdim=True)


def hybrid(shape, implementation, function):
    sequences, tokens = map(int, shape.split("x"))
    inputs = []
    for _ in range(SETS):
        maps = [normal(HEADS, HEAD, PROJECTED).mul_(0.1) for _ in range(2)]
        inputs.append([heads_first(n, sequences, tokens) for n in (HEADS, KV_HEADS, KV_HEADS)] + maps + [normal(HEADS)])
    report_passes("hybrid", shape, implementation, function, inputs, {" of q, k, v": [0, 1, 2], " of maps, gamma": [3, 4, 5]})


def decode(shape):
    sequences, tokens = map(int, shape.split("x"))
    inputs = [[heads_first(n, sequences, t) for n, t in ((HEADS, 1), (KV_HEADS, tokens), (KV_HEADS, tokens))] for _ in range(SETS)]
    for name, backend in SDPA.items():
        with sdpa_kernel(backend), torch.no_grad():
            report("softmax decode", shape, name, lambda i: F.scaled_dot_product_attention(*inputs[i], enable_gqa=True))


def check():
    inputs = [heads_first(n, 2, 320) for n in (HEADS, KV_HEADS, KV_HEADS)] + [normal(HEADS, HEAD, PROJECTED) * 0.1 for _ in range(2)]
    inputs = [x.float() for x in inputs + [normal(HEADS)]]
    a, b = hybrid_chunked(*inputs), hybrid_published(*inputs)
    error = ((a - b).norm() / b.norm()).item()
    print(f"chunked against N x N: {error:.1e}", flush=True)
    assert error < 1e-2


torch.manual_seed(0)
if options.check:
    check()
for op in options.op:
    for shape in options.decode_shapes if op == "decode" else options.shapes:
        if op == "softmax":
            softmax(shape)
        elif op == "hybrid":
            torch._dynamo.reset()
            hybrid(shape, "torch.compile, chunked", torch.compile(hybrid_chunked, dynamic=False))
        elif op == "published":
            hybrid(shape, "published N x N", hybrid_published)
        else:
            decode(shape)
        torch.cuda.empty_cache()
