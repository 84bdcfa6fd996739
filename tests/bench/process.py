"""process.py: what one run of a command took."""
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
