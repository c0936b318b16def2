"""Who gets to the server of `ultrasam annotate` and who does not."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from tests.annotating import HOST, write_scans

import ultrasam
from ultrasam.annotate import gate
from ultrasam.annotate.gate import Keys
from ultrasam.annotate.project import open_project
from ultrasam.annotate.run import Address, keys_for, listen
from ultrasam.annotate.server import make_app, make_desk
from ultrasam.core.errors import UltrasamError

PASSWORD = "correct horse battery"


@pytest.fixture
def opened(tmp_path: Path, tiny_model: ultrasam.Model) -> Iterator[Any]:
    write_scans(tmp_path / "scans", 2)
    with open_project(tmp_path / "scans") as project:

        def client(password: str | None = None) -> tuple[TestClient, Keys]:
            keys = Keys(frozenset({HOST}), "ultrasam-8321", password)
            app = make_app(make_desk(project, tiny_model), keys)
            return TestClient(app, base_url=f"http://{HOST}", follow_redirects=False), keys

        yield client


def test_the_token_is_exchanged_for_a_cookie_and_leaves_the_address(opened: Any) -> None:
    http, keys = opened()
    answer = http.get(f"/?token={keys.token}")
    assert answer.status_code == 303 and answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and keys.token not in cookie
    assert http.get("/api/project").status_code == 200


@pytest.mark.parametrize("path", ["/", "/?token=wrong", "/?token="])
def test_without_the_token_there_is_only_a_page_that_says_what_to_do(opened: Any, path: str) -> None:
    http, _ = opened()
    answer = http.get(path)
    assert answer.status_code == 401 and "Open the address" in answer.text
    assert "set-cookie" not in answer.headers


def test_without_a_cookie_nothing_is_answered(opened: Any) -> None:
    http, keys = opened()
    calls = [
        ("GET", "/api/project"),
        ("GET", "/api/scans/1/frames/0.png"),
        ("POST", "/api/scans/1/undo"),
        ("POST", "/api/import"),
        ("GET", "/api/export?format=coco"),
        ("GET", "/docs"),
        ("GET", "/openapi.json"),
    ]
    for cookie in (None, "x", keys.token, keys.cookie[:-1]):
        http.cookies.clear()
        if cookie is not None:
            http.cookies.set(keys.cookie_name, cookie)
        for method, path in calls:
            answer = http.request(method, path)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorised")
    http.cookies.set(keys.cookie_name, keys.cookie)
    assert http.get("/docs").status_code == http.get("/openapi.json").status_code == 404


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1", "127.0.0.1:80", "localhost.evil.example:8321", ""]
)
def test_a_foreign_host_header_is_refused_even_with_the_cookie(opened: Any, host: str) -> None:
    http, keys = opened()
    http.cookies.set(keys.cookie_name, keys.cookie)
    answer = http.get("/api/project", headers={"host": host, "cookie": f"{keys.cookie_name}={keys.cookie}"})
    assert answer.status_code == 421 and f"open http://{HOST}/" in answer.json()["error"]


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999"])
def test_another_site_may_not_use_it(opened: Any, origin: str) -> None:
    http, keys = opened()
    http.cookies.set(keys.cookie_name, keys.cookie)
    assert http.get("/api/project", headers={"origin": f"http://{HOST}"}).status_code == 200
    answer = http.post("/api/scans/1/undo", json={}, headers={"origin": origin})
    assert (answer.status_code, answer.json()["code"]) == (403, "origin")


def test_every_answer_forbids_what_comes_from_elsewhere(opened: Any) -> None:
    http, keys = opened()
    signed_in = {"cookie": f"{keys.cookie_name}={keys.cookie}"}
    for path, headers in (("/", {}), ("/", signed_in), ("/api/project", signed_in), ("/api/none", signed_in)):
        answer = http.get(path, headers=headers)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy
        assert "unsafe" not in policy and "http" not in policy and "frame-ancestors 'none'" in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "server" not in answer.headers


@pytest.mark.parametrize(
    "path", ["/static/..%2fgate.py", "/static/%2e%2e/gate.py", "/static//etc/passwd", "/static/x.js"]
)
def test_no_path_leads_out_of_the_page_s_folder(opened: Any, path: str) -> None:
    http, _ = opened()
    answer = http.get(path)
    assert answer.status_code in (401, 404) and "class Gate" not in answer.text and "root:" not in answer.text


def test_what_is_too_large_is_refused_before_it_is_read(opened: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    http, keys = opened()
    http.cookies.set(keys.cookie_name, keys.cookie)
    monkeypatch.setattr(gate, "MAX_IMPORT", 2**20)
    answer = http.post("/api/import", content=b"x" * (2**20 + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
    assert "at most 1 MB" in answer.json()["error"]

    def pieces() -> Iterator[bytes]:  # without a length
        for _ in range(20):
            yield b"x" * 2**16

    answer = http.post("/api/import", content=pieces())
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")
    assert http.post("/api/import", headers={"content-length": "abc"}, content=b"").status_code in (400, 413)
    # What is not too large is read, and is no COCO file.
    assert http.post("/api/import", content=b"x" * 2**10).status_code == 422


def test_a_password_opens_the_door_and_guessing_ends_soon(opened: Any) -> None:
    http, keys = opened(PASSWORD)
    assert 'type="password"' in http.get("/").text
    wrong = http.post("/login", data={"password": "guess"})
    assert wrong.status_code == 401 and "not the password" in wrong.text
    right = http.post("/login", data={"password": PASSWORD})
    assert right.status_code == 303 and http.get("/api/project").status_code == 200
    http.cookies.clear()
    for _ in range(gate.MAX_ATTEMPTS):
        http.post("/login", data={"password": "guess"})
    assert http.post("/login", data={"password": PASSWORD}).status_code == 429
    signed_in = {"cookie": f"{keys.cookie_name}={keys.cookie}"}
    assert http.get("/api/project", headers=signed_in).status_code == 200


def test_without_a_password_there_is_no_login(opened: Any) -> None:
    http, _ = opened()
    assert http.post("/login", data={"password": ""}).status_code == 401
    assert http.post("/login", data={}).status_code == 401


def test_a_websocket_is_closed(opened: Any) -> None:
    http, _ = opened()
    with pytest.raises(WebSocketDisconnect) as closed, http.websocket_connect("/api/project"):
        pass
    assert closed.value.code == 1008


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (Address("0.0.0.0"), "--password-file"),
        (Address("192.168.1.7"), "--password-file"),
        (Address("0.0.0.0", password="short"), "too short"),
        (Address("0.0.0.0", password=PASSWORD), "--name"),
        (Address(port=70000), "from 0 to 65535"),
        (Address(names=("scanner:80",)), "no host name"),
        (Address(names=("http://scanner",)), "no host name"),
        (Address(names=("",)), "no host name"),
    ],
)
def test_addresses_of_others_need_a_password(address: Address, words: str) -> None:
    with pytest.raises(UltrasamError, match=words):
        address.checked()


def test_addresses_that_are_fine() -> None:
    for address in (Address(), Address("localhost"), Address("::1"), Address("127.0.0.2")):
        assert address.checked() == address
    Address("0.0.0.0", password=PASSWORD, names=("scanner.local",)).checked()


def test_the_hosts_that_are_served() -> None:
    assert keys_for(Address(), 81).hosts == {"127.0.0.1:81", "localhost:81", "[::1]:81"}
    named = keys_for(Address("0.0.0.0", names=("Scanner.local",), password=PASSWORD), 80)
    local = {"127.0.0.1", "localhost", "[::1]"}  # this computer reaches it too
    assert named.hosts == {f"{n}:80" for n in ("scanner.local", *local)} | {"scanner.local"} | local
    assert "[fe80::1]:81" in keys_for(Address("FE80::1", password=PASSWORD), 81).hosts
    assert keys_for(Address(), 1).token != keys_for(Address(), 1).token


def test_a_taken_port_is_replaced_unless_it_was_asked_for() -> None:
    first = listen(Address(port=0))
    try:
        assert first.proto == socket.IPPROTO_TCP  # else each answer waits for 40 ms
        taken = first.getsockname()[1]
        with pytest.raises(UltrasamError, match="choose another --port"):
            listen(Address(port=taken))
    finally:
        first.close()


@pytest.mark.parametrize(
    "others",
    ['prefs={"a": 1}', "foo", "a[b]=1", "name=J\u00e9r\u00f4me K", "ultrasam-8321=of-an-earlier-run", ";;="],
)
def test_cookies_of_other_programs_do_not_lock_out(opened: Any, others: str) -> None:
    http, keys = opened()
    header = f"{others}; {keys.cookie_name}={keys.cookie}; more=1".encode("latin-1")
    assert http.get("/api/project", headers=[(b"cookie", header)]).status_code == 200


def test_a_login_that_waits_with_its_password_is_counted_too(opened: Any) -> None:
    http, _ = opened(PASSWORD)

    def late(number: int) -> Iterator[bytes]:
        yield b"password="
        yield b"guess%d" % number

    answers = [http.post("/login", content=late(number)).status_code for number in range(30)]
    assert answers == [401] * gate.MAX_ATTEMPTS + [429] * (30 - gate.MAX_ATTEMPTS)


def test_the_address_of_the_login_leads_to_the_page(opened: Any) -> None:
    http, _ = opened(PASSWORD)
    answer = http.get("/login")
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
