#!/usr/bin/env python3
"""Plants errors, one line each, and says which of them the tests notice.

    tests/mutation/mutate.py [--list FILE]... [--only EXPRESSION] [--plain] [--jobs N] [--work FOLDER]
    tests/mutation/mutate.py --cuda [--cmake OPTION]... [--list FILE]... [--only EXPRESSION] [--jobs N] [--work FOLDER]

A list is a text of entries with a blank line between them; # begins a comment:

    tests/ops/rope_test.cpp include/lolcats/ops/rope/eigen.hpp
    - old text
    + new text
    = why nothing can notice it (only where the change is equivalent)

The first line names the tests that must notice (a path, or the beginning of one) and the file to change.  The old text
occurs once in the file (a third word N on the first line: the Nth place); a new text that is empty removes it.

All changes are compiled into one build: the smallest expression or statement around a change becomes
`(lolcats_mutant(17) ? (new) : (old))`, and the environment variable LOLCATS_MUTANT chooses one.  What cannot be said so
(declarations, constant expressions), what does not compile so, and what survived so is tried again in a build of its own;
--plain does that for all.  Entries whose tests are *.cu need a GPU: they are left out, and --cuda runs them alone, each in
a tree of its own, N at a time.  Exit status 1 if a change survives that the list does not call equivalent, or does not compile.
"""
import argparse
import concurrent.futures
import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
HEADER = """#pragma once
#if defined(__cplusplus) && __cplusplus >= 202002L
#include <cstdlib>
#include <type_traits>
#undef LOLCATS_COMPILED_KERNELS
namespace lolcats_mutation {
inline const int chosen = std::getenv("LOLCATS_MUTANT") ? std::atoi(std::getenv("LOLCATS_MUTANT")) : 0;
}
constexpr bool lolcats_mutant(int number) {
  return std::is_constant_evaluated() ? false : lolcats_mutation::chosen == number;
}
#endif
"""
CONSTANT = re.compile(r"(?<![.>])\b(static_assert|constexpr|consteval|requires|concept|template|using|namespace|case)\b|#\w+")
STATEMENT = re.compile(r"(if|for|while|return|throw|continue|break)\b")
# One OpenMP thread for each test: several run at once.
QUIET = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


@dataclasses.dataclass
class Mutant:
    number: int
    tests: str
    path: str
    old: str
    new: str
    equivalent: str
    where: str
    begin: int = 0
    wide: bool = False  # chosen by statement, where the expression does not compile
    result: str = ""

    @property
    def cuda(self):
        return self.tests.endswith(".cu")


def fail(text):
    sys.exit(f"mutate.py: {text}")


def read_list(path, mutants):
    for match in re.finditer(r"(?:^[^\n]*\S[^\n]*\n?)+", path.read_text(), re.M):
        where = f"{path.name}:{path.read_text()[:match.start()].count(chr(10)) + 1}"
        lines = [line for line in match.group().splitlines() if not line.startswith("#")]
        if not lines:
            continue
        head, marks = lines[0].split(), {"-": [], "+": [], "=": []}
        for line in lines[1:]:
            if line[:1] not in marks or line[1:2] not in ("", " "):
                fail(f"{where}: a line begins with {line[:2]!r}, expected '- ', '+ ' or '= '")
            marks[line[0]].append(line[2:])
        if len(head) not in (2, 3) or not marks["-"] or not marks["+"]:
            fail(f"{where}: expected 'tests file [place]', then lines '- old' and '+ new'")
        mutant = Mutant(len(mutants) + 1, head[0], head[1], "\n".join(marks["-"]), "\n".join(marks["+"]),
                        " ".join(marks["="]), where)
        text = (ROOT / mutant.path).read_text() if (ROOT / mutant.path).is_file() else fail(f"{where}: no file {mutant.path}")
        places = [found.start() for found in re.finditer(re.escape(mutant.old), text)]
        if len(head) == 2 and len(places) != 1 or len(head) == 3 and len(places) < int(head[2]):
            fail(f"{where}: {mutant.path} has the old text {len(places)} times: {mutant.old!r}")
        mutant.begin = places[int(head[2]) - 1 if len(head) == 3 else 0]
        mutants.append(mutant)


