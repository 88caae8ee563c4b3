#!/usr/bin/env python3
"""Kills programs at any moment and at any file call, and checks that nothing is lost: docs/testing.md.

kill.py PROGRAMS [--kills 100] [--other-kills 20] [--out FOLDER]

PROGRAMS is the folder of linearize and pretrain (BUILD/examples).  A run is killed by SIGKILL, the same command goes on
until it ends, and the results must have the bits of a run that was left alone, no state, lock or temporary beside them,
and every update once in the log.  Half of the kills come at a random moment; the other half at a file call (write, fsync,
rename, unlink, open for writing), counted from the end of a run, by a preloaded library.
"""
import argparse
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

COUNTER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>
static long calls;
static long limit(void) { const char* text = getenv("KILL_AT_CALL"); return text ? atol(text) : -1; }
static void tick(void) { if (__sync_add_and_fetch(&calls, 1) == limit()) kill(getpid(), SIGKILL); }
__attribute__((destructor)) static void tell(void) {
  const char* file = getenv("COUNT_CALLS_IN");
  if (!file) return;
  FILE* (*open_file)(const char*, const char*) = dlsym(RTLD_NEXT, "fopen");
  FILE* f = open_file(file, "w");
  if (f) { fprintf(f, "%ld", calls); fclose(f); }
}
#define REAL(type, name, ...) static type (*real)(__VA_ARGS__); if (!real) real = dlsym(RTLD_NEXT, #name)
ssize_t write(int d, const void* b, size_t n) { REAL(ssize_t, write, int, const void*, size_t); if (d > 2) tick(); return real(d, b, n); }
ssize_t pwrite(int d, const void* b, size_t n, off_t o) { REAL(ssize_t, pwrite, int, const void*, size_t, off_t); tick(); return real(d, b, n, o); }
int fsync(int d) { REAL(int, fsync, int); tick(); return real(d); }
int rename(const char* a, const char* b) { REAL(int, rename, const char*, const char*); tick(); int r = real(a, b); tick(); return r; }
int unlink(const char* a) { REAL(int, unlink, const char*); tick(); int r = real(a); tick(); return r; }
int remove(const char* a) { REAL(int, remove, const char*); tick(); int r = real(a); tick(); return r; }
int mkdir(const char* a, mode_t m) { REAL(int, mkdir, const char*, mode_t); tick(); return real(a, m); }
int open(const char* a, int f, ...) {
  REAL(int, open, const char*, int, ...);
  va_list l; va_start(l, f); int m = va_arg(l, int); va_end(l);
  if (f & (O_WRONLY | O_RDWR)) tick();
  return real(a, f, m);
}
"""


def bits(folder):
    """Every result, by name; the log without what time and memory decide."""
    out = {}
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        name = str(path.relative_to(folder))
        if name.endswith(".jsonl"):
            rows = [json.loads(line) for line in path.read_text().splitlines()]
            out[name] = [(r["stage"], r["update"], r["loss"], r.get("validation"), r["gradient_norm"]) for r in rows]
        elif name.endswith(".safetensors") or name in ("lolcats.json", "config.json", "tokenizer.bin"):
            out[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.suffix == ".json" and path.parent == folder:
            out[name] = timeless(json.loads(path.read_text()))
        else:
            out[name] = None
    return out


def timeless(value):
    if isinstance(value, dict):
        skip = ("seconds", "tokens_per_second", "peak_bytes", "transfer_seconds", "finetune_seconds")
        return {k: timeless(v) for k, v in value.items() if k not in skip}
    return [timeless(v) for v in value] if isinstance(value, list) else value


class Case:
    def __init__(self, name, command, folder, counter):
        self.name, self.command, self.counter = name, command, counter
        self.folder = folder / name
        self.run("whole")
        started = time.time()
        calls = folder / "calls"
        self.want = self.run("whole", COUNT_CALLS_IN=str(calls))
        self.seconds = time.time() - started
        self.calls = int(calls.read_text())

    def path(self, key):
        return self.folder / key

    def start(self, key, **extra):
        environment = dict(os.environ, OMP_WAIT_POLICY="passive", LD_PRELOAD=str(self.counter), **extra)
        command = [part.replace("OUT", str(self.path(key))) for part in self.command]
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def run(self, key, **extra):
        shutil.rmtree(self.path(key), ignore_errors=True)
        process = self.start(key, **extra)
        _, error = process.communicate()
        if process.returncode != 0:
            sys.exit(f"{self.name}: {process.returncode}: {error}")
        return bits(self.path(key))

    def kill(self, number, at_call):
        """One kill or several, until the command ends by itself.  True if any of them met a running process."""
        shutil.rmtree(self.path("killed"), ignore_errors=True)
        if at_call:
            process = self.start("killed", KILL_AT_CALL=str(max(1, self.calls - number)))
        else:
            process = self.start("killed")
            time.sleep(random.random() * self.seconds)
            process.kill()
        process.communicate()
        died = process.returncode == -signal.SIGKILL
        for _ in range(3):
            process = self.start("killed")
            _, error = process.communicate()
            # A kill behind the last removal of a state meets a run that is finished.
            if process.returncode == 0 or "of a finished run" in error:
                break
        else:
            sys.exit(f"{self.name}: does not go on after kill {number}: {error}")
        got = bits(self.path("killed"))
        if got != self.want:
            names = [n for n in set(got) | set(self.want) if got.get(n, 0) != self.want.get(n, 0)]
            sys.exit(f"{self.name}: kill {number} ({'call' if at_call else 'moment'}): other results in {names}; see {self.path('killed')}")
        return died


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("programs", type=pathlib.Path)
    parser.add_argument("--kills", type=int, default=100, help="of linearize")
    parser.add_argument("--other-kills", type=int, default=20, help="of each other program")
    parser.add_argument("--out", type=pathlib.Path, default=None)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random.seed(options.seed)
    folder = options.out or pathlib.Path(tempfile.mkdtemp(prefix="lolcats-kill-"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "counter.c").write_text(COUNTER)
    counter = folder / "counter.so"
    subprocess.run(["cc", "-O1", "-fno-builtin", "-shared", "-fPIC", folder / "counter.c", "-o", counter, "-ldl"], check=True)
    small = "--documents 8 --length 192 --batch 2 --transfer-epochs 1 --finetune-epochs 1 --max-tokens 2 --save-every 1 --out OUT".split()
    program = lambda name: str(options.programs / name)
    cases = [
        ("linearize", [program("linearize"), *small], options.kills),
        ("blockwise", [program("linearize"), *small, "--block", "1", "--residuals", "OUT/residuals"], options.other_kills),
        ("pretrain", [program("pretrain"), *"--layers 1 --width 16 --heads 2 --kv-heads 1 --head-dim 8 --hidden 24 --length 64 --tokens 2048 --updates 30 --save-minutes 0.0001 --out OUT".split()], options.other_kills),
    ]
    study = options.programs / "ablations" / "lora_rank"
    if study.exists():
        cases.append(("study", [str(study), "--quick", "--documents", "4", "--length", "192", "--out", "OUT"], options.other_kills))
    for name, command, kills in cases:
        case = Case(name, command, folder, counter)
        died = []
        for i in range(kills):
            died.append(case.kill(i, at_call=i % 2 == 0))
            if (i + 1) % 10 == 0:
                print(f"{name}: {i + 1} of {kills} kills", file=sys.stderr, flush=True)
        print(f"{name}: {kills} kills, {sum(died)} of a running process, {case.calls} file calls in {case.seconds:.1f} s: same bits, nothing left behind", flush=True)
    if options.out is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
