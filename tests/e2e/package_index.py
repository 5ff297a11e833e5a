"""A package index on loopback (PEP 503), with packages that the tests make themselves."""

from __future__ import annotations

import io
import tarfile
import threading
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def wheel(name: str, files: Mapping[str, str]) -> tuple[str, bytes]:
    """Return a wheel of the version 1.0: its file's name and its bytes."""
    folder = f"{name}-1.0.dist-info"
    content = {
        **files,
        f"{folder}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{folder}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in content) + f"{folder}/RECORD,,\n"
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path, text in {**content, f"{folder}/RECORD": record}.items():
            archive.writestr(path, text)
    return f"{name}-1.0-py3-none-any.whl", stream.getvalue()


def source(name: str, setup: str) -> tuple[str, bytes]:
    """Return a source package of the version 1.0 whose setup.py is `setup`."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for path, text in {
            "setup.py": setup,
            "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        }.items():
            info = tarfile.TarInfo(f"{name}-1.0/{path}")
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return f"{name}-1.0.tar.gz", stream.getvalue()


class PackageIndex:
    """What is served, and what was asked for."""

    def __init__(self, *packages: tuple[str, bytes]) -> None:
        self.packages = dict(packages)
        self.asked: list[str] = []
        self.address = ""

    def answer(self, path: str) -> bytes | None:
        """Return what lies at a path."""
        self.asked.append(path)
        if path.startswith("/files/"):
            return self.packages.get(path.removeprefix("/files/"))
        name = path.removeprefix("/simple/").strip("/")
        found = [file for file in self.packages if file.startswith(f"{name}-")]
        return "".join(f'<a href="/files/{file}">{file}</a>' for file in found).encode() if found else None


@contextmanager
def served(index: PackageIndex) -> Iterator[PackageIndex]:
    """Serve an index for as long as the context lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = index.answer(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header(
                "Content-Type",
                "text/html" if self.path.startswith("/simple/") else "application/octet-stream",
            )
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    serving.start()
    index.address = f"http://127.0.0.1:{server.server_port}/simple"
    try:
        yield index
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
