"""What the InfluxDB writers put on the wire, and what they make of each answer.

The 1.x writer meets a real server in tests/integration/test_historian.py. Of 2.x and 3 no server can be had from the
registries, so this holds its writer to the API's description: path, query, token, precision, and errors.
"""

import gzip
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from edge.settings import Influx
from edge.sinks import Archive, ArchiveError, LinesRefused
from edge.sinks.influx import open_archive

LINES = "result,pipeline=a n=1i 1000\nresult,pipeline=a n=2i 2000"


@dataclass
class Server:
    """Answers every write with `status`, and keeps what came."""

    status: int = 204
    text: str = ""
    asked: list[tuple[str, dict[str, list[str]], str, bytes]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def server() -> Iterator[Server]:
    told = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            told.asked.append((parts.path, parse_qs(parts.query), self.headers.get("Authorization", ""), body))
            self.send_response(told.status)
            self.send_header("Content-Length", str(len(told.text)))
            self.end_headers()
            self.wfile.write(told.text.encode())

        def log_message(self, *_: object) -> None:
            pass

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{listener.server_port}"
    thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield told
    listener.shutdown()
    listener.server_close()


def archive(server: Server, home: Path, version: int) -> Archive:
    (home / "token").write_text("not-a-secret\n")
    if version == 1:
        return open_archive(Influx(version=1, url=server.url, user="u", password_file="token"), home)
    return open_archive(Influx(version=2, url=server.url, org="o", bucket="b", token_file="token"), home)


def test_version_2_gets_lines_in_nanoseconds_with_org_bucket_and_token(server: Server, tmp_path: Path) -> None:
    writer = archive(server, tmp_path, 2)
    writer.write(LINES)
    writer.close()
    [(path, query, token, body)] = server.asked
    assert path == "/api/v2/write"
    assert query == {"org": ["o"], "bucket": ["b"], "precision": ["ns"]}
    assert token == "Token not-a-secret"
    assert body.decode() == LINES


def test_version_1_creates_its_database_once_and_then_writes(server: Server, tmp_path: Path) -> None:
    writer = archive(server, tmp_path, 1)
    writer.write(LINES)
    writer.write(LINES)
    writer.close()
    assert [path for path, *_ in server.asked] == ["/query", "/write", "/write"]
    assert server.asked[1][1] == {"db": ["plantedge"], "precision": ["ns"]}
    assert server.asked[1][2].startswith("Basic ")
    assert server.asked[1][3].decode() == LINES


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, LinesRefused), (422, LinesRefused), (401, ArchiveError), (429, ArchiveError), (503, ArchiveError)],
)
def test_what_an_answer_means(
    server: Server, tmp_path: Path, version: int, status: int, kind: type[ArchiveError]
) -> None:
    server.status, server.text = status, '{"message": "why"}'
    writer = archive(server, tmp_path, version)
    with pytest.raises(ArchiveError, match=str(status)) as caught:
        writer.write(LINES)
    writer.close()
    assert type(caught.value) is kind


@pytest.mark.parametrize("version", [1, 2])
def test_an_archive_that_is_away_is_tried_again_later(tmp_path: Path, version: int) -> None:
    writer = archive(Server(url="http://127.0.0.1:9"), tmp_path, version)
    with pytest.raises(ArchiveError):
        writer.write(LINES)
    writer.close()