def masked(text):
    """The text with comments, strings and characters blanked, all places kept."""
    pattern = r'//[^\n]*|/\*.*?\*/|R"\((?:.*?)\)"|"(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])\'(?:\\.|[^\'\\\n])\''
    return re.sub(pattern, lambda found: re.sub(r"[^\n]", "_", found.group()) if found.group()[0] in "\"'R"
                  else re.sub(r"[^\n]", " ", found.group()), text, flags=re.S)


def assigns(text, i):
    """Whether text[i] ends an assignment operator."""
    return text[i] == "=" and text[i + 1:i + 2] != "=" and text[i - 1] not in "=!<>"


def single(text, i):
    """Whether text[i] is a colon of its own."""
    return text[i] == ":" and ":" not in (text[i - 1], text[i + 1:i + 2])


def balanced(text):
    """Whether every bracket is opened before it is closed, and closed."""
    depth = 0
    for c in text:
        depth += (c in "([{") - (c in ")]}")
        if depth < 0:
            return False
    return depth == 0


def listed(text):
    """Whether a comma stands outside of all brackets: several expressions, which parentheses would make one."""
    depth = 0
    for c in text:
        depth += (c in "([{") - (c in ")]}")
        if c == "," and depth == 0:
            return True
    return False


def bracket(text, i):
    """The bracket that text[i] stands in."""
    depth = 0
    while i > 0 and (depth or text[i - 1] not in "([{"):
        depth += (text[i - 1] in ")]}") - (text[i - 1] in "([{")
        i -= 1
    return text[i - 1:i]


def statement(text, begin, end):
    """The range of the statement around a range; None where it is a block, a declaration or a part of a for's head."""
    depth, left = 0, begin
    while left > 0 and (depth or text[left - 1] not in ";{}"):
        depth = max(0, depth + (text[left - 1] in ")]}") - (text[left - 1] in "([{"))
        left -= 1
    depth, right = 0, end
    while right < len(text) and (depth or text[right] != ";"):
        if depth == 0 and (text[right] == "}" or text[right] == "{" and text[:right].rstrip()[-1:] in ")e"):
            return None
        depth = max(0, depth + (text[right] in "([{") - (text[right] in ")]}"))
        right += 1
    while left < begin and text[left].isspace():
        left += 1
    inside = text[left:right]
    if bracket(text, left) != "{" or constant(inside) or re.match(r"(else|do|return)\b|(?!if\b|for\b|while\b|throw\b)[\w:<>,*& ]*[\w>&*]\s+\w+\s*([={(]|$)", inside):
        return None
    return left, right + 1, "statement"


def constant(text):
    return CONSTANT.search(re.sub(r"\bif constexpr\b", "if", text))


def enclosing(text, begin, end, wide):
    """Begin, end and kind of the smallest expression (`wide`: statement) of a masked text around a range, or None."""
    if wide:
        return statement(text, begin, end)
    depth, left = 0, begin
    while left > 0:
        c = text[left - 1]
        if depth == 0 and (c in "([{}," or c in ";?" or assigns(text, left - 1) or single(text, left - 1)):
            break
        if depth == 0 and re.search(r"\breturn$", text[max(0, left - 7):left]) and not re.match(r"\w", text[left]):
            break
        depth += (c in ")]}") - (c in "([{")
        left -= 1
    opened = text[left - 1]
    depth, right = 0, end
    while right < len(text) and (depth or not (text[right] in ")]},;?" or single(text, right))):
        depth += (text[right] in "([{") - (text[right] in ")]}")
        right += 1
    while left < begin and text[left].isspace():
        left += 1
    if constant(text[max(text.rfind(c, 0, left) for c in ";{}") + 1:right]):
        return None
    if opened == "n" and text[right] == ";":
        return text.rfind("return", 0, left), right + 1, "return"
    if opened in "=;{}" and text[right] == ";" and bracket(text, left) == "{":
        whole = statement(text, begin, end)
        if whole or opened != "=":
            return whole
    return None if STATEMENT.match(text[left:]) else (left, right, "expression")


