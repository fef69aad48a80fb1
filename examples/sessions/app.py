"""A small shop whose instances know nothing: every session is in Redis, so that any instance can answer any request.

usage: app.py PORT NAME REDIS_PORT

GET  /      who answers, how often this visitor was here, and what is in the basket
POST /add   puts the item in the body into the basket
"""

import json
import secrets
import socket
import sys
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SESSION_SECONDS = 3600
MAX_ITEM_BYTES = 200

# Both commands run within Redis, so that no two instances overwrite what the other one just wrote.
VISIT = "return {redis.call('HINCRBY', KEYS[1], 'visits', 1), redis.call('HGET', KEYS[1], 'basket') or '', redis.call('EXPIRE', KEYS[1], ARGV[1])}"
ADD = "local b = redis.call('HGET', KEYS[1], 'basket'); b = (b and b .. ',' or '') .. ARGV[2]; redis.call('HSET', KEYS[1], 'basket', b); redis.call('EXPIRE', KEYS[1], ARGV[1]); return b"


class Redis:
    """Speaks as much of the protocol of Redis (RESP 2) as this takes, on a connection of its own."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def call(self, *words):
        parts = [str(word).encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
        return self.reply()

    def reply(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("Redis closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.file.read(int(rest) + 2)[:-2].decode()
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        return rest.decode()


class Shop(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/health":
            return self.answer(200, {"well": True})
        return self.with_session(lambda redis, key: redis.call("EVAL", VISIT, 1, key, SESSION_SECONDS)[:2])

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        if length > MAX_ITEM_BYTES:
            self.close_connection = True
            return self.answer(413, {"error": "too long"})
        item = self.rfile.read(length).decode(errors="replace").replace(",", " ")
        return self.with_session(lambda redis, key: [None, redis.call("EVAL", ADD, 1, key, SESSION_SECONDS, item)])

    def with_session(self, work):
        session, is_new = self.session()
        try:
            with Redis(self.server.redis_port) as redis:
                visits, basket = work(redis, f"session:{session}")
        except (OSError, RuntimeError) as error:
            return self.answer(503, {"error": f"the session cannot be read: {error}"})
        content = {"instance": self.server.name, "visits": visits, "basket": basket.split(",") if basket else []}
        cookie = f"session={session}; Path=/; Max-Age={SESSION_SECONDS}; HttpOnly; SameSite=Lax"
        return self.answer(200, content, cookie if is_new else None)

    def session(self):
        """The visitor's session, or a new one; a name that was not made here is no session."""
        try:
            found = SimpleCookie(self.headers.get("Cookie", "")).get("session")
        except CookieError:
            found = None
        if found and len(found.value) == 32 and all(c in "0123456789abcdef" for c in found.value):
            return found.value, False
        return secrets.token_hex(16), True

    def answer(self, status, content, cookie=None):
        body = (json.dumps(content) + "\n").encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if cookie:
            self.send_header("Set-Cookie", cookie)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    port, name, redis_port = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    server = ThreadingHTTPServer(("127.0.0.1", port), Shop)
    server.name, server.redis_port = name, redis_port
    print(f"{name} listens on {port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
