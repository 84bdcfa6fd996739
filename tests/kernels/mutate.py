#!/usr/bin/env python3
"""Proves that tests notice a missing synchronisation or bounds check in a kernel template.

Every mutant is one line of a .cu or .cuh of templates/ with one barrier, wait or comparison taken away or weakened.  It is
planted with TENON_EMU_PATCH into what the emulator compiles, and the templates that include the line run their cases of
kernel_matrix until one fails.  A mutant that makes no case fail has survived: either a test is missing, or the line is
not needed.

    mutate.py --matrix build/tests/kernel_matrix                 all of them: about 15 minutes of one core
    mutate.py --matrix ... --template gemm_mma.cu --jobs 2       one template or header
    mutate.py --matrix ... --sample 24 --seed 1                  what the ctest kernels_mutants does
    mutate.py --list                                             the mutants with their keys

mutants.txt lists mutants that change nothing that could be observed, each with its reason; lines "KEY reason".  They
are counted apart.
"""
import argparse
import bisect
import concurrent.futures
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict, namedtuple

HERE = os.path.dirname(os.path.abspath(__file__))
TEMPLATES = os.path.join(HERE, "..", "..", "templates")
# a file's name, by which all else knows it: its path
PATHS = {f: os.path.join(d, f) for d, _, names in os.walk(TEMPLATES) for f in names if f.endswith((".cu", ".cuh"))}

# ---- mutants ---------------------------------------------------------------------------------------------------------

# file, line (1 is the first), kind, what: the change in words, text: the new line, key: survives edits elsewhere
Mutant = namedtuple("Mutant", "file line kind what text key old")

# Functions that choose a shape at compile time, and those whose comparisons are arithmetic: no index meets an extent.
SHAPES = {"tn_warps_m", "tn_resident"}
ARITHMETIC = {
    "arg_reduce.cu": {"tn_better"},
    "check.cu": {"tn_check_compare"},
    "dft.cu": {"series", "cos_of", "root"},
    "tn_device.cuh": {"tn_float_to_half", "tn_float_to_bf16", "tn_max_nan", "tn_min_nan", "tn_e4m3_to_float",
                      "tn_float_to_e4m3", "tn_float_to_e5m2", "tn_saturate", "apply", "tn_get_i4", "tn_half_to_float",
                      "tn_min_index", "tn_fnuz_to_float", "tn_float_to_fnuz", "tn_e2m1_to_float", "tn_float_to_e2m1",
                      "tn_e8m0_to_float", "tn_float_to_e8m0", "tn_in_e8m0", "tn_down_to_e8m0", "tn_up_to_e8m0"},
    "tn_math.cuh": {"tn_max", "tn_min", "tn_mod", "tn_abs", "tn_sign", "tn_div", "tn_fmod", "tn_pow", "tn_shl",
                    "tn_shr", "tn_to_i64", "tn_to_u64", "tn_clamp_int", "tn_wrap_i4", "tn_wrap_i2", "tn_kernel_cubic",
                    "tn_kernel_linear"},
}

# Statements that order something, and what stands in for them.
CALLS = [
    (r"__syncthreads\(\);", "barrier", ";"),
    (r"tn_cluster_(?:sync|meet)\(\);", "barrier", ";"),
    (r"TN_WAIT\(\);", "wait", ";"),
    (r"tn_(?:cp_async|wgmma|bulk)_wait<[^;]*>\(\);", "wait", ";"),
    (r"tn_mbarrier_\w*wait\w*\([^;]*\);", "wait", ";"),
    (r"tn_(?:cp_async|wgmma|bulk)_commit\(\);", "commit", ";"),
    (r"tn_fence_\w+\(\);", "fence", ";"),
    (r"tn_wgmma_fence\(\);", "fence", ";"),
    (r"tn_barrier_sync\([^;]*\);", "barrier", ";"),
    (r"__syncwarp\(\);", "barrier", ";"),
]
LEAVES = re.compile(r"\{?\s*(return|continue|break)\b")
WEAKER = re.compile(r"(tn_(?:cp_async|wgmma|bulk)_wait<)([^;]*)(>\(\);)")


