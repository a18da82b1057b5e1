"""Fetching: terms first, files by checksum, interrupted downloads go on. The server is our own."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from lrface.data import fetch
from lrface.errors import LrfaceError

CONTENT = bytes(range(256)) * 40


class Handler(BaseHTTPRequestHandler):
    """Knows ranges; ``/short`` breaks off in the middle, ``/plain`` knows no ranges."""

    asked: list = []

    def do_GET(self):
        wanted = self.headers.get("Range")
        Handler.asked.append(wanted)
        if self.path == "/gone":
            return self.send_error(404)
        start = int(wanted[6:-1]) if wanted and self.path != "/plain" else 0
        if start >= len(CONTENT):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        body = CONTENT[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:1000] if self.path == "/short" else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def remote():
    """``remote(path)``: a file on a server of this machine alone."""
    Handler.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    digest = hashlib.sha256(CONTENT).hexdigest()
    base = f"http://127.0.0.1:{server.server_address[1]}"
    yield lambda path, sha=digest: fetch.Remote(f"{base}{path}", sha, "set/file.bin")
    server.shutdown()
    server.server_close()


def test_an_interrupted_download_goes_on(remote, tmp_path):
    with pytest.raises(LrfaceError, match="ended after 1000 of 10240 bytes.*same command again"):
        fetch.download(remote("/short"), tmp_path)
    assert [file.name for file in (tmp_path / "set").iterdir()] == [".file.bin.part"]
    file = fetch.download(remote("/whole"), tmp_path)
    assert file.read_bytes() == CONTENT and Handler.asked == [None, "bytes=1000-"]
    fetch.download(remote("/gone"), tmp_path)  # it is there already
    assert len(Handler.asked) == 2 and [*(tmp_path / "set").iterdir()] == [file]


def test_a_server_without_ranges_begins_again(remote, tmp_path):
    with pytest.raises(LrfaceError):
        fetch.download(remote("/short"), tmp_path)
    assert fetch.download(remote("/plain"), tmp_path).read_bytes() == CONTENT


def test_another_file_is_refused_with_both_checksums(remote, tmp_path):
    with pytest.raises(LrfaceError, match=f"and not {'0' * 64}: it is another file"):
        fetch.download(remote("/whole", "0" * 64), tmp_path)
    assert not [*(tmp_path / "set").iterdir()]
    with pytest.raises(LrfaceError, match="Not Found.*put the file with sha256"):
        fetch.download(remote("/gone"), tmp_path)


def test_terms_come_first(lrface, monkeypatch, tmp_path, remote):
    monkeypatch.setenv("LRFACE_DATA", str(tmp_path))
    monkeypatch.setattr(fetch, "PAIRS", remote("/whole"))
    code, out, err = lrface("data", "fetch", "lfw")
    assert code == 2 and "LFW: for research" in out and "agree to the terms" in err
    assert not Handler.asked
    code, out, _ = lrface("data", "fetch", "lfw", "--yes")
    assert code == 0 and "its pictures are no longer given to programs" in out
    for name, sentence in (
        ("ytf", "ytf cannot be fetched for you: ask its keepers at https://"),
        ("nothing", "no set 'nothing' can be fetched"),
    ):
        code, _, err = lrface("data", "fetch", name, "--yes")
        assert code == 2 and sentence in err


def test_what_lies_on_google_drive_needs_a_package(monkeypatch, tmp_path):
    monkeypatch.setattr(fetch, "find_spec", lambda name: None)
    for name in ("celeba", "wider"):
        with pytest.raises(LrfaceError, match="pip install gdown"):
            fetch.fetch(name, tmp_path)
