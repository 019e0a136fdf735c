#!/usr/bin/env bash
# Where flowlogd spends its time, as a flame graph: `run --once` from an Azurite to a receiver over TLS with gzip, sampled by
# perf, which has to be installed (in Debian `linux-perf`) and allowed.
#
#   cargo build --release --locked --examples && benches/flame_graph.sh docs/performance/after.svg
#   benches/flame_graph.sh docs/performance/before.svg f4004cd
#
# With a commit, flowlogd is the one of that commit; writer and receiver are those of this tree. It is built with symbols and
# frame pointers in a target directory of its own; what the linker inlines has no frame. NICS, TUPLES and PASSES (default 8,
# 2500 and 3) change the size of the run; PROGRAM is a flowlogd that was built so before.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(realpath -m "$1") commit=${2:-} nics=${NICS:-8} tuples=${TUPLES:-2500} passes=${PASSES:-3}
source benches/support/bed.sh

if [ ! -x target/inferno/bin/inferno-flamegraph ]; then
    cargo install --quiet --root target/inferno inferno --locked
fi
inferno=$PWD/target/inferno/bin

tree=$PWD name=$(git rev-parse --short "${commit:-HEAD}") program=${PROGRAM:-}
if [ -z "$program" ]; then
    if [ -n "$commit" ]; then
        tree=$work/tree
        git worktree add --quiet --detach "$tree" "$commit"
        trap 'git worktree remove --force "$tree" || true; finish' EXIT
    fi
    CARGO_PROFILE_RELEASE_DEBUG=line-tables-only CARGO_PROFILE_RELEASE_STRIP=none CARGO_TARGET_DIR=$PWD/target/flame \
        RUSTFLAGS='-C force-frame-pointers=yes' CFLAGS='-fno-omit-frame-pointer' \
        cargo build --quiet --release --locked --bin flowlogd --manifest-path "$tree/Cargo.toml"
    program=target/flame/release/flowlogd
fi

start_azurite
start_receiver
timeout 300 "$bin/examples/flow_log_writer" --endpoint "$endpoint" --create-container --nics "$nics" --minutes 60 \
    --tuples "$tuples" >"$work/written"
{
    common_settings
    azurite_source 60s
    receiver_intake sekoia flow gzip
} >"$work/flowlogd.toml"

for pass in $(seq "$passes"); do
    rm -rf "$work/state"
    timeout 300 perf record --quiet --event cpu-clock --freq 499 --call-graph fp --output "$work/perf.$pass" \
        "$program" --config "$work/flowlogd.toml" run --once
    perf script --no-inline --input "$work/perf.$pass" 2>/dev/null >>"$work/stacks"
done
mkdir -p "$(dirname "$out")"
# Frames of less than a quarter of a percent are left out, so that the file stays small.
"$inferno/inferno-collapse-perf" <"$work/stacks" | "$inferno/inferno-flamegraph" --minwidth 0.25 --hash --fontsize 11 \
    --title "flowlogd $name: run --once, Azure protocol to TLS with gzip" --countname nanoseconds >"$out"
echo "$out: $(stat -c %s "$out") bytes, $(sed -n 's/.*bytes=\([0-9]*\).*/\1/p' "$work/written") bytes of flow logs, $passes times"
