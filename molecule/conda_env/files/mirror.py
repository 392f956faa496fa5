"""A mirror with a fault, in front of a real one: mirror.py PORT UPSTREAM [--corrupt NAME] [--die-after BYTES].

It spoils the middle of each package whose file name begins with NAME, or ends after so many bytes of packages, in the middle of one.
"""

import argparse
import os
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CHUNK = 65536


class Mirror(BaseHTTPRequestHandler):
    options: argparse.Namespace
    sent = 0

    def do_GET(self) -> None:
        request = urllib.request.Request(self.options.upstream + self.path)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                self.hand_on(answer.status, answer.read())
        except urllib.error.HTTPError as error:
            self.hand_on(error.code, b"")

    def hand_on(self, status: int, body: bytes) -> None:
        name, package = self.path.rsplit("/", 1)[-1], self.path.endswith(".conda")
        if package and self.options.corrupt and name.startswith(self.options.corrupt):
            middle = len(body) // 2
            body = body[:middle] + bytes([body[middle] ^ 255]) + body[middle + 1 :]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        for start in range(0, len(body), CHUNK):
            self.wfile.write(body[start : start + CHUNK])
            Mirror.sent += CHUNK if package else 0
            if self.options.die_after and Mirror.sent >= self.options.die_after:
                self.wfile.flush()
                os._exit(1)

    def log_message(self, message: str, *values: object) -> None:
        """Whoever asks is told of the fault; a log would tell it twice."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("upstream")
    parser.add_argument("--corrupt", default="")
    parser.add_argument("--die-after", type=int, default=0)
    Mirror.options = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", Mirror.options.port), Mirror)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
