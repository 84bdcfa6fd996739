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

skip() { echo "fresh.sh skipped: $*"; exit 77; }
[ "$(id -u)" = 0 ] || skip "it takes root"
command -v apt-get >/dev/null || skip "there is no apt"
# A mount namespace of its own: whatever is mounted below is gone when this script is
if [ -z "${FRESH_UNSHARED:-}" ]; then
    unshare --mount --pid --fork true 2>/dev/null || skip "this machine allows no namespaces"
    FRESH_UNSHARED=1 exec unshare --mount --pid --fork --kill-child "$0" "$@"
fi
if ! command -v debootstrap >/dev/null; then
    [ -z "${TENON_NO_INSTALL:-}" ] || skip "there is no debootstrap (TENON_NO_INSTALL is set)"
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends debootstrap; } >/dev/null ||
        skip "debootstrap cannot be installed"
fi
mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(RELEASE)' 'Created-By: Packages' 'Origin: Debian' |
    awk '$2 == $3 { print $1, $2; exit }')
[ -n "$mirror" ] || skip "apt has no mirror of Debian"
read -r mirror suite <<<"$mirror"
for scheme in http https; do
    proxy=$(apt-config shell p "Acquire::$scheme::Proxy")
    eval "${proxy:-p=}"
    [ -z "$p" ] || [ "$p" = DIRECT ] || export "${scheme}_proxy=$p"
done

root=$(mktemp -d)
trap 'umount "$root/proc" "$root/dev/pts" 2>/dev/null || true; rm -rf --one-file-system "$root"' EXIT
chmod 755 "$root"
echo "== $suite from $mirror"
packages=ca-certificates
[ $user = root ] || packages+=,sudo
debootstrap --variant=minbase --include=$packages "$suite" "$root" "$mirror" >"$root.log" 2>&1 ||
    { tail -n 20 "$root.log"; rm -f "$root.log"; exit 1; }
rm -f "$root.log"

# what it takes to reach PyPI and the mirror from here
install -Dm644 /etc/resolv.conf "$root/etc/resolv.conf"
[ ! -e /etc/ssl/certs/ca-certificates.crt ] || cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
apt-config dump Acquire | grep -E '^Acquire::(https?::Proxy|Check-)' >"$root/etc/apt/apt.conf.d/90host" || true
for f in /etc/pip.conf "${XDG_CONFIG_HOME:-$HOME/.config}/pip/pip.conf"; do
    [ ! -e "$f" ] || cp -L "$f" "$root/etc/pip.conf"
done
settings=()
for name in $(compgen -e | grep -iE '^(PIP_(INDEX_URL|EXTRA_INDEX_URL|CERT|DEFAULT_TIMEOUT|TRUSTED_HOST)|(https?|no)_proxy)$'); do
    settings+=("$name=${!name}")
done

home=/root
if [ $user != root ]; then
    home=/home/$user
    chroot "$root" useradd --create-home --shell /bin/bash $user
    echo "$user ALL=(ALL) NOPASSWD: ALL" >"$root/etc/sudoers.d/$user"
fi
git clone -q --no-hardlinks . "$root$home/tenon"
chroot "$root" chown -R $user: "$home/tenon"
echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/unsafe-io" # it is gone in minutes anyway
echo "127.0.0.1 localhost $(hostname)" >"$root/etc/hosts"
mount -t proc proc "$root/proc"
mount -t devpts devpts "$root/dev/pts"

for command in "${commands[@]}"; do
    echo "== $command as $user"
    SECONDS=0
    chroot --userspec=$user "$root" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=$home \
        USER=$user LANG=C.UTF-8 "${settings[@]}" bash -c "cd ~/tenon && $command" </dev/null
    echo "== $command: passed in $SECONDS s"
done
