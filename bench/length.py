#!/usr/bin/env python3
"""Cost of a training step against the length of its sequences, at a constant number of tokens: tables in markdown and a curve.

    cmake --workflow --preset bench && bench/length.py

Every student takes turns over all lengths, `--rounds` times, and its quickest update at each length counts: whatever else the
machine does only adds to it.  Ends with status 1 if a linear or hybrid attention is not flat within 15%: if its dearest length
costs over 1.15 times its cheapest, in time or in memory per token.
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys

from support.tables import machine, program_in, run, table, write_lines

here = pathlib.Path(__file__).resolve().parent
parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--build", type=pathlib.Path, default=here.parent / "build" / "bench", help="where the bench preset built")
parser.add_argument("--stage", default="finetune", choices=["finetune", "transfer", "pretrain"])
parser.add_argument("--lengths", type=int, nargs="+", default=[512, 1024, 2048, 4096, 8192])
parser.add_argument("--tokens", type=int, default=8192)
parser.add_argument("--threads", type=int, default=os.cpu_count())
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--repeats", type=int, default=5, help="updates per round")
parser.add_argument("--json", type=pathlib.Path, help="file for all lines")
parser.add_argument("--svg", type=pathlib.Path, help="file for the curve (default: docs/results/cpu_length.svg; needs gnuplot)")
options = parser.parse_args()

program = program_in(options.build, "bench_step")
os.environ["OMP_NUM_THREADS"] = str(options.threads)

lines = []
for _ in range(options.rounds):
    lines += run([program, "--stage", options.stage, "--student", "all", "--tokens", options.tokens, "--repeats", options.repeats,
                  "--warmup", 1, "--length", *options.lengths])
write_lines(options.json, lines)

students = list(dict.fromkeys(x["student"] for x in lines))


def of(student, length, field):
    return min(x[field] for x in lines if x["student"] == student and x["length"] == length)


def microseconds(student, length):
    return 1e3 * of(student, length, "least_milliseconds") / options.tokens


def kilobytes(student, length):
    return of(student, length, "tape_bytes_per_token") / 1024


print(f"Machine: {machine()}; {options.threads} threads; stage {options.stage}, {options.tokens} tokens per step.\n")
flat = True
for title, cost, digits in [("microseconds per token", microseconds, 1), ("KiB of tape per token", kilobytes, 2)]:
    rows = []
    for student in students:
        costs = [cost(student, n) for n in options.lengths]
        spread = max(costs) / min(costs)
        flat &= student == "softmax" or spread <= 1.15
        rows.append([student, *(f"{c:.{digits}f}" for c in costs), f"{spread:.2f}"])
    print(table([title, *(f"N = {n}" for n in options.lengths), "dearest / cheapest"], rows) + "\n")

if shutil.which("gnuplot"):
    svg = options.svg or here.parent / "docs" / "results" / "cpu_length.svg"
    blocks = "".join("".join(f"{n} {microseconds(s, n)}\n" for n in options.lengths) + "e\n" for s in students)
    plots = ", ".join(f"'-' using 1:2 with linespoints linewidth 2 pointtype {5 + 2 * i} title '{s}'" for i, s in enumerate(students))
    script = f"""set terminal svg size 720,440 font 'sans,13' background '#ffffff'
set output '{svg}'
set title 'A {options.stage} step on {options.threads} cores, {options.tokens} tokens per step'
set xlabel 'length of a sequence, tokens'
set ylabel 'microseconds per token'
set logscale x 2
set logscale y
set xtics ({", ".join(str(n) for n in options.lengths)})
set ytics (10, 20, 30, 50, 70, 100, 150, 200, 300, 500, 1000)
set grid
set key left top
plot {plots}
{blocks}"""
    subprocess.run(["gnuplot"], input=script, text=True, check=True)
    print(f"Curve: {svg}", file=sys.stderr)
else:
    print("gnuplot not found; no curve", file=sys.stderr)
if not flat:
    print("NOT FLAT: a linear or hybrid attention costs over 1.15 times its cheapest length", file=sys.stderr)
sys.exit(not flat)
