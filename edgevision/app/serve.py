"""A server for one folder of files, with the headers that a page needs to compute with threads.

It answers GET and HEAD, whole files and ranges of them, so that a download that broke off goes on.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from edgevision.errors import UserError

POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self' 'wasm-unsafe-eval'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "worker-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".mjs": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
}
PIECE = 1 << 20  # bytes
LOOPBACK = ("127.0.0.1", "localhost", "::1")


def server(
    folder: Path, host: str = "127.0.0.1", port: int = 8000, certificate: tuple[Path, Path] | None = None
) -> ThreadingHTTPServer:
    """A server that is bound, not yet started: `serve_forever()`, then `server_close()`.

    certificate: files with a certificate and its key, for HTTPS.

    Raises:
        UserError: the address is taken, or the certificate is none.
    """

    class Files(_Files):
        root = folder.resolve()

    try:
        made = _Server((host, port), Files)
    except OSError as error:
        reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
        raise UserError(f"{host}:{port} {reason}", hint="--port takes another, 0 any that is free") from error
    if certificate is not None:
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            made.socket = context.wrap_socket(made.socket, server_side=True)
        except (OSError, ssl.SSLError) as error:
            made.server_close()
            raise UserError(f"{certificate[0]} and {certificate[1]}: no certificate with its key") from error
    return made


def addresses(made: ThreadingHTTPServer, secure: bool) -> list[str]:
    """Where people find it: on this machine, and on its network where it listens there."""
    host, port = made.server_address[:2]
    names = [str(host)]
    if host in ("0.0.0.0", "::"):
        names = ["127.0.0.1", *_own_address()]
    return [f"{'https' if secure else 'http'}://{name}:{port}/" for name in names]


def _own_address() -> list[str]:
    """This machine's address on the network; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address kept for documentation
        except OSError:
            return []
        return [probe.getsockname()[0]]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away is none."""


class _Files(BaseHTTPRequestHandler):
    root: Path
    protocol_version = "HTTP/1.1"
    server_version = "edgevision"
    sys_version = ""

    def do_GET(self) -> None:
        self._answer(with_content=True)

    def do_HEAD(self) -> None:
        self._answer(with_content=False)

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""

    def _answer(self, with_content: bool) -> None:
        file = self._file()
        if file is None:
            return self._refuse(HTTPStatus.NOT_FOUND)
        with file.open("rb") as content:
            facts = file.stat()
            tag = f'"{facts.st_mtime_ns:x}-{facts.st_size:x}"'
            if self.headers.get("If-None-Match") == tag:
                self.send_response(HTTPStatus.NOT_MODIFIED)
                self._end(tag, 0)
                return None
            first, last = 0, facts.st_size - 1
            asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if asked and self.headers.get("If-Range", tag) == tag:
                first, last = int(asked[1]), min(int(asked[2] or last), last)
                if first > last:
                    return self._refuse(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
                self.send_response(HTTPStatus.PARTIAL_CONTENT)
                self.send_header("Content-Range", f"bytes {first}-{last}/{facts.st_size}")
            else:
                self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", TYPES.get(file.suffix, "application/octet-stream"))
            self.send_header("Accept-Ranges", "bytes")
            self._end(tag, last - first + 1)
            content.seek(first)
            left = last - first + 1 if with_content else 0
            while left > 0 and (piece := content.read(min(PIECE, left))):
                self.wfile.write(piece)
                left -= len(piece)
        return None

    def _file(self) -> Path | None:
        """The file that is asked for; None for what is not in the folder, and for what is hidden there."""
        parts = [part for part in unquote(urlsplit(self.path).path).split("/") if part]
        if any(part.startswith(".") or "\0" in part or "\\" in part for part in parts):
            return None
        found = self.root.joinpath(*(parts or ["index.html"])).resolve()
        return found if found.is_file() and found.is_relative_to(self.root) else None

    def _refuse(self, status: HTTPStatus) -> None:
        self.send_response(status)
        self._end(None, 0)

    def _end(self, tag: str | None, length: int) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        if tag is not None:
            self.send_header("ETag", tag)
        self.send_header("Content-Length", str(length))
        self.end_headers()


__all__ = ["LOOPBACK", "addresses", "server"]
