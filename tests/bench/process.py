"""process.py: what one run of a command took, and said; options and rows of a script that runs Tenon's."""
import argparse
import json
import os
import pathlib
import subprocess
import tempfile


def options(doc, tune_seconds=20, **own):
    """What the user gives a script that tunes a model a row; own: options of that script alone with their defaults, False: a flag."""
    ap = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--tenon", default="build/tenon")
    ap.add_argument("--filter", default="")
    ap.add_argument("--seconds", type=float, default=.3)
    ap.add_argument("--tune-seconds", type=float, default=tune_seconds)
    ap.add_argument("--out", type=pathlib.Path)
    for name, value in own.items():
        ap.add_argument(f"--{name.replace('_', '-')}", **({"action": "store_true"} if value is False else {"default": value, "type": type(value)}))
    return ap.parse_args()


def measure_rows(a, rows, name, measure, line):
    """Measures each row whose name holds a.filter, all with one temporary folder, and prints its line; one that fails is said and left
    out.  --out gets the results as JSON."""
    done = []
    with tempfile.TemporaryDirectory() as folder:
        for row in rows:
            if a.filter not in name(row):
                continue
            try:
                r = measure(a, row, pathlib.Path(folder))
            except Exception as e:
                print(f"{name(row)}: failed: {e}", flush=True)
                continue
            done.append(r)
            print(line(r), flush=True)
    if a.out:
        a.out.write_text(json.dumps(done, indent=1))


def run(cmd, env=None):
    """The command's resource usage; ends with the end of its messages where it fails."""
    p = subprocess.Popen([str(c) for c in cmd], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    error = p.stderr.read()
    _, status, usage = os.wait4(p.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(map(str, cmd))}: {error[-1500:]}")
    return usage


def output_of(cmd, env=None):
    """What the command prints; RuntimeError with the end of its messages where it fails."""
    r = subprocess.run([str(c) for c in cmd], capture_output=True, text=True, env=env)
    if r.returncode:
        raise RuntimeError(f"{' '.join(map(str, cmd))}: exit code {r.returncode}\n{r.stderr[-1500:]}")
    return r.stdout
