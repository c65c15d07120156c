#!/usr/bin/env bash
# Brings this machine to the point where every make target works, and says what it cannot do.
#
#   deploy/setup.sh [--report]      --report also says so when nothing is missing
#
# It installs missing Debian packages through apt-get (as root, or through sudo) and keeps a Python
# environment in target/venv. It does not install Rust. It never starts or enables a service.
# Exit code: 0 ready (perhaps with tools of the tests missing, which it names), 1 nothing can be built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

log=target/setup.log
requirements=deploy/python-requirements.txt

# What must be there | the Debian package that brings it | build or test | what for
needs=(
    'g++|build-essential|build|compiles RocksDB and the cryptography'
    'pkg-config|pkg-config|build|finds OpenSSL'
    'openssl-headers|libssl-dev|build|OpenSSL, for the JOSE library'
    'libclang|libclang-dev|build|reads the headers of RocksDB'
    'certificates|ca-certificates|build|cargo and pip download over https'
    'openssl|openssl|test|verifies exported evidence independently'
    'python3|python3|test|verifies exported evidence independently'
    'python-venv|python3-venv|test|the Python environment of the tests'
    'strace|strace|test|watches what reaches the disk before an acknowledgement'
    'faketime|faketime|test|gives a node a wrong clock'
    'gcore|gdb|test|images of the memory of nodes, for what must not be in it'
    'mkfs.ext4|e2fsprogs|test|file systems for the power cuts'
    'ip|iproute2|test|network namespaces for seven nodes'
    'nft|nftables|test|loses packets between them'
    'rsync|rsync|test|the peer of the document benchmark'
    'sshd|openssh-server|test|the same; the binary only, the service stays off'
    'named|bind9|test|a name server with signed zones; the binary only, the service stays off'
    'dnssec-signzone|bind9-utils|test|signs them'
)

say() { printf 'setup: %s\n' "$*" >&2; }
any() { for path in "$@"; do [[ -e $path ]] && return; done; return 1; }

python() { if [[ -x /usr/bin/python3 ]]; then /usr/bin/python3 "$@"; else python3 "$@"; fi; }
venv_is_current() { [[ -x target/venv/bin/python ]] && cmp -s "$requirements" target/venv/requirements.txt; }

# Whether the machine offers it, whatever brought it there.
have() {
    case $1 in
    openssl-headers) [[ -n ${OPENSSL_DIR:-} ]] || any /usr/include/openssl/ssl.h /usr/local/include/openssl/ssl.h ;;
    libclang) # the library, and the compiler's own headers beside it
        [[ -n ${LIBCLANG_PATH:-} ]] || {
            any /usr/lib/llvm-*/lib/libclang{,-[0-9]*}.so* /usr/lib{,64}/libclang.so* /usr/lib/*/libclang{,-[0-9]*}.so* &&
                any /usr/lib/llvm-*/lib/clang/*/include/stddef.h /usr/lib{,64}/clang/*/include/stddef.h
        } ;;
    certificates)
        [[ -n ${SSL_CERT_FILE:-} ]] || any /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt ;;
    python3) [[ -x /usr/bin/python3 ]] || command -v python3 >/dev/null ;;
    python-venv) venv_is_current || python -c 'import ensurepip' 2>/dev/null ;;
    *) command -v "$1" >/dev/null || any "/usr/sbin/$1" "/sbin/$1" ;;
    esac
}

# The rows of `needs` that are not met.
look() {
    lacking=()
    local row
    for row in "${needs[@]}"; do have "${row%%|*}" || lacking+=("$row"); done
}

packages_of_lacking() { printf '%s\n' "${lacking[@]}" | cut -d'|' -f2 | sort -u | tr '\n' ' '; }

# Writes what the command says into the log; its last lines are shown when it fails.
logged() {
    echo "+ $*" >>"$log"
    "$@" </dev/null >>"$log" 2>&1 || { tail -n 5 "$log" | sed 's/^/    /' >&2; return 1; }
}

