#!/usr/bin/env bash
# Azurite, the example writer, the example receiver and flowlogd side by side, for about half a minute: blobs grow by a
# minute of flow logs each second, flowlogd polls every two seconds, and at the end both ledgers are compared.
# Needs: npm ci --prefix tests/azurite --ignore-scripts
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --locked --quiet --bin flowlogd --examples
# Servers on loopback that end with the script.
source benches/support/bed.sh
start_azurite

target/debug/examples/receiver --self-signed "$work" --intake-key demonstration --ledger "$work/received" \
    >"$work/receiver" &
pids+=($!)
wait_for_line "$work/receiver" 'listening on'

cat >"$work/flowlogd.toml" <<SETTINGS
state_dir = "$work/state"
[sources.azurite]
account = "devstoreaccount1"
account_key = "$emulator_key"
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
