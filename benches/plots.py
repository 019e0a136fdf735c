"""How throughput and peak memory depend on the size of a blob and on the number of network interfaces, as two drawings in
docs/performance. Wants the optimised programs, and nothing but Python 3.11:

    cargo build --release --locked --bins --examples && python3 benches/plots.py

Three ways are measured: `convert` of one file at a time, `run --once` from a directory to stdout, and `run --once` from
a directory to a receiver over TLS with gzip, which throws away what it gets. Processor time of flowlogd counts and not
wall time, so that other work on the machine matters less. TURNS runs each (default 3): the least time and the most
memory count. SIZES are the megabytes of the single blob, INTERFACES the numbers of interfaces over which MEGABYTES
(default 100) are spread, one blob each. OUT is the directory of the drawings.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time

PROJECT = pathlib.Path(__file__).resolve().parent.parent
BIN = PROJECT / os.environ.get("BIN", "target/release")
OUT = pathlib.Path(os.environ.get("OUT", PROJECT / "docs/performance"))
TURNS = int(os.environ.get("TURNS", "3"))
SIZES = [int(text) for text in os.environ.get("SIZES", "1,10,50,200").split(",")]
INTERFACES = [int(text) for text in os.environ.get("INTERFACES", "1,10,100,1000").split(",")]
MEGABYTES = int(os.environ.get("MEGABYTES", "100"))
# Of a typical document.
TUPLE_BYTES = 84
# No run may last longer.
DEADLINE = 300
WAYS = ["convert", "run to stdout", "run to TLS with gzip"]
COLOURS = ["#0b6e99", "#d9730d", "#448361"]
MIB = 1024 * 1024


def write_one(directory, megabytes):
    """A container of one blob."""
    subprocess.run(
        [BIN / "examples/flow_log_writer", "--directory", directory, "--bytes", f"{megabytes}MB"],
        check=True, stdout=subprocess.DEVNULL, timeout=DEADLINE,
    )


def write_many(directory, interfaces):
    """A container of one blob an interface, MEGABYTES in all."""
    tuples = max(1, MEGABYTES * 1_000_000 // (60 * interfaces * TUPLE_BYTES))
    subprocess.run(
        [BIN / "examples/flow_log_writer", "--directory", directory, "--nics", str(interfaces), "--minutes", "60",
         "--tuples", str(tuples)],
        check=True, stdout=subprocess.DEVNULL, timeout=DEADLINE,
    )


def watched(command):
    """Runs a command: its processor seconds and the most memory that it held."""
    deadline = time.monotonic() + DEADLINE
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    most = 0
    while True:
        ended, status, used = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        # The kernel keeps the maximum: what is missed is what came after the last look, at most 2 ms before the end. The
        # one in `used` is of no use: it begins with what Python held when it started the process.
        lines = pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines()
        held = [line.split()[1] for line in lines if line.startswith("VmHWM:")]
        most = max([most, *(int(kibibytes) * 1024 for kibibytes in held)])
        if time.monotonic() > deadline:
            process.kill()
        time.sleep(0.002)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"plots: {command} ended with {process.returncode}")
    return used.ru_utime + used.ru_stime, most


def settings(work, container, way, address):
    """Writes the settings of a run; returns their path."""
    if way == WAYS[1]:
        intake = 'protocol = "stdout"'
    else:
        intake = f'protocol = "http"\nurl = "{address}/events"\nca_file = "{work}/ca.pem"\ncompression = "gzip"'
    path = work / "flowlogd.toml"
    path.write_text(
        f'state_dir = "{work}/state"\n[sources.bench]\ndirectory = "{container}"\n[admin]\nlisten = ""\n'
        f'[log]\nlevel = "error"\n[intakes.bench]\nevent_format = "flow"\n{intake}\n'
    )
    return path


def measure(work, container, address):
    """For each way, megabytes a second of processor time, and MiB."""
    files = sorted(str(path) for path in container.rglob("PT1H.json"))
    megabytes = sum(os.path.getsize(path) for path in files) / 1e6
    points = {}
    for turn in range(TURNS):
        for way in WAYS:
            if way == WAYS[0]:
                command = [BIN / "flowlogd", "convert", "--format", "flow", *files]
            else:
                subprocess.run(["rm", "-rf", work / "state"], check=True)
                command = [BIN / "flowlogd", "--config", settings(work, container, way, address), "run", "--once"]
            seconds, memory = watched(command)
            rate, most = points.get(way, (0, 0))
            points[way] = (max(rate, megabytes / seconds), max(most, memory / MIB))
    return points


def start_receiver(work):
    """A receiver that throws away what it gets, and its address."""
    process = subprocess.Popen(
        [BIN / "examples/receiver", "--self-signed", work, "--discard", "--max-body", "33554432"],
        stdout=subprocess.PIPE, text=True,
    )
    return process, process.stdout.readline().removeprefix("listening on ").strip()


def nice_top(most):
    """The end of an axis, and the step of its lines."""
    step = 1
    while step * 5 < most:
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return step * -(-int(most + 1) // step), step


def panel(left, label, labels, columns, quantity, top, step, limits):
    """One diagram with its axes; every point says its figure when it is pointed at."""
    width, height, floor = 360, 260, 320
    parts = []

    def y(value):
        return floor - value / top * height

    for value in range(0, top + 1, step):
        parts.append(f'<line x1="{left}" x2="{left + width}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value}</text>')
    for value in limits:
        parts.append(f'<line x1="{left}" x2="{left + width}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#b00" '
                     'stroke-dasharray="5 4"/>')
    places = [left + width * (index + 0.5) / len(labels) for index in range(len(labels))]
    for place, text in zip(places, labels):
        parts.append(f'<text x="{place:.1f}" y="{floor + 18}" text-anchor="middle">{text}</text>')
    parts.append(f'<line x1="{left}" x2="{left + width}" y1="{floor}" y2="{floor}" stroke="#333"/>')
    parts.append(f'<text x="{left + width / 2}" y="{floor + 40}" text-anchor="middle">{label}</text>')
    for way, colour in zip(WAYS, COLOURS):
        values = [column[way][quantity] for column in columns]
        line = " ".join(f"{place:.1f},{y(value):.1f}" for place, value in zip(places, values))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for place, value, text in zip(places, values, labels):
            parts.append(f'<circle cx="{place:.1f}" cy="{y(value):.1f}" r="4" fill="{colour}">'
                         f"<title>{way}, {text}: {value:.1f}</title></circle>")
    return parts


def draw(path, title, unit, quantity, by_size, by_interfaces, limits=()):
    """A drawing of two diagrams with one scale."""
    most = max([figures[quantity] for column in by_size + by_interfaces for figures in column.values()]
               + list(limits))
    top, step = nice_top(most)
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 880 400" font-family="DejaVu Sans, Verdana, sans-serif" font-size="12">',
        '<rect width="880" height="400" fill="#fff"/>',
        f'<text x="60" y="24" font-size="15">{title}</text>',
        f'<text x="60" y="46" fill="#555">{unit}</text>',
    ]
    for index, (way, colour) in enumerate(zip(WAYS, COLOURS)):
        left = 470 + index * 120
        parts.append(f'<rect x="{left}" y="36" width="10" height="10" fill="{colour}"/>')
        parts.append(f'<text x="{left + 14}" y="46">{way}</text>')
    parts += panel(60, "megabytes in one blob", SIZES, by_size, quantity, top, step, limits)
    parts += panel(490, f"network interfaces, one blob each, {MEGABYTES} MB in all", INTERFACES, by_interfaces,
                   quantity, top, step, limits)
    path.write_text("\n".join(parts) + "\n</svg>\n")


def main():
    by_size, by_interfaces = [], []
    with tempfile.TemporaryDirectory() as name:
        work = pathlib.Path(name)
        receiver, address = start_receiver(work)
        try:
            cases = [("MB in one blob", size, write_one, by_size) for size in SIZES]
            cases += [("interfaces", number, write_many, by_interfaces) for number in INTERFACES]
            for label, number, write, columns in cases:
                container = work / "container"
                write(container, number)
                columns.append(measure(work, container, address))
                subprocess.run(["rm", "-rf", container], check=True)
                figures = [f"{way} {rate:.0f} MB/s {memory:.1f} MiB" for way, (rate, memory) in columns[-1].items()]
                print(f"{number:>5} {label}: {', '.join(figures)}", flush=True)
        finally:
            receiver.terminate()
            receiver.wait()
    OUT.mkdir(parents=True, exist_ok=True)
    draw(OUT / "throughput.svg", "Throughput of flowlogd on one core, events in the form flow",
         "megabytes of flow logs a second of processor time", 0, by_size, by_interfaces)
    draw(OUT / "memory.svg", "Peak memory of flowlogd, events in the form flow", "MiB resident; dashed: the goals, 96 for run and 32 for convert", 1,
         by_size, by_interfaces, [96, 32])


if __name__ == "__main__":
    main()
