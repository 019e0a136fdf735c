#!/usr/bin/env bash
# From the storage to the intake, against a plain download: `flowlogd run --once` reads the blobs of an Azurite and delivers
# them over TLS, in turns with `examples/plain_download`, which reads the same blobs through the same adapter, as many at
# once, and throws them away. Wants the optimised programs:
#
#   cargo build --release --locked --bins --examples && benches/end_to_end.sh
#
# NICS blobs (default 8) of 60 records of TUPLES tuples (default 2500: 110 MB in all), TURNS (default 5), of which the least
# times are compared. Everything shares the machine, so the processor time of each process is told too, and the ratio that
# follows from it where nothing else runs: Azurite works on one core, and all together on no more than there are. The
# receiver looks into the bodies in the row `sekoia` alone, whose answers name every event.
set -euo pipefail
cd "$(dirname "$0")/.."
nics=${NICS:-8} tuples=${TUPLES:-2500} turns=${TURNS:-5}
source benches/support/bed.sh

start_azurite
start_receiver
reading=("$receiver" "$url")
start_receiver --discard
discarding=("$receiver" "$url")
timeout 300 "$bin/examples/flow_log_writer" --endpoint "$endpoint" --create-container --nics "$nics" --minutes 60 \
    --tuples "$tuples" >"$work/written"
n_bytes=$(sed -n 's/.*bytes=\([0-9]*\).*/\1/p' "$work/written")
n_events=$(sed -n 's/.*tuples=\([0-9]*\).*/\1/p' "$work/written")

# timed NAME COMMAND..: runs a command; appends its wall seconds and the processor seconds of itself, Azurite and receiver.
timed() {
    local name=$1 before=("$(processor_ticks "$azurite")" "$(processor_ticks "$receiver")")
    shift
    TIMEFORMAT='%R %U %S'
    { time timeout 300 "$@" >/dev/null 2>"$work/errors"; } 2>"$work/time" || { cat "$work/errors" "$work/time" >&2; exit 1; }
    local after=("$(processor_ticks "$azurite")" "$(processor_ticks "$receiver")")
    awk -v azurite="$((after[0] - before[0]))" -v receiver="$((after[1] - before[1]))" \
        '{ print $1, $2 + $3, azurite / 100, receiver / 100 }' "$work/time" >>"$work/$name.times"
}

# collected PROTOCOL FORMAT COMPRESSION: one pass of flowlogd.
collected() {
    local name="$1, $2, $3"
    if [ "$1" = sekoia ]; then receiver=${reading[0]} url=${reading[1]}; else receiver=${discarding[0]} url=${discarding[1]}; fi
    {
        common_settings
        azurite_source 60s
        if [ "$1" = stdout ]; then
            printf '[intakes.bench]\nprotocol = "stdout"\nevent_format = "%s"\n' "$2"
        else
            receiver_intake "$@"
        fi
    } >"$work/flowlogd.toml"
    rm -rf "$work/state"
    timed "$name" "$bin/flowlogd" --config "$work/flowlogd.toml" run --once
}

cases=('stdout flow none' 'http flow none' 'http flow gzip' 'http ecs gzip' 'sekoia flow gzip')
for _ in $(seq "$turns"); do
    timed 'plain download' "$bin/examples/plain_download" --endpoint "$endpoint"
    for case in "${cases[@]}"; do
        # shellcheck disable=SC2086 # three words
        collected $case
    done
done

# column NAME N: the least of a column.
column() { cut -d' ' -f"$2" "$work/$1.times" | sort -n | head -1; }

# at_best NAME: seconds that the processor times alone would take.
at_best() {
    awk -v cores="$(nproc)" -v own="$(column "$1" 2)" -v azurite="$(column "$1" 3)" -v receiver="$(column "$1" 4)" 'BEGIN {
        all = (own + azurite + receiver) / cores
        print (all > azurite ? all : azurite)
    }'
}

echo "$n_bytes bytes of flow logs, $n_events events, $(nproc) cores; least times of $turns turns, in seconds"
printf '%-20s %7s %8s %10s %7s | %9s %9s %9s %9s\n' 'to' 'wall' 'MB/s' 'events/s' 'ratio' 'processor' 'Azurite' 'receiver' \
    'at best'
plain=$(column 'plain download' 1) plain_at_best=$(at_best 'plain download')
for name in 'plain download' "${cases[@]}"; do
    [ -f "$work/$name.times" ] || name=${name// /, }
    awk -v name="$name" -v bytes="$n_bytes" -v n="$n_events" -v plain="$plain" -v wall="$(column "$name" 1)" \
        -v own="$(column "$name" 2)" -v azurite="$(column "$name" 3)" -v receiver="$(column "$name" 4)" \
        -v plain_at_best="$plain_at_best" -v at_best="$(at_best "$name")" 'BEGIN {
            printf "%-20s %7.2f %8.1f %10.0f %7.2f | %9.2f %9.2f %9.2f %9.2f\n", name, wall, bytes / wall / 1e6, n / wall,
                plain / wall, own, azurite, receiver, plain_at_best / at_best
        }'
done
echo 'goal: a ratio of 0.80 for the rows with gzip'
