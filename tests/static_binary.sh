#!/usr/bin/env bash
# The container image holds one static program and nothing to help it. Builds such a program for this machine, without
# the release's long optimisation, and runs it with an empty directory as its root. Needs root for that. With an
# argument: tests that program instead.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$(rustc -vV | sed -n 's/^host: //p')
program=${1:-target/static/$target/debug/flowlogd}
if [ $# -eq 0 ]; then
    # `--target` keeps the flags away from build scripts and macros.
    RUSTFLAGS="-C target-feature=+crt-static" \
        cargo build --locked --quiet --bin flowlogd --target "$target" --target-dir target/static
fi

fail() {
    printf 'static_binary: %s\n' "$*" >&2
    exit 1
}

if readelf --program-headers "$program" | grep -q INTERP; then
    fail "$program needs a dynamic loader"
fi
if readelf --dynamic "$program" | grep -q NEEDED; then
    fail "$program needs shared libraries"
fi

root=$(mktemp -d)
trap 'rm -r "$root"' EXIT
chmod 0755 "$root"
cp "$program" "$root/flowlogd"
mkdir -p "$root/etc/flowlogd" "$root/var/lib/flowlogd"
cat >"$root/etc/flowlogd/flowlogd.toml" <<'SETTINGS'
state_dir = "/var/lib/flowlogd"
[sources.sample]
directory = "/container"
[intakes.screen]
protocol = "stdout"
event_format = "text"
SETTINGS
cp -r examples/sample-container "$root/container"
chown -R 65532:65532 "$root/var/lib/flowlogd"

# As in the image: no user of that number is known, the environment is empty.
chroot=$(PATH=$PATH:/usr/sbin command -v chroot)
inside() { env -i "$chroot" --userspec=65532:65532 "$root" /flowlogd "$@"; }

inside --version | grep -q '^flowlogd ' || fail "--version does not print the version"
inside check-config 2>/dev/null | grep -q '/container' || fail "check-config does not show the settings"

document=$(find examples/sample-container -name PT1H.json | sort | head -n 1)
expected=$(grep -o '"[0-9]\{13\},' "$document" | wc -l)
converted=$(inside convert - <"$document" | wc -l)
[ "$expected" -gt 0 ] || fail "$document has no tuples"
[ "$converted" -eq "$expected" ] || fail "convert gave $converted of $expected events"

# The main job, twice: all of the sample container, then nothing more.
delivered=$(inside run --once 2>/dev/null | wc -l)
[ "$delivered" -gt 0 ] || fail "run --once delivered nothing"
repeated=$(inside run --once 2>/dev/null | wc -l)
[ "$repeated" -eq 0 ] || fail "run --once delivered $repeated events again"

printf 'static_binary: %s, %s bytes, ran in an empty root\n' "$program" "$(stat -c %s "$program")"
