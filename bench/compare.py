#!/usr/bin/env python3
"""Times the training steps of lolcats and of PyTorch in one run, and prints a table in markdown with the ratio.

    cmake --workflow --preset bench && bench/compare.py

Model: the sizes of stories260K; student hedgehog8-terraced64; 8 x 512 tokens; the same number of threads on both sides.
The two take turns, so that both meet the same machine.  Ends with status 1 if a requirement is missed: 10,000 tokens/s and
20 times PyTorch for a step of finetuning, 0.7 of that speed for a step of transfer.
"""
import argparse
import os
import pathlib
import statistics
import sys

from support.tables import machine, program_in, run, table, write_lines

here = pathlib.Path(__file__).resolve().parent
parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
parser.add_argument("--build", type=pathlib.Path, default=here.parent / "build" / "bench", help="where the bench preset built")
parser.add_argument("--python", default="/usr/bin/python3", help="an interpreter that has torch")
parser.add_argument("--threads", type=int, default=os.cpu_count())
parser.add_argument("--rounds", type=int, default=3, help="turns of each side")
parser.add_argument("--repeats", type=int, default=20, help="updates of ours per turn")
parser.add_argument("--peer-repeats", type=int, default=2, help="updates of PyTorch per turn")
parser.add_argument("--json", type=pathlib.Path, help="file for all lines")
options = parser.parse_args()

program = program_in(options.build, "bench_step")
os.environ["OMP_NUM_THREADS"] = str(options.threads)

lines = []
for _ in range(options.rounds):
    lines += run([program, "--stage", "finetune", "transfer", "--repeats", options.repeats])
    lines += run([options.python, here / "peers.py", "--stage", "finetune", "transfer", "--repeats", options.peer_repeats,
                  "--threads", options.threads])
write_lines(options.json, lines)


def of(stage, ours, field="tokens_per_second"):
    """The median over the rounds."""
    chosen = [x for x in lines if x["stage"] == stage and (x["implementation"] == "lolcats") == ours]
    return statistics.median(x[field] for x in chosen)


peer = next(x["implementation"] for x in lines if x["implementation"] != "lolcats")
rows = []
for stage in ["finetune", "transfer"]:
    rows.append([stage, f"{of(stage, True):,.0f}", f"{of(stage, True, 'milliseconds'):.1f}",
                 f"{of(stage, True, 'peak_tape_bytes') / 2**20:.1f}", f"{of(stage, True, 'flops_per_token') / 1e6:.2f}",
                 f"{of(stage, True, 'gflops'):.1f}", f"{100 * of(stage, True, 'share_of_product_rate'):.0f}%",
                 f"{of(stage, False):,.0f}", f"{of(stage, True) / of(stage, False):.1f}"])
print(f"Machine: {machine()}; {options.threads} threads; plain Eigen products of these shapes: "
      f"{of('finetune', True, 'product_gflops'):.0f} GFLOP/s.\n")
print(table(["stage", "tokens/s", "ms a step", "tape, MiB", "MFLOP a token", "GFLOP/s", "of the product rate", f"{peer}, tokens/s",
             "ratio"], rows))

checks = [("finetune: tokens/s", of("finetune", True), 10_000), ("finetune: ratio to PyTorch", of("finetune", True) / of("finetune", False), 20),
          ("transfer / finetune", of("transfer", True) / of("finetune", True), 0.7)]
print()
print(table(["requirement", "at least", "measured", ""],
            [[name, f"{least:,g}", f"{got:,.2f}" if got < 100 else f"{got:,.0f}", "met" if got >= least else "MISSED"] for name, got, least in checks]))
sys.exit(any(got < least for _, got, least in checks))
