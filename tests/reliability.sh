#!/usr/bin/env bash
# The long proofs of docs/reliability.md, with a release build: all of them, which takes hours, or those that are named.
#
# Usage: tests/reliability.sh [PROOF...]     SEED chooses others; SCALE divides how long they are (1; 10 is a tenth)
set -euo pipefail
cd "$(dirname "$0")/.."

seed=${SEED:-1}
scale=${SCALE:-1}
all="kills points cuts bits simulation foreign flapping planted memory"

# Some part of a number, at least 1.
part() { printf '%s' "$((($1 + scale - 1) / scale))"; }

run() { SEED=$seed cargo test --locked --release --quiet --test it -- --nocapture "$@"; }

kills() {
    local round
    for round in $(seq "$(part 10)"); do
        printf 'round %s\n' "$round"
        run crash:: crash_scenarios::
    done
}
points() { KILLS=$(part 10) run crash_points::; }
cuts() { POWER_CUTS=$(part 20) run power_cut::; }
bits() { BIT_FLIPS=$(part 10) run bit_flips::; }
simulation() { SIMULATED_DAYS=$(part 20000) run simulation::; }
foreign() { MUTATIONS=$(part 100) run mutations:: --skip store_rows; }
flapping() { FLAPPING=$(part 30) run intake_faults::; }
planted() { tests/planted_bugs.sh; }
memory() {
    tests/memory.sh
    tests/convert_memory.sh
}

cargo build --locked --release --quiet --bins --examples
for proof in ${@:-$all}; do
    if ! grep -qw -- "$proof" <<<"$all"; then
        printf 'there is no proof %s: there are %s\n' "$proof" "$all"
        exit 2
    fi
    started=$SECONDS
    printf '\n== %s\n' "$proof"
    "$proof"
    printf -- '-- %s: passed in %s s\n' "$proof" "$((SECONDS - started))"
done