def blank(text):
    """The text with comments, strings, preprocessor lines and bodies under TN_HOST blanked; offsets stay."""
    keep = list(text)

    def wipe(a, b):
        for i in range(a, b):
            if keep[i] != "\n":
                keep[i] = " "

    for m in re.finditer(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])\'', text, re.S):
        wipe(m.start(), m.end())
    at, host, depth = 0, None, 0
    continued = False
    for line in text.splitlines(keepends=True):
        s = line.strip()
        if s.startswith("#") or continued:
            continued = s.endswith("\\")
            if re.match(r"#\s*if", s):
                depth += 1
                if host is None and re.match(r"#\s*if(def)?\s+(defined\()?TN_HOST", s):
                    host = depth
            wipe(at, at + len(line))
            if re.match(r"#\s*endif", s):
                if host == depth:
                    host = None
                depth -= 1
        elif host is not None:  # the meaning of an instruction, or its assembler
            wipe(at, at + len(line))
        at += len(line)
    return "".join(keep)


def enclosing_functions(code):
    """For every offset the name of the function whose body it stands in, or None."""
    names, stack, last = [None] * len(code), [], 0
    for i, c in enumerate(code):
        if c == "{":
            head = code[last:i]
            m = re.match(r"[\s\S]*?\b([A-Za-z_]\w*)\s*\([\s\S]*\)\s*(?:const\s*)?(?::[\s\S]*)?$", head)
            inner = stack[-1] if stack else None
            name = m.group(1) if m else None
            if m and re.search(r"__global__", head):
                ks = [k for k in re.findall(r"\b(\w+)\s*\(", head) if k not in ("__launch_bounds__", "__align__")]
                name = next((k for k in ks if not k.startswith("__") and k != "tn_resident"), name)
            stack.append(inner if inner else name)
            last = i + 1
        elif c == "}":
            if stack:
                stack.pop()
            last = i + 1
        elif c == ";":
            last = i + 1
        names[i] = stack[-1] if stack else None
    return names


OPEN, CLOSE = "([{", ")]}"


def operand(code, at, step):
    """Where the operand beside a comparison ends: at the next &&, ||, ?, :, comma, =, ;, or unmatched bracket."""
    depth, i = 0, at
    while 0 <= i < len(code):
        c = code[i]
        enter, leave = (OPEN, CLOSE) if step > 0 else (CLOSE, OPEN)
        if c in enter:
            depth += 1
        elif c in leave:
            if depth == 0:
                break
            depth -= 1
        elif depth == 0:
            two = code[i:i + 2] if step > 0 else code[i - 1:i + 1]
            if two in ("&&", "||", "<<") or (two == ">>"):
                if two in ("&&", "||"):
                    break
                i += 2 * step
                continue
            if c in ",;?":
                break
            if c == ":" and two != "::" and code[i - 1:i + 1] != "::" and code[i:i + 2] != "::":
                break
            if two == "::":
                i += 2 * step
                continue
            if c == "=":
                break
            if c == "!" and step < 0:
                break
        i += step
    a, b = (i + 1, at + 1) if step < 0 else (at, i)
    part = code[a:b]
    if step < 0:
        m = re.match(r"\s*(return\b)", part)
        if m:
            a += m.end()
            part = code[a:b]
        a += len(part) - len(part.lstrip())
    else:
        b -= len(part) - len(part.rstrip())
    return a, b


def condition_of(code, at):
    """The keyword whose bracket `at` stands in (if, if constexpr, for, while; None: none) and what follows the bracket."""
    depth = 0
    for i in range(at, -1, -1):
        c = code[i]
        if c in CLOSE:
            depth += 1
        elif c in OPEN and depth:
            depth -= 1
        elif c in "{[":
            break
        elif c == "(":
            m = re.search(r"\b(if constexpr|if|for|while)$", code[max(0, i - 24):i].rstrip())
            if m:
                end = closing(code, i)
                return m.group(1), code[end:end + 40].lstrip()
    return None, ""


def closing(code, at):
    """The offset after the bracket that closes the one at `at`."""
    depth = 0
    for i in range(at, len(code)):
        depth += (code[i] in OPEN) - (code[i] in CLOSE)
        if depth == 0:
            return i + 1
    return len(code)


