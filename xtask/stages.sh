# Sourced by lint.sh and test.sh. A stage runs one command, even if earlier stages have failed. At the end a table shows
# the duration and the result of each; its last line is `N passed, N failed, N skipped`.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
exec </dev/null

# The output is parsed, so it must be without colors even if the environment enables them.
export CARGO_TERM_COLOR=never NO_COLOR=1
unset FORCE_COLOR
TARGET=$(realpath -m "${CARGO_TARGET_DIR:-target}")

# Test programs that run at the same time. Most tests wait more than they compute.
PROGRAMS_AT_ONCE=2

results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
# `timeout` passes the signal on to the command and to the processes that it has started.
trap 'kill $(jobs -p) 2>/dev/null; exit 130' INT TERM

# stage MINUTES NAME COMMAND...
# Runs a command that has no counts. Returns whether it has succeeded within its limit.
stage() {
    run_visibly "$@"
    add_row "$2" $? "$log" $((SECONDS - start))
}

# test_stage MINUTES NAME COMMAND...
# Runs a test runner. It must have run at least one test.
test_stage() {
    run_visibly "$@"
    local status=$?
    [ "$status" != 0 ] || [ -n "$(counts "$log")" ] || status="no test was run"
    add_row "$2" "$status" "$log" $((SECONDS - start))
}

# together MINUTES NAME COMMAND...
# Runs a test program beside others, at most PROGRAMS_AT_ONCE, and returns before it ends. Its output is printed at its
# end. It may be without tests. `wait` waits for all of them.
together() {
    while [ "$(jobs -pr | wc -l)" -ge "$PROGRAMS_AT_ONCE" ]; do wait -n; done
    (
        trap - EXIT INT TERM
        start=$SECONDS log=$(mktemp -p "$results")
        timeout --kill-after=10s "$1m" "${@:3}" >"$log" 2>&1
        status=$?
        exec 9>"$results/lock" && flock 9
        heading "${@:2}" && cat "$log"
        add_row "$2" "$status" "$log" $((SECONDS - start))
    ) &
}

# skip NAME REASON
skip() {
    printf '\n!!! %s is skipped: %s\n' "$1" "$2"
    row "$1" - "SKIPPED: $2"
    echo "0 0 1" >>"$results/counts"
}

# skip_missing NAME REASON
# A stage whose tool is missing. With `CI=true` it fails.
skip_missing() {
    if [ "${CI:-}" = true ]; then add_row "$1" "$2" /dev/null 0; else skip "$1" "$2"; fi
}

# Prints the table and the counts. Returns whether all stages have passed.
finish() {
    echo
    cat "$results/rows"
    sum "$results/counts" | in_words
}

run_visibly() {
    start=$SECONDS log=$(mktemp -p "$results")
    heading "${@:2}"
    timeout --kill-after=10s "$1m" "${@:3}" >"$log" 2>&1 &
    # The log is a file and no pipe: a process that the command left behind could keep a pipe open for ever.
    tail -s 0.2 -n +1 -f --pid=$! "$log"
    wait $!
}

heading() {
    printf '\n=== %s\n%s\n' "$1" "${*:2}"
}

# add_row NAME STATUS LOG SECONDS
# The status is an exit code or a reason. A stage that failed without a failed test counts as one failed test.
add_row() {
    local tests reason=
    tests=$(counts "$3")
    case "$2" in
        0) ;;
        # By `timeout`.
        124 | 137) reason="did not end within its limit" ;;
        [0-9]*) reason="status $2" ;;
        *) reason=$2 ;;
    esac
    row "$1" "$(clock "$4")" "${tests:+$(in_words <<<"$tests")}${reason:+  FAILED: $reason}"
    [ -z "$reason" ] || [[ $tests =~ ^[0-9]+\ [1-9] ]] || echo "0 1 0" >>"$results/counts"
    echo "${tests:-0 0 0}" >>"$results/counts"
    [ -z "$reason" ] || { printf '!!! %s failed: %s\n' "$1" "$reason" && return 1; }
}

in_words() {
    awk '{ print $1 " passed, " $2 " failed, " $3 " skipped"; exit $2 > 0 }'
}

clock() {
    printf '%d:%02d' $(($1 / 60)) $(($1 % 60))
}

row() {
    printf '%-32s %6s  %s\n' "$@" >>"$results/rows"
}

# The counts of passed, failed and skipped tests in the output of cargo (`test result: ok. 3 passed; 0 failed; …`) and of
# Node.js (`ℹ pass 3`, in the other format `# pass 3`). Empty if there are none.
counts() {
    awk '
        /^test result: / { print $4, $6, $8 }
        /^(ℹ|#) (pass|fail|cancelled|skipped|todo) [0-9]+$/ {
            print $2 == "pass" ? $3 : 0, $2 ~ /fail|cancelled/ ? $3 : 0, $2 ~ /skipped|todo/ ? $3 : 0
        }' "$1" | sum | grep -v '^0 0 0$'
}

sum() {
    awk '{ passed += $1; failed += $2; skipped += $3 } END { print passed + 0, failed + 0, skipped + 0 }' "$@"
}