def schemata(text, mutants):
    """The text with every mutant that can be chosen at run time, and the others."""
    mask, regions, plain = masked(text), [], []
    for mutant in mutants:
        old, new = mutant.old, mutant.new
        same = len(os.path.commonprefix([old, new]))
        tail = len(os.path.commonprefix([old[same:][::-1], new[same:][::-1]]))
        if not balanced(old[same:len(old) - tail]):
            same = tail = 0
        first, last = mutant.begin + same, mutant.begin + len(old) - tail
        if not new.strip() and old.rstrip().endswith(";"):  # a statement removed
            first, last = mutant.begin, mutant.begin + len(old.rstrip()) - 1
        while last > first and mask[last - 1].isspace() or last > first and mask[last - 1] == ";":
            last -= 1
        region = enclosing(mask, first, last, mutant.wide)
        if region is None or region[1] < last or region[0] > first or region[2] == "expression" and listed(mask[region[0]:region[1]]):
            plain.append(mutant)
        else:
            regions.append([*region, [mutant]])
    merged = []
    for region in sorted(regions, key=lambda region: (region[0], -region[1])):
        if not merged or region[0] >= merged[-1][1]:
            merged.append(region)
        elif region[1] <= merged[-1][1]:
            merged[-1][3].extend(region[3])
        else:
            plain += region[3]
    for begin, end, kind, inside in reversed(merged):
        old, choice = text[begin:end], ""
        for mutant in inside:
            changed = text[:mutant.begin] + mutant.new + text[mutant.begin + len(mutant.old):]
            new = changed[begin:len(changed) - (len(text) - end)]
            # A line's comment must not swallow the bracket behind it.
            choice += (f"lolcats_mutant({mutant.number}) ? ({new}\n) : " if kind == "expression" else
                       f"if (lolcats_mutant({mutant.number})) {{ {new}\n}} else ")
        body = {"expression": f"({choice}({old}\n))", "statement": f"{choice}{{ {old}\n}}", "return": f"{{ {choice}{{ {old}\n}} }}"}[kind]
        text = text[:begin] + body + text[end:]
    return text, plain


class Tree:
    """A copy of the sources, its build, and the tests of some mutants."""

    def __init__(self, folder, mutants, jobs, options=()):
        self.folder, self.jobs = folder, jobs
        self.groups = {}
        tests = (ROOT / "tests/CMakeLists.txt").read_text()
        for name, folders in re.findall(r"^lolcats_tests\((\w+) ([\w ]+)\)", tests, re.M):
            for each in folders.split():
                self.groups[each] = name
        for name, patterns in re.findall(r"^file\(GLOB (cuda_\w+) CONFIGURE_DEPENDS (.+)\)", tests, re.M):
            for each in patterns.split():
                if each.endswith("_test.cu"):
                    self.groups[each.rsplit("/", 1)[0] + "/.cu"] = name
        cuda = mutants[0].cuda
        files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
        wanted = tuple({mutant.tests for mutant in mutants})
        for file in files:
            # CMakeLists.txt finds tests by their folders, but for those of distributed/, which it names.
            unneeded = (file.startswith("tests/") and file.endswith(("_test.cpp", "_test.cu"))
                        and not file.startswith((*wanted, "tests/distributed/")))
            if unneeded or not (ROOT / file).is_file():
                (folder / file).unlink(missing_ok=True)  # of another selection
                continue
            self.write(file, (ROOT / file).read_bytes())
            shutil.copymode(ROOT / file, folder / file)
        self.write("mutant.hpp", HEADER.encode() if not cuda else b"#undef LOLCATS_COMPILED_KERNELS\n")
        # Each unit instantiates what it needs: a change of a kernel is not to wait for units that hold all of them.
        for file in ("cmake/compiled.cpp", "cmake/compiled_kernels.cpp"):
            self.write(file, b"")
        include = f"-include {folder / 'mutant.hpp'}"
        configured = subprocess.run(
            ["cmake", "--preset", "test", "-S", str(folder), "-B", str(folder / "build"), f"-DLOLCATS_CUDA={'ON' if cuda else 'OFF'}",
             "-DLOLCATS_BUILD_EXAMPLES=OFF", "-DCMAKE_DISABLE_PRECOMPILE_HEADERS=ON", f"-DCMAKE_CXX_FLAGS=-w {include}",
             *([f"-DCMAKE_CUDA_FLAGS={include}"] if cuda else []), *options],
            cwd=folder, capture_output=True, text=True)
        if configured.returncode != 0:
            fail("cmake fails:\n" + configured.stderr[-3000:])

    def write(self, file, content):
        path = self.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_bytes() != content:
            path.write_bytes(content)

    def group(self, mutant):
        part = mutant.tests.removeprefix("tests/").rsplit("/", 1)[0] + "/.cu" if mutant.cuda else mutant.tests.split("/")[1]
        return self.groups.get(part) or fail(f"{mutant.where}: no test group has tests/{part}")

    def build(self, mutants):
        """The compiler's output where it refuses, empty where not."""
        targets = sorted({"test_" + self.group(mutant) for mutant in mutants})
        made = subprocess.run(["cmake", "--build", str(self.folder / "build"), "-j", str(self.jobs), "--target", *targets, "--", "-k", "0"],
                              capture_output=True, text=True)
        return "" if made.returncode == 0 else made.stdout + made.stderr or "no output"

    def run(self, mutant, number, limit):
        program = self.folder / "build/tests" / ("test_" + self.group(mutant))
        begun = time.monotonic()
        # A loop without an end, or one that allocates without an end, is a change that was noticed.
        limits = "" if mutant.cuda else "ulimit -v 12000000; "  # the driver maps more than there is
        command = f"{limits}exec {program} --abort-after=1 '--source-file=*/{mutant.tests}*'"
        try:
            done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=limit,
                                  env={**os.environ, **QUIET, "LOLCATS_MUTANT": str(number)}, cwd=self.folder)
        except subprocess.TimeoutExpired:
            return "killed", limit
        if "skipped: " in done.stdout + done.stderr:
            fail(f"{mutant.where}: no GPU")
        if "test cases: 0 |" in done.stdout.replace("  ", " "):
            fail(f"{mutant.where}: no test case in {mutant.tests}")
        return "survived" if done.returncode == 0 else "killed", time.monotonic() - begun


