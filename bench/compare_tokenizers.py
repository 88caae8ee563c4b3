#!/usr/bin/env python3
"""Encodes the same texts with lolcats and with Hugging Face's tokenizers, on one core, in one run; prints a table.

    bench/compare_tokenizers.py BENCH_TOKENIZERS TOKENIZER.json TEXT...
"""
import json
import os
import statistics
import subprocess
import sys
import time

os.environ.update(TOKENIZERS_PARALLELISM="false", RAYON_NUM_THREADS="1", OMP_NUM_THREADS="1")
import tokenizers  # noqa: E402

program, path, *texts = sys.argv[1:]
tokenizer = tokenizers.Tokenizer.from_file(path)
tokenizer.encode_special_tokens = True  # special tokens in a text are characters, as in lolcats without `special`
print("| text | bytes | tokens | lolcats MB/s | tokenizers MB/s | ratio |\n|---|---|---|---|---|---|")
for name in texts:
    with open(name, encoding="utf-8", newline="") as file:
        lines = file.read().split("\n")
    lines = [line + "\n" for line in lines[:-1]] + lines[-1:]
    lines = [line for line in lines if line]
    size = sum(len(line.encode()) for line in lines)
    seconds = []
    for repeat in range(4):
        start = time.perf_counter()
        encodings = tokenizer.encode_batch_fast(lines, add_special_tokens=False)
        seconds.append(time.perf_counter() - start)
        tokens = sum(len(e.ids) for e in encodings)
    theirs = size / statistics.median(seconds[1:]) / 1e6
    ours = json.loads(subprocess.run([program, "--tokenizer", path, "--text", name, "--repeats", "3"], stdout=subprocess.PIPE, check=True).stdout)
    assert ours["tokens"] == tokens, (ours["tokens"], tokens)
    rate = ours["megabytes_per_second"]
    print(f"| {os.path.basename(name)} | {size} | {tokens} | {rate:.1f} | {theirs:.1f} | {rate / theirs:.1f} |", flush=True)
