#!/usr/bin/env python3
"""Files over HTTP with byte ranges (RFC 9110, section 14), which the standard library's handler does not know.

Stands alone: `python3 ranges.py FOLDER PORT LOG` serves a folder on loopback and writes down what was asked. Below /hold/ a request for
a whole file gets half of it and then silence, below /whole/ ranges are not known: a server in trouble and a plain one.
"""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class RangeHandler(SimpleHTTPRequestHandler):
    """Answers a request for one range of a file with that range, and every other as its parent does."""

    rest: int | None = None  # bytes that this answer still has

    def send_head(self):
        """Open the file at the range that is asked for. What is not one range of bytes is ignored, as the RFC allows."""
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        self.rest = None
        backwards = asked and asked[2] and int(asked[2]) < int(asked[1])
        if not asked or backwards or "If-Range" in self.headers or not path.is_file():
            return super().send_head()
        size = path.stat().st_size
        first, last = int(asked[1]), min(int(asked[2] or size - 1), size - 1)
        if first > last:
            self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None
        return self.part(path, first, last, size)

    def part(self, path: Path, first: int, last: int, size: int):
        """Begin an answer that is a part of a file."""
        file = path.open("rb")
        file.seek(first)
        self.rest = last - first + 1
        self.send_response(HTTPStatus.PARTIAL_CONTENT)
        self.send_header("Content-Type", self.guess_type(str(path)))
        self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.send_header("Content-Length", str(self.rest))
        self.send_header("Last-Modified", self.date_time_string(path.stat().st_mtime))
        self.end_headers()
        return file

    def end_headers(self) -> None:
        self.send_header("Accept-Ranges", "bytes")
        super().end_headers()

    def copyfile(self, source, outputfile) -> None:
        """Send the file, or the part of it."""
        if self.rest is None:
            return super().copyfile(source, outputfile)
        while self.rest > 0 and (block := source.read(min(1 << 16, self.rest))):
            outputfile.write(block)
            self.rest -= len(block)
        return None


class TroubledHandler(RangeHandler):
    """A server as students meet it, which writes down each request."""

    log: Path

    def send_head(self):
        with self.log.open("a") as log:
            log.write(f"{self.command} {self.path} {self.headers.get('Range', 'all')}\n")
        if self.path.startswith("/whole/"):
            del self.headers["Range"]
        return super().send_head()

    def copyfile(self, source, outputfile) -> None:
        """Send half of a whole file below /hold/, then wait until the other side gives up."""
        with suppress(ConnectionError):  # a client that was killed, or has seen enough
            if self.rest is not None or not self.path.startswith("/hold/"):
                return super().copyfile(source, outputfile)
            outputfile.write(source.read(Path(source.name).stat().st_size // 2))
            outputfile.flush()
            self.connection.recv(1)
        return None

    def log_message(self, message: str, *values) -> None:
        """The log has it."""


def serve(folder: Path, port: int, written: Path) -> ThreadingHTTPServer:
    """Return a server of a folder on loopback, not yet begun."""

    class Content(TroubledHandler):
        log = written

        def __init__(self, *arguments, **keywords) -> None:
            super().__init__(*arguments, directory=str(folder), **keywords)

    http = ThreadingHTTPServer(("127.0.0.1", port), Content)
    http.daemon_threads = True
    return http


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])).serve_forever()