def runtime_value(text):
    """Does the operand hold anything but numbers, constants of the variant and types?"""
    words = set(re.findall(r"\b[A-Za-z_]\w*", re.sub(r"\b\d\w*", "", text)))
    types = {"int", "unsigned", "long", "char", "float", "double", "sizeof", "tn_index", "const", "T", "F", "I"}
    return any(not re.fullmatch(r"[A-Z][A-Z0-9_]*", w) for w in words - types)


def mutants_of(path):
    name = os.path.basename(path)
    text = open(path, encoding="utf-8").read()
    code = blank(text)
    starts = [0] + [i + 1 for i, c in enumerate(text) if c == "\n"]
    lines = text.split("\n")
    functions = enclosing_functions(code)
    found = []

    def add(a, b, new, kind, what):
        line = bisect.bisect_right(starts, a) - 1
        if b <= starts[line] + len(lines[line]):  # else over two lines
            old, a, b = lines[line], a - starts[line], b - starts[line]
            found.append((name, line + 1, kind, what, old[:a] + new + old[b:], old))

    for pattern, kind, new in CALLS:
        for m in re.finditer(pattern, code):
            if functions[m.start()] is None:
                continue
            call = code[m.start():m.end() - 1]
            add(m.start(), m.end(), new, kind, "without " + call)
    for m in WEAKER.finditer(code):
        n = m.group(2)
        more = str(int(n) + 1) if n.isdigit() else n + " + 1"
        add(m.start(2), m.end(2), more, "weaker wait", "waits for one group less: <" + more + ">")

    for m in re.finditer(r"(?<= )(<=|>=|<|>)(?= )", code):
        at, op, f = m.start(), m.group(1), functions[m.start()]
        if f is None or f in SHAPES or re.search(r"\btemplate\s*$", code[:at]):
            continue
        (a0, a1), (b0, b1) = operand(code, at - 1, -1), operand(code, at + len(op), 1)
        left, right = code[a0:a1].strip(), code[b0:b1].strip()
        if not left or not right or not (runtime_value(left) or runtime_value(right)):
            continue
        keyword, body = condition_of(code, at)
        if keyword in ("if constexpr", "while"):
            continue
        other = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}[op]
        if keyword == "for":
            add(at, at + len(op), other, "loop", f"{left} {other} {right}")
            continue
        if f in ARITHMETIC.get(name, ()):
            continue
        # As if the check were not there: what lets go on always holds, what leaves or clamps never does.
        leaves = (op in "<=" if right == "0" else op in (">", ">=")) and not (keyword == "if" and op in (">", ">=") and
                  right != "0" and not LEAVES.match(body) and not re.search(r"[A-Z]", right))
        add(a0, b1, "false" if leaves else "true", "bounds", f"{left} {op} {right} -> {'false' if leaves else 'true'}")
        add(at, at + len(op), other, "off by one", f"{left} {other} {right}")

    found.sort(key=lambda f: (f[1], f[2], f[3]))
    seen, out = defaultdict(int), []
    for file, line, kind, what, new, old in found:
        same = (old.strip(), kind, new.strip())
        seen[same] += 1
        digest = hashlib.sha1("\n".join(same + (str(seen[same]),)).encode()).hexdigest()[:8]
        out.append(Mutant(file, line, kind, what, new, f"{file}:{digest}", old))
    return out


def all_files():
    return sorted(PATHS)


def users(files):
    """For every file the templates that include it, themselves included."""
    includes = {}
    for f in files:
        text = open(PATHS[f], encoding="utf-8").read()
        includes[f] = [i for i in re.findall(r'^\s*#include "([^"]+)"', text, re.M) if i in files]
    out = defaultdict(list)
    for t in files:
        if not t.endswith(".cu"):
            continue
        todo, seen = [t], set()
        while todo:
            f = todo.pop()
            if f not in seen:
                seen.add(f)
                todo += includes[f]
        for f in seen:
            out[f].append(t[:-3])
    return out


# ---- running -----------------------------------------------------------------------------------------------------------

# What a loop that makes one round too many does to arrays in registers is undefined; here it traps.  Variables start
# with a pattern that is no number of use.
FLAGS = "-fsanitize=bounds -fsanitize-undefined-trap-on-error -ftrivial-auto-var-init=pattern"
ENDLESS = 15.0  # seconds; a variant takes less than one

