# Sourced: a minimal Debian in a folder, made with debootstrap from this machine's apt mirror, without any registry of images.
#
#   debian_enter "$@"             runs the script again in namespaces of its own, in which what is mounted goes with it; makes sure of debootstrap
#   debian_make FOLDER [PACKAGES] a,b,c: besides the minimum
#   debian_connect FOLDER         gives it this machine's network: names, certificates, proxies, pip's settings
#   debian_in FOLDER USER COMMAND...
# Whoever sources it has skip REASON, which ends the script where this machine cannot make such a root.

debian_enter() {
    [ "$(id -u)" = 0 ] || skip "it takes root"
    command -v apt-get >/dev/null || skip "there is no apt"
    if [ -z "${FRESH_UNSHARED:-}" ]; then
        unshare --mount --pid --fork true 2>/dev/null || skip "this machine allows no namespaces"
        FRESH_UNSHARED=1 exec unshare --mount --pid --fork --kill-child "$0" "$@"
    fi
    if ! command -v debootstrap >/dev/null; then
        [ -z "${TENON_NO_INSTALL:-}" ] || skip "there is no debootstrap (TENON_NO_INSTALL is set)"
        { apt-get update -qq && apt-get install -y -qq --no-install-recommends debootstrap; } >/dev/null ||
            skip "debootstrap cannot be installed"
    fi
    debian_mirror=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(RELEASE)' 'Created-By: Packages' 'Origin: Debian' |
        awk '$2 == $3 { print $1, $2; exit }')
    [ -n "$debian_mirror" ] || skip "apt has no mirror of Debian"
    read -r debian_mirror debian_suite <<<"$debian_mirror"
    local scheme proxy p
    for scheme in http https; do
        proxy=$(apt-config shell p "Acquire::$scheme::Proxy")
        eval "${proxy:-p=}"
        [ -z "$p" ] || [ "$p" = DIRECT ] || export "${scheme}_proxy=$p"
    done
}

debian_make() {
    echo "== $debian_suite from $debian_mirror"
    debootstrap --variant=minbase --include="${2:-ca-certificates}" "$debian_suite" "$1" "$debian_mirror" >"$1.log" 2>&1 ||
        { tail -n 20 "$1.log"; rm -f "$1.log"; exit 1; }
    rm -f "$1.log"
    echo force-unsafe-io >"$1/etc/dpkg/dpkg.cfg.d/unsafe-io" # it is gone in minutes anyway
}

debian_connect() {
    local root=$1 f
    install -Dm644 /etc/resolv.conf "$root/etc/resolv.conf"
    [ ! -e /etc/ssl/certs/ca-certificates.crt ] || cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    apt-config dump Acquire | grep -E '^Acquire::(https?::Proxy|Check-)' >"$root/etc/apt/apt.conf.d/90host" || true
    for f in /etc/pip.conf "${XDG_CONFIG_HOME:-$HOME/.config}/pip/pip.conf"; do
        [ ! -e "$f" ] || cp -L "$f" "$root/etc/pip.conf"
    done
    echo "127.0.0.1 localhost $(hostname)" >"$root/etc/hosts"
    mount -t proc proc "$root/proc"
    mount -t devpts devpts "$root/dev/pts"
}

debian_in() {
    local root=$1 user=$2 home=/root settings=() name
    shift 2
    [ "$user" = root ] || home=/home/$user
    for name in $(compgen -e | grep -iE '^(PIP_(INDEX_URL|EXTRA_INDEX_URL|CERT|DEFAULT_TIMEOUT|TRUSTED_HOST)|(https?|no)_proxy)$'); do
        settings+=("$name=${!name}")
    done
    chroot --userspec="$user" "$root" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME="$home" USER="$user" \
        LANG=C.UTF-8 "${settings[@]}" "$@" </dev/null
}
