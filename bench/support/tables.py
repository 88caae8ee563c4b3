"""What the scripts of this folder share: running a benchmark, and tables in markdown."""
import json
import os
import platform
import subprocess
import sys


def run(command):
    """The JSON lines that a command prints, each shown on stderr as it comes."""
    lines = []
    with subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, text=True) as process:
        for text in process.stdout:
            lines.append(json.loads(text))
            print(text, end="", file=sys.stderr, flush=True)
    if process.returncode != 0:
        sys.exit(f"{command[0]} ended with status {process.returncode}")
    return lines


def program_in(build, name):
    """The benchmark `name` of a build folder."""
    found = next((path for path in [build / "bench" / name, build / name] if path.exists()), None)
    if found is None:
        sys.exit(f"no {name} in {build}; build it with: cmake --workflow --preset bench")
    return found


def write_lines(path, lines):
    """Lines of JSON into a file, if there is a path."""
    if path:
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def table(header, rows):
    """A markdown table; all columns but the first are numbers."""
    lines = ["| " + " | ".join(header) + " |", "|---" + "|---:" * (len(header) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def machine():
    """One line: processor, cores, what else was running."""
    model = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    flags = next((line for line in open("/proc/cpuinfo") if line.startswith("flags")), "")
    vectors = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "no AVX2"
    return f"{model}, {os.cpu_count()} cores, {vectors}, load {os.getloadavg()[0]:.1f} when the run ended"
