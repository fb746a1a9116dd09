from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from cloud.accounts import Accounts, LoginRefused, Role, TooManyTries
from cloud.guard import COOKIE, MAX_BODY
from cloud.store import Store
from tests.cloud.conftest import RunningFleet
from tests.cloud.fleet_messages import health

pytestmark = pytest.mark.slow

Until = Callable[..., Awaitable[None]]
GETS = ["session", "snapshot", "events", "devices", "matches", "devices/press-7", "alerts", "history"]
POSTS = {
    "alerts/press-7/ab/ack": Role.OPERATOR,
    "devices/press-7/requests": Role.OPERATOR,
    "devices/press-7/config": Role.ENGINEER,
    "devices/press-7/certificate": Role.ADMIN,
    "users": Role.ADMIN,
    "tokens": Role.ADMIN,
    "links": Role.ADMIN,
}


def is_a_problem(answer: httpx.Response, status: int) -> bool:
    body = answer.json()
    assert answer.status_code == status, body
    assert answer.headers["content-type"] == "application/problem+json"
    return body["status"] == status and bool(body["title"]) and bool(body["detail"])


async def test_nothing_is_shown_or_changed_without_a_login(fleet: RunningFleet) -> None:
    async with httpx.AsyncClient(base_url=fleet.url) as client:
        for path in GETS:
            assert is_a_problem(await client.get(f"/api/v1/{path}"), 401)
        for path in (*POSTS, "logout"):
            assert is_a_problem(await client.post(f"/api/v1/{path}", json={}), 401)
        client.headers["Authorization"] = "Bearer wrong"
        assert is_a_problem(await client.get("/api/v1/snapshot"), 401)
        assert (await client.get("/healthz")).status_code == 200


async def test_each_change_needs_its_role(fleet: RunningFleet) -> None:
    for role in Role:
        client = await fleet.client(role)
        for path, needed in POSTS.items():
            answer = await client.post(f"/api/v1/{path}", json={})
            assert (answer.status_code == 403) is not role.may(needed), (role, path, answer.text)


async def test_a_login_link_works_once_and_gives_a_strict_cookie(fleet: RunningFleet) -> None:
    secret = await fleet.service.accounts.add_link()
    async with httpx.AsyncClient(base_url=fleet.url) as client:
        assert (await client.head(f"/login?once={secret}")).status_code == 405  # a preview does not use it up
        answer = await client.get(f"/login?once={secret}")
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        session = (await client.get("/api/v1/session")).json()
        assert (session["user"], session["role"]) == ("admin", "admin")
    async with httpx.AsyncClient(base_url=fleet.url) as other:
        assert is_a_problem(await other.get(f"/login?once={secret}"), 401)
        page = await other.get(f"/login?once={secret}", headers={"Accept": "text/html"})
        assert (page.status_code, page.headers["location"]) == (303, "/?link=used")


async def test_a_change_by_cookie_needs_the_csrf_token_and_our_own_page(fleet: RunningFleet) -> None:
    client = await fleet.browser()
    csrf = (await client.get("/api/v1/session")).json()["csrf"]
    body = {"name": "ci", "role": "viewer"}
    assert is_a_problem(await client.post("/api/v1/tokens", json=body), 403)
    assert is_a_problem(await client.post("/api/v1/tokens", json=body, headers={"X-CSRF-Token": "x" * 32}), 403)
    foreign = {"X-CSRF-Token": csrf, "Origin": "http://evil.example"}
    assert is_a_problem(await client.post("/api/v1/tokens", json=body, headers=foreign), 403)
    ours = {"X-CSRF-Token": csrf, "Origin": fleet.url}
    answer = await client.post("/api/v1/tokens", json=body, headers=ours)
    assert answer.status_code == 201
    token = answer.json()["token"]
    viewer = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=fleet.url, headers=viewer) as program:
        assert (await program.get("/api/v1/snapshot")).status_code == 200
    form = await client.post("/api/v1/tokens", data=body, headers=ours)
    assert is_a_problem(form, 415)


async def test_a_session_ends_by_logout_and_outlives_a_restart(fleet: RunningFleet) -> None:
    client = await fleet.browser()
    await fleet.stop()
    await fleet.start()
    client.base_url = fleet.url
    session = await client.get("/api/v1/session")
    assert session.status_code == 200
    headers = {"X-CSRF-Token": session.json()["csrf"]}
    cookie = client.cookies[COOKIE]
    assert (await client.post("/api/v1/logout", headers=headers)).status_code == 204
    again = await client.get("/api/v1/session", headers={"Cookie": f"{COOKIE}={cookie}"})
    assert is_a_problem(again, 401)


async def test_the_first_password_is_made_once_and_logs_in(fleet: RunningFleet) -> None:
    password = fleet.service.accounts.first_password()
    assert fleet.service.accounts.first_password() == ""
    async with httpx.AsyncClient(base_url=fleet.url) as client:
        wrong = await client.post("/api/v1/login", json={"user": "admin", "password": "wrong"})
        assert is_a_problem(wrong, 401)
        answer = await client.post("/api/v1/login", json={"user": "admin", "password": password})
        assert (answer.status_code, answer.json()["role"]) == (200, "admin")
        assert (await client.get("/api/v1/session")).status_code == 200


async def test_a_user_gets_a_role_and_a_new_password_ends_old_sessions(fleet: RunningFleet) -> None:
    admin = await fleet.client()
    made = (await admin.post("/api/v1/users", json={"name": "maria", "role": "operator"})).json()
    async with httpx.AsyncClient(base_url=fleet.url) as client:
        await client.post("/api/v1/login", json={"user": "maria", "password": made["password"]})
        assert (await client.get("/api/v1/session")).json()["role"] == "operator"
        await admin.post("/api/v1/users", json={"name": "maria", "role": "viewer"})
        assert is_a_problem(await client.get("/api/v1/session"), 401)


