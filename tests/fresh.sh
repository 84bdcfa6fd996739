#!/usr/bin/env bash
# Runs the README's first commands on a fresh machine: a minimal Debian, made with debootstrap in a temporary folder, that
# holds a clone of HEAD and neither CUDA nor a compiler.
#
# usage: tests/fresh.sh [--user] [COMMAND...]
#   --user    as a user with sudo instead of root
#   COMMAND   default: ./examples/quickstart.sh; also ./tests/run.sh
# Packages come from this machine's apt mirror and wheels by this machine's pip configuration.  Needs root (installs
# debootstrap where it is missing); exits 77 with the reason where this machine cannot make such a root.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/debian_root.sh
skip() { echo "fresh.sh skipped: $*"; exit 77; }

user=root commands=()
for argument in "$@"; do
    case "$argument" in
    --user) user=tester ;;
    -h | --help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) echo "fresh.sh: unknown option $argument (see --help)" >&2; exit 2 ;;
    *) commands+=("$argument") ;;
    esac
done
[ ${#commands[@]} != 0 ] || commands=(./examples/quickstart.sh)
debian_enter "$@"

root=$(mktemp -d)
trap 'umount "$root/proc" "$root/dev/pts" 2>/dev/null || true; rm -rf --one-file-system "$root"' EXIT
chmod 755 "$root"
packages=ca-certificates
[ $user = root ] || packages+=,sudo
debian_make "$root" $packages
home=/root
if [ $user != root ]; then
    home=/home/$user
    chroot "$root" useradd --create-home --shell /bin/bash $user
    echo "$user ALL=(ALL) NOPASSWD: ALL" >"$root/etc/sudoers.d/$user"
fi
git clone -q --no-hardlinks . "$root$home/tenon"
chroot "$root" chown -R $user: "$home/tenon"
debian_connect "$root"

for command in "${commands[@]}"; do
    echo "== $command as $user"
    SECONDS=0
    debian_in "$root" $user bash -c "cd ~/tenon && $command"
    echo "== $command: passed in $SECONDS s"
done
