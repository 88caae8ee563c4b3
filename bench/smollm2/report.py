#!/usr/bin/env python3
"""The tables and pictures of docs/results/smollm2.md from what bench/smollm2/run wrote.

    bench/smollm2/report.py RESULTS [PICTURES]

RESULTS holds NAME.json of evaluate and NAME.linearize.json of linearize; PICTURES is a folder for .svg files (needs gnuplot).
"""
import json
import math
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from support.pictures import draw
from support.tables import table

if len(sys.argv) not in (2, 3):
    sys.exit(__doc__)
folder = pathlib.Path(sys.argv[1])
evaluated = {p.stem: json.loads(p.read_text()) for p in sorted(folder.glob("*.json")) if not p.stem.endswith(".linearize")}
linearized = {p.name[: -len(".linearize.json")]: json.loads(p.read_text()) for p in sorted(folder.glob("*.linearize.json"))}
texts = ["wikitext", "c4", "alpaca"]
lengths = [256, 512, 1024, 2048, 4096]
names = {  # file -> name in tables and pictures
    "teacher": "teacher",
    "softmax": "softmax + LoRA",
    "hedgehog64-terraced64": "LoLCATs",
    "hedgehog64-terraced64-window": "LoLCATs, its window alone",
    "hedgehog64-linear": "pure linear",
    "window-terraced64": "window alone + LoRA",
}


def result(name, task, metric="acc"):
    return evaluated[name]["results"].get(task, {}).get(f"{metric},none")


def cell(value, form="{:.2f}"):
    return "" if value is None else form.format(value)


def percent(name, task, metric):
    value = result(name, task, metric)
    return None if value is None else 100 * value


print("## Perplexity after each step\n")
rows = []
for name in names:
    for stage in ["teacher", "swapped", "transferred", "finetuned"]:
        if stage in linearized.get(name, {}) and (stage != "teacher" or name == "softmax"):
            rows.append([stage if stage == "teacher" else f"{names[name]}: {stage}", *(cell(linearized[name][stage]["texts"][t]["perplexity"]) for t in texts)])
print(table(["", *texts], rows))

print("\n## Scores\n")
rows = []
for name in names:
    if name not in evaluated:
        continue
    both = lambda task: " / ".join(cell(percent(name, task, m)) for m in ("acc", "acc_norm"))
    keys = lambda task: " / ".join(cell(result(name, f"{task}_{n}")) for n in lengths if result(name, f"{task}_{n}") is not None)
    rows.append([names[name], *(cell(result(name, f"perplexity_{t}", "perplexity")) for t in texts), both("piqa"), both("arc_easy"), both("arc_challenge"),
                 cell(percent(name, "mmlu", "acc")), keys("passkey"), keys("needle")])
print(table(["", *texts, "PIQA acc / norm", "ARC-e", "ARC-c", "MMLU", "pass key in filler", "in prose"], rows))

print("\n## Cost\n")
rows = []
for name, run in sorted(linearized.items(), key=lambda x: list(names).index(x[0])):
    speed = run["tokens_per_second"]
    rows.append([names.get(name, name), cell(run.get("transfer", {}).get("seconds"), "{:.1f}"), cell(speed["transfer"] / 1e3 or None, "{:.0f}K"),
                 cell(run["finetune"]["seconds"], "{:.1f}"), cell(speed["finetune"] / 1e3, "{:.0f}K"), f"{run['decoding_state_bytes'] / 2**20:.2f} MiB"])
print(table(["", "stage 1, s", "tokens/s", "stage 2, s", "tokens/s", "state"], rows))

print("\n## Texts\n")
for name, run in sorted(linearized.items(), key=lambda x: list(names).index(x[0])):
    for text in run["continuations"]:
        print(f"{names.get(name, name)}: {text['prompt']!r}\n  teacher {text['teacher']!r}\n  student {text['student']!r}\n")


def draw_named(file, title, x, y, curves, more=""):
    """curves: name -> [(x, y)]; a student has the same colour on all pictures"""
    colors = dict(zip(names.values(), ["#000000", "#0072b2", "#d55e00", "#e69f00", "#cc79a7", "#009e73"]))
    draw(file, title, x, y, [(name, colors[name], points, "linespoints pointtype 7 pointsize 0.4") for name, points in curves.items()], more)


if len(sys.argv) == 3:
    out = pathlib.Path(sys.argv[2])
    by_position = {}
    for name in names:
        if name not in evaluated:
            continue
        positions = evaluated[name]["details"].get("perplexity_wikitext", {}).get("positions", [])
        if positions and name != "hedgehog64-linear":
            by_position[names[name]] = [((p["first"] + p["last"]) / 2, math.exp(p["loss"])) for p in positions]
    draw_named(out / "smollm2-positions.svg", "WikiText: perplexity by position in a row", "position, tokens", "perplexity", by_position, "set key outside bottom center horizontal\nset logscale y")
    layers = {names[n]: list(enumerate(linearized[n]["transfer"]["mse_per_layer"])) for n in names if "transfer" in linearized.get(n, {})}
    draw_named(out / "smollm2-layers.svg", "Mean squared error of the attention outputs after transfer", "layer", "error", layers, "set logscale y\nset format y '10^{%L}'\nset key top left")
    keys = {names[n]: [(length, result(n, f"passkey_{length}")) for length in lengths if result(n, f"passkey_{length}") is not None] for n in names if n in evaluated}
    draw_named(out / "smollm2-passkey.svg", "Pass keys found in repeated filler, 64 per length", "length of the text, tokens", "share found",
               {n: p for n, p in keys.items() if p}, "set logscale x 2\nset yrange [-0.03:1.03]\nset key right center")