async def test_guessing_passwords_is_slowed_down(tmp_path_factory: pytest.TempPathFactory) -> None:
    store = Store(tmp_path_factory.mktemp("store") / "fleet.db")
    accounts = Accounts(store)
    try:
        for _ in range(10):
            with pytest.raises(LoginRefused):
                await accounts.login("admin", "guess")
        with pytest.raises(TooManyTries):
            await accounts.login("admin", "guess")
    finally:
        store.close()


async def test_no_secret_is_in_the_store(fleet: RunningFleet) -> None:
    admin = await fleet.client()
    secrets = [
        fleet.service.accounts.first_password(),
        await fleet.service.accounts.add_link(),
        (await admin.post("/api/v1/tokens", json={"name": "ci", "role": "viewer"})).json()["token"],
        (await admin.post("/api/v1/users", json={"name": "maria", "role": "viewer"})).json()["password"],
        (await fleet.browser()).cookies[COOKIE],
    ]
    held = b"".join(path.read_bytes() for path in fleet.home.glob("fleet.db*"))
    assert b"maria" in held
    assert [secret for secret in secrets if secret.encode() in held] == []


async def test_every_answer_has_the_security_headers(fleet: RunningFleet) -> None:
    async with httpx.AsyncClient(base_url=fleet.url) as client:
        for path in ("/", "/healthz", "/api/v1/snapshot", "/nothing", "/static/../fleet.db", "/static/x.py"):
            headers = (await client.get(path)).headers
            assert "default-src 'self'" in headers["content-security-policy"]
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert "server" not in headers
        assert (await client.get("/api/v1/snapshot")).headers["cache-control"] == "no-store"


async def test_a_foreign_host_name_is_refused(fleet: RunningFleet) -> None:
    async with httpx.AsyncClient(base_url=fleet.url) as client:
        for host in ("evil.example", "127.0.0.1.evil.example", "[", ""):
            answer = await client.get("/healthz", headers={"Host": host})
            assert answer.status_code in (400, 421), host
        assert (await client.get("/healthz", headers={"Host": "localhost:1"})).status_code == 200


async def test_errors_say_what_to_do(fleet: RunningFleet, until: Until) -> None:
    device = await fleet.device("press-7")
    await device.tell(health())
    await until(lambda: "press-7" in fleet.service.fleet.rows)
    client = await fleet.client()
    assert is_a_problem(await client.get("/api/v1/nothing"), 404)
    assert is_a_problem(await client.delete("/api/v1/snapshot"), 405)
    assert is_a_problem(await client.get("/api/v1/devices/unheard-of"), 404)
    assert is_a_problem(await client.get("/api/v1/devices", params={"q": "sit:berlin"}), 400)
    assert is_a_problem(await client.get("/api/v1/devices", params={"limit": "many"}), 400)
    config = "/api/v1/devices/press-7/config"
    for body in ({}, {"sections": {}}, {"sections": {"Mirror": {}}}, {"sections": {"mirror": 1}}, {"extra": 1}, [1]):
        assert is_a_problem(await client.post(config, json=body), 400)
    broken = await client.post(config, content=b"{", headers={"Content-Type": "application/json"})
    assert is_a_problem(broken, 400)
    large = {"sections": {"mirror": {"x": "y" * (MAX_BODY + 1)}}}
    assert is_a_problem(await client.post(config, json=large), 413)
    oversized = {"sections": {"mirror": {"x": "y" * 70_000}}}
    assert is_a_problem(await client.post(config, json=oversized), 413)
    assert fleet.service.commands.config("press-7").generation == 0
    assert is_a_problem(await client.post("/api/v1/devices/press-7/requests", json={"verb": "reboot"}), 400)
    assert is_a_problem(await client.post("/api/v1/devices/press_7/certificate", json={"csr": ""}), 400)


async def test_rows_are_filtered_by_the_one_grammar(fleet: RunningFleet, until: Until) -> None:
    for node, site in (("press-7", "berlin"), ("press-8", "turin")):
        await (await fleet.device(node)).tell(health(site=site))
    await until(lambda: len(fleet.service.fleet.rows) == 2)
    client = await fleet.client(Role.VIEWER)
    found = (await client.get("/api/v1/matches", params={"q": "site:turin p99>1"})).json()
    assert found == {"total": 2, "matched": 1, "nodes": ["press-8"]}
    rows = (await client.get("/api/v1/devices", params={"q": "state:ok", "limit": "1"})).json()
    assert (rows["matched"], len(rows["rows"])) == (2, 1)


async def test_a_page_that_is_not_built_says_how_and_files_stay_inside(
    make_fleet: Callable[..., Awaitable[RunningFleet]], tmp_path: Path
) -> None:
    fleet = await make_fleet(static=tmp_path / "static")
    async with httpx.AsyncClient(base_url=fleet.url) as client:
        answer = await client.get("/devices?q=press")
        assert (answer.status_code, "python -m cloud.ui_build" in answer.text) == (503, True)
        (tmp_path / "static").mkdir()
        (tmp_path / "secret.js").write_text("secret")
        (tmp_path / "static" / "index.html").write_text("<p>page")
        assert (await client.get("/devices/press-7")).text == "<p>page"
        for path in ("/static/..%2fsecret.js", "/static/%2e%2e/secret.js", "/static/..\\secret.js", "/static/"):
            assert (await client.get(path)).status_code == 404
