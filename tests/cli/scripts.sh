#!/usr/bin/env bash
# With pipefail, what is piped into `grep -q` may die of a closed pipe and so fail, now and then: scripts.sh SOURCE_DIR
set -euo pipefail
cd "$1"
mapfile -t scripts < <(grep -rl 'pipefail' tests examples .ci --include='*.sh' --include=run | grep -v 'cli/scripts.sh$')
found=$(grep -nE '(^|[^|])\| *grep -[a-zA-Z]*q' "${scripts[@]}" | grep -v 'sh -c' || true)
[ -z "$found" ] || { printf 'let grep read to the end, into /dev/null:\n%s\n' "$found"; exit 1; }
echo "${#scripts[@]} scripts"
# Pages and usage lines call scripts by their paths
found=$(grep -rlI -m 1 '^#!' tests examples frontend .ci | while read -r f; do head -c 2 "$f" | grep -q '#!' && [ ! -x "$f" ] && echo "$f"; done || true)
[ -z "$found" ] || { printf 'these begin with #! and are not executable (chmod +x):\n%s\n' "$found"; exit 1; }
# A Python script's own folder comes first where modules are looked for, and PyTorch looks for triton
found=$(find examples tests/bench tests/python \( -name triton -o -name 'triton.py' -o -name 'torch' -o -name 'torch.py' \))
[ -z "$found" ] || { printf 'scripts beside it would take it for the package of that name:\n%s\n' "$found"; exit 1; }
