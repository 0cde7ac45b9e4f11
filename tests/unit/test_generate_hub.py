"""To the hub and back, over real HTTP to a hub of one's own on this machine."""

import base64
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fixtures.tiny_model_folder import tiny_illume
from illume.core.errors import ModelError
from illume.generate.hub import is_name

SHA = "0" * 39 + "1"
REFUSED = "somebody/theirs"


class Hub(BaseHTTPRequestHandler):
    """As much of the Hugging Face hub as one model needs. `files` are what was committed, `asked` all requests."""

    files: dict[str, bytes]
    asked: list[str]

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(f"{self.command} {path}")
        if path.startswith("/api/models/me/tiny/tree/"):
            self.answer([{"type": "file", "path": n, "size": len(b), "oid": "0" * 40} for n, b in self.files.items()])
        elif path.startswith("/api/models/me/tiny") and self.files:
            siblings = [{"rfilename": name} for name in self.files]
            self.answer({"id": "me/tiny", "sha": SHA, "siblings": siblings, "private": True, "tags": []})
        elif path.startswith("/me/tiny/resolve/") and (name := path.split("/", 5)[5]) in self.files:
            self.answer(self.files[name])
        else:
            self.answer({"error": "Repository not found"}, 404)

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(f"POST {path}")
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b"".join(iter(self.chunk, b""))
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if REFUSED in path or (path == "/api/repos/create" and json.loads(body).get("organization") == "somebody"):
            self.answer({"error": "You don't have the rights"}, 403)
        elif "/preupload/" in path:
            files = [{"path": file["path"], "uploadMode": "regular"} for file in json.loads(body)["files"]]
            self.answer({"files": [file | {"shouldIgnore": False, "oid": None} for file in files]})
        elif "/commit/" in path:
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            self.answer(
                {"commitUrl": f"http://{self.headers['Host']}/me/tiny/commit/{SHA}", "commitOid": SHA, "success": True}
            )
        elif path == "/api/repos/create":
            self.answer({"url": f"http://{self.headers['Host']}/me/tiny"})
        else:
            self.answer({})

    def chunk(self) -> bytes:
        found = self.rfile.read(int(self.rfile.readline(), 16))
        self.rfile.readline()
        return found

    def answer(self, value: object, status: int = 200) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/octet-stream" if isinstance(value, bytes) else "application/json")
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("X-Repo-Commit", SHA)
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub() -> Iterator[tuple[str, type[Hub]]]:
    class Fresh(Hub):
        files: dict[str, bytes] = {}  # noqa: RUF012  (one class a test)
        asked: list[str] = []  # noqa: RUF012

    server = ThreadingHTTPServer(("127.0.0.1", 0), Fresh)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", Fresh
    server.shutdown()
    thread.join()
    server.server_close()


def python(code: str, endpoint: str, home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The hub's address is read when huggingface_hub is imported: hence a process of its own."""
    environment = dict(os.environ, HF_ENDPOINT=endpoint, HF_HUB_OFFLINE="0", HF_HOME=str(home), HF_TOKEN="hf_x")
    environment |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=200)


ROUND = """
import sys, illume
model = illume.load(sys.argv[1], device="cpu", dtype="float32")
print("pushed", model.push_to_hub("me/tiny"))
again = illume.load("me/tiny", device="cpu", dtype="float32")
assert again.folder != model.folder
assert again.draw("x")[0].tobytes() == model.draw("x")[0].tobytes()
for name in ("nobody/nothing", "somebody/theirs"):
    try:
        illume.load(name) if name.startswith("nobody") else model.push_to_hub(name)
    except illume.core.errors.ModelError as error:
        print("refused", error)
"""


def test_a_pushed_model_is_loaded_by_its_name(hub: tuple[str, type[Hub]], tmp_path: Path) -> None:
    endpoint, served = hub
    tiny_illume().save(tmp_path / "model")
    done = python(ROUND, endpoint, tmp_path / "home", str(tmp_path / "model"))
    assert done.returncode == 0, done.stderr + "\n".join(served.asked)
    pushed, nothing, refused = done.stdout.splitlines()[:1] + [
        line for line in done.stdout.splitlines() if line.startswith("refused")
    ]
    assert f"/me/tiny/commit/{SHA}" in pushed
    assert "nobody/nothing: neither a folder nor a model that the hub gives" in nothing
    assert "somebody/theirs: the hub did not take the model" in refused
    saved = {path.relative_to(tmp_path / "model").as_posix() for path in (tmp_path / "model").rglob("*.*")}
    assert {name for name in served.files if not name.startswith(".git")} == {
        name for name in saved if (tmp_path / "model" / name).is_file()
    }
    assert b"# tiny" in served.files["README.md"]


SHOW = """
import sys
from illume.core.errors import ModelError
from illume.generate.hub import is_name
from illume.recipes.show import describe
folder, records = sys.argv[1:]
found, here = describe("me/tiny").data, describe(folder).data
assert found.pop("folder") != here.pop("folder")
assert found == here
of_hub, of_folder = (describe(records, ["model=" + model]).data["records"] for model in ("me/tiny", folder))
assert of_hub == of_folder
try:
    describe("nobody/nothing")
except ModelError as error:
    print("refused", error)
"""


def test_a_model_of_the_hub_is_shown_by_its_name(hub: tuple[str, type[Hub]], tmp_path: Path) -> None:
    endpoint, served = hub
    model, records = tmp_path / "model", tmp_path / "records.jsonl"
    tiny_illume().save(model)
    served.files |= {p.relative_to(model).as_posix(): p.read_bytes() for p in model.rglob("*") if p.is_file()}
    records.write_text('{"task": "text", "text": "a red circle"}\n', encoding="utf-8")
    done = python(SHOW, endpoint, tmp_path / "home", str(model), str(records))
    assert done.returncode == 0, done.stderr + "\n".join(served.asked)
    assert "refused nobody/nothing: neither a folder nor a model that the hub gives" in done.stdout


def test_what_is_here_is_no_name_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "me").mkdir()
    assert is_name("me/tiny")
    (tmp_path / "me" / "tiny").touch()
    assert not any(map(is_name, ("me/tiny", "pico", "a/b/c", "/x", "recipe.py:made", "runs/recipe.py:made", "")))


def test_a_repository_has_an_owner_and_a_name() -> None:
    for name in ("tiny", "a/b/c", "/x", "x/"):
        with pytest.raises(ModelError, match="a repository is named OWNER/MODEL"):
            tiny_illume().push_to_hub(name)
