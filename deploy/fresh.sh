#!/usr/bin/env bash
# Shows that a machine which has never seen Basoche can run it: makes a bare Debian 12 in a directory, lends it
# this machine's Rust toolchain (read-only), clones the current commit into it, runs commands there and
# prints how long each took.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: deploy/fresh.sh [options] [COMMAND...]

Makes a bare Debian 12 with debootstrap (minbase, git, make, ca-certificates, sudo), clones the current
commit into it and runs each COMMAND (one shell line each) in the clone, in order, until one fails.
Default: make demo ARGS="--once --json" twice, then make test twice. Prints wall time and exit code of each.

  --dir DIR      where to build it (default: a new directory under /var/tmp); must not exist or be empty
  --keep         leave the directory behind (default: removed at the end)
  --user         run the commands as an ordinary user who may use sudo (default: root)
  --suite NAME   Debian release (default: bookworm)
  --mirror URL   package mirror (default: the one this machine uses for that release, else deb.debian.org)
  --help         this text

Needs root, debootstrap, git, a Rust toolchain, some 15 GB of disk for the default commands. What this machine
says about proxies, mirrors and its own certification authorities is carried over, credentials are not. Mounts
live in a private namespace: they are gone with this program, even when it is killed.
TEXT
}

suite=bookworm mirror='' dir='' keep='' user=root
while (($#)); do
    case $1 in
    --dir) dir=${2:?"--dir needs a directory"} && shift 2 ;;
    --suite) suite=${2:?"--suite needs a name"} && shift 2 ;;
    --mirror) mirror=${2:?"--mirror needs a URL"} && shift 2 ;;
    --keep) keep=yes && shift ;;
    --user) user=visitor && shift ;;
    --help) usage && exit ;;
    --) shift && break ;;
    -*) usage >&2 && exit 2 ;;
    *) break ;;
    esac
done
if (($# == 0)); then
    set -- 'make demo ARGS="--once --json"' 'make demo ARGS="--once --json"' 'make test' 'make test'
fi

say() { printf 'fresh: %s\n' "$*" >&2; }
die() { say "$*" && exit 1; }

repo=$(git -C "$(dirname "${BASH_SOURCE[0]}")" rev-parse --show-toplevel)
if [[ $(id -u) != 0 ]]; then die "needs root (debootstrap and mount)"; fi
for tool in debootstrap git unshare rustc; do
    command -v "$tool" >/dev/null || die "needs $tool on this machine"
done
if [[ ${BASOCHE_FRESH_NAMESPACE:-} != "$PPID" ]]; then
    # A private mount namespace: nothing that is mounted below can outlive this program.
    options=(--suite "$suite" ${mirror:+--mirror "$mirror"} ${dir:+--dir "$dir"} ${keep:+--keep})
    if [[ $user != root ]]; then options+=(--user); fi
    BASOCHE_FRESH_NAMESPACE=$$ unshare --mount --propagation private -- bash "$repo/deploy/fresh.sh" "${options[@]}" -- "$@"
    exit
fi

dir=${dir:-$(mktemp -d /var/tmp/basoche-fresh.XXXXXX)}
mkdir -p "$dir"
dir=$(realpath "$dir")
if [[ -n $(ls -A "$dir") ]]; then die "$dir is not empty"; fi
chmod 755 "$dir" # the root directory of everyone inside

# The private namespace takes the mounts away; they are unmounted first so that removal cannot reach the host.
finish() {
    local status=$? point
    while read -r point; do umount "$point" || umount --lazy "$point" || true; done < <(mounted_below | sort -r)
    if [[ -n $(mounted_below) ]]; then
        say "left in place, something is still mounted there: $dir"
    elif [[ -n $keep ]]; then
        say "kept: $dir"
    else
        rm -rf --one-file-system "$dir"
    fi
    exit "$status"
}
mounted_below() { awk -v top="$dir/" 'index($5, top) == 1 { print $5 }' /proc/self/mountinfo; }
trap finish EXIT
trap 'exit 130' INT TERM

# Seconds that COMMAND took, with its exit code.
timed() {
    local name=$1 begun=$EPOCHREALTIME status=0
    shift
    "$@" || status=$?
    say "$(awk -v a="$begun" -v b="$EPOCHREALTIME" 'BEGIN { printf "%8.1f s", b - a }'), exit code $status: $name"
    return $status
}

if [[ -z $mirror ]]; then
    # shellcheck disable=SC2016 # apt's own placeholders
    mirror=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 2>/dev/null |
        awk -v suite="$suite" '$1 == suite { print $2; exit }') || true
    mirror=${mirror:-http://deb.debian.org/debian}
fi
say "Debian $suite from $mirror into $dir"
timed debootstrap debootstrap --variant=minbase --include=git,make,ca-certificates,sudo "$suite" "$dir" "$mirror" >"$dir.log" 2>&1 ||
    die "debootstrap failed: $(tail -n 3 "$dir.log")"
rm -f "$dir.log"

# What this machine knows about its network: names, proxies, mirrors, its own authorities.
cp -L /etc/resolv.conf /etc/hosts "$dir/etc/"
apt-config dump | grep -E '^Acquire::(https?::(Proxy|CAInfo)|Check-)' >"$dir/etc/apt/apt.conf.d/90host" || true
if compgen -G '/usr/local/share/ca-certificates/*.crt' >/dev/null; then
    cp -L /usr/local/share/ca-certificates/*.crt "$dir/usr/local/share/ca-certificates/"
    chroot "$dir" update-ca-certificates >/dev/null 2>&1
fi
home=/root
if [[ $user != root ]]; then
    home=/home/$user
    chroot "$dir" useradd --create-home --shell /bin/bash "$user"
    echo "$user ALL=(ALL) NOPASSWD: ALL" >"$dir/etc/sudoers.d/$user"
fi
carry() { # FILE of this machine to PATH inside, when there is one
    if [[ -f $1 ]]; then install -D -m 644 "$1" "$dir$2"; fi
}
carry "${CARGO_HOME:-$HOME/.cargo}/config.toml" "$home/.cargo/config.toml"
carry /etc/pip.conf /etc/pip.conf
carry "$HOME/.config/pip/pip.conf" "$home/.config/pip/pip.conf"
mapfile -t network < <(env | grep -iE '^((https?|no|all)_proxy|PIP_(INDEX_URL|EXTRA_INDEX_URL|CERT|DEFAULT_TIMEOUT)|CARGO_(HTTP|NET|SOURCE|REGISTRIES)_[A-Z_]+)=' | grep -v TOKEN || true)

mount -t proc proc "$dir/proc"
mount --rbind /sys "$dir/sys"
mount --rbind /dev "$dir/dev"
mkdir -p "$dir/opt/rust"
mount --bind "$(rustc --print sysroot)" "$dir/opt/rust"
mount -o remount,bind,ro "$dir/opt/rust"

if [[ -n $(git -C "$repo" status --porcelain) ]]; then say "uncommitted changes of this checkout are left out"; fi
git clone --quiet --no-local "$repo" "$dir$home/basoche"
git -C "$dir$home/basoche" checkout --quiet --detach "$(git -C "$repo" rev-parse HEAD)"
chroot "$dir" chown -R "$user:" "$home"
say "commit $(git -C "$repo" rev-parse --short HEAD), $(rustc --version), $(nproc) processors, as $user"

for command; do
    say "running: $command"
    timed "$command" chroot --userspec="$user" "$dir" /usr/bin/env -i "${network[@]}" HOME="$home" USER="$user" LANG=C.UTF-8 \
        TERM="${TERM:-dumb}" PATH=/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        bash -c "cd ~/basoche && $command"
done
