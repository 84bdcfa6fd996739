#!/usr/bin/env bash
# With pipefail, what is piped into `grep -q` may die of a closed pipe and so fail, now and then: scripts.sh SOURCE_DIR
set -euo pipefail
cd "$1"
mapfile -t scripts < <(grep -rl 'pipefail' tests examples .ci --include='*.sh' --include=run | grep -v 'cli/scripts.sh$')
found=$(grep -nE '(^|[^|])\| *grep -[a-zA-Z]*q' "${scripts[@]}" | grep -v 'sh -c' || true)
[ -z "$found" ] || { printf 'let grep read to the end, into /dev/null:\n%s\n' "$found"; exit 1; }
echo "${#scripts[@]} scripts"