# How a mutant was noticed: the emulator's faults, a wrong result, or what a broken kernel does to its host.
FAULTS = [
    ("does not compile", r"does not compile|:\d+: (fatal )?error: |cannot be loaded"),
    ("race", r"\brace: "),
    ("uninitialised", r"uninitialised shared memory: "),
    ("out of bounds", r"access out of bounds: "),
    ("misaligned", r"misaligned access: "),
    ("read only", r"write of read-only memory: "),
    ("too early", r"before the previous kernel has finished: "),
    ("divergent", r"divergent barrier: "),
    ("endless", r"kernel without an end: "),
    ("misuse", r"\bmisuse: "),
]

Case = namedtuple("Case", "template name variant")
Outcome = namedtuple("Outcome", "mutant state how case seconds detail")  # state: killed, survived, invalid


# Functions that only generated code calls, and the cases in which it does.
GENERATED = [(r"tn_wrap_index", r"gather|scatter"), (r"tn_edge|tn_wrap|tn_reflect", r"pad|resize"),
             (r"tn_resize_index", r"resize"), (r"tn_load|tn_store|tn_finish", r"")]


class Reach:
    """Guesses which variants execute a line: templates that name a function that leads to it, and variants in which
    the knobs that are spoken of just before the line are not at their least."""

    def __init__(self, files):
        self.text = {f: open(PATHS[f], encoding="utf-8").read() for f in files}
        self.functions = {}                  # file: a name for every offset
        self.mentions = defaultdict(set)     # function: the identifiers of its bodies
        for f, text in self.text.items():
            code = blank(text)
            self.functions[f] = enclosing_functions(code)
            for m in re.finditer(r"\b[A-Za-z_]\w*", code):
                owner = self.functions[f][m.start()]
                if owner and f.endswith(".cuh"):
                    self.mentions[owner].add(m.group(0))
        self.words = {f: set(re.findall(r"\b[A-Za-z_]\w*", blank(t))) for f, t in self.text.items()}

    def function(self, m):
        before = "\n".join(self.text[m.file].split("\n")[:m.line - 1])
        inside = self.functions[m.file][len(before) + 1:len(before) + 1 + len(m.old)]
        return next((f for f in inside if f), None)

    def templates(self, m, users_of):
        """Those of users_of that call the mutant's function; all if none does (generated code may)."""
        if m.file.endswith(".cu"):
            return users_of
        leads, new = set(), {self.function(m)} - {None}
        while new:
            leads |= new
            new = {f for f, names in self.mentions.items() if names & leads} - leads
        return [t for t in users_of if self.words.get(t + ".cu", set()) & leads] or users_of

    def score(self, m):
        """A key for variants: those that are more likely to get to the line come first."""
        before = self.text[m.file].split("\n")[max(0, m.line - 8):m.line]
        spoken = {w[3:] if w.startswith("TN_") else w for l in before for w in re.findall(r"\b[A-Z][A-Z_]+\b", l)}
        spoken |= {w + "K" for w in spoken}
        named = next((c for f, c in GENERATED if re.fullmatch(f, self.function(m) or "")), "")

        def key(case):
            knobs = dict(k.split("=") for k in case.variant.split()[1:])
            unlikely = named and not re.search(named, case.name)
            return unlikely, not case.name.startswith("edges:"), -sum(k in spoken and int(v) > 1 for k, v in knobs.items())

        return key


