"""What a collector of these logs does that is written in Python: parse with orjson, one dictionary for each tuple, chunks,
bodies. In our own words; benches/goals.rs runs it where orjson is installed.

    reference.py DOCUMENT PASSES [--bodies]

Prints the least processor time of a pass in nanoseconds, and the number of events. Without --bodies the events are made
and serialised; with it they are also chunked by size and number, wrapped in bodies and serialised with these.
"""

import datetime
import sys
import time

import orjson

# As the limits of the intake's batches are.
CHUNK_BYTES = 1024 * 1024
CHUNK_EVENTS = 10_000

KEPT = ("flowLogVersion", "flowLogGUID", "macAddress", "operationName")


def moment(text):
    """The record's time, normalised: Azure has seven digits in its fraction."""
    head, _, fraction = text.rstrip("Z").partition(".")
    whole = datetime.datetime.fromisoformat(head).replace(tzinfo=datetime.timezone.utc)
    return whole.replace(microsecond=int(fraction[:6].ljust(6, "0")) if fraction else 0).isoformat()


def filled(flow_tuple):
    """The tuple with 0 for counters that are empty."""
    return ",".join(field or "0" for field in flow_tuple.split(","))


def events(records):
    """The flattened event of each tuple."""
    for record in records:
        common = {"time": moment(record["time"])}
        common.update((name, record.get(name)) for name in KEPT)
        for flow in record["flowRecords"]["flows"]:
            for group in flow["flowGroups"]:
                for flow_tuple in group["flowTuples"]:
                    event = dict(common)
                    event["aclID"] = flow["aclID"]
                    event["rule"] = group["rule"]
                    event["flow.0"] = filled(flow_tuple)
                    yield orjson.dumps(event).decode()


def chunks(texts):
    """Lists of events that fit into one request each."""
    chunk, size = [], 0
    for text in texts:
        length = len(text.encode())
        if chunk and (size + length > CHUNK_BYTES or len(chunk) >= CHUNK_EVENTS):
            yield chunk
            chunk, size = [], 0
        chunk.append(text)
        size += length
    if chunk:
        yield chunk


def run(document, with_bodies):
    texts = list(events(orjson.loads(document)["records"]))
    if with_bodies:
        for chunk in chunks(texts):
            orjson.dumps({"intake_key": "00000000-0000-4000-8000-000000000000", "jsons": chunk})
    return len(texts)


def main():
    path, passes = sys.argv[1], int(sys.argv[2])
    with_bodies = "--bodies" in sys.argv
    with open(path, "rb") as file:
        document = file.read()
    least = None
    for _ in range(passes):
        started = time.process_time_ns()
        n_events = run(document, with_bodies)
        taken = time.process_time_ns() - started
        least = taken if least is None else min(least, taken)
    print(least, n_events)


if __name__ == "__main__":
    main()
