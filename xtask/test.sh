#!/usr/bin/env bash
# `cargo xtask test [--no-install] [--no-browser] [--long]`: installs the tools and runs all tests: Rust, the web type
# check, and real clients and browsers with the release binary. All is built first: the limits of tests count no building.
source "$(dirname "${BASH_SOURCE[0]}")/stages.sh"
source xtask/versions.sh

# The program of another developer on the library. It shares the dependencies that the workspace has built.
OWN_DIALECT=(cargo test --locked --manifest-path examples/own-dialect/Cargo.toml --target-dir "$TARGET")

# Names of tests that are left out when the tests of the server run against two nodes: tests of one connection or one HTTP
# request, and tests that start their nodes themselves. A test is left out if its name contains one of these.
SAME_ON_TWO_NODES=(dialect_endpoints:: http:: jwt:: rates:: switched_off:: tls:: voice::away:: websocket::)

# `setup.sh` installs cargo-deb there.
PATH=$TARGET/tools/bin:$PATH

# Each test program runs so many tests at once. Most of them wait more than they compute.
export RUST_TEST_THREADS=4 RUST_BACKTRACE=1

is_set() { [[ " $flags " = *" $1 "* ]]; }
flags=$*

# Prints a line for each test program that cargo has built, from its messages: folder of the package, name, program.
# The first waits for the longest time.
programs() {
    sed -nE 's/.*"manifest_path":"([^"]*)\/Cargo\.toml".*"name":"([^"]*)".*"profile":\{[^}]*"test":true\}.*"executable":"([^"]*)".*/\1 \2 \3/p' |
        sort -k2,2 | awk '$2 == "cluster" { print; next } { rest = rest $0 "\n" } END { printf "%s", rest }'
}

build() {
    stage 25 "test build" sh -c "cargo test --workspace --no-run --message-format=json-render-diagnostics >$results/messages"
    stage 25 "release build" cargo build --release --package switchboard-cli && is_built=yes
    stage 10 "own dialect build" "${OWN_DIALECT[@]}" --no-run
    is_set --no-browser || stage 10 "matchbox build" \
        cargo build --locked --manifest-path compat/matchbox/Cargo.toml --target-dir "$TARGET/matchbox"
}

rust_tests() {
    local folder name program command server
    while read -r folder name program; do
        command=(env -C "$folder" CARGO_MANIFEST_DIR="$folder" "$program")
        together 12 "${folder##*/} $name" "${command[@]}"
        [ "${folder##*/} $name" != "switchboard it" ] || server=("${command[@]}")
    done < <(programs <"$results/messages")
    together 5 "own dialect" "${OWN_DIALECT[@]}"
    together 12 "examples in documentation" cargo test --workspace --doc
    instructions
    [ -n "${server:-}" ] || return
    together 5 "second of two nodes" env SWITCHBOARD_TEST_NODES=2 "${server[@]}" "${SAME_ON_TWO_NODES[@]/#/--skip=}"
    together 5 "rooms of 1,000 members" "${server[@]}" large_rooms --ignored
}

# Compares the instructions of the release binary with the committed figures.
instructions() {
    local program
    program=$(programs <"$results/messages" | awk '$2 == "instructions" { print $3 }')
    if ! type -P valgrind >/dev/null; then
        skip_missing "instructions" "no valgrind; run xtask/setup.sh test"
    elif [ -n "${is_built:-}" ]; then
        together 5 "instructions" env -C crates/switchboard-cli SWITCHBOARD_BIN="$TARGET/release/switchboard" "$program" --ignored
    fi
}

# A failure with both servers is an error of the clients, not of Switchboard.
matchbox() {
    local original=$TARGET/tools/matchbox_server-$MATCHBOX
    local command=("$TARGET/matchbox/debug/matchbox-compat" --switchboard "$TARGET/release/switchboard")
    if ! is_set --long; then
        skip "matchbox original" "only with --long"
    elif is_set --no-install; then
        skip "matchbox original" "--no-install"
    # The same profile as for the clients, so that common dependencies are built once.
    elif CARGO_PROFILE_DEV_DEBUG=false stage 15 "matchbox original" cargo install --locked --debug matchbox_server \
        --version "$MATCHBOX" --target-dir "$TARGET/matchbox" --root "$original"; then
        command+=(--original "$original/bin/matchbox_server")
    fi
    [ ! -x "${command[0]}" ] || together 5 "matchbox clients" "${command[@]}"
}

long_tests() {
    ADMIN_API_EXAMPLES=200 test_stage 15 "admin API examples" \
        cargo test --package switchboard-cli --test admin -- description
    SWITCHBOARD_CHAOS_ROUNDS=40 test_stage 60 "long chaos" \
        cargo test --package switchboard-cli --test cluster -- in_a_cluster
    # The number of cases depends on the profile.
    test_stage 60 "many cases" cargo test --release --package switchboard-testkit --package switchboard-core
}

# The type check and the tests of compat/. A test whose browser is missing says so.
web_tests() {
    if [ ! -d compat/node_modules ]; then
        skip_missing "web type check, browser tests" "no compat/node_modules; run xtask/setup.sh test"
        return
    fi
    stage 5 "web type check" npm --prefix compat run --silent check
    if is_set --no-browser; then
        skip "browser tests" "--no-browser"
    elif [ -n "${is_built:-}" ]; then
        ! is_set --long || export SWITCHBOARD_LONG=1
        SWITCHBOARD_BIN=$TARGET/release/switchboard test_stage "$(is_set --long && echo 40 || echo 20)" "browser tests" \
            npm --prefix compat test --silent
    fi
}

# The stages that need a missing tool report it.
is_set --no-install || xtask/setup.sh test "$(is_set --no-browser && echo --no-browser)"
build
if is_set --no-browser; then skip "matchbox clients" "--no-browser"; elif [ -n "${is_built:-}" ]; then matchbox; fi
before=$SECONDS
rust_tests
wait
row "all of these" "$(clock $((SECONDS - before)))" ""
! is_set --long || long_tests
web_tests
finish