install_packages() {
    local packages root=() policy=/usr/sbin/policy-rc.d own_policy='' status=0
    packages=$(packages_of_lacking)
    if ! command -v apt-get >/dev/null; then
        say "this is not a Debian-like system, so nothing is installed. Its packages for: $packages"
        say "have to come from your package manager; then run make again."
        return 1
    fi
    if [[ $(id -u) != 0 ]]; then
        if ! command -v sudo >/dev/null; then
            say "neither root nor sudo, so nothing is installed. Ask an administrator for:"
            say "    apt-get install --no-install-recommends $packages"
            return 1
        fi
        root=(sudo)
        if [[ ! -t 2 ]]; then root+=(-n); fi # nobody could type a password
        if ! "${root[@]}" true; then
            say "sudo refused, so nothing is installed. Ask an administrator for:"
            say "    apt-get install --no-install-recommends $packages"
            return 1
        fi
    fi
    say "installing through apt-get: $packages(details in $log)"
    # No package may start a service: Debian's own door for that is policy-rc.d.
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee "$policy" >/dev/null
        "${root[@]}" chmod 755 "$policy"
        own_policy=yes
    fi
    local apt=("${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=2 -o Acquire::http::Timeout=30)
    # shellcheck disable=SC2086 # a list of package names
    if ! logged "${apt[@]}" update; then
        say "apt-get update failed: no network, a proxy that is not set, or no package source (/etc/apt)."
        status=1
    elif ! logged "${apt[@]}" install -y --no-install-recommends $packages; then
        say "apt-get could not install them; the reason is above."
        status=1
    fi
    if [[ -n $own_policy ]]; then "${root[@]}" rm -f "$policy"; fi
    local of package service
    for of in openssh-server:ssh bind9:named; do
        package=${of%:*} service=${of#*:}
        if ((status == 0)) && [[ " $packages " == *" $package "* ]]; then
            if logged "${root[@]}" env DPKG_MAINTSCRIPT_PACKAGE="$package" deb-systemd-helper disable "$service.service" &&
                logged "${root[@]}" update-rc.d "$service" disable; then
                say "$package is there for its binary; its service is disabled."
            else
                say "$package is there for its binary; its service could not be disabled: it may start with the machine."
            fi
        fi
    done
    return $status
}

# Rust is the one prerequisite this script leaves to its user: it belongs to a person, not to the machine.
check_rust() {
    local floor found
    floor=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    if ! command -v cargo >/dev/null || ! found=$(rustc --version 2>/dev/null); then
        say "Rust $floor or later is needed and is not here; this script does not install it. With rustup:"
        say "    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
        say "then open a new shell and run make again."
        return 1
    fi
    found=${found#rustc }
    found=${found%% *}
    if [[ $(printf '%s\n' "$floor" "$found" | sort -V | head -n 1) != "$floor" ]]; then
        say "Rust $floor or later is needed, here is $found. With rustup: rustup update stable && rustup default stable"
        return 1
    fi
}

make_venv() {
    venv_is_current && return
    say "building target/venv with the Python modules of the tests"
    rm -rf target/venv
    if ! logged python -m venv target/venv; then
        say "the Python environment could not be made: the tests that need it will fail."
        return 1
    fi
    if ! logged target/venv/bin/python -m pip install --disable-pip-version-check --prefer-binary -r "$requirements"; then
        say "pip could not fetch the modules (no network or proxy?): the tests that need them will fail."
        return 1
    fi
    cp "$requirements" target/venv/requirements.txt
}

mkdir -p target
complete=yes fatal=''
look
if ((${#lacking[@]})); then
    : >"$log"
    install_packages || complete=''
    look
fi
check_rust || fatal=yes
for row in "${lacking[@]}"; do
    IFS='|' read -r what package class use <<<"$row"
    say "missing: $what (package $package): $use"
    complete=''
    if [[ $class == build ]]; then fatal=yes; fi
done
if [[ -n $fatal ]]; then
    say "nothing can be built before that is there."
    exit 1
fi
make_venv || complete=''
if [[ -z $complete ]]; then
    say "the node can be built; what is named above limits tests and benchmarks."
elif [[ ${1:-} == --report ]]; then
    say "everything is there: $(rustc --version), $(openssl version), $(target/venv/bin/python --version)."
fi
