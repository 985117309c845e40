#!/usr/bin/env bash
# `cargo xtask lint`: the static checks.
source "$(dirname "${BASH_SOURCE[0]}")/stages.sh"

# The cargo project of the matchbox clients. Its dependencies have other versions or features than the workspace's.
MATCHBOX=compat/matchbox/Cargo.toml

# The cargo project of another developer's program on the library.
OWN_DIALECT=examples/own-dialect/Cargo.toml

stage 5 "format" cargo fmt --all --check
stage 5 "tidy" cargo xtask tidy
stage 25 "clippy" cargo clippy --workspace --all-targets -- -D warnings
# Only the crates with features and those above them are checked again.
stage 10 "clippy (no features)" cargo clippy --workspace --all-targets --no-default-features -- -D warnings
stage 5 "format (matchbox)" cargo fmt --manifest-path "$MATCHBOX" --check
stage 5 "format (own dialect)" cargo fmt --manifest-path "$OWN_DIALECT" --check
stage 10 "clippy (matchbox)" \
    cargo clippy --locked --manifest-path "$MATCHBOX" --target-dir "$TARGET/matchbox" -- -D warnings
stage 10 "clippy (own dialect)" \
    cargo clippy --locked --all-targets --manifest-path "$OWN_DIALECT" --target-dir "$TARGET" -- -D warnings
# The binary is excluded, because its documentation would overwrite that of the library of the same name.
RUSTDOCFLAGS="-D warnings" stage 15 "doc" cargo doc --workspace --exclude switchboard-cli --no-deps

[[ " $* " = *" --no-install "* ]] || stage 15 "setup" xtask/setup.sh lint
PATH=$TARGET/tools/bin:$PATH
# Advisories are not checked, because their database needs the network and changes independently of this repository.
for manifest in Cargo.toml "$MATCHBOX"; do
    if type -P cargo-deny >/dev/null; then
        stage 5 "deny ($manifest)" cargo-deny --manifest-path "$manifest" check --hide-inclusion-graph licenses bans sources
    else
        skip_missing "deny ($manifest)" "cargo-deny is not installed; run xtask/setup.sh lint"
    fi
done
finish
