#!/usr/bin/env bash
# How long after its append an event is at the receiver, and what an idle flowlogd costs. A writer appends a minute to
# every blob of an Azurite about once a second; a flowlogd that polls every POLL seconds delivers over TLS with gzip. Wants
# Python 3 and the optimised programs:
#
#   cargo build --release --locked --bins --examples && benches/lag.sh
#
# POLL seconds between polls (default 2), NICS blobs an hour (default 20), ROUNDS appends (default 90, at most 149), IDLE seconds without
# anything new (default 60). The lag of an event begins before its append is sent and ends when the receiver has written it
# down, just before it answers; each event is matched by its text. Fails where an event is missing or came twice, where the
# lag's 99th percentile is above the interval and two seconds, or where idling takes 1 % of a core or more.
set -euo pipefail
cd "$(dirname "$0")/.."
export POLL=${POLL:-2} ROUNDS=${ROUNDS:-90} IDLE=${IDLE:-60}
nics=${NICS:-20}
source benches/support/bed.sh

start_azurite
touch "$work/received"
start_receiver --ledger "$work/received"
{
    common_settings
    azurite_source "${POLL}s"
    receiver_intake sekoia flow gzip
} >"$work/flowlogd.toml"
# The records begin half an hour before a full one, so that new blobs are found too, and end before the present hour does:
# nobody writes into an hour that has not begun.
timeout 900 python3 - "$bin" "$work" "$endpoint" "$nics" "$(date -u -d '2 hours ago' +%Y-%m-%dT%H)" <<'END'
import collections, os, random, subprocess, sys, threading, time

bin, work, endpoint, nics, hour = sys.argv[1:]
poll, rounds, idle = float(os.environ["POLL"]), int(os.environ["ROUNDS"]), float(os.environ["IDLE"])
arrivals = []  # (moment, line), in the order of the receiver's ledger


def tail():
    """Reads what the receiver writes, at most 5 ms later."""
    rest = b""
    with open(f"{work}/received", "rb") as ledger:
        while True:
            new = ledger.read()
            if not new:
                time.sleep(0.005)
                continue
            now = time.monotonic()
            *lines, rest = (rest + new).split(b"\n")
            arrivals.extend((now, line) for line in lines)


def wait_for(n_events, seconds):
    deadline = time.monotonic() + seconds
    while len(arrivals) < n_events:
        if time.monotonic() > deadline:
            sys.exit(f"lag: {len(arrivals)} of {n_events} events within {seconds:.0f} s")
        time.sleep(0.02)


def processor_seconds(process):
    fields = open(f"/proc/{process.pid}/stat").read().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def percentile(sorted_values, share):
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * share))]


writer = subprocess.Popen(
    [f"{bin}/examples/flow_log_writer", "--endpoint", endpoint, "--create-container", "--nics", nics, "--roots", "2",
     "--start-hour", hour, "--first-minute", "30", "--interactive", "--ledger", f"{work}/written"],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
)
appends = []  # (moment before it, events written so far)


def append():
    before = time.monotonic()
    print("minute", file=writer.stdin, flush=True)
    answer = writer.stdout.readline()
    if not answer.startswith("done "):
        sys.exit(f"lag: the writer says {answer!r}")
    appends.append((before, int(answer.split("tuples=")[1].split()[0])))


threading.Thread(target=tail, daemon=True).start()
append()
daemon = subprocess.Popen([f"{bin}/flowlogd", "--config", f"{work}/flowlogd.toml", "run"])
try:
    # The first append is older than the program: it has no lag.
    wait_for(appends[0][1], 90)
    # Appends come at any moment between two polls.
    pauses = random.Random(1)
    busy = (time.monotonic(), processor_seconds(daemon))
    for _ in range(rounds):
        append()
        time.sleep(pauses.uniform(0.5, 1.5))
    wait_for(appends[-1][1], 60)
    busy = (processor_seconds(daemon) - busy[1]) / (time.monotonic() - busy[0])
    time.sleep(2 * poll)
    start = (time.monotonic(), processor_seconds(daemon))
    time.sleep(idle)
    idling = (processor_seconds(daemon) - start[1]) / (time.monotonic() - start[0])
    daemon.terminate()
    daemon.wait(60)
finally:
    daemon.kill()
    writer.kill()

written = open(f"{work}/written", "rb").read().splitlines()
appended = collections.defaultdict(collections.deque)
begin = 0
for moment, end in appends:
    for line in written[begin:end]:
        appended[line].append(moment if begin else None)
    begin = end
lags = []
for moment, line in arrivals:
    if not appended[line]:
        sys.exit(f"lag: came twice, or was never written: {line!r}")
    before = appended[line].popleft()
    if before is not None:
        lags.append(moment - before)
n_missing = sum(map(len, appended.values()))
lags.sort()
p99 = percentile(lags, 0.99)
print(f"{len(lags)} events of {rounds} appends to {nics} blobs an hour, a poll every {poll:g} s; {n_missing} missing")
print(f"lag: median {percentile(lags, 0.5):.2f} s, p99 {p99:.2f} s, most {lags[-1]:.2f} s; goal: p99 <= {poll + 2:g} s")
print(f"processor: {100 * busy:.2f} % of a core while appends came, {100 * idling:.2f} % idle; goal: idle < 1 %")
sys.exit(n_missing > 0 or p99 > poll + 2 or idling >= 0.01)
END
