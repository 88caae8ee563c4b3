#!/usr/bin/env python3
"""Tables in markdown of what ours and the peers measured on a GPU: a table per operation, a row per shape.

    build/gpu/bench/bench_... > ours.jsonl && bench/peers_cuda.py > peers.jsonl && bench/gpu_table.py ours.jsonl peers.jsonl

Reads lines of JSON with "op", "shape", "ms" and "implementation" ("lolcats" where it is missing), from files or standard
input; several measurements of one thing count by their median, and lines that are not JSON are passed over.  The last column
is the fastest peer's time over ours: above 1, ours is faster.
"""
import argparse
import collections
import json
import statistics
import sys

from support.tables import table

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("files", nargs="*", type=argparse.FileType(), default=[sys.stdin], help="lines of JSON")
options = parser.parse_args()

OURS = "lolcats"
times = collections.defaultdict(list)  # (op, shape, implementation) -> milliseconds
order = collections.defaultdict(dict)  # op -> shapes, op + "?" -> implementations, in order of appearance
devices = {}
for text in (line for file in options.files for line in file):
    if not text.lstrip().startswith("{"):
        continue
    line = json.loads(text)
    op, shape, implementation = line["op"], line["shape"], line.get("implementation", OURS)
    order[op][shape] = None
    order[op + "?"][implementation] = None
    if line["ms"] is not None:
        times[op, shape, implementation].append(line["ms"])
    if "device" in line:
        devices[line["device"]] = None

if not order:
    sys.exit("no lines of JSON found")
print(f"Milliseconds on {' and '.join(devices) or 'a device that no line names'}.\n")
for op in [name for name in order if not name.endswith("?")]:
    implementations = sorted(order[op + "?"], key=lambda name: name != OURS)
    rows = []
    for shape in order[op]:
        of = {name: statistics.median(times[op, shape, name]) for name in implementations if times[op, shape, name]}
        peers = [ms for name, ms in of.items() if name != OURS]
        ratio = f"{min(peers) / of[OURS]:.2f}" if peers and OURS in of else ""
        rows.append([shape, *(f"{of[name]:.3f}" if name in of else "-" for name in implementations), ratio])
    print(table([op, *implementations, "fastest peer / ours"], rows) + "\n")