class Matrix:
    """The program kernel_matrix: the variants that it would execute, and runs of one with or without a mutant.
    `others`: for a template or header, a test program of its own.  `listing`: a file that keeps the list."""

    def __init__(self, program, others, listing):
        self.program, self.others = program, others
        self.lock = threading.Lock()
        self.env = dict(os.environ)
        self.env.pop("TENON_EMU_PATCH", None)
        self.env.setdefault("TENON_EMU_FLAGS", FLAGS)
        self.cases = defaultdict(list)
        self.baseline = {}  # case: passes without a mutant
        self.cost = {}      # case: seconds
        if listing and os.path.exists(listing):
            text = open(listing, encoding="utf-8").read()
        else:
            text = self.call([program, "--list", "--verbose"], None, 300)[1]
            if listing:
                open(listing, "w", encoding="utf-8").write(text)
        for line in text.splitlines():
            name, variant = line.split(None, 1)
            self.cases[variant.split()[0]].append(Case(variant.split()[0], name, variant))
        for template, other in others.items():
            self.cases[template].append(Case(template, os.path.basename(other), ""))
        for template, queue in self.cases.items():  # one variant of every case, then the next
            queue.sort(key=lambda c: hashlib.sha1(repr(c).encode()).digest())
            turn = defaultdict(int)
            ranked = []
            for c in queue:
                ranked.append((turn[c.name], c))
                turn[c.name] += 1
            self.cases[template] = [c for _, c in sorted(ranked, key=lambda r: r[0])]

    def call(self, words, patch, timeout):
        """Exit code (None: it took too long) and output; whole process groups end."""
        env = self.env if patch is None else dict(self.env, TENON_EMU_PATCH=patch)
        with tempfile.TemporaryDirectory(prefix="tenon-mutant-") as tmp:
            p = subprocess.Popen(words, env=dict(env, TMPDIR=tmp), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 stdin=subprocess.DEVNULL, start_new_session=True)
            try:
                out = p.communicate(timeout=timeout)[0]
                return p.returncode, out.decode("utf-8", "replace")
            except subprocess.TimeoutExpired:
                os.killpg(p.pid, signal.SIGKILL)
                out = p.communicate()[0]
                return None, out.decode("utf-8", "replace")

    def run(self, case, patch):
        start = time.monotonic()
        if case.template in self.others:
            words = [self.others[case.template]]
        else:
            words = [self.program, "--template", case.template, "--case", case.name, "--variant", case.variant]
        rc, out = self.call(words, patch, ENDLESS)
        if rc == 0:
            with self.lock:
                self.cost[case] = time.monotonic() - start
        return rc, out

    def passes(self, case):
        """Without a mutant."""
        with self.lock:
            known = self.baseline.get(case)
        if known is None:
            known = self.run(case, None)[0] == 0
            if not known:
                print(f"warning: {case.name} {case.variant} fails without a mutant and proves nothing", file=sys.stderr)
            with self.lock:
                self.baseline[case] = known
        return known


def classify(rc, out):
    if rc is None:
        return "endless"
    for how, pattern in FAULTS:
        if re.search(pattern, out):
            return how
    if rc == -signal.SIGILL:
        return "register index"
    return "crash" if rc < 0 else "wrong result"


class Search:
    """Finds for each mutant a case that fails; remembers which cases noticed its neighbours."""

    def __init__(self, matrix, templates_of):
        self.matrix, self.templates_of = matrix, templates_of
        self.reach = Reach(all_files())
        self.lock = threading.Lock()
        self.killers = defaultdict(list)  # file: (line, case), newest last

    def order(self, m):
        with self.lock:
            near = sorted(self.killers[m.file], key=lambda k: abs(k[0] - m.line))
        out = self.matrix.cases[m.file.rsplit(".", 1)[0]][:1] if m.file.endswith(".cuh") else []
        out = out + list(dict.fromkeys(c for _, c in near))[:8]
        queues = [self.matrix.cases[t] for t in self.reach.templates(m, self.templates_of[m.file])]
        likely = [sorted(q, key=self.reach.score(m)) for q in queues]
        for k in range(max(map(len, queues), default=0)):  # one of each template in turn, a likely one and any
            out += [q[k] for q in likely + queues if k < len(q)]
        out = list(dict.fromkeys(out))
        with self.matrix.lock:
            return sorted(out, key=lambda c: self.matrix.cost.get(c, 0) > 1.5)  # the dear ones last

    def judge(self, m, seconds):
        start, tried, broken = time.monotonic(), 0, None
        cases = self.order(m)
        for case in cases:
            if time.monotonic() - start > seconds:
                break
            rc, out = self.matrix.run(case, f"{m.file}:{m.line}:{m.text}")
            tried += 1
            if rc == 0:
                continue
            how = classify(rc, out)
            if how == "does not compile":
                broken = out
                continue
            if not self.matrix.passes(case):
                continue
            with self.lock:
                self.killers[m.file].append((m.line, case))
            return Outcome(m, "killed", how, f"{case.name} {case.variant}", time.monotonic() - start, first_words(out))
        seconds = time.monotonic() - start
        if broken is not None:
            return Outcome(m, "invalid", "does not compile", "", seconds, first_words(broken))
        return Outcome(m, "survived", f"{tried} of {len(cases)} variants" if cases else "no case executes it", "", seconds, "")


