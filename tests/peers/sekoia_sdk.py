"""Shows how the official collectors of Sekoia.io send events.

Standard input is {"intake_key": KEY, "events": [TEXT, ...]}. A connector of sekoia-automation-sdk pushes the events to a
server on loopback, which accepts all of them; each request is one line of standard output, as JSON.
"""

import json
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from sekoia_automation.connector import Connector

requests = []


class Intake(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        requests.append(
            {"path": self.path, "content_type": self.headers["Content-Type"], "body": body}
        )
        n_events = len(json.loads(body)["jsons"])
        answer = json.dumps({"event_ids": [str(number) for number in range(n_events)]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def main():
    asked = json.load(sys.stdin)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Intake)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        connector = Connector(data_path=Path(folder))
        # It would report to Sekoia.io's own interface.
        connector.log = lambda *arguments, **_: print(*arguments, file=sys.stderr)
        connector.configuration = {
            "intake_key": asked["intake_key"],
            "intake_server": f"http://127.0.0.1:{server.server_port}",
        }
        connector.push_events_to_intakes(asked["events"])
    for request in requests:
        print(json.dumps(request))


main()
