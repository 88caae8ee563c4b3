#!/usr/bin/env python3
"""Where a benchmark's time goes on a GPU, kernel by kernel: a table in markdown of what Nsight Compute (ncu) counts.

    bench/profile_cuda.py build/gpu/bench/bench_llama_step --stage finetune --warmup 1 --repeats 1
    bench/profile_cuda.py --detail build/gpu/bench/bench_attention_cuda --op hybrid 8x1024

The benchmarks show a profiler one update, one step or one run of each measurement, behind those that they time.  Launches
of one kernel are added up, and percentages are means over its time: of the tensor cores' cycles, of the slots that issue an
instruction, of the memory's rate.  `--detail` adds the other pipes and what warps wait for; then every kernel runs several
times over, so take it for benchmarks with little memory.  Kernels run one by one under ncu: their sum is below the time of
a step by what lies between them.
"""
import argparse
import collections
import csv
import json
import pathlib
import re
import subprocess
import sys
import tempfile

from support.tables import table

OF_PEAK = ".avg.pct_of_peak_sustained_elapsed"
TIME = "gpu__time_duration.sum"
COLUMNS = {"tensor cores": "sm__pipe_tensor_cycles_active" + OF_PEAK, "issue slots": "sm__issue_active" + OF_PEAK}
BYTES = "dram__bytes.sum"
PIPES = {"ALU": "sm__pipe_alu_cycles_active" + OF_PEAK, "FMA": "sm__pipe_fma_cycles_active" + OF_PEAK,
         "exp": "sm__inst_executed_pipe_xu" + OF_PEAK, "shared memory": "l1tex__data_pipe_lsu_wavefronts" + OF_PEAK}
STALLS = {name: f"smsp__average_warps_issue_stalled_{name}_per_issue_active.ratio" for name in (
    "barrier", "branch_resolving", "dispatch_stall", "drain", "gmma", "imc_miss", "lg_throttle", "long_scoreboard",
    "math_pipe_throttle", "membar", "mio_throttle", "misc", "no_instruction", "not_selected", "selected",
    "short_scoreboard", "sleeping", "tex_throttle", "wait")}

parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--detail", action="store_true", help="all pipes and the reasons to wait")
parser.add_argument("--top", type=int, default=16, help="kernels to show, the rest in one line")
parser.add_argument("--json", type=pathlib.Path, help="file for a line of JSON per kernel")
parser.add_argument("--csv", type=pathlib.Path, help="file for all that ncu counted; read instead, if no command is given")
parser.add_argument("command", nargs=argparse.REMAINDER, help="a benchmark and its options")
options = parser.parse_args()


def short(name):
    """`attend` of `void general::attend<lolcats::bf16>(general::Attend<T1>)`; what tells two instances apart stays."""
    if re.match(r"nvjet|void cublas|void cutlass|.*gemm|.*splitKreduce", name):
        return "matrix products (cuBLAS)"
    name = re.sub(r"^void ", "", name).split("(")[0]
    base, _, arguments = name.partition("<")
    base = base.split("::")[-1]
    if base in ("transform", "partial_sums", "finish_sum"):
        return arguments.rstrip("> ").split(",")[-1].split("::")[-1].strip() or base
    number = re.match(r"(\d+),", arguments)
    return f"{base}<{number[1]}>" if number and base in ("maps_kernel", "states_kernel") else base


def rows_of(text):
    """ncu's lines of CSV, without what it says before them."""
    lines = text.splitlines()
    first = next((i for i, line in enumerate(lines) if line.startswith('"ID"')), None)
    if first is None:
        sys.exit("ncu printed no table:\n" + "\n".join(lines[-5:]))
    rows = list(csv.reader(lines[first:]))
    units = dict(zip(rows[0], rows[1]))
    return units, [dict(zip(rows[0], row)) for row in rows[2:]]


if options.command:
    metrics = [TIME, BYTES, *COLUMNS.values(), *([*PIPES.values(), *STALLS.values()] if options.detail else [])]
    with tempfile.TemporaryDirectory() as folder:
        log = options.csv or pathlib.Path(folder) / "ncu.csv"
        status = subprocess.run(["ncu", "--profile-from-start", "off", "--clock-control", "none", "--cache-control", "none",
                                 "--csv", "--page", "raw", "--print-units", "base", "--log-file", log, "--metrics", ",".join(metrics),
                                 *options.command], stdout=subprocess.DEVNULL).returncode
        text = log.read_text() if log.exists() else ""
    if status != 0:
        sys.exit(f"ncu ended with status {status}: {text[-500:]}")
elif options.csv:
    text = options.csv.read_text()
else:
    parser.error("a command, or --csv with a file to read")

units, launches = rows_of(text)
SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}
SIZES = {"byte": 1.0, "Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9}


def number(row, metric):
    return float(row[metric].replace(",", ""))


kernels = collections.defaultdict(lambda: collections.Counter(launches=0))
for row in launches:
    sums = kernels[short(row["Kernel Name"])]
    seconds = number(row, TIME) * SECONDS[units[TIME]]
    sums["launches"] += 1
    sums["seconds"] += seconds
    sums["bytes"] += number(row, BYTES) * SIZES[units[BYTES]]
    for name, metric in {**COLUMNS, **PIPES, **STALLS}.items():
        if metric in row:
            sums[name] += seconds * number(row, metric)

total = sum(k["seconds"] for k in kernels.values())
detail = any(name in kernel for kernel in kernels.values() for name in STALLS)
named = sorted(kernels.items(), key=lambda item: -item[1]["seconds"])
if len(named) > options.top:
    rest = collections.Counter()
    for _, kernel in named[options.top:]:
        rest.update(kernel)
    named = named[:options.top] + [(f"{len(named) - options.top} others", rest)]

header = ["kernel", "launches", "ms", "share", *COLUMNS, "TB/s", *([*PIPES, "warps wait for"] if detail else [])]
table_rows, lines = [], []
for name, k in named:
    percent = {c: k[c] / k["seconds"] for c in [*COLUMNS, *(PIPES if detail else [])]}
    stalls = {s: k[s] for s in STALLS if s not in ("selected", "not_selected")}
    waits = {s: v / max(sum(k[s] for s in STALLS), 1e-30) for s, v in sorted(stalls.items(), key=lambda i: -i[1])[:3]}
    table_rows.append([f"`{name}`" if " " not in name else name, k["launches"], f"{1e3 * k['seconds']:.3f}",
                       f"{k['seconds'] / total:.1%}", *(f"{percent[c]:.0f}%" for c in COLUMNS),
                       f"{1e-12 * k['bytes'] / k['seconds']:.2f}",
                       *([*(f"{percent[c]:.0f}%" for c in PIPES), ", ".join(f"{s} {v:.0%}" for s, v in waits.items())]
                         if detail else [])])
    lines.append({"kernel": name, "launches": k["launches"], "milliseconds": 1e3 * k["seconds"],
                  "share": k["seconds"] / total, "percent": percent, "terabytes_per_second": 1e-12 * k["bytes"] / k["seconds"],
                  **({"waits": waits} if detail else {})})
print(table(header, table_rows))
print(f"\n{sum(k['launches'] for k in kernels.values())} launches, {1e3 * total:.3f} ms.")
if options.json:
    options.json.write_text("".join(json.dumps(line) + "\n" for line in lines))