def unchanged(tree, mutants):
    """Seconds of each set of tests where nothing is changed."""
    seconds = {}
    for mutant in mutants:
        if mutant.tests not in seconds:
            result, seconds[mutant.tests] = tree.run(mutant, 0, 600)
            if result != "survived":
                fail(f"{mutant.tests} fails without any change")
    return seconds


def run_schemata(tree, mutants, every, jobs, say):
    """Results of the mutants that one build can hold; returns the others."""
    files = {mutant.path for mutant in every}
    inside, plain = list(every), []
    while True:
        for file in files:
            text, others = schemata((ROOT / file).read_text(), [mutant for mutant in inside if mutant.path == file])
            tree.write(file, text.encode())
            plain += [mutant for mutant in others if mutant not in plain]
        inside = [mutant for mutant in inside if mutant not in plain]
        output = tree.build(mutants)
        if not output:
            break
        # Of a template's error, every place on the way may be the changed one; those in other files hold none.
        places = {(file, int(line)) for file, line in re.findall(r"(\S+?):(\d+):\d+: +(?:fatal )?error", output)}
        out = [mutant for mutant in inside if str(mutant.number) in refused(places)]
        if not out:
            places = {(file, int(line)) for file, line in re.findall(r"(\S+?):(\d+):\d+:", output)}
            out = [mutant for mutant in inside if str(mutant.number) in refused(places)]
        if not out:
            fail("the build of all changes fails elsewhere than at a change:\n" + output[-6000:])
        say(f"{len(out)} changes do not compile as a choice of {'statements' if all(each.wide for each in out) else 'expressions'}: "
            + ", ".join(mutant.where for mutant in out))
        plain += [mutant for mutant in out if mutant.wide]
        inside = [mutant for mutant in inside if mutant not in plain]
        for mutant in out:
            mutant.wide = True
    inside = [mutant for mutant in inside if mutant in mutants]
    seconds = unchanged(tree, inside)

    def one(mutant):
        mutant.result, took = tree.run(mutant, mutant.number, max(20, 8 * seconds[mutant.tests]))
        return mutant, took

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for mutant, took in pool.map(one, inside):
            say(f"{mutant.result:9} {took:6.1f} s  {mutant.where}  {mutant.path}")
    return [mutant for mutant in plain if mutant in mutants]


def refused(places):
    """Numbers of the changes at these lines."""
    numbers = set()
    for file, line in places:
        if pathlib.Path(file).is_file():
            lines = pathlib.Path(file).read_text().splitlines()
            # A choice may spread over lines: its number stands above.
            above = [at for at in range(max(0, line - 6), line) if at < len(lines) and "lolcats_mutant(" in lines[at]]
            if above:
                numbers |= set(re.findall(r"lolcats_mutant\((\d+)\)", lines[above[-1]]))
    return numbers


