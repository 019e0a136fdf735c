#!/usr/bin/env bash
# What delivery costs: one pass over a large blob to stdout, and the same pass to a receiver on loopback over TLS with
# gzip. The two take turns in one run; the medians are compared. Wants the optimised programs:
#
#   cargo build --release --locked --bins --examples && benches/price_of_delivery.sh
#
# BYTES of flow logs (default 48MB), PAIRS of runs (default 5). Collector and receiver share the machine's cores, so the
# wall time has the receiver's work in it; the processor time is the collector's alone.
set -euo pipefail
cd "$(dirname "$0")/.."
bytes=${BYTES:-48MB} pairs=${PAIRS:-5} bin=target/release
work=$(mktemp -d)
pids=()
finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap finish EXIT

"$bin/examples/flow_log_writer" --directory "$work/container" --nics 4 --bytes "$bytes"
"$bin/examples/receiver" --self-signed "$work" --intake-key bench --max-body 33554432 >"$work/receiver" &
pids+=($!)
for _ in $(seq 100); do grep -q 'listening on' "$work/receiver" && break; sleep 0.1; done
url=$(sed -n 's/^listening on //p' "$work/receiver")

# settings NAME FORMAT: writes the settings of one sink.
settings() {
    printf 'state_dir = "%s/state"\n[sources.bench]\ndirectory = "%s/container"\n[admin]\nlisten = ""\n' "$work" "$work"
    printf '[log]\nlevel = "error"\n[intakes.out]\nevent_format = "%s"\n' "$2"
    case $1 in
        stdout) printf 'protocol = "stdout"\n' ;;
        http) printf 'protocol = "http"\nurl = "%s/events"\nca_file = "%s/ca.pem"\n' "$url" "$work" ;;
        sekoia)
            printf 'protocol = "sekoia"\nurl = "%s"\nca_file = "%s/ca.pem"\n' "$url" "$work"
            printf 'intake_key = "bench"\nrequests_per_second = 1000000\n'
            ;;
    esac
}

# pass NAME FORMAT: one pass; prints its wall and processor seconds.
pass() {
    settings "$1" "$2" >"$work/$1.toml"
    rm -rf "$work/state"
    TIMEFORMAT='%R %U %S'
    { time "$bin/flowlogd" --config "$work/$1.toml" run --once >"$work/out" 2>"$work/errors"; } 2>"$work/time"
    awk '{ print $1, $2 + $3 }' "$work/time"
}

median() { sort -n | awk '{ value[NR] = $1 } END { print value[int((NR + 1) / 2)] }'; }

printf '%-24s %12s %10s %12s %10s\n' 'to' 'events/s' 'MB/s' 'wall ratio' 'cpu ratio'
for case in http:ecs sekoia:flow; do
    sink=${case%:*} format=${case#*:}
    : >"$work/plain.times" >"$work/sent.times"
    for _ in $(seq "$pairs"); do
        pass stdout "$format" >>"$work/plain.times"
        n_events=$(wc -l <"$work/out") out_bytes=$(stat -c %s "$work/out")
        pass "$sink" "$format" >>"$work/sent.times"
    done
    plain=$(cut -d' ' -f1 "$work/plain.times" | median) plain_cpu=$(cut -d' ' -f2 "$work/plain.times" | median)
    sent=$(cut -d' ' -f1 "$work/sent.times" | median) sent_cpu=$(cut -d' ' -f2 "$work/sent.times" | median)
    row() {
        awk -v to="$1" -v n="$n_events" -v b="$out_bytes" -v s="$2" -v wall="$3" -v cpu="$4" \
            'BEGIN { printf "%-24s %12.0f %10.1f %12.2f %10.2f\n", to, n / s, b / s / 1e6, wall, cpu }'
    }
    ratio() { awk -v a="$1" -v b="$2" 'BEGIN { print a / b }'; }
    row "stdout, $format" "$plain" 1 1
    row "$sink over TLS, $format" "$sent" "$(ratio "$sent" "$plain")" "$(ratio "$sent_cpu" "$plain_cpu")"
done
