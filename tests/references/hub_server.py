"""As much of the Hugging Face hub as a download needs: a folder OWNER/NAME of files for each data set."""

import hashlib
import json
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import unquote, urlparse

COMMIT = "a" * 40
NOTHING: dict[str, str] = {"oid": "0" * 40}


class Hub(BaseHTTPRequestHandler):
    root: Path

    def do_GET(self) -> None:
        self.answer()

    def do_HEAD(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["paths"])

    def answer(self, paths: list[str] | None = None) -> None:
        parts = unquote(urlparse(self.path).path).strip("/").split("/")
        if "resolve" in parts:  # datasets/OWNER/NAME/resolve/COMMIT/FILE
            file = self.root.joinpath(*parts[1:3], *parts[5:])
            known = self.root.joinpath(*parts[1:3]).is_dir()
            return (
                self.send_file(file) if file.is_file() else self.send_none("EntryNotFound" if known else "RepoNotFound")
            )
        repo = self.root.joinpath(*parts[2:4])  # api/datasets/OWNER/NAME/...
        if parts[:2] != ["api", "datasets"] or not repo.is_dir():
            return self.send_none("RepoNotFound")
        if parts[4:5] == ["tree"]:
            folder = repo.joinpath(*parts[6:])
            found = folder.rglob("*") if "recursive=true" in self.path.lower() else folder.glob("*")
            return self.send_json([self.entry(repo, file) for file in sorted(found)])
        if parts[4:5] == ["paths-info"]:
            return self.send_json([self.entry(repo, repo / path) for path in paths or [] if (repo / path).exists()])
        files = [{"rfilename": file.relative_to(repo).as_posix()} for file in repo.rglob("*") if file.is_file()]
        facts = {"private": False, "gated": False, "disabled": False, "downloads": 0, "likes": 0, "tags": []}
        return self.send_json({"id": "/".join(parts[2:4]), "sha": COMMIT, "siblings": files, **facts})

    def entry(self, repo: Path, file: Path) -> dict:
        facts = {"path": file.relative_to(repo).as_posix(), "type": "file" if file.is_file() else "directory"}
        if file.is_dir():
            return facts | NOTHING | {"size": 0}
        return facts | {"oid": hashlib.sha1(file.read_bytes()).hexdigest(), "size": file.stat().st_size}

    def send_file(self, file: Path) -> None:
        data = file.read_bytes()
        self.send_bytes(data, 200, {"X-Repo-Commit": COMMIT, "ETag": f'"{hashlib.sha1(data).hexdigest()}"'})

    def send_none(self, code: str) -> None:
        self.send_bytes(b'{"error": "not there"}', 404, {"X-Error-Code": code})

    def send_json(self, content: object) -> None:
        self.send_bytes(json.dumps(content).encode(), 200, {"Content-Type": "application/json"})

    def send_bytes(self, data: bytes, code: int, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *args: object) -> None: ...
