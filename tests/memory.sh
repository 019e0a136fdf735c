#!/bin/sh
# The memory of flowlogd with four blobs of 190 MB, default limits, and an intake that takes connections and never
# answers. Used by hand; wants Python 3:
#
#   cargo build --release --locked --bins --examples && tests/memory.sh
#
# Prints the most that the process held in 60 s, and fails above 96 MiB. Another folder of programs can be named.
set -eu
bin=${1:-target/release}
directory=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || :; rm -rf "$directory"' EXIT
python3 -c '
import socket, time
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
time.sleep(600)
' >"$directory/port" &
for seed in 1 2 3 4; do
    "$bin/examples/flow_log_writer" --directory "$directory/container" --seed "$seed" --bytes 190MB
done
cat >"$directory/flowlogd.toml" <<END
state_dir = "$directory/state"
[sources.large]
directory = "$directory/container"
[intakes.hanging]
protocol = "http"
url = "http://127.0.0.1:$(cat "$directory/port")/"
event_format = "${2:-ecs}"
END
"$bin/flowlogd" --config "$directory/flowlogd.toml" run &
daemon=$!
sleep 60
peak=$(awk '$1 == "VmHWM:" { print $2 }' "/proc/$daemon/status")
echo "most memory held: $peak kB"
test "$peak" -le 98304
