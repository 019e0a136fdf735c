#!/usr/bin/env bash
# Shows that the tests can see: builds the program with bugs that can be switched on, one at a time, and for each of them
# runs the test that is to find it. Fails where one survives, or where a test fails without any.
#
# Usage: tests/planted_bugs.sh
set -euo pipefail
cd "$(dirname "$0")/.."

# Each bug of `src/planted.rs` with the test that finds it, and how long its simulation lasts.
bugs="
CommitBeforeAnswer simulation::days_full_of_faults
WatermarkIsMaximum simulation::days_full_of_faults
NoSync power_cut::
NoChecksum store_sqlite::
SkipOnChange simulation::days_full_of_faults
IdFromBatchIndex simulation::days_full_of_faults
DropOnRefusal simulation::days_full_of_faults
OffsetIsLength simulation::days_full_of_faults
NoAnswerIsAnswer simulation::days_full_of_faults
QuarantineForgets simulation::days_full_of_faults
BatchLosesEvent simulation::days_full_of_faults
"

planted=$(grep -cE '^    [A-Z][A-Za-z]+,$' src/planted.rs)
listed=$(grep -c . <<<"$bugs")
if [ "$planted" -ne "$listed" ]; then
    printf '%s bugs are planted, %s are looked for\n' "$planted" "$listed"
    exit 1
fi

log=$(mktemp)
trap 'rm "$log"' EXIT
export SIMULATED_DAYS=${SIMULATED_DAYS:-20} RUST_BACKTRACE=0 RUSTFLAGS="--cfg planted_bugs"
run() { cargo test --locked --target-dir target/planted --quiet --test it -- "$1" >"$log" 2>&1; }

cargo build --locked --target-dir target/planted --quiet --bins --examples

survived=0
for test in $(awk '{ print $2 }' <<<"$bugs" | sort -u); do
    if ! run "$test" || ! grep -q '^test result: ok. [1-9]' "$log"; then
        cat "$log"
        printf 'without a bug: %s does not pass\n' "$test"
        exit 1
    fi
    printf 'without a bug: %s passes\n' "$test"
done
while read -r bug test; do
    [ -n "$bug" ] || continue
    if FLOWLOGD_PLANTED_BUG=$bug run "$test"; then
        printf '%s: SURVIVED %s\n' "$bug" "$test"
        survived=$((survived + 1))
    else
        printf '%s: found by %s: %s\n' "$bug" "$test" "$(grep -aE -m1 -A1 'panicked at' "$log" | tail -1 | cut -c1-110)"
    fi
done <<<"$bugs"
printf '%s of %s planted bugs survived\n' "$survived" "$listed"
[ "$survived" -eq 0 ]
