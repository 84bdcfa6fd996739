"""process.py: what one run of a command took, and said; the options of a script that runs Tenon's."""
import argparse
import os
import pathlib
import subprocess


def options(doc):
    """What the user gives a script that tunes a model a row."""
    ap = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--tenon", default="build/tenon")
    ap.add_argument("--filter", default="")
    ap.add_argument("--seconds", type=float, default=.3)
    ap.add_argument("--tune-seconds", type=float, default=20)
    ap.add_argument("--out", type=pathlib.Path)
    return ap.parse_args()


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
