# What the scripts that start servers share; it is read with `source`. A temporary directory in $work, servers on loopback
# that end with the script, by their process ids, and what /proc says of a process.

bin=${BIN:-target/release}
work=$(mktemp -d)
pids=()

# From Microsoft's "Use the Azurite emulator for local Azure Storage development": no secret.
emulator_key='Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=='

finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap finish EXIT

# wait_for_line FILE PATTERN: waits until a file has a line that matches, at most 90 seconds.
wait_for_line() {
    for _ in $(seq 900); do
        if grep -q "$2" "$1" 2>/dev/null; then return; fi
        sleep 0.1
    done
    echo "$0: no '$2' within 90 s" >&2
    exit 1
}

# Starts Azurite with everything in memory: $azurite is its process, $endpoint its address.
start_azurite() {
    node tests/azurite/node_modules/azurite/dist/src/blob/main.js --blobHost 127.0.0.1 --blobPort 0 --disableTelemetry \
        --silent --inMemoryPersistence >"$work/azurite" 2>&1 &
    azurite=$!
    pids+=("$azurite")
    wait_for_line "$work/azurite" 'successfully listen'
    endpoint="$(sed -n 's/.*successfully listens on //p' "$work/azurite")/devstoreaccount1"
}

# start_receiver [ARGUMENT..]: starts the example receiver with TLS: $receiver is its process, $url its address.
start_receiver() {
    "$bin/examples/receiver" --self-signed "$work" --intake-key bench --max-body 33554432 "$@" >"$work/receiver" &
    receiver=$!
    pids+=("$receiver")
    wait_for_line "$work/receiver" 'listening on'
    url=$(sed -n 's/^listening on //p' "$work/receiver")
}

# azurite_source POLL_INTERVAL: the table of a source.
azurite_source() {
    printf '[sources.bench]\naccount = "devstoreaccount1"\naccount_key = "%s"\nendpoint = "%s"\n' "$emulator_key" "$endpoint"
    printf 'container = "insights-logs-flowlogflowevent"\npoll_interval = "%s"\n' "$1"
}

# receiver_intake PROTOCOL FORMAT COMPRESSION: the table of an intake; `sekoia` without the limit on requests a second.
receiver_intake() {
    printf '[intakes.bench]\nprotocol = "%s"\nevent_format = "%s"\ncompression = "%s"\n' "$1" "$2" "$3"
    printf 'ca_file = "%s/ca.pem"\n' "$work"
    case $1 in
        sekoia) printf 'url = "%s"\nintake_key = "bench"\nrequests_per_second = 1000000\n' "$url" ;;
        *) printf 'url = "%s/events"\n' "$url" ;;
    esac
}

# The tables that every run has: state in $work/state, no probes, errors alone.
common_settings() {
    printf 'state_dir = "%s/state"\n' "$work"
    printf '[admin]\nlisten = ""\n[log]\nlevel = "error"\n'
}

# processor_ticks PID: user and system time of a process that runs, in hundredths of a second.
processor_ticks() { awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$1/stat"; }