def first_words(out):
    lines = [l.strip() for l in out.splitlines() if l.strip()]
    lines = [l for l in lines if l.startswith("FAILED")] or lines
    bad = [l for l in lines if re.search("|".join(p for _, p in FAULTS), l)] or lines[-1:]
    return bad[0][:300] if bad else ""


# ---- the command ---------------------------------------------------------------------------------------------------------


def known_equivalents():
    out = {}
    path = os.path.join(HERE, "mutants.txt")
    if os.path.exists(path):
        for line in open(path, encoding="utf-8"):
            words = line.split(None, 1)
            if len(words) == 2 and not line.startswith("#"):
                out[words[0]] = words[1].strip()
    return out


def sample_of(mutants, n, seed):
    """n mutants, the same for the same seed: files in turn, in an order that does not change with other files' edits."""
    by_file = defaultdict(list)
    for m in mutants:
        by_file[m.file].append(m)
    rank = lambda text: hashlib.sha1(f"{seed} {text}".encode()).hexdigest()
    for queue in by_file.values():
        queue.sort(key=lambda m: rank(m.key))
    files, out = sorted(by_file, key=rank), []
    while len(out) < n and any(by_file.values()):
        for f in files:
            if by_file[f] and len(out) < n:
                out.append(by_file[f].pop(0))
    return sorted(out, key=lambda m: (m.file, m.line))


def table(title, rows):
    """rows: name -> outcomes"""
    print(f"\n{title:24} {'mutants':>8} {'killed':>8} {'survived':>9} {'equivalent':>11} {'invalid':>8}   killed by")
    for name, outs in rows:
        n = lambda state: sum(o.state == state for o in outs)
        how = defaultdict(int)
        for o in outs:
            if o.state == "killed":
                how[o.how] += 1
        text = ", ".join(f"{h} {k}" for h, k in sorted(how.items(), key=lambda x: -x[1]))
        print(f"{name:24} {len(outs):8} {n('killed'):8} {n('survived'):9} {n('equivalent'):11} {n('invalid'):8}   {text}")


def grouped(outcomes, key):
    rows = defaultdict(list)
    for o in outcomes:
        rows[key(o)].append(o)
    return sorted(rows.items())


