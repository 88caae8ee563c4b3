#!/usr/bin/env python3
"""The pictures of docs/results/memory.md from what bench/smollm2/memories wrote (needs gnuplot).

    bench/smollm2/memory.py RESULTS PICTURES

PICTURES is a folder.  It gets memory-wikitext.svg and memory-c4.svg, perplexity by bytes of decoding state, and memory-filler.svg and
memory-prose.svg, pass keys by length.  Runs that are missing are left out.
"""
import json
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from support.pictures import draw

if len(sys.argv) != 3:
    sys.exit(__doc__)
out = pathlib.Path(sys.argv[2])
runs = {}  # name -> its runs, one for each seed
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.json")):
    run = json.loads(path.read_text())
    if "finetuned" in run:
        runs.setdefault(re.sub(r"-s\d+(?=-|$)", "", path.stem), []).append(run)
if not runs:
    sys.exit(f"no results of linearize in {sys.argv[1]}")

kinds = {"softmax": "#0072b2", "window": "#009e73", "window + cache": "#d55e00", "window + linear part": "#e69f00", "some layers softmax": "#cc79a7"}
shown = {  # name -> name in the pictures of pass keys, which have no room for all
    "softmax": "softmax",
    "softmax-facts": "softmax, trained on facts, too",
    "kept6-layers-facts": "6 layers softmax, trained on facts",
    "kept367": "window of 128 and cache, 498 keys",
    "kept367-facts": "the same, trained on facts, too",
    "kept128": "window of 128 and cache, 257 keys",
    "near508": "window of 512",
    "hedgehog64": "LoLCATs, 483 keys",
}
lengths = [256, 512, 1024, 2048]
layers, groups, queries, size = 30, 3, 9, 64  # of the model: heads of a layer, key/value and query, and their size
key = 2 * 2 * size  # bytes of a key and a value of one key/value head in bf16


def parts(run):
    """Kind, and bytes of decoding state behind 2,048 tokens, as the page counts them."""
    if run["student"] == "softmax":
        return "softmax", layers * groups * 2048 * key
    found = re.fullmatch(r"(hedgehog64-)?(?:sinks(\d+)-)?(sliding|terraced)(\d+)(?:-kept(\d+))?(?:-decay|(-delta))?(-or-softmax)?", run["student"])
    if not found:
        sys.exit(f"student {run['student']}: its bytes are not known here")
    sums, sinks, shape, width, kept, delta, choice = found.groups()
    window = int(width) * (1.5 if shape == "terraced" else 1)  # of two terraces half of one is empty on average
    layer = groups * (int(sinks or 0) + window) * key
    if sums:  # S in fp32 and, but for the delta rule, a normalizer in bf16, of 2 * size features
        layer += queries * 2 * size * (size * 4 + (0 if delta else 2))
    if kept:  # the keys in the window have their scores already
        layer += groups * window * 2
    cached = sum(map(sum, run["cache_sizes"])) if "cache_sizes" in run else layers * groups * int(kept or 0)
    full = len(run.get("kept_layers", []))
    kind = "some layers softmax" if choice else "window + cache" if kept else "window + linear part" if sums else "window"
    return kind, (layers - full) * layer + full * groups * 2048 * key + cached * (key + 2)


def perplexities(text):
    """Every run on the same texts is a point; softmax is a line across."""
    points = {}
    for run in (run for name, group in runs.items() if "-facts" not in name for run in group):
        kind, state = parts(run)
        points.setdefault(kind, []).append((state / 1e6, run["finetuned"]["texts"][text]["perplexity"]))
    states = [state for kind in points if kind != "softmax" for state, _ in points[kind]]
    curves = []
    for kind, color in kinds.items():
        if kind == "softmax" and kind in points:
            state, y = points[kind][0]
            curves.append((f"softmax, {state:.0f} MB", color, [(min(states), y), (max(states), y)], "lines dashtype 2"))
        elif kind in points:
            curves.append((kind, color, sorted(points[kind]), f"{'linespoints' if kind == 'window' else 'points'} pointtype 7 pointsize 0.6"))
    return curves


def found(task):
    """The share of keys found by length, the mean over seeds."""

    def share(who, group):
        scores = [run.get("scores", {}).get(who, {}).get("results", {}) for run in group]
        values = {n: [s[f"{task}_{n}"]["acc,none"] for s in scores if f"{task}_{n}" in s] for n in lengths}
        return [(n, sum(v) / len(v)) for n, v in values.items() if v]

    names = [name for name in shown if name in runs]
    asked = next((points for name in names if (points := share("teacher", runs[name]))), [])
    lines = [("teacher", "#000000", asked, 1)]
    for name in names:
        color = kinds[parts(runs[name][0])[0]]
        dash = 1 + sum(color == other for _, other, _, _ in lines)  # students of one kind differ by it
        lines.append((shown[name], color, share("student", runs[name]), dash))
    return [(name, color, points, f"linespoints pointtype 7 pointsize 0.4 dashtype {dash}") for name, color, points, dash in lines if points]


for text, title in [("wikitext", "WikiText"), ("c4", "C4")]:
    draw(out / f"memory-{text}.svg", f"{title}: perplexity with LoRA", "decoding state behind 2,048 tokens, MB", "perplexity", perplexities(text), "set key top right")
for task, name, title in [("passkey", "filler", "repeated filler"), ("needle", "prose", "prose")]:
    if curves := found(task):
        draw(out / f"memory-{name}.svg", f"Pass keys found in {title}", "length of the text, tokens", "share found", curves,
             "set logscale x 2\nset yrange [-0.03:1.03]\nset key at screen 0.5,0.02 bottom center vertical maxrows 5\nset bmargin 10")
