"""process.py: what one run of a command took, and said."""
import os
import subprocess


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