def percent(a, b):
    return f"{a} of {b} mutants killed ({100.0 * a / b:.1f} %)" if b else "no mutants"


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0], epilog="\n".join(__doc__.split("\n")[2:]),
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--matrix", help="the program kernel_matrix")
    p.add_argument("--program", action="append", default=[], metavar="FILE=PROGRAM",
                   help="a test of its own that this template or header has (may be repeated)")
    p.add_argument("--template", action="append", help="mutate this file only, a template or a header (may be repeated)")
    p.add_argument("--kind", action="append", help="only this kind of mutants (may be repeated)")
    p.add_argument("--line", type=int, help="only this line")
    p.add_argument("--jobs", type=int, default=1, help="mutants at a time (default 1)")
    p.add_argument("--list", action="store_true", help="print the mutants and run nothing")
    p.add_argument("--sample", type=int, help="only so many, none of them listed in mutants.txt")
    p.add_argument("--seed", type=int, default=1, help="of the sample")
    p.add_argument("--variants", metavar="FILE", help="file that keeps the list of variants for the next time")
    p.add_argument("--seconds", type=float, default=60, help="at most for one mutant (default 60)")
    p.add_argument("--results", help="file of results: those in it are taken over, new ones are added")
    p.add_argument("--verbose", action="store_true", help="a line for each mutant")
    a = p.parse_args()

    files = all_files()
    wanted = files
    if a.template:
        wanted = [f for f in files if f in a.template or f.rsplit(".", 1)[0] in a.template]
        if not wanted:
            p.error(f"no file of templates/ is called {' or '.join(a.template)}")
    mutants = [m for f in wanted for m in mutants_of(PATHS[f])]
    mutants = [m for m in mutants if (not a.kind or m.kind in a.kind) and (not a.line or m.line == a.line)]
    equivalent = known_equivalents()
    stale = set(equivalent) - {m.key for f in files for m in mutants_of(PATHS[f])}
    for key in sorted(stale):
        print(f"warning: mutants.txt: {key} is no mutant any more", file=sys.stderr)
    if a.sample:
        mutants = sample_of([m for m in mutants if m.key not in equivalent], a.sample, a.seed)
    if a.list:
        for m in mutants:
            note = "   (equivalent)" if m.key in equivalent else ""
            print(f"{m.file}:{m.line}: {m.kind}: {m.what}{note}\n    {m.key}  {m.text.strip()}")
        print(f"{len(mutants)} mutants")
        return 0
    if not a.matrix:
        p.error("--matrix is missing")

    if not shutil.which((os.environ.get("TENON_CXX") or os.environ.get("CXX") or "c++").split()[0]):
        print("skipped: there is no C++ compiler, so kernels are not executed")
        return 77
    saved = {}
    if a.results and os.path.exists(a.results):
        for line in open(a.results, encoding="utf-8"):
            r = json.loads(line)
            saved[r["key"]] = r
    matrix = Matrix(os.path.abspath(a.matrix), dict(o.split("=", 1) for o in a.program), a.variants)
    if not matrix.cases:
        print(f"error: {a.matrix} --list gives no cases", file=sys.stderr)
        return 2
    search = Search(matrix, users(files))
    lock = threading.Lock()
    start = time.monotonic()
    done = [0]

    def judge(m):
        r = saved.get(m.key)
        if r and (r["state"] == "killed"):
            o = Outcome(m, r["state"], r["how"], r["case"], r["seconds"], r["detail"])
        else:
            o = search.judge(m, a.seconds / 4 if m.key in equivalent else a.seconds)
            if a.results:
                with lock, open(a.results, "a", encoding="utf-8") as f:
                    f.write(json.dumps(dict(key=m.key, state=o.state, how=o.how, case=o.case, seconds=o.seconds,
                                            detail=o.detail, file=m.file, line=m.line, what=m.what)) + "\n")
        if o.state == "survived" and m.key in equivalent:
            o = o._replace(state="equivalent", how=equivalent[m.key])
        elif o.state == "killed" and m.key in equivalent:
            print(f"warning: mutants.txt calls {m.key} equivalent, but {o.case} notices it ({o.how})", file=sys.stderr)
        with lock:
            done[0] += 1
            if a.verbose:
                print(f"[{done[0]}/{len(mutants)}] {o.state} {m.file}:{m.line} {m.what} [{o.how}] {o.case} "
                      f"{o.seconds:.1f} s", flush=True)
        return o

    with concurrent.futures.ThreadPoolExecutor(max(1, a.jobs)) as pool:
        outcomes = list(pool.map(judge, mutants))

    for state, title in (("survived", "Survived"), ("equivalent", "Survived, listed in mutants.txt as equivalent"),
                         ("invalid", "Invalid: does not compile")):
        some = [o for o in outcomes if o.state == state]
        if some:
            print(f"\n{title}:")
        for o in some:
            print(f"  {o.mutant.file}:{o.mutant.line}: {o.mutant.kind}: {o.mutant.what}   [{o.how}]\n"
                  f"      {o.mutant.key}  {o.mutant.old.strip()}")
    table("file", grouped(outcomes, lambda o: o.mutant.file))
    table("kind", grouped(outcomes, lambda o: o.mutant.kind))
    killed = sum(o.state == "killed" for o in outcomes)
    valid = sum(o.state != "invalid" for o in outcomes)
    same = sum(o.state == "equivalent" for o in outcomes)
    print(f"\n{time.monotonic() - start:.0f} s; not equivalent: {percent(killed, valid - same)}")
    print(percent(killed, valid))
    return 0 if valid and killed >= 0.9 * valid else 1


if __name__ == "__main__":
    sys.exit(main())
