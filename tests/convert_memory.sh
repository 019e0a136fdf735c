#!/bin/sh
# The memory of `flowlogd convert` over records that have no end and ones over the limit, of almost 16 MiB each. Wants
# Python 3 and the optimised program, target/release/flowlogd or the one that is named.
#
# Prints the most that the process held, and fails above 32 MiB.
set -eu
cd "$(dirname "$0")/.."
python3 - "${1:-target/release/flowlogd}" <<'END'
import re, subprocess, sys

LIMIT = 16 * 1024 * 1024
text = b'\\"' * (LIMIT // 2 - 5_000)
torn = b'{"time":"' + text + b',\n'
large = b'{"time":"' + text + text[:20_000] + b'"},'
convert = subprocess.Popen(
    [sys.argv[1], "convert", "--format", "flow"],
    stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
)
convert.stdin.write(b'{"records":[' + torn + large + torn)
convert.stdin.flush()
# All but what a pipe holds has been read by now; the process lives until its input is closed.
status = open(f"/proc/{convert.pid}/status").read()
convert.stdin.close()
code = convert.wait()
kibibytes = int(re.search(r"VmHWM:\s+(\d+)", status).group(1))
print(f"convert_memory: {kibibytes} KiB, exit code {code}")
sys.exit(code != 65 or kibibytes > 32 * 1024)
END
