#!/usr/bin/env bash
# Azurite, the example writer, the example receiver and flowlogd side by side, for about half a minute: blobs grow by a
# minute of flow logs each second, flowlogd polls every two seconds, and at the end both ledgers are compared.
# Needs: npm ci --prefix tests/azurite --ignore-scripts
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --locked --quiet --bin flowlogd --examples
work=$(mktemp -d)
pids=()
finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap finish EXIT

# Waits until a file has a line that matches, at most 60 seconds.
wait_for_line() {
    for _ in $(seq 600); do
        if grep -q "$2" "$1" 2>/dev/null; then return; fi
        sleep 0.1
    done
    echo "demonstration: no '$2' within 60 s" >&2
    exit 1
}

node tests/azurite/node_modules/azurite/dist/src/blob/main.js --blobHost 127.0.0.1 --blobPort 0 --disableTelemetry \
    --inMemoryPersistence >"$work/azurite" 2>&1 &
pids+=($!)
wait_for_line "$work/azurite" 'successfully listen'
endpoint="$(sed -n 's/.*successfully listens on //p' "$work/azurite")/devstoreaccount1"

target/debug/examples/receiver --self-signed "$work" --intake-key demonstration --ledger "$work/received" \
    >"$work/receiver" &
pids+=($!)
wait_for_line "$work/receiver" 'listening on'

cat >"$work/flowlogd.toml" <<SETTINGS
state_dir = "$work/state"
[sources.azurite]
account = "devstoreaccount1"
account_key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
endpoint = "$endpoint"
container = "insights-logs-flowlogflowevent"
poll_interval = "2s"
[intakes.receiver]
protocol = "sekoia"
url = "$(sed -n 's/^listening on //p' "$work/receiver")"
ca_file = "$work/ca.pem"
intake_key = "demonstration"
[admin]
listen = ""
[log]
format = "text"
SETTINGS
coproc writer {
    exec target/debug/examples/flow_log_writer --endpoint "$endpoint" --create-container --nics 5 --roots 2 \
        --start-hour "$(date -u -d '1 hour ago' +%Y-%m-%dT%H)" --first-minute 50 --interactive --ledger "$work/written"
}
pids+=("$writer_PID")

# Grows each blob by a minute and waits until that is done.
minute() {
    echo minute >&"${writer[1]}"
    read -r done <&"${writer[0]}"
}

# Both flow logs are there before flowlogd starts: it looks for new ones every few minutes only.
minute
target/debug/flowlogd --config "$work/flowlogd.toml" run &
daemon=$!
pids+=("$daemon")
for _ in $(seq 19); do
    sleep 1
    minute
done
echo "written: ${done#done }"
for _ in $(seq 100); do
    if cmp -s <(sort "$work/written") <(sort "$work/received"); then break; fi
    sleep 0.1
done
kill -TERM "$daemon"
wait "$daemon"
cmp <(sort "$work/written") <(sort "$work/received")
echo "demonstration: $(wc -l <"$work/written") tuples written, the same $(wc -l <"$work/received") received"
