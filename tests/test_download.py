"""Downloads, against a small web server of this machine."""

import hashlib
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path

import pytest

from progan.download import check, fetch, fetch_any, file_sha256
from progan.errors import DataError
from progan.files import cache_path

CONTENT = bytes(range(256)) * 5000  # 1.28 MB: more than one block
SHA = hashlib.sha256(CONTENT).hexdigest()


class Server:
    """Serves CONTENT; breaks the connection after ``breaks_after`` bytes, once; remembers the ranges asked for."""

    def __init__(self) -> None:
        self.breaks_after: int | None = None
        self.ranges: list[str | None] = []
        self.knows_ranges = True
        self.http: HTTPServer | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_address[1]}/file.bin"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers["Range"]
        self.ranges.append(wanted)
        if request.path != "/file.bin":
            return request.send_error(404)
        start = int(wanted.split("=")[1].rstrip("-")) if wanted and self.knows_ranges else 0
        if start >= len(CONTENT):
            return request.send_error(416)
        request.send_response(206 if start else 200)
        request.send_header("Content-Length", str(len(CONTENT) - start))
        request.end_headers()
        end, self.breaks_after = self.breaks_after, None
        request.wfile.write(CONTENT[start:end])
        return None


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("PROGAN_CACHE", str(tmp_path))
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.answer(self)

        def log_message(self, *args: object) -> None: ...

    server.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.http.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.http.shutdown()
    server.http.server_close()


def test_brings_a_file_once(server: Server, tmp_path: Path) -> None:
    path = fetch("weights/file.bin", server.url, SHA)
    assert path == tmp_path / "weights" / "file.bin" == cache_path("weights/file.bin")
    assert path.read_bytes() == CONTENT
    assert fetch("weights/file.bin", server.url, SHA) == path
    assert len(server.ranges) == 1
    assert [p.name for p in path.parent.iterdir()] == ["file.bin"]


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_goes_on_after_an_interruption(server: Server, knows_ranges: bool) -> None:
    server.breaks_after, server.knows_ranges = 1_100_000, knows_ranges
    with pytest.raises(DataError, match=r"the connection broke after 1,100,000 of 1,280,000 bytes"):
        fetch("file.bin", server.url, SHA)
    assert not cache_path("file.bin").exists()
    assert fetch("file.bin", server.url, SHA).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=1100000-"]


def test_uses_what_was_complete_before_it_could_be_checked(server: Server) -> None:
    cache_path("file.bin.partial").write_bytes(CONTENT)
    assert fetch("file.bin", server.url, SHA).read_bytes() == CONTENT


def test_wrong_content_is_refused_and_forgotten(server: Server) -> None:
    wrong = "0" * 64
    with pytest.raises(DataError, match=rf"(?s)wrong SHA-256.*wanted: {wrong}.*found:  {SHA}"):
        fetch("file.bin", server.url, wrong)
    assert not list(cache_path("").iterdir())
    cache_path("file.bin").write_bytes(b"broken")
    with pytest.raises(DataError, match=rf"(?s)wrong SHA-256.*wanted: {SHA}.*delete it"):
        fetch("file.bin", server.url, SHA)


def test_a_broken_partial_file_does_not_survive(server: Server) -> None:
    cache_path("file.bin.partial").write_bytes(b"x" * 10)
    with pytest.raises(DataError, match="wrong SHA-256"):
        fetch("file.bin", server.url, SHA)
    assert fetch("file.bin", server.url, SHA).read_bytes() == CONTENT


def test_says_what_to_do_without_the_file_or_a_connection(server: Server) -> None:
    url, place = server.url.replace("file", "other"), cache_path("file.bin")
    with pytest.raises(DataError, match=rf"(?s)404.*{url}.*{SHA}.*save the file as {place}"):
        fetch("file.bin", url, SHA)
    with pytest.raises(DataError, match=rf"(?s)cannot be downloaded.*{SHA}.*save the file as {place}"):
        fetch("file.bin", "http://127.0.0.1:9/file.bin", SHA)
    assert not list(cache_path("").iterdir())


def test_two_at_a_time_download_once(server: Server) -> None:
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: fetch("file.bin", server.url, SHA), range(4)))
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert len(server.ranges) == 1
    assert [path.name for path in cache_path("").iterdir()] == ["file.bin"]


def test_checks_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    assert file_sha256(path) == SHA
    assert check(path, SHA) == path
    with pytest.raises(DataError, match=str(path)):
        check(path, "1" * 64)


def test_cache_is_in_the_home_folder_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROGAN_CACHE", raising=False)
    monkeypatch.setenv("HOME", f"{os.sep}home{os.sep}somebody")
    assert cache_path("weights/a") == Path("/home/somebody/.cache/progan/weights/a")


def test_mirrors_are_tried_in_turn_and_share_what_arrived(server: Server) -> None:
    server.breaks_after = 1_100_000
    assert fetch_any("file.bin", [server.url.replace("file", "other"), server.url, server.url], SHA).exists()
    assert server.ranges == [None, None, "bytes=1100000-"]
    with pytest.raises(DataError, match=rf"(?s)cannot be downloaded.*{server.url}/last"):
        fetch_any("b.bin", ["http://127.0.0.1:9/b.bin", f"{server.url}/last"], SHA)
