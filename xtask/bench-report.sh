#!/usr/bin/env bash
# `cargo xtask bench-report [--no-install] [--quick] [--background]`: compares Switchboard with the floor (a bare relay,
# see docs/performance.md) and with the original servers that package registries have. `SWITCHBOARD_BIN` is the binary
# to measure; without it, a release build.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
exec </dev/null
source xtask/versions.sh
target=${CARGO_TARGET_DIR:-target}

# A failed installation is no error: the report marks that server "not run".
[[ " $* " = *" --no-install "* ]] || xtask/setup.sh bench-report

if [ -z "${SWITCHBOARD_BIN:-}" ]; then
    cargo build --release --package switchboard-cli || exit
    SWITCHBOARD_BIN=$target/release/switchboard
fi

flags=()
for flag in "$@"; do [ "$flag" = --no-install ] || flags+=("$flag"); done
cargo run --quiet --package switchboard-bench --bin bench-report -- \
    --switchboard "$SWITCHBOARD_BIN" \
    --node-modules compat/node_modules \
    --matchbox-server "$MATCHBOX_RELEASE/bin/matchbox_server" \
    --output "$target/bench-report" "${flags[@]}"