def run_plain(tree, mutants, say):
    for file in {mutant.path for mutant in mutants}:
        tree.write(file, (ROOT / file).read_bytes())
    for mutant in mutants:
        text = (ROOT / mutant.path).read_text()
        tree.write(mutant.path, (text[:mutant.begin] + mutant.new + text[mutant.begin + len(mutant.old):]).encode())
        output = tree.build([mutant])
        mutant.result = "does not compile" if output else tree.run(mutant, 0, 300)[0]
        tree.write(mutant.path, text.encode())
        say(f"{mutant.result:9} alone    {mutant.where}  {mutant.path}")


def run_cuda(folder, mutants, jobs, options, say):
    """Each change in a tree of its own, since a unit takes a minute; first the tests as they are.  Programs that share a GPU
    slow each other down far more than builds do, so one test runs at a time."""
    unchanged = {mutant.tests: dataclasses.replace(mutant, number=0, new=mutant.old) for mutant in mutants}
    gpu = threading.Lock()

    def one(mutant):
        tree = Tree(folder / (str(mutant.number) if mutant.number else re.sub(r"\W", "_", mutant.tests)), [mutant], 1, options)
        text = (ROOT / mutant.path).read_text()
        tree.write(mutant.path, (text[:mutant.begin] + mutant.new + text[mutant.begin + len(mutant.old):]).encode())
        output, took = tree.build([mutant]), 0
        if output:
            mutant.result = "does not compile"
            say(output[-3000:])
        else:
            with gpu:
                mutant.result, took = tree.run(mutant, 0, 300)
            shutil.rmtree(tree.folder)
        say(f"{mutant.result:9} {took:6.1f} s  {mutant.where}  {mutant.path}" if mutant.number else
            f"{'passes' if mutant.result == 'survived' else 'fails':9} {took:6.1f} s  unchanged  {mutant.tests}")

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        list(pool.map(one, [*unchanged.values(), *mutants]))
    for mutant in unchanged.values():
        if mutant.result != "survived":
            fail(f"{mutant.tests} fails without any change")


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--list", action="append", type=pathlib.Path, help="default: every *.txt beside this program")
    arguments.add_argument("--only", default="", help="a regular expression: entries whose tests, file and old text it is found in")
    arguments.add_argument("--plain", action="store_true", help="a build for each change")
    arguments.add_argument("--no-plain", action="store_true", help="leave out what needs a build of its own, and say so")
    arguments.add_argument("--cuda", action="store_true", help="the changes that tests on a GPU must notice")
    arguments.add_argument("--cmake", action="append", default=[], help="with --cuda: a further option of cmake, as --cmake=-DX=Y")
    arguments.add_argument("--jobs", type=int, default=os.cpu_count())
    arguments.add_argument("--work", type=pathlib.Path, default=ROOT / "build/mutation", help="a folder for the copy and its build")
    options = arguments.parse_args()
    mutants = []
    for path in options.list or sorted(pathlib.Path(__file__).parent.glob("*.txt")):
        read_list(path, mutants)
    mutants = [each for each in mutants if each.cuda == options.cuda]
    every = list(mutants)  # all are compiled, so that the headers stay the same from one selection to the next
    mutants = [each for each in mutants if re.search(options.only, f"{each.tests} {each.path} {each.old}")]
    if not mutants:
        fail("no entry")

    def say(text):
        print(text, flush=True)

    if options.cuda:
        run_cuda(options.work.resolve(), mutants, options.jobs, options.cmake, say)
    else:
        tree = Tree(options.work.resolve(), mutants, options.jobs)
        alone = mutants if options.plain else run_schemata(tree, mutants, every, options.jobs, say)
        if not options.plain:
            alone = alone + [each for each in mutants if each.result == "survived" and not each.equivalent]
        if options.no_plain:
            for each in alone:
                each.result = each.result or "not run"
        else:
            run_plain(tree, alone, say)
    killed = [each for each in mutants if each.result == "killed"]
    equal = [each for each in mutants if each.result == "survived" and each.equivalent]
    rest = [each for each in mutants if each not in killed and each not in equal]
    for each in rest:
        say(f"{each.result}: {each.where} {each.path} ({each.tests})\n- {each.old}\n+ {each.new}")
    for each in killed:
        if each.equivalent:
            say(f"called equivalent, and killed: {each.where}")
    say(f"{len(mutants)} changes: {len(killed)} killed, {len(equal)} equivalent, {len(rest)} others")
    return 1 if rest else 0


if __name__ == "__main__":
    sys.exit(main())
