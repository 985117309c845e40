#!/usr/bin/env bash
# Installs what `cargo xtask lint`, `cargo xtask test` or `cargo xtask bench-report` need, on Debian.
#     xtask/setup.sh lint
#     xtask/setup.sh test [--no-browser]
#     xtask/setup.sh bench-report
# What cannot be installed is named, and the rest is installed. The status is 1 if something is missing at the end.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
exec </dev/null
source xtask/versions.sh
export DEBIAN_FRONTEND=noninteractive

CARGO_DENY=0.20.2
CARGO_DEB=3.8.0
PYJWT=2.15.1
SCHEMATHESIS=4.32.5
NODE_MAJOR_MIN=20

# Lines of `PROGRAM[|ANOTHER] PACKAGE`.
RUST_TESTS="
redis-server redis-server
redis-cli redis-tools
valgrind valgrind
ip iproute2
turnserver coturn
pebble pebble
promtool prometheus
nginx nginx
caddy caddy
systemd-analyze systemd
dpkg-deb dpkg
dpkg-shlibdeps dpkg-dev
strip binutils
xz xz-utils
node nodejs
npm npm
python3 python3"
BENCH_REPORT="
node nodejs
npm npm"
# The tools after the browsers check the audio of voice. PulseAudio is the sound device of Firefox, and needs no hardware.
BROWSER_TESTS="
chromium-headless-shell chromium-headless-shell
chromium|chromium-browser|google-chrome chromium
firefox-esr|firefox firefox-esr
opusinfo opus-tools
ogginfo vorbis-tools
ffmpeg ffmpeg
espeak-ng espeak-ng
pulseaudio pulseaudio"

# Whether one of these programs exists, each on PATH or at a path.
has() {
    local program
    for program in "$@"; do type -P "$program" >/dev/null && return; done
    return 1
}

# The packages of the programs in this list that are not on PATH, one a line.
missing() {
    local programs package
    while read -r programs package; do
        [ -z "$programs" ] || has ${programs//|/ } || echo "$package"
    done <<<"$1"
    # Debian's python3 makes virtual environments only with this package.
    [[ "$1" != *python3* ]] || python3 -c 'import ensurepip' 2>/dev/null || echo python3-venv
    # Without a font, the text in screenshots is rendered as boxes.
    [ "$with_browser" = no ] || [ -d /usr/share/fonts/truetype ] || echo fonts-dejavu-core
}

install_packages() {
    local apt=(apt-get -q -o Acquire::Retries=3 -o DPkg::Lock::Timeout=120) package
    if ! type -P apt-get >/dev/null || { [ "$(id -u)" != 0 ] && ! sudo -n true 2>/dev/null; }; then
        echo "setup: no permission to install packages, or no apt-get; install these by hand, then try again:"
        echo "    sudo apt-get install -y --no-install-recommends $*"
        return
    fi
    # sudo does not pass the environment on.
    [ "$(id -u)" = 0 ] || apt=(sudo -n env DEBIAN_FRONTEND=noninteractive "${apt[@]}")
    "${apt[@]}" update
    # Each package separately, so that a missing one does not prevent the others.
    for package in "$@"; do
        "${apt[@]}" install -y --no-install-recommends "$package" ||
            echo "setup: $package could not be installed; continuing without it"
    done
}

setup_test() {
    local programs="$RUST_TESTS"
    [ "$with_browser" = no ] || programs+="$BROWSER_TESTS"
    setup_programs "$programs"
    setup_npm_packages
    setup_cargo_deb
    setup_pyjwt
    setup_schemathesis
}

# Tokens are exchanged with this library. The folder is a virtual environment of Python.
setup_pyjwt() {
    local folder=target/pyjwt
    "$folder/bin/python" -c 'import jwt, cryptography' 2>/dev/null && return
    { python3 -m venv "$folder" && "$folder/bin/pip" install --quiet --disable-pip-version-check "pyjwt[crypto]==$PYJWT"; } ||
        report "the Python package pyjwt (python3 -m venv, pip install pyjwt[crypto])"
}

# The admin API is called as its OpenAPI description says.
setup_schemathesis() {
    local folder=target/schemathesis
    "$folder/bin/schemathesis" --version >/dev/null 2>&1 && return
    { python3 -m venv "$folder" && "$folder/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$SCHEMATHESIS"; } ||
        report "the Python package schemathesis (python3 -m venv, pip install schemathesis)"
}

# A debug build takes 20 seconds. It compresses with the program `xz`.
setup_cargo_deb() {
    has cargo-deb "$tools/bin/cargo-deb" && return
    env -u CARGO_TARGET_DIR cargo install --locked --debug cargo-deb --version "$CARGO_DEB" --no-default-features \
        --root "$tools" || report "cargo-deb (cargo install --locked cargo-deb)"
}

# The original servers, as their registries have them. They are compared with a release build, so matchbox's is one too.
setup_bench_report() {
    setup_programs "$BENCH_REPORT"
    setup_npm_packages
    has "$MATCHBOX_RELEASE/bin/matchbox_server" ||
        cargo install --locked matchbox_server --version "$MATCHBOX" --root "$MATCHBOX_RELEASE" ||
        report "the crate matchbox_server"
}

setup_programs() {
    local packages
    mapfile -t packages < <(missing "$1")
    [ "${#packages[@]}" = 0 ] || install_packages "${packages[@]}"
    mapfile -t packages < <(missing "$1")
    [ "${#packages[@]}" = 0 ] || report "Debian packages ${packages[*]}"
}

setup_npm_packages() {
    local version
    version=$(node --version 2>/dev/null | tr -cd 0-9. | cut -d. -f1)
    if [ "${version:-0}" -lt "$NODE_MAJOR_MIN" ]; then
        report "Node.js $NODE_MAJOR_MIN or newer"
    # npm writes this file last.
    elif [ compat/package-lock.json -nt compat/node_modules/.package-lock.json ]; then
        (cd compat && npm ci --ignore-scripts --no-audit --no-fund) || report "the packages of compat/ (npm ci)"
    fi
}

setup_lint() {
    has cargo-deny "$tools/bin/cargo-deny" && return
    # A debug build takes a third of the time, and the checks still take only a second or two.
    env -u CARGO_TARGET_DIR cargo install --locked --debug cargo-deny --version "$CARGO_DENY" --root "$tools" ||
        report "cargo-deny (cargo install --locked cargo-deny)"
}

report() {
    echo "setup: MISSING: $*"
    status=1
}

status=0
tools="${CARGO_TARGET_DIR:-target}/tools"
with_browser=yes
[ "${1:-} ${2:-}" != "test --no-browser" ] && [ "${1:-}" != bench-report ] || with_browser=no
case "${1:-}" in
    lint) setup_lint ;;
    test) setup_test ;;
    bench-report) setup_bench_report ;;
    *) echo "usage: xtask/setup.sh lint | test [--no-browser] | bench-report" && exit 2 ;;
esac
exit "$status"
