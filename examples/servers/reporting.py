"""A server that says how busy it is: for examples/reports.yaml.

    python3 examples/servers/reporting.py 9001 0.005

listens on that port of this machine (0: a free one) and works so many seconds on each request, one at a time. It tells its
requests in flight in every answer, in the field x-requests-in-flight, and its load as ORCA has it in the field
endpoint-load-metrics. GET /load is answered at once, however busy it is.
"""

import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 0
WORK_S = float(sys.argv[2]) if len(sys.argv) > 2 else 0.005
WINDOW_S = 1.0


class Load:
    """What there is to tell."""

    def __init__(self):
        self.lock = threading.Lock()
        self.work = threading.Lock()
        self.in_flight = 0
        self.finished = []

    def begin(self):
        with self.lock:
            self.in_flight += 1

    def end(self):
        with self.lock:
            self.in_flight -= 1
            self.finished.append(time.monotonic())

    def fields(self):
        with self.lock:
            start = time.monotonic() - WINDOW_S
            self.finished = [at for at in self.finished if at > start]
            in_flight, rps = self.in_flight, len(self.finished) / WINDOW_S
        utilization = min(rps * WORK_S, 1.0)
        latency_ms = (in_flight + 1) * WORK_S * 1000
        return {
            "x-requests-in-flight": f"{in_flight};latency_ms={latency_ms:.3f}",
            "endpoint-load-metrics": f"TEXT application_utilization={utilization:.4f},rps_fractional={rps:.3f}",
        }


LOAD = Load()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path != "/load":
            LOAD.begin()
            try:
                with LOAD.work:
                    time.sleep(WORK_S)
            finally:
                LOAD.end()
        body = b"done\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        for name, value in LOAD.fields().items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


server = Server(("127.0.0.1", PORT), Handler)
print(f"listening on 127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
