"""InfluxDB as the historian's archive: 2.x and 3 through influxdb-client, 1.x through its `/write`.

Lines are written as they are stored: InfluxDB keys points by series and time, so a repeat changes nothing.
Source: InfluxDB 1.x API reference (/write, /query), 2.x API (/api/v2/write).
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

import urllib3
from influxdb_client.client.exceptions import InfluxDBError
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.domain.write_precision import WritePrecision
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError

from edge.settings import Influx
from edge.sinks import Archive, ArchiveError, LinesRefused


class InfluxOne:
    """InfluxDB 1.x: creates its database, then `/write`."""

    def __init__(self, settings: Influx, home: Path) -> None:
        """Connect nowhere yet."""
        self._settings = settings
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(total=settings.timeout_ms / 1000), retries=False, maxsize=1
        )
        self._headers = {"Content-Type": "text/plain; charset=utf-8"}
        if settings.user:
            secret = (home / settings.password_file).read_text().strip()
            self._headers |= urllib3.make_headers(basic_auth=f"{settings.user}:{secret}")
        self._ready = False

    def write(self, lines: str) -> None:
        """Write lines; see `Archive.write`."""
        if not self._ready:
            self._post("/query", {"q": f'CREATE DATABASE "{self._settings.database}"'}, b"")
            self._ready = True
        self._post("/write", {"db": self._settings.database, "precision": "ns"}, lines.encode())

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def _post(self, path: str, query: dict[str, str], body: bytes) -> None:
        url = f"{self._settings.url.rstrip('/')}{path}?{urlencode(query)}"
        try:
            answer = self._pool.request("POST", url, body=body, headers=self._headers)
        except HTTPError as error:
            raise ArchiveError(f"{self._settings.url}: {error}") from error
        _check(self._settings.url, answer.status, answer.data.decode("utf-8", "replace"))


class InfluxTwo:
    """InfluxDB 2.x and 3: influxdb-client, synchronous, so that an answer is an answer."""

    def __init__(self, settings: Influx, home: Path) -> None:
        """Read the token; connect nowhere yet."""
        token = (home / settings.token_file).read_text().strip() if settings.token_file else ""
        self._url = settings.url
        self._bucket = settings.bucket
        self._client = InfluxDBClient(
            url=settings.url, token=token, org=settings.org, timeout=int(settings.timeout_ms)
        )  # no gzip: the client's level 9 costs a device several times what it takes to read and send a line
        self._write = self._client.write_api(  # pyright: ignore[reportUnknownMemberType]  # untyped **kwargs
            write_options=SYNCHRONOUS
        )

    def write(self, lines: str) -> None:
        """Write lines; see `Archive.write`."""
        try:
            self._write.write(bucket=self._bucket, record=lines, write_precision=WritePrecision.NS)  # type: ignore[arg-type]  # a str constant in its class
        except (ApiException, InfluxDBError) as error:
            status = getattr(error, "status", None) or getattr(getattr(error, "response", None), "status", 0)
            _check(self._url, int(status or 0), str(getattr(error, "body", "") or error))
        except (HTTPError, OSError) as error:
            raise ArchiveError(f"{self._url}: {error}") from error

    def close(self) -> None:
        """Close the client."""
        self._client.close()  # type: ignore[no-untyped-call]  # the client has no types here


def _check(url: str, status: int, text: str) -> None:
    """Raise what the status means: a refusal of these very lines, or a server that can't take any now."""
    if 200 <= status < 300:
        return
    reason = f"{url}: HTTP {status}: {text[:300]}"
    if status in (400, 413, 422):
        raise LinesRefused(reason)
    raise ArchiveError(reason)


def open_archive(settings: Influx, home: Path) -> Archive:
    """Open the archive for a version of InfluxDB."""
    return InfluxOne(settings, home) if settings.version == 1 else InfluxTwo(settings, home)
