#!/usr/bin/env python3
"""Tests of sentry_mcp.py, and its demo.

python -m pytest            runs the tests: pytest and responses, no network, no Sentry account
python test_sentry_mcp.py   runs the demo: needs only what the server itself needs

Shared helpers: FakeSentry, a small Sentry on loopback with sample data; Client, an MCP client.
Part 1: tests from outside, of the program as a client starts it.
Part 2: tests from inside, one class per section of sentry_mcp.py, and of what it promises.
"""

from __future__ import annotations

import ast
import bisect
import contextlib
import gzip
import inspect
import io
import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import socketserver
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import tokenize
import unicodedata
import zlib
from collections import namedtuple
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import parse_qs

try:
    import pytest
    import requests
    import responses
    import urllib3
except ImportError:  # the demo runs without them: decorators then make mock objects of the tests
    if __name__ != "__main__":
        raise
    pytest = requests = responses = urllib3 = mock.MagicMock()

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import sentry_mcp as m

HERE = Path(__file__).resolve().parent
SERVER = HERE / "sentry_mcp.py"
PATIENCE = 20.0  # seconds to wait for what should come at once, on the slowest machine

LEGACY = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
MODERN = "2026-07-28"
META = "io.modelcontextprotocol/"
SEARCH, DETAIL = "sentry_search_issues", "sentry_get_issue_detail"
BREADCRUMBS, RESOLVE = "sentry_get_breadcrumbs", "sentry_resolve_issue"
TOOLS = (SEARCH, DETAIL, BREADCRUMBS, RESOLVE)
RECENT = "sentry://issues/recent"


# ------------------------------------------------------------------------------------------------
# Shared helpers: sample data
# ------------------------------------------------------------------------------------------------

TOKEN = "sntryu_" + "7e57" * 16
READ_ONLY_TOKEN = "sntryu_" + "4ead" * 16
SCOPES = {TOKEN: ["event:read", "event:write"], READ_ONLY_TOKEN: ["event:read"]}

#: A person in the data, and secrets planted in it: none of this may come out of the server.
PERSON = {"email": "dana.whitfield@example.com", "ip_address": "203.0.113.77"}
PERSON |= {"username": "dwhitfield", "name": "Dana Whitfield"}
PLANTED = ("planted-local-secret", "planted-query-secret", "planted-cookie", "planted-header")
BAIT = (*PERSON.values(), *PLANTED)

RATES = "def rate(currency):\n    table = load_table()\n    return table[currency]\n"
PRICES = "    try:\n        factor = rate(order.currency)\n    except KeyError as error:\n"
PRICES += "        raise RateMissing(order.currency) from error\n    return order.total * factor"
CHECKOUT = "    try:\n        price = priced(order)\n    except RateMissing as error:\n"
CHECKOUT += "        raise CheckoutFailed(order.id) from error\n    return charge(order, price)"
CRASH = [77, "        raise CheckoutFailed(order.id) from error"]


def iso(seconds_ago: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - seconds_ago))


def frame(filename: str, function: str, line: int, source: str, local: Any = None) -> dict:
    """A stack frame, in-app if it has source; `line` is that of the source's last line but one."""
    lines = source.split("\n") if source else []
    context = [[line + 2 - len(lines) + index, text] for index, text in enumerate(lines)]
    known = {"filename": filename, "function": function, "lineNo": line, "colNo": None}
    return {**known, "context": context, "inApp": bool(source), "vars": local}


def raised(kind: str, value: str, *frames: dict) -> dict:
    return {"type": kind, "value": value, "stacktrace": {"frames": list(frames)}}


def crumb(age: float, category: str, message: str | None, **data: Any) -> dict:
    known = {"timestamp": iso(age), "type": "default", "category": category, "level": "info"}
    return {**known, "message": message, "data": data or None}


def sample_event() -> dict:
    """An exception with two causes, as Sentry stores it: the root cause first."""
    local = {"api_key": PLANTED[0], "currency": "'EUR'", "order": {"id": 8231, "lines": 3}}
    chain = [
        raised("KeyError", "'EUR'", frame("shop/rates.py", "rate", 21, RATES)),
        raised("RateMissing", "no rate for EUR", frame("shop/prices.py", "priced", 48, PRICES)),
        raised(
            "CheckoutFailed",
            f"order 8231 of {PERSON['email']} has no price",
            frame("wsgi/handlers.py", "get_response", 181, ""),
            frame("shop/checkout.py", "place_order", 77, CHECKOUT, local),
        ),
    ]
    crumbs = [
        crumb(609, "navigation", None, **{"from": "/cart", "to": "/checkout"}),
        crumb(607, "httplib", None, url=f"https://rates.example/v1?token={PLANTED[1]}&base=USD"),
        crumb(606, "query", "SELECT total, currency FROM orders WHERE id = %s"),
        crumb(604, "auth", f"signed in: {PERSON['name']} from {PERSON['ip_address']}"),
        crumb(602, "shop.rates", "rate table loaded: USD, GBP, CHF"),
    ]
    request = {"method": "POST", "url": "https://shop.example/checkout"}
    request |= {"cookies": [["sid", PLANTED[2]]], "headers": [["Authorization", PLANTED[3]]]}
    tags = {"environment": "production", "release": "shop@2.4.1", "browser": "Firefox 141"}
    tags |= {"user": f"email:{PERSON['email']}", "server_name": "web-3"}
    entries = {"exception": {"values": chain}, "breadcrumbs": {"values": crumbs}}
    return {
        "eventID": "5a" * 16,
        "dateCreated": iso(600),
        "release": {"version": "shop@2.4.1"},
        "user": PERSON,
        "tags": [{"key": key, "value": value} for key, value in tags.items()],
        "contexts": {"runtime": {"type": "runtime", "name": "CPython", "version": "3.12.4"}},
        "entries": [{"type": k, "data": v} for k, v in {**entries, "request": request}.items()],
    }


def message_event() -> dict:
    message = {"type": "message", "data": {"formatted": "Stock of SKU 118 is below 5"}}
    return {"eventID": "6b" * 16, "dateCreated": iso(10800), "entries": [message], "tags": []}


def issue(number: int, short_id: str, age: float, title: str, **more: Any) -> dict:
    """An issue as Sentry has it; counts are of the time asked for, `lifetime` of all time."""
    slug = short_id.lower().rpartition("-")[0]
    known = {"id": str(number), "shortId": short_id, "title": title, "culprit": "shop.checkout"}
    known |= {"level": "error", "status": "unresolved", "statusDetails": {}, "substatus": "ongoing"}
    known |= {"platform": "python", "count": "42", "userCount": 17, "assignedTo": None}
    known |= {"firstSeen": iso(age), "lastSeen": iso(age), "seenBy": [PERSON]}
    known |= {"lifetime": {"count": "99", "firstSeen": iso(age + 9e6), "lastSeen": iso(age)}}
    known |= {"permalink": f"https://sentry.example/organizations/acme/issues/{number}/"}
    return {**known, "project": {"id": "7" if slug == "billing" else "5", "slug": slug}, **more}


# ------------------------------------------------------------------------------------------------
# Shared helpers: FakeSentry
# ------------------------------------------------------------------------------------------------

#: A request as it arrived; `port` is the client's, the same for all requests of a connection.
Seen = namedtuple("Seen", "method path query headers body port")
Fault = Callable[["Handler"], None]
PAGE = b"<!doctype html><html><title>Log in</title></html>"


class Handler(BaseHTTPRequestHandler):
    """One connection to FakeSentry."""

    server: FakeSentry
    protocol_version = "HTTP/1.1"  # connections stay open
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, query = self.path.partition("?")
        values = parse_qs(query, keep_blank_values=True)
        port = self.client_address[1]
        self.seen = Seen(self.command, path, values, self.headers, body, port)
        (self.server.note(self.seen) or Handler.serve)(self)

    do_PUT = do_POST = do_CONNECT = do_GET

    def serve(self) -> None:
        self.send(*self.server.respond(self.seen))

    def send(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        known = {"Content-Type": "application/json", "Content-Length": str(len(data))}
        self.send_response(status)
        for name, value in {**known, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        pass


class FakeSentry(socketserver.ThreadingTCPServer):
    """Organization acme of a Sentry on loopback: the requests the server makes, and no others.

    `requests` is what arrived; `fail` scripts what goes wrong next; `reset` starts afresh.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self._news = threading.Condition()
        self.released = threading.Event()
        self.reset()
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def __exit__(self, *reason: Any) -> None:
        self.released.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, *about: Any) -> None:
        """A client that goes away in the middle of an answer is part of the tests."""

    def reset(self) -> None:
        self.released.set()
        self.released = threading.Event()  # what hangs is released by the test, or by the next
        self.requests: list[Seen] = []
        self.faults: list[list[Any]] = []  # [times left, method or "", path pattern, fault]
        self.has_releases = True
        self.notes: list[tuple[str, str]] = []
        owner = {"type": "user", "id": "77", "name": "Robin", "email": PERSON["email"]}
        self.issues = [
            issue(4501, "SHOP-API-1", 600, "CheckoutFailed: no price", assignedTo=owner),
            issue(4502, "SHOP-API-2", 10800, "Stock of SKU 118 is below 5", level="warning"),
            issue(4503, "SHOP-API-3", 6 * 86400, "TimeoutError: label printer"),
            issue(4601, "BILLING-1", 1200, "ValueError: unknown tax code"),
        ]
        self.events = {"4501": [sample_event()], "4502": [message_event()], "4503": []}
        self.events["4601"] = [sample_event()]

    def fail(self, fault: Fault, times: int = 1, method: str = "", path: str = "") -> None:
        """What to do with the next requests of that method whose path matches."""
        self.faults.append([times, method, path, fault])

    def note(self, seen: Seen) -> Fault | None:
        with self._news:
            self.requests.append(seen)
            self._news.notify_all()
            for row in self.faults:
                if row[0] and row[1] in ("", seen.method) and re.search(row[2], seen.path):
                    row[0] -= 1
                    return row[3]
        return None

    def wait_for(self, count: int) -> None:
        """Until that many requests have arrived."""
        with self._news:
            assert self._news.wait_for(lambda: len(self.requests) >= count, PATIENCE)

    def made(self) -> list[str]:
        """The requests as `GET issues/4501/`, in an order that threads cannot change."""
        base = "/api/0/organizations/acme/"
        return sorted(f"{seen.method} {seen.path.removeprefix(base)}" for seen in self.requests)

    # ------------------------------------------------------------------ the Web API

    def respond(self, seen: Seen) -> tuple:
        scopes = SCOPES.get(seen.headers.get("Authorization", "").removeprefix("Bearer "))
        denied = 403, {"detail": "You do not have permission to perform this action."}
        if scopes is None:
            return 401, {"detail": "Invalid token"}
        if seen.path == "/api/0/":
            return 200, {"version": "0", "auth": {"scopes": scopes}, "user": None}
        found = re.fullmatch(r"/api/0/organizations/acme/issues/(?:([\w-]+)/(.*))?", seen.path)
        if not found:
            return 404, b""
        if seen.method != "GET" and "event:write" not in scopes:
            return denied
        if found[1] is None:
            asked = {name: values[0] for name, values in seen.query.items()}
            project = asked.get("projectSlug", asked.get("project"))
            known = project in ("-1", "shop-api", "billing", "5", "7")
            return self.search(asked, project) if known else denied
        one = next((i for i in self.issues if found[1] in (i["id"], i["shortId"])), None)
        if one is None:
            return 404, {"detail": "The requested resource does not exist"}
        if seen.method == "PUT":
            return self.update(one, json.loads(seen.body))
        if found[2] == "notes/":
            return self.comment(one, json.loads(seen.body)["text"])
        return self.event(one, found[2][7:-1]) if found[2] else (200, one)

    def search(self, asked: dict[str, str], project: str) -> tuple:
        span = {"h": 3600, "d": 86400}[asked["statsPeriod"][-1]] * int(asked["statsPeriod"][:-1])
        words = asked["query"].lower().split()
        rows = [
            row
            for row in self.issues
            if project in ("-1", *row["project"].values())
            and row["lastSeen"] >= iso(span)
            and all(row["status"] == word[3:] for word in words if word.startswith("is:"))
            and all(word in row["title"].lower() for word in words if ":" not in word)
        ]
        rows.sort(key=lambda row: row["lastSeen"], reverse=True)
        start, limit = int(asked.get("cursor", "0:0:0").split(":")[1]), int(asked["limit"])
        more = str(start + limit < len(rows)).lower()
        elsewhere = "<https://elsewhere.example/issues/>"  # Sentry, too, may name another host
        link = f'{elsewhere}; rel="previous"; results="false"; cursor="0:0:1", '
        link += f'{elsewhere}; rel="next"; results="{more}"; cursor="0:{start + limit}:0"'
        return 200, rows[start : start + limit], {"X-Hits": str(len(rows)), "Link": link}

    def event(self, one: dict, which: str) -> tuple:
        named = which in ("latest", "oldest", "recommended")
        events = [e for e in self.events[one["id"]] if named or e["eventID"] == which]
        return (200, events[0]) if events else (404, {"detail": "No matching event found"})

    def update(self, one: dict, change: dict) -> tuple:
        details = dict(change.get("statusDetails", {}))
        if details.get("inNextRelease") and not self.has_releases:
            return 400, {"statusDetails": {"inNextRelease": ["No release data present"]}}
        substatus = "archived_forever" if change["status"] == "ignored" else None
        one["status"], one["substatus"] = change["status"], change.get("substatus", substatus)
        one["statusDetails"] = {**details, "actor": PERSON}
        return 200, one

    def comment(self, one: dict, text: str) -> tuple:
        if (one["id"], text) in self.notes:
            return 400, {"detail": "You have already posted that comment."}
        self.notes.append((one["id"], text))
        return 201, {"id": str(len(self.notes)), "type": "note", "user": PERSON}


def answer(status: int, body: Any = b"", **headers: str) -> Fault:
    """Answer with that; names of headers are written with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.send(status, body, named)


def limited(seconds: int) -> Fault:
    """429 as Sentry sends it: the time of the reset, no Retry-After, JSON labelled as HTML."""

    def fault(handler: Handler) -> None:
        headers = {"X-Sentry-Rate-Limit-Reset": str(int(time.time()) + seconds)}
        headers["Content-Type"] = "text/html"
        handler.send(429, {"detail": "Limit is 5 requests in 1 seconds"}, headers)

    return fault


def hang(handler: Handler) -> None:
    """Answer only when the test says so."""
    handler.server.released.wait(PATIENCE)
    handler.serve()


def close(handler: Handler) -> None:
    """Close the connection instead of answering."""
    handler.close_connection = True


def lose(handler: Handler) -> None:
    """Do as asked, but close the connection instead of saying so."""
    handler.server.respond(handler.seen)
    handler.close_connection = True


def cut(handler: Handler) -> None:
    """Promise more than is sent."""
    handler.send(200, b"[", {"Content-Length": "99"})
    handler.close_connection = True


def bad_gateway(handler: Handler) -> None:
    handler.send(502, PAGE, {"Content-Type": "text/html"})


def big(handler: Handler) -> None:
    handler.send(200, bytes(17 * 2**20))


def bomb(handler: Handler) -> None:
    handler.send(200, gzip.compress(bytes(17 * 2**20)), {"Content-Encoding": "gzip"})


def drip(handler: Handler) -> None:
    """Send the body byte by byte, in chunks."""
    handler.send(200, b"", {"Transfer-Encoding": "chunked"})
    for chunk in (b"1\r\n[\r\n", b"1\r\n]\r\n", b"0\r\n\r\n"):
        handler.wfile.flush()
        handler.wfile.write(chunk)


# ------------------------------------------------------------------------------------------------
# Shared helpers: Client
# ------------------------------------------------------------------------------------------------


def settings(sentry: FakeSentry, **changes: str) -> dict[str, str]:
    """A complete configuration; a variable that is changed to "" is left out."""
    known = {"SENTRY_AUTH_TOKEN": TOKEN, "SENTRY_ORG": "acme", "SENTRY_PROJECT": "shop-api"}
    known |= {"SENTRY_URL": sentry.url, "SENTRY_MAX_CALLS_PER_MINUTE": "9999", **changes}
    return {name: value for name, value in known.items() if value}


def environment(home: str, variables: dict[str, str]) -> dict[str, str]:
    """What clients start a server with: little of the system's, and what its settings say."""
    kept = ("PATH", "SYSTEMROOT", "TEMP", "TMP", "LD_LIBRARY_PATH")
    system = {name: os.environ[name] for name in kept if name in os.environ}
    return {**system, "HOME": home, "USERPROFILE": home, **variables}


def write_env(path: Path, variables: dict[str, str]) -> None:
    lines = (f"{name}={value}\n" for name, value in variables.items())
    path.write_text("".join(lines), encoding="utf-8")


def modern(params: dict | None = None, **meta: Any) -> dict[str, Any]:
    """Params of a request of the era without a handshake; a member of None is left out."""
    known = {"protocolVersion": MODERN, "clientCapabilities": {}, **meta}
    stamped = {f"{META}{name}": value for name, value in known.items() if value is not None}
    return {**(params or {}), "_meta": stamped}


def initialize_params(revision: Any) -> dict[str, Any]:
    known = {"name": "test", "version": "1"}
    return {"protocolVersion": revision, "capabilities": {}, "clientInfo": known}


class Client:
    """An MCP client that has started sentry_mcp.py.

    `revision`: a legacy one is negotiated first, the modern one stamps each request, "" does
    neither. The server's home and working directory are an empty folder, and its env file is an
    empty file there, so that no test reads the developer's own. stderr is read at the end only:
    some clients never do.
    """

    sentry: FakeSentry  # of the shared client alone

    def __init__(
        self,
        variables: dict[str, str],
        revision: str = LEGACY[0],
        command: list[str] | None = None,
        **folders: str,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.env_file = Path(self._folder.name, "server.env")
        self.env_file.touch()
        self.process = subprocess.Popen(
            [sys.executable, *(command or [str(SERVER), "--env-file", str(self.env_file)])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(folders.get("home", self._folder.name), variables),
            cwd=folders.get("cwd", self._folder.name),
        )
        self.lines: list[bytes] = []
        self.messages: list[Any] = []
        self.stderr = b""
        self.revision = revision
        self._ids = itertools.count(1)
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if revision in LEGACY:
            self.request("initialize", initialize_params(revision))
            self.notify("notifications/initialized")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *reason: Any) -> None:
        self.close()

    def _read(self) -> None:
        for line in self.process.stdout:
            message = json.loads(line)  # what is no message ends the thread, and so the test
            with self._news:
                self.lines.append(line)
                self.messages.append(message)
                self._news.notify_all()

    def send_line(self, line: bytes) -> None:
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def notify(self, method: str, params: dict | None = None, **members: Any) -> None:
        message = {"jsonrpc": "2.0", "method": method, "params": params or {}, **members}
        self.send_line(json.dumps(message).encode())

    def start(self, method: str, params: dict | None = None, request_id: Any = None) -> Any:
        """Send a request without waiting for its answer; returns its id."""
        request_id = next(self._ids) if request_id is None else request_id
        self.notify(method, modern(params) if self.revision == MODERN else params, id=request_id)
        return request_id

    def wait_for(self, found: Callable[[], list[Any]]) -> Any:
        """The first of the messages that are found, as soon as there is one."""
        with self._news:
            self._news.wait_for(found, PATIENCE)
            assert found(), f"not received; the last lines are {self.lines[-3:]}"
            return found()[0]

    def answers(self, request_id: Any, start: int = 0) -> list[Any]:
        """The messages with that very id: "1" is not 1, and 1 is not True."""
        kind = type(request_id)
        messages = [m for m in self.messages[start:] if isinstance(m, dict)]
        return [m for m in messages if m.get("id") == request_id and type(m["id"]) is kind]

    def answer(self, request_id: Any, start: int = 0) -> dict[str, Any]:
        return self.wait_for(lambda: self.answers(request_id, start))

    def request(
        self, method: str, params: dict | None = None, request_id: Any = None
    ) -> dict[str, Any]:
        start = len(self.messages)
        return self.answer(self.start(method, params, request_id), start)

    def start_tool(self, name: str, meta: dict | None = None, **arguments: Any) -> Any:
        params = {"name": name, "arguments": arguments}
        return self.start("tools/call", {**params, "_meta": meta} if meta else params)

    def call_tool(self, name: str, **arguments: Any) -> dict[str, Any]:
        """The tool's data or its error, after a check that its form is right."""
        return self.outcome(self.start_tool(name, **arguments))

    def outcome(self, request_id: Any) -> dict[str, Any]:
        result = self.answer(request_id)["result"]
        [content] = result["content"]
        data = json.loads(content["text"])
        if result.get("isError"):
            assert "structuredContent" not in result
            assert data["success"] is False
            return data["error"]
        assert result["structuredContent"] == data
        return data

    def after(self, *lines: bytes) -> list[Any]:
        """What is received between now and the answer to a request sent after these lines."""
        start = len(self.messages)
        for line in lines:
            self.send_line(line)
        pong = self.answer(self.start("server/discover", modern()), start)
        return [message for message in self.messages[start:] if message is not pong]

    def close(self) -> int:
        """End the server's input as clients do, and return its exit status."""
        if not self.process.stdin.closed:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
            try:
                self.process.wait(PATIENCE)
            finally:
                self.process.kill()
            self._reader.join(PATIENCE)
            self.stderr = self.process.stderr.read()
            self.process.stdout.close()
            self.process.stderr.close()
            self._folder.cleanup()
        return self.process.returncode


@pytest.fixture(scope="module")
def shared() -> Iterator[Client]:
    """One Sentry and one server for all tests that need none of their own: starting takes time."""
    with FakeSentry() as sentry, Client(settings(sentry)) as client:
        client.sentry = sentry
        yield client
        assert (client.close(), client.stderr) == (0, b"")


@pytest.fixture
def sentry(shared: Client) -> Iterator[FakeSentry]:
    """The Sentry, as new."""
    shared.sentry.reset()
    yield shared.sentry
    shared.sentry.reset()


@pytest.fixture
def client(shared: Client, sentry: FakeSentry) -> Iterator[Client]:
    """The shared server and its `sentry`; whatever a test does, nothing may be given away."""
    start = len(shared.lines)
    yield shared
    output = b"".join(shared.lines[start:]).decode()
    assert [bait for bait in (TOKEN, *BAIT) if bait in output] == []


@pytest.fixture
def other() -> Iterator[FakeSentry]:
    """A second host, which must be left alone."""
    with FakeSentry() as sentry:
        yield sentry
        assert sentry.requests == []


def short(value: Any) -> str:
    """The name of a row of a table, for pytest: some rows are very long."""
    return getattr(value, "__name__", ascii(value)[:40])


def run(
    folder: Path, variables: dict[str, str], *arguments: str, text: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the program to its end, with the text as its input and an empty env file."""
    empty = folder / "server.env"
    empty.touch()
    return subprocess.run(
        [sys.executable, str(SERVER), *arguments, "--env-file", str(empty)],
        env=environment(str(folder), variables),
        cwd=folder,
        input=text,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )


def closed_url() -> str:
    """The URL of a port that nothing listens on."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


# ------------------------------------------------------------------------------------------------
# Part 1, from outside: the main job
# ------------------------------------------------------------------------------------------------

AUTH, LIMITED, NOT_FOUND = "SENTRY_AUTH_FAILED", "SENTRY_RATE_LIMITED", "SENTRY_ISSUE_NOT_FOUND"
API_ERROR, WRONG, NO_SETUP = "SENTRY_API_ERROR", "SENTRY_INVALID_ARGUMENT", "SENTRY_NOT_CONFIGURED"
BOTH = ["GET issues/4501/", "GET issues/4501/events/latest/"]
#: Arguments of a search; query, statsPeriod, sort and limit that are sent.
SEARCHES = [
    ({}, ["is:unresolved", "24h", "date", "10"]),
    ({"status": "all"}, ["", "24h", "date", "10"]),
    ({"query": "tax"}, ["is:unresolved tax", "24h", "date", "10"]),
    ({"query": "is:ignored tax"}, ["is:ignored tax", "24h", "date", "10"]),
    ({"query": "tax", "status": "ignored"}, ["is:ignored tax", "24h", "date", "10"]),
    ({"status": "resolved", "limit": 25}, ["is:resolved", "24h", "date", "25"]),
    ({"timeRange": "14d", "sortBy": "freq"}, ["is:unresolved", "14d", "freq", "10"]),
    ({"timeRange": "1h", "sortBy": "priority"}, ["is:unresolved", "1h", "trends", "10"]),
    ({"timeRange": "30d", "sortBy": "user"}, ["is:unresolved", "30d", "user", "10"]),
    ({"limit": 1.0, "environment": "a & b"}, ["is:unresolved", "24h", "date", "1"]),
]
RESOLUTIONS = [
    ("resolved", {"status": "resolved"}, "resolved"),
    ("resolvedInNextRelease", {"statusDetails": {"inNextRelease": True}}, "resolved"),
    ("ignored", {"substatus": "archived_until_escalating"}, "ignored"),
]
NAMES = [4501, 4501.0, "4501", "SHOP-API-1", "shop-api-1"]
NAMES += ["{url}/organizations/acme/issues/4501/"]
NAMES += ["{url}/organizations/acme/issues/SHOP-API-1/events/latest/?project=5#trace"]


class TestMainJob:
    def test_from_the_search_to_the_resolution(self, client: Client) -> None:
        issue_id = client.call_tool(SEARCH)["issues"][0]["id"]
        event = client.call_tool(DETAIL, issueId=issue_id)["latestEvent"]
        assert event["crashedAt"] == "shop/checkout.py:77 in place_order"
        trail = client.call_tool(BREADCRUMBS, issueId=issue_id)["breadcrumbs"]
        assert trail[-1]["message"] == "rate table loaded: USD, GBP, CHF"
        done = client.call_tool(RESOLVE, issueId=issue_id, comment="Fixed in rates.py")
        assert (done["issue"]["status"], done["comment"]) == ("resolved", {"posted": True})
        assert [row["id"] for row in client.call_tool(SEARCH)["issues"]] == ["4502"]

    def test_a_search_says_all_that_the_contract_names(self, client: Client) -> None:
        found = client.call_tool(SEARCH)
        assert [row["shortId"] for row in found["issues"]] == ["SHOP-API-1", "SHOP-API-2"]
        assert (found["totalCount"], found.get("nextCursor")) == (2, None)
        row = found["issues"][0]
        named = "id title culprit status level firstSeen lastSeen shortId permalink"
        assert all(isinstance(row[key], str) for key in named.split())
        assert (row["count"], row["userCount"], row["assignedTo"]) == (42, 17, "user:Robin")
        assert row["firstSeen"] < iso(8e6), "the issue's own first time, not that of the window"

    def test_a_detail_says_all_that_the_contract_names(self, client: Client) -> None:
        detail = client.call_tool(DETAIL, issueId="4501")
        named = "id title status level platform count userCount firstSeen lastSeen"
        assert set(named.split()) <= detail["issue"].keys()
        event = detail["latestEvent"]
        assert (event["eventId"], event["release"]) == ("5a" * 16, "shop@2.4.1")
        assert (event["environment"], event["tags"]["browser"]) == ("production", "Firefox 141")
        runtime = {"type": "runtime", "name": "CPython", "version": "3.12.4"}
        assert event["contexts"] == {"runtime": runtime}
        assert event["request"] == {"method": "POST", "url": "https://shop.example/checkout"}
        assert event["exception"]["type"] == "CheckoutFailed"
        assert [cause["type"] for cause in event["causes"]] == ["RateMissing", "KeyError"]
        assert event["causes"][1]["stacktrace"]["frames"][0]["lineNo"] == 21
        frame = event["stacktrace"]["frames"][-1]
        assert {"filename", "function", "lineNo", "colNo", "context", "inApp"} <= frame.keys()
        assert CRASH in frame["context"]
        assert (frame["vars"]["order"]["lines"], frame["vars"]["api_key"]) == (3, "[Filtered]")

    def test_parts_of_a_detail_can_be_left_out(self, client: Client) -> None:
        asked = {"includeStacktrace": False, "includeEnvironment": False}
        event = client.call_tool(DETAIL, issueId="4501", **asked)["latestEvent"]
        assert event["exception"]["type"] == "CheckoutFailed"
        assert not {"stacktrace", "contexts"} & event.keys()

    def test_an_issue_without_an_exception_has_its_message(self, client: Client) -> None:
        event = client.call_tool(DETAIL, issueId="SHOP-API-2")["latestEvent"]
        assert event["message"] == "Stock of SKU 118 is below 5"

    def test_breadcrumbs_are_the_newest_in_order(self, client: Client) -> None:
        trail = client.call_tool(BREADCRUMBS, issueId="4501", limit=4)
        assert (trail["totalCount"], trail["eventId"]) == (5, "5a" * 16)
        crumbs = trail["breadcrumbs"]
        assert [crumb["category"] for crumb in crumbs] == ["httplib", "query", "auth", "shop.rates"]
        assert {"timestamp", "type", "category", "level", "message", "data"} <= crumbs[0].keys()
        assert "base=USD" in crumbs[0]["data"]["url"]

    @pytest.mark.parametrize(
        "tool, requests",
        [
            (SEARCH, ["GET issues/"]),
            (DETAIL, BOTH),
            (BREADCRUMBS, BOTH),
            (RESOLVE, ["GET issues/4501/", "PUT issues/4501/"]),
        ],
    )
    def test_a_call_makes_few_requests(self, client: Client, tool: str, requests: list) -> None:
        client.call_tool(tool, **({} if tool == SEARCH else {"issueId": "4501"}))
        assert client.sentry.made() == requests

    def test_a_connection_is_reused(self, client: Client) -> None:
        for _ in range(2):
            client.call_tool(SEARCH)
            client.call_tool(RESOLVE, issueId="4501")
        assert len({seen.port for seen in client.sentry.requests}) == 1

    @pytest.mark.parametrize("arguments, wanted", SEARCHES, ids=short)
    def test_a_search_leaves_nothing_to_defaults(
        self, client: Client, arguments: dict, wanted: list[str]
    ) -> None:
        client.call_tool(SEARCH, **arguments)
        [seen] = client.sentry.requests
        names = ("query", "statsPeriod", "sort", "limit")
        assert [seen.query[name] for name in names] == [[value] for value in wanted]
        assert seen.query["projectSlug"] == ["shop-api"]
        assert seen.query.get("environment") == (["a & b"] if "environment" in arguments else None)
        assert seen.headers["Authorization"] == f"Bearer {TOKEN}"

    def test_the_pages_of_a_search_follow_one_another(self, client: Client) -> None:
        asked = {"timeRange": "7d", "limit": 2}
        first = client.call_tool(SEARCH, **asked)
        second = client.call_tool(SEARCH, **asked, cursor=first["nextCursor"])
        ids = [row["id"] for row in first["issues"] + second["issues"]]
        assert (ids, first["totalCount"]) == (["4501", "4502", "4503"], 3)
        assert "nextCursor" not in second

    def test_an_empty_search_says_how_to_widen_it(self, client: Client) -> None:
        found = client.call_tool(SEARCH, query="nothing like it")
        assert (found["issues"], found["totalCount"]) == ([], 0)
        assert "timeRange" in found["hint"]

    def test_an_event_id_of_another_project_finds_nothing(self, client: Client) -> None:
        client.sentry.fail(answer(200, [client.sentry.issues[3]], X_Sentry_Direct_Hit="1"))
        assert client.call_tool(SEARCH, query="5a" * 16)["issues"] == []

    @pytest.mark.parametrize("resolution, sent, status", RESOLUTIONS, ids=short)
    def test_a_resolution_changes_one_issue_once(
        self, client: Client, resolution: str, sent: dict, status: str
    ) -> None:
        asked = {"issueId": "shop-api-1", "resolution": resolution}
        done, again = (client.call_tool(RESOLVE, **asked) for _ in range(2))
        assert [seen.method for seen in client.sentry.requests] == ["GET", "PUT", "GET"]
        body = json.loads(client.sentry.requests[1].body)
        assert body == {**body, **sent, "status": status}
        shown = done["issue"]
        assert (shown["id"], shown["shortId"], shown["status"]) == ("4501", "SHOP-API-1", status)
        assert {"title", "permalink", "statusDetails", "substatus"} <= shown.keys()
        assert (done["changed"], again["changed"]) == (True, False)
        assert (shown["previousStatus"], again["issue"]["previousStatus"]) == ("unresolved", status)
        assert {row["status"] for row in client.sentry.issues[1:]} == {"unresolved"}

    @pytest.mark.parametrize("tool", TOOLS[1:])
    @pytest.mark.parametrize("issue_id, word", [("BILLING-1", "shop-api"), ("SHOP-API-ZZ", "id")])
    def test_no_other_issue_is_found(
        self, client: Client, tool: str, issue_id: str, word: str
    ) -> None:
        error = client.call_tool(tool, issueId=issue_id)
        assert (error["code"], error["statusCode"]) == (NOT_FOUND, 404)
        assert word in error["message"]
        assert {seen.method for seen in client.sentry.requests} == {"GET"}

    def test_a_comment_that_fails_does_not_hide_the_change(self, client: Client) -> None:
        client.sentry.fail(answer(500, {"detail": "Internal Error"}), path="notes/")
        done = client.call_tool(RESOLVE, issueId="4501", comment="Fixed")
        assert (done["issue"]["status"], done["changed"]) == ("resolved", True)
        assert done["comment"]["posted"] is False
        assert "500" in done["comment"]["error"]
        assert client.sentry.made().count("POST issues/4501/notes/") == 1

    def test_a_comment_posted_before_counts_as_posted(self, client: Client) -> None:
        asked = {"issueId": "4501", "comment": "Fixed"}
        comments = [client.call_tool(RESOLVE, **asked)["comment"] for _ in range(2)]
        assert comments == [{"posted": True}] * 2
        assert client.sentry.notes == [("4501", "Fixed")]

    def test_a_next_release_needs_releases(self, client: Client) -> None:
        client.sentry.has_releases = False
        asked = {"issueId": "4501", "resolution": "resolvedInNextRelease", "comment": "Fixed"}
        error = client.call_tool(RESOLVE, **asked)
        assert (error["code"], error["statusCode"]) == (API_ERROR, 400)
        assert "No release data" in error["message"]
        assert client.sentry.notes == []

    @pytest.mark.parametrize("fault", [lose, bad_gateway, cut], ids=short)
    def test_a_change_without_an_answer_is_not_repeated(self, client: Client, fault: Fault) -> None:
        client.sentry.fail(fault, method="PUT", times=9)
        error = client.call_tool(RESOLVE, issueId="4501")
        assert error["code"] == API_ERROR
        assert "unknown" in error["message"]
        assert DETAIL in error["message"]
        assert client.sentry.made().count("PUT issues/4501/") == 1

    def test_a_change_is_verified(self, client: Client) -> None:
        client.sentry.fail(answer(200, {**client.sentry.issues[0]}), method="PUT")
        assert client.call_tool(RESOLVE, issueId="4501")["code"] == API_ERROR
        client.sentry.fail(lambda handler: (lose(handler), handler.send(204, b"")), method="PUT")
        assert client.call_tool(RESOLVE, issueId="4501")["issue"]["status"] == "resolved"

    def test_expired_events_leave_the_issue_and_a_note(self, client: Client) -> None:
        detail = client.call_tool(DETAIL, issueId="SHOP-API-3")
        assert (detail["issue"]["id"], detail["latestEvent"]) == ("4503", None)
        trail = client.call_tool(BREADCRUMBS, issueId="SHOP-API-3")
        assert (trail["breadcrumbs"], trail["totalCount"]) == ([], 0)
        assert detail["note"]
        assert trail["note"]

    @pytest.mark.parametrize("given", NAMES, ids=short)
    def test_an_issue_is_named_in_any_usual_way(self, client: Client, given: Any) -> None:
        given = given.format(url=client.sentry.url) if isinstance(given, str) else given
        assert client.call_tool(DETAIL, issueId=given)["issue"]["id"] == "4501"

    @pytest.mark.parametrize("event", ["latest", "oldest", "recommended", "5a" * 16])
    def test_another_event_can_be_asked_for(self, client: Client, event: str) -> None:
        detail = client.call_tool(DETAIL, issueId="4501", event=event)
        assert detail["latestEvent"]["eventId"] == "5a" * 16
        assert f"GET issues/4501/events/{event}/" in client.sentry.made()

    def test_the_resource_is_read_anew_each_time(self, client: Client) -> None:
        for expected in (["4501", "4502", "4503"], ["4502", "4503"]):
            [content] = client.request("resources/read", {"uri": RECENT})["result"]["contents"]
            assert (content["uri"], content["mimeType"]) == (RECENT, "application/json")
            assert [row["id"] for row in json.loads(content["text"])["issues"]] == expected
            client.sentry.issues[0]["status"] = "resolved"
        query = client.sentry.requests[0].query
        assert (query["query"], query["limit"]) == (["is:unresolved"], ["10"])


# ------------------------------------------------------------------------------------------------
# Part 1, from outside: the protocol
# ------------------------------------------------------------------------------------------------

PARSE, INVALID, NO_METHOD, BAD_PARAMS = -32700, -32600, -32601, -32602
#: Lines that are no request, or none that can be served: the error, and the id it must have.
WRONG_LINES = [
    (b"hello", PARSE, None),
    (b'{"jsonrpc": "2.0", "id": 7, "method"', PARSE, None),
    (b'{"jsonrpc": "2.0", "id": 7, "method": "\xff\xfe"}', PARSE, None),
    (b'{"jsonrpc": "2.0", "id": 7, "method": "ping", "params": {"x": NaN}}', PARSE, None),
    (b'{"jsonrpc": "2.0", "id": 7, "method": "ping", "params": {"x": -Infinity}}', PARSE, None),
    (b"[" * 100_000, PARSE, None),
    (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, PARSE, None),
    (b"null", INVALID, None),
    (b"42", INVALID, None),
    (b'"ping"', INVALID, None),
    (b"{}", INVALID, None),
    (b"[]", INVALID, None),
    (b'[{"jsonrpc": "2.0", "id": 7, "method": "ping"}]', INVALID, None),
    (b'{"id": 7, "method": "ping"}', INVALID, 7),
    (b'{"jsonrpc": "1.0", "id": 7, "method": "ping"}', INVALID, 7),
    (b'{"jsonrpc": "2.0", "id": "x"}', INVALID, "x"),
    (b'{"jsonrpc": "2.0", "id": 7, "method": 5}', INVALID, 7),
    (b'{"jsonrpc": "2.0", "id": null, "method": "ping"}', INVALID, None),
    (b'{"jsonrpc": "2.0", "id": true, "method": "ping"}', INVALID, None),
    (b'{"jsonrpc": "2.0", "id": 1.5, "method": "ping"}', INVALID, None),
    (b'{"jsonrpc": "2.0", "id": [1], "method": "ping"}', INVALID, None),
    (b'{"jsonrpc": "2.0", "id": 7, "method": "ping", "params": [1]}', BAD_PARAMS, 7),
    (b'{"jsonrpc": "2.0", "id": 7, "method": "ping", "params": "x"}', BAD_PARAMS, 7),
]
#: Requests that cannot be served: method, params, error code.
WRONG_REQUESTS = [
    ("no/such/method", {}, NO_METHOD),
    ("prompts/list", {}, NO_METHOD),
    ("logging/setLevel", {"level": "info"}, NO_METHOD),
    ("resources/subscribe", {"uri": RECENT}, NO_METHOD),
    ("completion/complete", {}, NO_METHOD),
    ("server/discover", {}, BAD_PARAMS),
    ("initialize", {}, BAD_PARAMS),
    ("initialize", initialize_params(5), BAD_PARAMS),
    ("tools/list", {"cursor": "x"}, BAD_PARAMS),
    ("resources/list", {"cursor": "x"}, BAD_PARAMS),
    ("tools/call", {}, BAD_PARAMS),
    ("tools/call", {"name": 5}, BAD_PARAMS),
    ("tools/call", {"name": "no_such_tool"}, BAD_PARAMS),
    ("tools/call", {"name": SEARCH, "arguments": []}, BAD_PARAMS),
    ("resources/read", {}, BAD_PARAMS),
    ("resources/read", {"uri": 5}, BAD_PARAMS),
    ("resources/read", {"uri": "sentry://no/such"}, -32002),
    ("resources/read", modern({"uri": "sentry://no/such"}), BAD_PARAMS),
    ("tools/call", modern({"name": "no_such_tool"}), BAD_PARAMS),
    ("tools/list", modern(clientCapabilities=None), BAD_PARAMS),
    ("tools/list", modern(clientCapabilities=[]), BAD_PARAMS),
    ("tools/list", modern(clientInfo="me"), BAD_PARAMS),
    ("tools/list", modern(logLevel="loud"), BAD_PARAMS),
    ("tools/list", modern(logLevel=["info"]), BAD_PARAMS),
    ("tools/list", modern(protocolVersion=5), BAD_PARAMS),
    ("tools/list", modern(protocolVersion="2099-01-01"), -32022),
    ("server/discover", modern(protocolVersion=LEGACY[0]), -32022),
    ("initialize", modern(initialize_params(LEGACY[0])), NO_METHOD),
    ("ping", modern(), NO_METHOD),
    ("logging/setLevel", modern({"level": "info"}), NO_METHOD),
    ("resources/subscribe", modern({"uri": RECENT}), NO_METHOD),
    ("subscriptions/listen", modern(), BAD_PARAMS),
]
#: Messages that no answer may follow.
SILENT = [
    b"",
    b" \t ",
    b"\r",
    b'{"jsonrpc": "2.0", "method": "notifications/initialized"}',
    b'{"jsonrpc": "2.0", "method": "notifications/no_such", "params": [1]}',
    b'{"jsonrpc": "2.0", "method": "no/such"}',
    b'{"jsonrpc": "2.0", "method": "tools/list"}',
    b'{"jsonrpc": "2.0", "method": "initialize", "params": {}}',
    b'{"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "sentry_search_issues"}}',
    b'{"jsonrpc": "2.0", "method": "notifications/cancelled"}',
    b'{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": "never"}}',
    b'{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": [1]}}',
    b'{"jsonrpc": "2.0", "id": 99, "result": {}}',
    b'{"jsonrpc": "2.0", "id": 99, "error": {"code": -1, "message": "x"}}',
]
#: The arguments of the tools: type, enum or maximum, default. They are fixed.
ISSUE_ID = ("string", None, None)
FIXES = ["resolved", "resolvedInNextRelease", "ignored"]
ARGUMENTS = {
    SEARCH: {
        "query": ("string", None, ""),
        "status": ("string", ["unresolved", "resolved", "ignored", "all"], "unresolved"),
        "sortBy": ("string", ["date", "priority", "freq", "user"], "date"),
        "timeRange": ("string", ["1h", "24h", "7d", "14d", "30d"], "24h"),
        "limit": ("number", 25, 10),
    },
    DETAIL: {
        "issueId": ISSUE_ID,
        "includeStacktrace": ("boolean", None, True),
        "includeEnvironment": ("boolean", None, True),
    },
    BREADCRUMBS: {"issueId": ISSUE_ID, "limit": ("number", 100, 30)},
    RESOLVE: {
        "issueId": ISSUE_ID,
        "resolution": ("string", FIXES, "resolved"),
        "comment": ("string", None, None),
    },
}
WRONG_ARGUMENTS = [
    (SEARCH, {"limit": 0}, "limit"),
    (SEARCH, {"limit": 26}, "25"),
    (SEARCH, {"limit": 2.5}, "limit"),
    (SEARCH, {"limit": True}, "limit"),
    (SEARCH, {"limit": "10"}, "limit"),
    (SEARCH, {"status": "open"}, "unresolved"),
    (SEARCH, {"timeRange": "90d"}, "30d"),
    (SEARCH, {"query": None}, "query"),
    (SEARCH, {"project": "billing"}, "project"),
    (DETAIL, {}, "issueId"),
    (DETAIL, {"issueId": ""}, "issueId"),
    (DETAIL, {"issueId": ["4501"]}, "issueId"),
    (DETAIL, {"issueId": "4501", "includeStacktrace": "yes"}, "true or false"),
    (DETAIL, {"issueId": "4501", "event": "../x"}, "latest"),
    (BREADCRUMBS, {"issueId": "4501", "limit": 101}, "100"),
    (RESOLVE, {"issueId": "4501", "resolution": "unresolved"}, "resolvedInNextRelease"),
    (RESOLVE, {"issueId": "4501", "comment": {"text": "x"}}, "comment"),
]
#: Of the modern era: method, params, time to live of the result and who may keep it.
STAMPED = [
    ("server/discover", {}, 3_600_000, "public"),
    ("tools/list", {}, 3_600_000, "public"),
    ("resources/list", {}, 3_600_000, "public"),
    ("resources/templates/list", {}, 3_600_000, "public"),
    ("resources/read", {"uri": RECENT}, 0, "private"),
    ("tools/call", {"name": SEARCH}, None, None),
]
PROGRESS = "notifications/progress"


class TestProtocolOnTheWire:
    @pytest.mark.parametrize("asked", [*LEGACY, "2023-01-01", MODERN])
    def test_a_handshake_agrees_on_a_revision(self, asked: str) -> None:
        with Client({}, revision="") as client:
            assert client.request("ping")["result"] == {}
            error = client.request("tools/list")["error"]
            assert error["code"] == BAD_PARAMS
            assert re.search(f"initialize.*{META}protocolVersion", error["message"])
            result = client.request("initialize", initialize_params(asked))["result"]
            assert result["protocolVersion"] == (asked if asked in LEGACY else LEGACY[0])
            assert result["capabilities"].keys() == {"tools", "resources"}
            assert {"name", "version"} <= result["serverInfo"].keys()
            assert "data" in result["instructions"]

    @pytest.mark.parametrize("method, params, ttl, scope", STAMPED, ids=short)
    def test_modern_results_alone_are_stamped(
        self, client: Client, method: str, params: dict, ttl: int | None, scope: str | None
    ) -> None:
        result = client.request(method, modern(params))["result"]
        assert result["resultType"] == "complete"
        assert result["_meta"][f"{META}serverInfo"].keys() == {"name", "title", "version"}
        assert (result.get("ttlMs"), result.get("cacheScope")) == (ttl, scope)
        legacy = client.request(method, params).get("result", {})
        assert not {"resultType", "ttlMs", "cacheScope"} & legacy.keys()

    def test_the_modern_era_needs_no_handshake(self, sentry: FakeSentry) -> None:
        with Client(settings(sentry), revision=MODERN) as client:
            discovered = client.request("server/discover")["result"]
            assert discovered["supportedVersions"] == [MODERN]
            assert discovered["capabilities"].keys() == {"tools", "resources"}
            assert client.call_tool(SEARCH)["totalCount"] == 2

    @pytest.mark.parametrize("line, code, request_id", WRONG_LINES, ids=short)
    def test_what_is_no_request_is_refused(
        self, client: Client, line: bytes, code: int, request_id: Any
    ) -> None:
        [refusal] = client.after(line)
        assert refusal["error"]["code"] == code
        assert refusal.get("id", "none") == ("none" if request_id is None else request_id)

    @pytest.mark.parametrize("method, params, code", WRONG_REQUESTS, ids=short)
    def test_what_cannot_be_served_is_refused(
        self, client: Client, method: str, params: dict, code: int
    ) -> None:
        error = client.request(method, params)["error"]
        assert error["code"] == code
        if code == -32022:
            requested = params["_meta"][f"{META}protocolVersion"]
            assert error["data"] == {"supported": [MODERN], "requested": requested}
        assert client.sentry.requests == []

    @pytest.mark.parametrize("line", SILENT, ids=short)
    def test_what_is_no_request_of_the_client_is_not_answered(
        self, client: Client, line: bytes
    ) -> None:
        assert client.after(line) == []
        assert client.sentry.requests == []

    def test_a_carriage_return_before_the_line_feed_does_no_harm(self, client: Client) -> None:
        [pong] = client.after(b'{"jsonrpc": "2.0", "id": "crlf", "method": "ping"}\r')
        assert pong == {"jsonrpc": "2.0", "id": "crlf", "result": {}}

    @pytest.mark.parametrize(
        "request_id", [0, -1, 2**70, "", "1", "é☃😀", "\ud800", "x" * 5000], ids=short
    )
    @pytest.mark.parametrize("method", ["ping", "no/such"])
    def test_an_id_comes_back_as_it_was(self, client: Client, request_id: Any, method: str) -> None:
        assert client.request(method, {}, request_id)["id"] == request_id

    def test_a_batch_of_the_revision_that_has_them(self, sentry: FakeSentry) -> None:
        with Client(settings(sentry), revision="2025-03-26") as client:
            ping = {"jsonrpc": "2.0", "method": "ping"}
            call = {**ping, "id": 9, "method": "tools/call", "params": {"name": SEARCH}}
            client.send_line(json.dumps([{**ping, "id": "a"}, ping, 5, call]).encode())
            batch = client.wait_for(lambda: [m for m in client.messages if isinstance(m, list)])
            by_id = {one.get("id"): one for one in batch}
            assert len(batch) == 3
            assert by_id["a"]["result"] == {}
            assert by_id[9]["result"]["structuredContent"]["totalCount"] == 2
            assert by_id[None]["error"]["code"] == INVALID
            assert client.after(json.dumps([ping, ping]).encode()) == []
            [refusal] = client.after(b"[]")
            assert refusal["error"]["code"] == INVALID

    def test_a_slow_call_holds_up_nothing(self, client: Client) -> None:
        client.sentry.fail(hang)
        slow = client.start_tool(SEARCH)
        client.sentry.wait_for(1)
        assert client.request("ping")["result"] == {}
        assert client.call_tool(DETAIL, issueId="4501")["issue"]["id"] == "4501"
        assert client.answers(slow) == []
        client.sentry.released.set()
        assert client.outcome(slow)["totalCount"] == 2

    def test_a_cancelled_call_is_never_answered(self, client: Client) -> None:
        client.sentry.fail(hang)
        slow = client.start_tool(SEARCH)
        client.sentry.wait_for(1)
        client.notify("notifications/cancelled", {"requestId": slow})
        assert client.after() == []
        client.sentry.released.set()
        client.call_tool(SEARCH)
        client.call_tool(SEARCH)
        assert client.answers(slow) == []

    @pytest.mark.parametrize("meta", [None, {"progressToken": "p"}, {"progressToken": 0}])
    def test_progress_is_told_to_who_asked_for_it(self, client: Client, meta: dict | None) -> None:
        start = len(client.messages)
        client.sentry.fail(limited(1))
        asked = client.start_tool(SEARCH, meta=meta)
        assert client.outcome(asked)["totalCount"] == 2
        *told, answered = client.messages[start:]
        assert answered["id"] == asked
        assert [message["method"] for message in told] == ([PROGRESS] if meta else [])
        assert all(message["params"].items() >= meta.items() for message in told)
        assert len(client.sentry.requests) == 2

    def test_a_call_that_waits_can_be_cancelled(self, client: Client) -> None:
        client.sentry.fail(limited(1), times=2)
        waiting = client.start_tool(SEARCH)
        client.sentry.wait_for(1)
        client.notify("notifications/cancelled", {"requestId": waiting})
        assert client.call_tool(SEARCH)["totalCount"] == 2  # this one has waited longer
        assert client.answers(waiting) == []
        assert len(client.sentry.requests) == 3

    def test_the_last_request_of_a_limit_makes_the_next_one_wait(self, client: Client) -> None:
        reset = str(int(time.time()) + 2)
        headers = {"X_Sentry_Rate_Limit_Remaining": "0", "X_Sentry_Rate_Limit_Reset": reset}
        client.sentry.fail(answer(200, [], **headers))
        client.call_tool(SEARCH)
        start = len(client.messages)
        client.outcome(client.start_tool(SEARCH, meta={"progressToken": 1}))
        assert [message.get("method") for message in client.messages[start:]] == [PROGRESS, None]

    @pytest.mark.parametrize("size", [16 * 2**20 - 1, 16 * 2**20, 16 * 2**20 + 1, 33 * 2**20])
    def test_the_tail_of_a_line_too_long_is_no_message(self, client: Client, size: int) -> None:
        tail = b'{"jsonrpc": "2.0", "id": "tail", "method": "ping"}'
        [refusal] = client.after(b"x" * size + tail)
        assert refusal["error"]["code"] in (PARSE, INVALID)
        assert "id" not in refusal

    def test_calls_beyond_sixteen_wait_their_turn(self, client: Client) -> None:
        client.sentry.fail(hang, times=16)
        calls = [client.start_tool(SEARCH) for _ in range(20)]
        client.sentry.wait_for(16)
        assert client.after() == []
        assert len(client.sentry.requests) == 16
        client.sentry.released.set()
        assert [client.outcome(call)["totalCount"] for call in calls] == [2] * 20

    def test_what_was_read_before_the_end_of_input_is_answered(self, sentry: FakeSentry) -> None:
        with Client(settings(sentry)) as client:
            search, tools = client.start_tool(SEARCH), client.start("tools/list")
            assert (client.close(), client.stderr) == (0, b"")
            assert client.outcome(search)["totalCount"] == 2
            assert len(client.answer(tools)["result"]["tools"]) == 4

    def test_a_call_that_hangs_does_not_outlive_the_input(self, sentry: FakeSentry) -> None:
        sentry.fail(hang)
        with Client(settings(sentry)) as client:
            client.start_tool(SEARCH)
            sentry.wait_for(1)
            started = time.monotonic()
            assert (client.close(), client.stderr) == (0, b"")
            assert time.monotonic() - started < 10

    @pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals to send")
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    @pytest.mark.parametrize("busy", [False, True])
    def test_a_signal_ends_it_quietly(self, sentry: FakeSentry, number: int, busy: bool) -> None:
        # A shell has its jobs in the background ignore SIGINT, and they would pass that on.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sentry.fail(hang)
        with Client(settings(sentry)) as client:
            if busy:
                client.start_tool(SEARCH)
                sentry.wait_for(1)
            client.process.send_signal(number)
            status = client.process.wait(PATIENCE)
            assert status == {signal.SIGTERM: -signal.SIGTERM, signal.SIGINT: 130}[number]
            client.close()
            assert client.stderr == b""

    def test_a_closed_stdout_ends_it(self, tmp_path: Path) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        pipes = {"stdin": subprocess.PIPE, "stdout": writing, "stderr": subprocess.PIPE}
        command = [sys.executable, str(SERVER)]
        with subprocess.Popen(command, env=environment(str(tmp_path), {}), **pipes) as process:
            os.close(writing)
            process.stdin.write(b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}\n')
            process.stdin.flush()
            process.wait(PATIENCE)  # while its input is still open
            assert process.stderr.read() == b""

    def test_a_subscription_is_acknowledged_then_silent_then_closed(self) -> None:
        with Client({}, revision=MODERN) as client:
            listening = client.start("subscriptions/listen", {"notifications": {}})
            [acknowledged] = client.after()
            assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
            about = {f"{META}subscriptionId": listening}
            assert acknowledged["params"] == {"_meta": about, "notifications": {}}
            cancelled = client.start("subscriptions/listen", {"notifications": {}})
            client.notify("notifications/cancelled", {"requestId": cancelled})
            assert len(client.after()) == 1
            assert client.close() == 0
            assert client.answer(listening)["result"]["resultType"] == "complete"
            assert client.answers(cancelled) == []

    def test_the_list_of_tools_is_short_and_never_changes(self, client: Client) -> None:
        first, second = (client.request("tools/list")["result"]["tools"] for _ in range(2))
        assert json.dumps(first) == json.dumps(second)
        assert client.request("tools/list", modern())["result"]["tools"] == first
        assert [tool["name"] for tool in first] == list(TOOLS)
        keys = ("name", "description", "inputSchema")
        read_by_models = [{key: tool[key] for key in keys} for tool in first]
        for data, limit in ((first, 9_000), (read_by_models, 5_000)):
            text = json.dumps(data, separators=(",", ":"), ensure_ascii=False)
            assert len(text.encode()) <= limit

    @pytest.mark.parametrize("name", TOOLS)
    def test_a_tool_is_described_as_the_contract_says(self, client: Client, name: str) -> None:
        tools = client.request("tools/list")["result"]["tools"]
        tool = next(tool for tool in tools if tool["name"] == name)
        schema = tool["inputSchema"]
        for argument, (kind, bound, default) in ARGUMENTS[name].items():
            rule = schema["properties"][argument]
            found = rule.get("enum" if kind == "string" else "maximum")
            assert (rule["type"], found, rule.get("default")) == (kind, bound, default)
        assert schema.get("required", []) == ([] if name == SEARCH else ["issueId"])
        assert schema.keys() <= {"type", "properties", "required"}
        known = {"type", "enum", "default", "minimum", "maximum", "minLength", "description"}
        assert set().union(*schema["properties"].values()) <= known
        assert (schema["type"], tool["outputSchema"]["type"]) == ("object", "object")
        assert tool["title"]
        hints = {"readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"}
        assert tool["annotations"].keys() == hints
        assert tool["annotations"]["readOnlyHint"] is (name != RESOLVE)
        assert tool["annotations"]["destructiveHint"] is (name == RESOLVE)
        assert ("DESTRUCTIVE" in tool["description"]) is (name == RESOLVE)

    @pytest.mark.parametrize("tool, arguments, word", WRONG_ARGUMENTS, ids=short)
    def test_wrong_arguments_are_told_what_is_right(
        self, client: Client, tool: str, arguments: dict, word: str
    ) -> None:
        error = client.call_tool(tool, **arguments)
        assert error["code"] == WRONG
        assert word in error["message"]
        assert client.sentry.requests == []

    def test_the_resource_is_listed(self, client: Client) -> None:
        [resource] = client.request("resources/list")["result"]["resources"]
        assert (resource["uri"], resource["mimeType"]) == (RECENT, "application/json")
        templates = client.request("resources/templates/list")["result"]
        assert templates == {"resourceTemplates": []}


# ------------------------------------------------------------------------------------------------
# Part 1, from outside: hostile answers, environments and arguments
# ------------------------------------------------------------------------------------------------

SSO = {"detail": {"code": "sso-required", "message": "Must login via SSO"}}
#: What Sentry, or what stands before it, answers: the error's code, status and a word of it.
ANSWERS = {
    "no token": (answer(401, {"detail": "Invalid token"}), AUTH, 401, "SENTRY_AUTH_TOKEN"),
    "single sign-on": (answer(401, SSO), AUTH, 401, "SSO"),
    "no scope": (answer(403, {"detail": "No permission"}), AUTH, 403, "event:read"),
    "no organization": (answer(404), NOT_FOUND, 404, "SENTRY_ORG"),
    "bad query": (answer(400, {"query": ["Error parsing"]}), API_ERROR, 400, "Error parsing"),
    "gone": (answer(410, {"message": "API no longer exists"}), API_ERROR, 410, "no longer"),
    "limited": (limited(1), LIMITED, 429, "again"),
    "limited for long": (answer(429, b'"Slow down"', Retry_After="3600"), LIMITED, 429, "3600"),
    "limited until later": (limited(600), LIMITED, 429, "again"),
    "failing": (answer(500, {"detail": "Internal Error"}), API_ERROR, 500, "Internal Error"),
    "gateway": (bad_gateway, API_ERROR, 502, "502"),
    "unavailable": (answer(503, {"detail": "Try later"}), API_ERROR, 503, "Try later"),
    "time-out": (answer(504, b"upstream timed out"), API_ERROR, 504, "504"),
    "web page": (answer(200, PAGE, Content_Type="text/html"), API_ERROR, 200, "SENTRY_URL"),
    "nothing": (answer(200), API_ERROR, 200, ""),
    "truncated": (answer(200, b'[{"id": "4501", "tit'), API_ERROR, 200, "JSON"),
    "object": (answer(200, {"issues": []}), API_ERROR, 200, ""),
    "deep": (answer(200, b"[" * 100_000 + b"]" * 100_000), API_ERROR, 200, ""),
    "closed": (close, API_ERROR, None, "connection"),
    "cut": (cut, API_ERROR, None, "connection"),
    "big": (big, API_ERROR, None, "16 MiB"),
    "bomb": (bomb, API_ERROR, None, "16 MiB"),
    "bad gzip": (answer(200, b"[]", Content_Encoding="gzip"), API_ERROR, None, ""),
}
#: After these a read is tried again.
REPEATED = ("limited", "gateway", "unavailable", "time-out", "closed")
HOSTILE_IDS = [
    "..",
    "../4501",
    "%2e%2e",
    "4501/../4502",
    "4501?x=1",
    "4501#x",
    "4501\n",
    "4501 ",
    "SHOP-API-1\r\nHost: evil.example",
    "\uff14\uff15\uff10\uff11",
    "-1",
    "https://evil.example/organizations/acme/issues/4501/",
    "{url}@evil.example/organizations/acme/issues/4501/",
    "http://user:word@{host}/organizations/acme/issues/4501/",
    "{url}.evil.example/organizations/acme/issues/4501/",
    "{url}/organizations/umbrella/issues/4501/",
    "{url}/organizations/acme/issues/../../4501/",
    "{url}/organizations/acme/issues/",
    "//{host}/organizations/acme/issues/4501/",
    "file:///organizations/acme/issues/4501/",
]


class TestHostileOutside:
    @pytest.mark.parametrize("name", ANSWERS)
    def test_a_bad_answer_is_an_error_that_helps(self, client: Client, name: str) -> None:
        fault, code, status, word = ANSWERS[name]
        client.sentry.fail(fault, times=9)
        error = client.call_tool(SEARCH)
        assert (error["code"], error["statusCode"]) == (code, status)
        assert word in error["message"]
        assert "<html" not in error["message"]
        tries = len(client.sentry.requests)
        assert tries in ((2, 3) if name in REPEATED else (1,))
        assert (error.get("retryAfter") is not None) is (code == LIMITED)
        client.sentry.reset()
        assert client.call_tool(SEARCH)["totalCount"] == 2

    @pytest.mark.parametrize("tool", [DETAIL, BREADCRUMBS, RESOLVE])
    @pytest.mark.parametrize("body", [[], None, 5, "text", b""], ids=short)
    def test_an_issue_that_is_no_object_is_an_error(
        self, client: Client, tool: str, body: Any
    ) -> None:
        client.sentry.fail(answer(200, body), times=9)
        assert client.call_tool(tool, issueId="4501")["code"] == API_ERROR

    def test_the_resource_fails_as_a_request_does(self, client: Client) -> None:
        client.sentry.fail(answer(403, {"detail": "No permission"}))
        error = client.request("resources/read", {"uri": RECENT})["error"]
        assert error["code"] == -32603
        assert (error["data"]["code"], error["data"]["statusCode"]) == (AUTH, 403)
        assert error["message"] == error["data"]["message"]

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    @pytest.mark.parametrize("tool", [SEARCH, RESOLVE])
    def test_a_redirect_is_not_followed(
        self, client: Client, other: FakeSentry, status: int, tool: str
    ) -> None:
        client.sentry.fail(answer(status, b"", Location=f"{other.url}/login?next=x"), times=9)
        error = client.call_tool(tool, **({} if tool == SEARCH else {"issueId": "4501"}))
        assert error["code"] == API_ERROR
        assert other.url in error["message"]
        assert "SENTRY_URL" in error["message"]
        assert len(client.sentry.requests) == 1

    @pytest.mark.parametrize("fault", [close, bad_gateway], ids=short)
    def test_a_read_that_failed_once_succeeds(self, client: Client, fault: Fault) -> None:
        client.sentry.fail(fault)
        assert client.call_tool(SEARCH)["totalCount"] == 2

    def test_an_answer_in_pieces_is_put_together(self, client: Client) -> None:
        client.sentry.fail(drip)
        assert client.call_tool(SEARCH)["issues"] == []

    def test_odd_data_loses_a_field_and_not_the_call(self, client: Client) -> None:
        odd = dict.fromkeys(client.sentry.issues[0], None)
        bytes_odd = json.dumps([{**odd, "id": 4501, "title": "caf\xe9", "count": "many"}, 5, None])
        client.sentry.fail(answer(200, bytes_odd.replace("\\u00e9", "\xff").encode("latin-1")))
        [row] = client.call_tool(SEARCH)["issues"]
        assert (row["id"], row["count"], row["status"]) == ("4501", None, None)
        assert row["title"].startswith("caf")
        client.sentry.events["4501"] = [dict.fromkeys(client.sentry.events["4501"][0], 5)]
        assert client.call_tool(DETAIL, issueId="4501")["latestEvent"]["tags"] == {}
        assert client.call_tool(BREADCRUMBS, issueId="4501")["breadcrumbs"] == []

    def test_an_event_of_any_size_fits(self, client: Client) -> None:
        values = client.sentry.events["4501"][0]["entries"][0]["data"]["values"]
        values[-1]["value"] = "\u2603" * 300_000
        deep = [frame(f"a{n}.py", f"f{n}", n, "\u2603" * 2000 + "\n") for n in range(20)]
        values[:0] = [raised("Error", "\u2603" * 9000, *deep) for _ in range(30)]
        start = len(client.lines)
        event = client.call_tool(DETAIL, issueId="4501")["latestEvent"]
        assert len(client.lines[start]) <= 64 * 2**10
        assert event["exception"]["type"] == "CheckoutFailed"
        assert [cause["type"] for cause in event["causes"][1:]] == ["KeyError", *["Error"] * 30]
        assert CRASH in event["stacktrace"]["frames"][-1]["context"]

    def test_the_token_is_in_no_output(self, sentry: FakeSentry) -> None:
        with Client(settings(sentry)) as client:
            sentry.issues[0]["title"] = f"echo {TOKEN}"
            sentry.events["4501"][0]["tags"].append({"key": TOKEN, "value": f"x{TOKEN}x"})
            sentry.fail(answer(400, {"detail": f"bad {TOKEN}"}), method="PUT")
            client.call_tool(SEARCH, query=TOKEN)
            client.call_tool(DETAIL, issueId="4501")
            client.call_tool(RESOLVE, issueId="4501")
            client.call_tool(DETAIL, issueId=TOKEN)
            client.request(TOKEN)
            client.request("tools/call", {"name": TOKEN})
            client.request("resources/read", {"uri": f"sentry://{TOKEN}"})
            sentry.fail(answer(200, f'["{TOKEN}'.encode()))
            client.call_tool(SEARCH)
            sentry.fail(answer(400, {"detail": "x" * 280 + TOKEN}))  # clipped in the middle of it
            client.call_tool(SEARCH)
            sentry.fail(answer(302, b"", Location=f"{sentry.url}/{TOKEN}"))
            client.call_tool(SEARCH)
            client.close()
            assert len(client.lines) == 11
            assert TOKEN[:12].encode() not in b"".join(client.lines) + client.stderr

    def test_people_and_secrets_are_in_no_result(self, client: Client) -> None:
        """The client fixture looks for the bait in all that these calls return."""
        client.call_tool(SEARCH, status="all")
        client.request("resources/read", {"uri": RECENT})
        event = client.call_tool(DETAIL, issueId="4501")["latestEvent"]
        assert event["exception"]["value"].startswith("order 8231 of [")
        assert client.call_tool(BREADCRUMBS, issueId="4501")["totalCount"] == 5
        for _ in range(2):  # Sentry says who resolved it
            client.call_tool(RESOLVE, issueId="4501", comment="Fixed")

    def test_a_netrc_file_does_not_replace_the_token(
        self, sentry: FakeSentry, tmp_path: Path
    ) -> None:
        for name in (".netrc", "_netrc"):
            (tmp_path / name).write_text("machine 127.0.0.1 login other password word\n")
            (tmp_path / name).chmod(0o600)
        with Client(settings(sentry), home=str(tmp_path)) as client:
            assert client.call_tool(SEARCH)["totalCount"] == 2
        assert [seen.headers["Authorization"] for seen in sentry.requests] == [f"Bearer {TOKEN}"]

    def test_an_answer_may_have_numbers_that_json_does_not_know(self, client: Client) -> None:
        rows = b'[{"id": "1", "title": "x", "level": NaN, "count": -Infinity, "userCount": 1e999}]'
        client.sentry.fail(answer(200, rows))
        [row] = client.call_tool(SEARCH)["issues"]
        assert (row["title"], row["level"], row["count"], row["userCount"]) == (
            "x", "NaN", None, None,
        )  # fmt: skip

    def test_an_early_hint_does_not_shift_the_answers(self, client: Client) -> None:
        def hint(handler: Handler) -> None:
            handler.wfile.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
            handler.wfile.flush()
            time.sleep(0.3)  # the answer is on its way when the connection is used again
            handler.send(200, [{"id": "1", "title": "of the first search"}])

        client.sentry.fail(hint)
        first = client.call_tool(SEARCH)  # which Pythons skip the hint differs
        assert first.get("code") == API_ERROR or first["totalCount"] == 1
        assert client.call_tool(SEARCH)["totalCount"] == 2

    def test_cookies_are_not_kept(self, client: Client) -> None:
        client.sentry.fail(answer(200, [], Set_Cookie="session=1; Path=/"))
        client.call_tool(SEARCH)
        client.call_tool(SEARCH)
        assert [seen.headers["Cookie"] for seen in client.sentry.requests] == [None, None]

    def test_an_env_file_is_read_beside_the_program_alone(
        self, sentry: FakeSentry, other: FakeSentry, tmp_path: Path
    ) -> None:
        checkout = tmp_path / "checkout"
        checkout.mkdir()
        installed = tmp_path / "installed"
        installed.mkdir()
        program = Path(shutil.copy(SERVER, installed))
        for folder in (tmp_path, checkout):
            write_env(folder / ".env", settings(other))
        with Client({}, command=[str(program)], cwd=str(checkout)) as client:
            assert client.call_tool(SEARCH)["code"] == NO_SETUP
            write_env(installed / ".env", settings(sentry))
            assert client.call_tool(SEARCH)["totalCount"] == 2

    def test_the_token_and_the_url_are_of_one_source(
        self, sentry: FakeSentry, other: FakeSentry
    ) -> None:
        with Client(settings(sentry)) as client:
            write_env(client.env_file, {"SENTRY_URL": other.url})
            assert client.call_tool(SEARCH)["totalCount"] == 2
        with Client({**settings(sentry, SENTRY_URL=""), "HTTPS_PROXY": closed_url()}) as client:
            write_env(client.env_file, {"SENTRY_URL": other.url})
            assert "https://sentry.io" in client.call_tool(SEARCH)["message"]
            client.close()
            assert b"SENTRY_URL" in client.stderr
        with Client({"SENTRY_URL": other.url}) as client:
            write_env(client.env_file, settings(sentry, SENTRY_URL=""))
            assert client.call_tool(SEARCH)["code"] == NO_SETUP

    def test_plain_http_needs_permission(self, sentry: FakeSentry) -> None:
        with Client(settings(sentry, SENTRY_URL="http://sentry.example")) as client:
            error = client.call_tool(SEARCH)
        assert error["code"] == NO_SETUP
        assert "SENTRY_ALLOW_HTTP" in error["message"]

    @pytest.mark.parametrize("tool", TOOLS[1:])
    @pytest.mark.parametrize("given", HOSTILE_IDS, ids=short)
    def test_a_hostile_id_sends_no_request(self, client: Client, tool: str, given: str) -> None:
        host = client.sentry.url.removeprefix("http://")
        error = client.call_tool(tool, issueId=given.format(url=client.sentry.url, host=host))
        assert error["code"] == WRONG
        assert "issueId" in error["message"]
        assert client.sentry.requests == []

    @pytest.mark.parametrize("query", ["a&project=-1", "a#b", "x\r\nHost: evil.example", "é%00"])
    def test_a_hostile_query_stays_one_parameter(self, client: Client, query: str) -> None:
        client.call_tool(SEARCH, query=query, status="all")
        [seen] = client.sentry.requests
        assert seen.query["query"] == [" ".join(query.split())]
        assert seen.query["projectSlug"] == ["shop-api"]
        assert seen.headers["Host"] == client.sentry.url.removeprefix("http://")

    @pytest.mark.parametrize("in_file", [False, True])
    def test_read_only_leaves_three_tools(self, sentry: FakeSentry, in_file: bool) -> None:
        read_only = {"SENTRY_READ_ONLY": "1"}
        with Client(settings(sentry, **({} if in_file else read_only))) as client:
            write_env(client.env_file, read_only if in_file else {})
            tools = client.request("tools/list")["result"]["tools"]
            assert [tool["name"] for tool in tools] == list(TOOLS[:3])
            arguments = {"name": RESOLVE, "arguments": {"issueId": "4501"}}
            assert client.request("tools/call", arguments)["error"]["code"] == BAD_PARAMS
            assert sentry.requests == []
            assert client.call_tool(DETAIL, issueId="4501")["issue"]["status"] == "unresolved"

    def test_a_missing_configuration_is_named_and_can_be_filled_in(
        self, sentry: FakeSentry
    ) -> None:
        with Client({"SENTRY_ORG": "acme"}) as client:
            assert len(client.request("tools/list")["result"]["tools"]) == 4
            error = client.call_tool(SEARCH)
            assert error["code"] == NO_SETUP
            assert "SENTRY_AUTH_TOKEN" in error["message"]
            assert "SENTRY_PROJECT" in error["message"]
            assert "SENTRY_ORG" not in error["message"]
            assert str(client.env_file) in error["message"]
            write_env(client.env_file, {"SENTRY_AUTH_TOKEN": TOKEN})
            error = client.call_tool(DETAIL, issueId="4501")
            assert "SENTRY_AUTH_TOKEN" not in error["message"].partition(".")[0]
            write_env(client.env_file, settings(sentry))
            assert client.call_tool(SEARCH)["totalCount"] == 2

    def test_the_servers_own_limit_is_over_all_tools(self, sentry: FakeSentry) -> None:
        with Client(settings(sentry, SENTRY_MAX_CALLS_PER_MINUTE="2")) as client:
            client.call_tool(SEARCH)
            client.request("resources/read", {"uri": RECENT})
            made = len(sentry.requests)
            error = client.call_tool(DETAIL, issueId="4501")
            assert error["code"] == LIMITED
            assert 1 <= error["retryAfter"] <= 60
            error = client.request("resources/read", {"uri": RECENT})["error"]
            assert (error["code"], error["data"]["code"]) == (-32603, LIMITED)
            assert len(sentry.requests) == made


# ------------------------------------------------------------------------------------------------
# Part 1, from outside: the command line and the files beside the program
# ------------------------------------------------------------------------------------------------

#: What is wrong with the configuration: --check's exit status, and what its report must say.
CAUTIOUS = {"SENTRY_AUTH_TOKEN": READ_ONLY_TOKEN}
CHECKS = {
    "all well": ({}, 0, ["SENTRY_ORG.*acme", "environment", "2 issues", "event:write"]),
    "reading only": ({**CAUTIOUS, "SENTRY_READ_ONLY": "1"}, 0, ["SENTRY_READ_ONLY"]),
    "no write scope": (CAUTIOUS, 1, ["event:write is missing", "SENTRY_READ_ONLY=1"]),
    "not configured": ({"SENTRY_AUTH_TOKEN": ""}, 1, ["SENTRY_AUTH_TOKEN"]),
    "wrong token": ({"SENTRY_AUTH_TOKEN": "sntryu_wrong"}, 1, ["token.*SENTRY_AUTH_TOKEN"]),
    "wrong organization": ({"SENTRY_ORG": "umbrella"}, 1, ["SENTRY_ORG=umbrella"]),
    "wrong project": ({"SENTRY_PROJECT": "nowhere"}, 1, ["SENTRY_PROJECT=nowhere"]),
}


class TestCommandLine:
    @pytest.mark.parametrize("name", CHECKS)
    def test_a_check_says_what_to_do(self, sentry: FakeSentry, tmp_path: Path, name: str) -> None:
        changes, status, wanted = CHECKS[name]
        done = run(tmp_path, settings(sentry, **changes), "--check")
        assert done.returncode == status, done.stdout
        assert [pattern for pattern in wanted if not re.search(pattern, done.stdout)] == []
        assert ("FAIL" in done.stdout) is (status == 1)
        output = done.stdout + done.stderr
        assert [token for token in SCOPES if token in output] == []
        assert "Traceback" not in output
        assert {seen.method for seen in sentry.requests} <= {"GET"}

    @pytest.mark.parametrize("page", [True, False])
    def test_a_check_of_what_is_no_sentry(
        self, sentry: FakeSentry, tmp_path: Path, page: bool
    ) -> None:
        sentry.fail(answer(200, PAGE), times=9)
        url = sentry.url if page else closed_url()
        done = run(tmp_path, settings(sentry, SENTRY_URL=url), "--check")
        assert (done.returncode, done.stderr) == (1, "")
        assert "SENTRY_URL" in done.stdout
        assert "<html" not in done.stdout

    def test_the_version_is_that_of_the_source(self, tmp_path: Path) -> None:
        done = run(tmp_path, {}, "--version")
        assert (done.returncode, done.stdout.split()[-1]) == (0, assigned("__version__"))

    def test_the_help_names_every_option(self, tmp_path: Path) -> None:
        done = run(tmp_path, {}, "--help")
        assert done.returncode == 0
        options = set(re.findall(r"--[a-z-]+", done.stdout))
        assert options == {"--check", "--env-file", "--version", "--help"}

    def test_an_unknown_option_is_refused(self, tmp_path: Path) -> None:
        done = run(tmp_path, {}, "--no-such-option")
        assert (done.returncode, done.stdout) == (2, "")
        assert "--no-such-option" in done.stderr


def source() -> str:
    return SERVER.read_text(encoding="utf-8")


def assigned(name: str) -> Any:
    """The value of a module-level literal of the program, without running it."""
    for node in ast.parse(source()).body:
        targets = [*getattr(node, "targets", ()), getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return ast.literal_eval(node.value)
    raise AssertionError(f"{name} is not assigned")


def readme_blocks(language: str) -> list[str]:
    readme = HERE / "README.md"
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def servers_in(value: Any) -> Iterator[dict[str, Any]]:
    """The objects, at any depth, that say how to start a server."""
    if isinstance(value, dict):
        if "command" in value and "args" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from servers_in(item)


def check_servers(configuration: Any, folder: Path) -> None:
    """Start what a README block configures, with its placeholders replaced."""
    message = {"jsonrpc": "2.0", "id": 1, "method": "initialize"}
    text = json.dumps({**message, "params": initialize_params(LEGACY[0])}) + "\n"
    for server in servers_in(configuration):
        assert server["command"] == "/path/to/.venv/bin/python"
        assert server["args"][0] == "/path/to/sentry_mcp.py"
        done = run(folder, server.get("env", {}), *server["args"][1:], text=text)
        assert json.loads(done.stdout)["result"]["protocolVersion"] == LEGACY[0]


class TestReadme:
    def test_there_are_blocks_to_copy(self) -> None:
        assert readme_blocks("json")
        assert readme_blocks("toml")

    @pytest.mark.parametrize("block", readme_blocks("json"), ids=short)
    def test_a_json_block_starts_a_server(self, tmp_path: Path, block: str) -> None:
        check_servers(json.loads(block), tmp_path)

    @pytest.mark.parametrize("block", readme_blocks("toml"), ids=short)
    def test_a_toml_block_starts_a_server(self, tmp_path: Path, block: str) -> None:
        tomllib = pytest.importorskip("tomllib", reason="tomllib is new in Python 3.11")
        check_servers(tomllib.loads(block), tmp_path)

    def test_every_variable_is_explained(self) -> None:
        text = (HERE / "README.md").read_text(encoding="utf-8")
        assert [name for name in m.CONFIG_VARIABLES if name not in text] == []


class TestFiles:
    def test_the_example_lists_every_variable_once(self) -> None:
        text = (HERE / ".env.example").read_text(encoding="utf-8")
        names = re.findall(r"^#?\s*([A-Z][A-Z_]+)=", text, re.MULTILINE)
        assert sorted(names) == sorted(m.CONFIG_VARIABLES)

    def test_the_requirements_are_those_of_the_script(self) -> None:
        lines = (HERE / "requirements.txt").read_text(encoding="utf-8").splitlines()
        required = {line.partition("#")[0].replace(" ", "") for line in lines} - {""}
        tests_only = {line for line in required if re.match(r"(pytest|responses)\b", line)}
        assert len(tests_only) == 2
        header = re.search(r"^# /// script\n(.*?)^# ///$", source(), re.MULTILINE | re.DOTALL)[1]
        listed = re.search(r"dependencies = (\[.*?\])", header.replace("\n#", "\n"), re.DOTALL)[1]
        assert required - tests_only == set(ast.literal_eval(listed))


# ------------------------------------------------------------------------------------------------
# Part 2, from inside: configuration
# ------------------------------------------------------------------------------------------------

CONFIGURED = {"SENTRY_AUTH_TOKEN": TOKEN, "SENTRY_ORG": "acme", "SENTRY_PROJECT": "shop-api"}
REQUIRED = tuple(CONFIGURED)
HOST = "https://sentry.example"
#: A variable in the environment and in the file, a field of the result and its value.
LAYERS = [
    ("SENTRY_ORG", "env", "file", "org", "env"),
    ("SENTRY_ORG", " \t", "file", "org", "file"),
    ("SENTRY_ORG", " env\n", "", "org", "env"),
    ("SENTRY_URL", "", "", "url", "https://sentry.io"),
    ("SENTRY_MAX_CALLS_PER_MINUTE", "", "", "limit", 30),
    ("SENTRY_MAX_CALLS_PER_MINUTE", "7", "8", "limit", 7),
    ("SENTRY_MAX_CALLS_PER_MINUTE", "", "8", "limit", 8),
    *(("SENTRY_READ_ONLY", "", on, "read_only", True) for on in ("1", " 1 ", "'1'")),
    *(("SENTRY_READ_ONLY", "", off, "read_only", False) for off in ("0", "")),
    ("SENTRY_READ_ONLY", "0", "1", "read_only", False),
]
#: Where the token is, where SENTRY_URL is: the URL, or None for a refusal; whether it warns.
SAME_SOURCE = [
    ("env", "env", "https://env.example", False),
    ("env", "file", "https://sentry.io", True),
    ("file", "file", "https://file.example", False),
    ("file", "env", None, True),
    ("file", "env file", "https://file.example", True),
    ("env", "env file", "https://env.example", False),
    ("env file", "file", "https://sentry.io", True),
]
#: Every row of CONFIG_VARIABLES: values that it refuses, and values that it takes.
VALUES = {
    "SENTRY_AUTH_TOKEN": (["a b", '"a"', "${TOKEN}", "a\nb", "töken"], ["sntrys_ey.J-_~+/="]),
    "SENTRY_ORG": (["a/b", "a b", "../x", "-a", "é", "https://x"], ["acme", "a-b_1", "7"]),
    "SENTRY_PROJECT": (["a/b", "a&b", "_x", "-1", "a\nb"], ["shop-api", "4501"]),
    "SENTRY_URL": (
        [
            "sentry.io",
            "ftp://h",
            "https://",
            "https://u@h",
            "https://u:p@h",
            "https://h?x=1",
            "https://h#x",
            "https://h\\@x",
            "https://h:123456",
            "https://h/%2e",
            "file:///etc",
        ],
        ["https://h", "https://h:8443", "https://h/sentry/", "https://[::1]:9000"],
    ),
    "SENTRY_MAX_CALLS_PER_MINUTE": (["0", "-1", "1.5", "many", "1e3", "٣", "9" * 10], ["1", "60"]),
    "SENTRY_READ_ONLY": (["${RO}", "true", "on", "2", "10"], ["1", "0"]),
    "SENTRY_ALLOW_HTTP": (["${X}", "yes", "01"], ["0", "1"]),
}
#: What may follow the URL, URLs that plain http is safe for, and URLs that it is not safe for.
TAILS = ("", "/", "//", "/api/", "/api/0", "/api/0/")
SAFE = (HOST, f"{HOST}/sentry", f"{HOST}/rapi/0x", "http://localhost:9000", "http://127.0.0.1")
SAFE += ("http://127.9.9.9:1/x", "http://[::1]:9000")
CLEAR = ("http://sentry.example", "http://localhost.evil.example", "http://127.0.0.1.evil.example")
CLEAR += ("http://128.0.0.1", "http://[::2]", "http://localhostx")


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Any]:
    """load_config with an env file of that text, or of those variables."""

    def load_file(environ: dict[str, str], file: bytes | dict[str, str] = b"") -> Any:
        path = tmp_path / "test.env"
        write_env(path, file) if isinstance(file, dict) else path.write_bytes(file)
        return m.load_config(environ, str(path))

    return load_file


class TestConfiguration:
    @pytest.mark.parametrize("name, environ, file, field, expected", LAYERS)
    def test_the_environment_wins_over_the_file(
        self, load: Callable, name: str, environ: str, file: str, field: str, expected: Any
    ) -> None:
        assert getattr(load({name: environ}, CONFIGURED | {name: file}), field) == expected

    @pytest.mark.parametrize("token, url, expected, warns", SAME_SOURCE)
    def test_the_url_is_taken_from_where_the_token_is(
        self, load: Callable, token: str, url: str, expected: str | None, warns: bool
    ) -> None:
        layers = {}
        for where in ("env", "file"):
            layers[where] = dict.fromkeys(("SENTRY_ORG", "SENTRY_PROJECT"), "x")
            layers[where] |= {"SENTRY_AUTH_TOKEN": "t"} if where in token else {}
            layers[where] |= {"SENTRY_URL": f"https://{where}.example"} if where in url else {}
        if expected is None:
            with pytest.raises(ValueError, match="SENTRY_URL.*same place"):
                load(layers["env"], layers["file"])
        else:
            config = load(layers["env"], layers["file"])
            assert (config.url, "SENTRY_URL" in config.warning) == (expected, warns)

    def test_a_file_is_not_interpolated(self, load: Callable, monkeypatch: Any) -> None:
        monkeypatch.setenv("SECRET", "value")
        for name in REQUIRED:
            with pytest.raises(ValueError, match=f"^{name} "):
                load({"SECRET": "value"}, {**CONFIGURED, name: "${SECRET}"})

    def test_a_byte_order_mark_does_no_harm(self, load: Callable) -> None:
        lines = "".join(f"{name}={value}\r\n" for name, value in CONFIGURED.items())
        assert load({}, lines.encode("utf-8-sig")).token == TOKEN

    def test_a_file_that_is_not_utf_8_is_named(self, load: Callable, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=re.escape(str(tmp_path))):
            load(CONFIGURED, b"SENTRY_ORG=\xff\xfe")

    @pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="needs an unreadable file")
    def test_a_file_that_cannot_be_read_is_named_and_hides_no_tool(self) -> None:
        with pytest.raises(ValueError, match="/proc/self/mem"):
            m.load_config(CONFIGURED, "/proc/self/mem")
        assert m.Sentry(CONFIGURED, "/proc/self/mem", [].append).read_only() is False

    @pytest.mark.parametrize("count", range(4))
    def test_missing_variables_are_named(self, load: Callable, count: int) -> None:
        for missing in itertools.combinations(REQUIRED, count):
            known = {name: CONFIGURED[name] for name in REQUIRED if name not in missing}
            if not missing:
                assert load(known).org == "acme"
                continue
            with pytest.raises(ValueError, match=r"test\.env") as caught:
                load(known)
            named = re.findall("SENTRY_[A-Z_]+", str(caught.value))
            assert named == list(missing)

    def test_every_rule_has_values_here(self) -> None:
        assert list(m.CONFIG_VARIABLES) == list(VALUES)
        assert not [name for name in m.CONFIG_VARIABLES if "DSN" in name]

    @pytest.mark.parametrize("name", VALUES)
    def test_a_value_is_checked_as_a_whole(self, name: str) -> None:
        wrong, right = VALUES[name]
        for value in wrong:
            with pytest.raises(ValueError, match=f"^{name} ") as caught:
                m.load_config({**CONFIGURED, name: value}, os.devnull)
            assert name != "SENTRY_AUTH_TOKEN" or value not in str(caught.value)
        for value in right:
            m.load_config({**CONFIGURED, name: value}, os.devnull)

    @pytest.mark.parametrize("url", [*SAFE, *CLEAR])
    def test_the_url_is_normalized_and_safe(self, url: str) -> None:
        for tail in TAILS:
            environ = {**CONFIGURED, "SENTRY_URL": url + tail}
            assert m.load_config({**environ, "SENTRY_ALLOW_HTTP": "1"}, os.devnull).url == url
            if url in SAFE:
                assert m.load_config(environ, os.devnull).url == url
            else:
                with pytest.raises(ValueError, match="SENTRY_ALLOW_HTTP=1"):
                    m.load_config(environ, os.devnull)

    def test_a_configuration_shown_has_no_token(self) -> None:
        config = m.load_config(CONFIGURED, os.devnull)
        shown = (repr(config), str(config), f"{config}", f"{[config]}", format(config))
        assert [text for text in shown if TOKEN[:12] in text] == []


# ------------------------------------------------------------------------------------------------
# Part 2, from inside: errors
# ------------------------------------------------------------------------------------------------

#: HTTP status: error code, words of the message, whether a change may have been made.
STATUSES = {
    200: (API_ERROR, "JSON SENTRY_URL again", True),
    204: (API_ERROR, "JSON SENTRY_URL again", True),
    300: (API_ERROR, "https://moved.example SENTRY_URL", False),
    302: (API_ERROR, "https://moved.example SENTRY_URL", False),
    400: (API_ERROR, "because again", False),
    401: (AUTH, "SENTRY_AUTH_TOKEN because event:read", False),
    403: (AUTH, "SENTRY_AUTH_TOKEN because event:read acme shop-api", False),
    404: (NOT_FOUND, f"issue_4501 because {SEARCH} SENTRY_ORG=acme {HOST}", False),
    408: (API_ERROR, "408 because again", True),
    410: (API_ERROR, "because sentry_mcp.py", False),
    418: (API_ERROR, "because again", False),
    429: (LIMITED, "because again 7", False),
    500: (API_ERROR, "500 because again", True),
    502: (API_ERROR, "502 because again", True),
    504: (API_ERROR, "504 because again", True),
}
#: Bodies of errors, and a word of the message.
BODIES = [
    *(
        (body, "because")
        for body in (
            *({key: why} for key in ("detail", "message") for why in ("because", ["because"])),
            {"detail": {"code": "x", "message": "because"}},
            {"detail": None, "because": 1},
            {"statusDetails": {"inNextRelease": ["because"]}},
            *(["because"], "because", " because. "),
        )
    ),
    *((empty, "no reason") for empty in (None, "", [], {})),
    *((page, "web page") for page in ("<html>x", "\n <!doctype html>")),
    *((body, str(body)[:9]) for body in (5, 1.5, True, "{braces} {0}", "x" * 100_000)),
    (json.loads("[" * 400 + "]" * 400), "[[["),
]


def http_error(status: int, body: Any, token: str = TOKEN) -> Any:
    """The error, with all that messages may name."""
    environ = {**CONFIGURED, "SENTRY_URL": HOST, "SENTRY_AUTH_TOKEN": token}
    facts = {"subject": "issue 4501", "location": "https://moved.example"}
    config = m.load_config(environ, os.devnull)
    return m.map_http_error(status, body, config, wait=7, **facts)


def network_errors() -> list[tuple[Exception, str, bool]]:
    """Exceptions as requests raises them, words of the message, whether a change may be made."""
    pool = urllib3.HTTPSConnectionPool("h")
    lost = urllib3.exceptions.ProtocolError("Connection aborted.", ConnectionResetError(104, "x"))
    errors, url, base = requests.exceptions, "/issues/?query=x", urllib3.exceptions

    def retried(kind: type, reason: Exception) -> Exception:
        return kind(base.MaxRetryError(pool, url, reason))

    refused = base.NewConnectionError(pool, "Failed to establish a new connection: refused")
    unknown = base.NameResolutionError("h", pool, socket.gaierror(-2, "unknown"))
    untrusted = base.SSLError(ssl.SSLCertVerificationError(1, "certificate verify failed"))
    tunnel = base.ProxyError("Cannot connect to proxy.", OSError("Tunnel failed: 403"))
    late = base.ReadTimeoutError(pool, url, "Read timed out. (read timeout=22)")
    return [
        (retried(errors.SSLError, untrusted), "REQUESTS_CA_BUNDLE", False),
        (errors.SSLError(untrusted), "REQUESTS_CA_BUNDLE", False),
        (retried(errors.ProxyError, tunnel), "HTTPS_PROXY", False),
        (retried(errors.ConnectionError, refused), "no connection.*SENTRY_URL", False),
        (retried(errors.ConnectionError, unknown), "no connection.*SENTRY_URL", False),
        (
            retried(errors.ConnectTimeout, base.ConnectTimeoutError(pool, "x")),
            "no connection",
            False,
        ),
        (errors.ReadTimeout(late), "in time", True),
        (retried(errors.ConnectionError, late), "in time", True),
        (late, "in time", True),
        (errors.Timeout(), "in time", True),
        (TimeoutError("timed out"), "in time", True),
        (errors.ContentDecodingError(base.DecodeError("gzip")), "decompressed", True),
        (base.DecodeError("failed to decode it", zlib.error("-3")), "decompressed", True),
        (errors.ConnectionError(lost), "closed the connection", True),
        (retried(errors.ConnectionError, lost), "closed the connection", True),
        (errors.ChunkedEncodingError(base.IncompleteRead(1, 98)), "closed the connection", True),
        (ConnectionResetError(104, "x"), "closed the connection", True),
    ]


def foreign_exceptions() -> Iterator[Exception]:
    """One exception of each class that requests and urllib3 have."""
    for module in (requests.exceptions, urllib3.exceptions):
        for kind in vars(module).values():
            if isinstance(kind, type) and issubclass(kind, Exception):
                for count in range(1, 5):
                    with contextlib.suppress(TypeError):
                        error = kind(*[mock.MagicMock()] * count)
                        repr(error)
                        yield error
                        break
                else:
                    raise AssertionError(f"{kind} cannot be made")


class TestErrors:
    def test_every_row_has_a_case_here(self) -> None:
        assert set(m.HTTP_ERRORS) - {0} <= set(STATUSES)  # 0: see the organization token
        told = [str(m.map_network_error(error, HOST)) for error, *_ in network_errors()]
        rows = [row for row in m.NETWORK_ERRORS if not any(row[1] in text for text in told)]
        assert rows == []

    @pytest.mark.parametrize("status", STATUSES)
    def test_a_status_has_a_code_and_says_what_to_do(self, status: int) -> None:
        code, words, sent = STATUSES[status]
        error = http_error(status, {"detail": "because"})
        assert (error.code, error.status, bool(error.sent)) == (code, status, sent)
        assert [w for w in words.split() if w.replace("_4501", " 4501") not in error.message] == []
        assert error.wait == 7
        assert re.search("( again|SENTRY_|Check |Look |set it)", error.message)
        assert error.message.endswith(".")

    @pytest.mark.parametrize("status", [*range(300, 309), *range(400, 452), *range(500, 512), 599])
    def test_any_status_has_a_message(self, status: int) -> None:
        message = http_error(status, None).message
        assert not re.search(r"[{}]|None|\.\.", message)

    @pytest.mark.parametrize("body, word", BODIES, ids=short)
    @pytest.mark.parametrize("status", [400, 500])
    def test_a_body_of_any_shape_gives_a_reason(self, status: int, body: Any, word: str) -> None:
        message = http_error(status, body).message
        assert word.lower() in message.lower()
        assert len(message) < 600
        assert "<" not in message

    @pytest.mark.parametrize("status", [401, 403])
    def test_an_organization_token_is_explained(self, status: int) -> None:
        error = http_error(status, None, "sntrys_x")
        assert (error.code, error.status) == (AUTH, status)
        assert "user token" in error.message

    def test_a_network_error_says_what_failed(self) -> None:
        for error, words, sent in network_errors():
            mapped = m.map_network_error(error, HOST)
            assert re.search(words, mapped.message), repr(error)
            assert (mapped.code, mapped.status, bool(mapped.sent)) == (API_ERROR, None, sent)

    def test_what_a_query_says_is_not_what_failed(self) -> None:
        reason = urllib3.exceptions.ProtocolError("Connection aborted.", ConnectionResetError())
        for word in ("SSLError", "ProxyError", "NameResolutionError", "TimeoutError", "Decode"):
            retried = urllib3.exceptions.MaxRetryError(None, f"/issues/?query={word}", reason)
            mapped = m.map_network_error(requests.ConnectionError(retried), HOST)
            assert "closed the connection" in mapped.message, word

    def test_every_network_exception_ends_with_what_to_do(self) -> None:
        known = list(foreign_exceptions())
        assert len(known) > 40
        for error in known:
            mapped = m.map_network_error(error, HOST)
            assert isinstance(mapped, m.SentryError)
            assert mapped.message.startswith(f"Cannot use {HOST}: ")
            assert re.search(r"(Call again|Check|REQUESTS_CA_BUNDLE)[^.]*\.$", mapped.message)


# ------------------------------------------------------------------------------------------------
# Part 2, from inside: limits and waiting
# ------------------------------------------------------------------------------------------------

#: The limit, and calls of a period of 60 s: (time, delay until the next one; 0 for a call taken).
WINDOWS = [
    (1, [(0, 0), (0, 60), (59.5, 0.5), (60, 0), (60, 60), (119, 1), (120, 0)]),
    (2, [(0, 0), (10, 0), (20, 40), (60, 0), (60, 10), (70, 0), (70, 50)]),
    (3, [(0, 0), (0, 0), (0, 0), (30, 30), (60, 0), (60, 0), (60, 0), (60, 60)]),
    (2, [(5, 0), (1e9, 0), (1e9, 0), (1e9, 60)]),
]


class TestLimits:
    @pytest.mark.parametrize("limit, calls", WINDOWS, ids=short)
    def test_a_window_is_half_open(self, limit: int, calls: list[tuple[float, float]]) -> None:
        now = [0.0]
        limiter = m.SlidingWindowLimiter(limit, 60.0, lambda: now[0])
        for at, delay in calls:
            now[0] = at
            assert limiter.acquire() == delay, f"at {at}"

    @pytest.mark.parametrize("start", [0.0, 1234.567, 1e6, 1e9])
    def test_waiting_for_the_delay_is_always_enough(self, start: float) -> None:
        chance, now, taken = random.Random(7), [start], []
        limiter = m.SlidingWindowLimiter(3, 60.0, lambda: now[0])
        for _ in range(3000):
            now[0] += chance.random() * 30
            if delay := limiter.acquire():
                assert 0 < delay <= 60
                now[0] += delay
                assert limiter.acquire() == 0.0
            taken.append(now[0])
        assert [at for at, later in zip(taken, taken[3:]) if later - at < 60 - 1e-6] == []  # noqa: B905

    def test_threads_take_exactly_as_many_as_there_are(self) -> None:
        limiter, taken = m.SlidingWindowLimiter(500, 60.0, lambda: 0.0), []

        def take() -> None:
            taken.extend(limiter.acquire() for _ in range(200))

        in_threads(take, 8)
        assert (taken.count(0.0), taken.count(60.0)) == (500, 1100)

    def test_a_call_is_answered_once(self) -> None:
        answers: list[Any] = []
        call = m.Call({"id": 1}, lambda _, answer: answers.append(answer), answers.append)
        call.send("news", last=False)
        in_threads(lambda: call.send("answer"), 8)
        call.send("late news", last=False)
        call.send(None)
        assert answers == ["news", "answer"]

    def test_a_cancelled_call_is_silent(self) -> None:
        answers: list[Any] = []
        call = m.Call({"id": 1}, lambda _, answer: answers.append(answer), answers.append)
        call.send(None)
        call.send("answer")
        assert answers == [None]
        for use in (call.remaining, lambda: call.wait(30)):
            with pytest.raises(m.Cancelled):
                use()

    def test_a_call_that_waits_is_woken_by_its_cancellation(self) -> None:
        call, woken = m.Call({"id": 1}, lambda *answer: None), []

        def wait() -> None:
            with pytest.raises(m.Cancelled):
                call.wait(PATIENCE)
            woken.append(True)

        in_threads(wait, 2, lambda: call.send(None))
        assert woken == [True, True]

    @pytest.mark.parametrize("token", ["p", "", 0, 7, None, True, 1.5, [1]])
    def test_progress_rises_for_who_asked(self, token: Any) -> None:
        sent: list[Any] = []
        params = {"_meta": {"progressToken": token}}
        call = m.Call({"id": 1, "params": params}, notify=sent.append)
        for _ in range(3):
            call.wait(0.02)  # no clock is so coarse that it stands still meanwhile
        asked = 3 if token in ("p", "", 0, 7) and token is not False else 0
        seconds = [message["params"]["progress"] for message in sent]
        assert len({*seconds}) == asked and seconds == sorted(seconds)
        assert all(0 <= progress < PATIENCE for progress in seconds)
        assert all(message["params"]["progressToken"] == token for message in sent)

    def test_time_left_is_never_nothing(self) -> None:
        call = m.Call({"id": 1})
        assert 0 < call.remaining() <= 55
        call.begun -= 100
        assert 0 < call.remaining() < 1


def in_threads(function: Callable[[], Any], count: int, meanwhile: Any = bool) -> None:
    """Run the function in that many threads at once, to the end of all."""
    threads = [threading.Thread(target=function, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    meanwhile()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


# ------------------------------------------------------------------------------------------------
# Part 2, from inside: the Sentry client
# ------------------------------------------------------------------------------------------------

API = f"{HOST}/api/0/organizations/acme/issues/"
RETRY, RESET, LEFT = "Retry-After", "X-Sentry-Rate-Limit-Reset", "X-Sentry-Rate-Limit-Remaining"
#: Headers, where {n} is the time n seconds from now, and the seconds until the limit ends, if told.
RESETS = [
    *(({RETRY: after}, 0) for after in ("", "-5", "1.5", "٣", "soon", "9" * 5000)),
    *(({RESET: reset}, 0) for reset in ("", "-1", "None", "nan", "1.5", "9" * 400)),
    *(({RETRY: str(number)}, number) for number in (0, 5, 3600)),
    *(({RESET: f"{{{number}}}"}, max(number, 0)) for number in (-10, 0, 10, 99_999)),
    ({}, 0),
    ({RESET: "0"}, 0),
    ({RETRY: "5", RESET: "{10}"}, 5),
    ({RETRY: "0", RESET: "{10}"}, 0),
    ({RETRY: "Sun, 06 Nov 1994 08:49:37 GMT", RESET: "{10}"}, 10),
]
OK, BUSY = (200, "[]", {}), (429, '{"detail": "slow"}')
#: Answers in turn: the waits, and the error's code and wait, or None.
LIMITS = {
    "reset": ([(*BUSY, {RESET: "{3}"}), OK], [3], None),
    "silent": ([(*BUSY, {}), OK], [1], None),
    "past": ([(*BUSY, {RESET: "{-9}"}), OK], [1], None),
    "thirty": ([(*BUSY, {RETRY: "30"}), OK], [30], None),
    "too long": ([(*BUSY, {RETRY: "31"}), OK], [], (LIMITED, 31)),
    "still": ([(*BUSY, {RETRY: "2"}), (*BUSY, {RETRY: "4"}), OK], [2], (LIMITED, 2)),
    "worse": ([(*BUSY, {RETRY: "2"}), (403, "{}", {})], [2], (AUTH, 0)),
    "none left": ([(200, "[]", {LEFT: "0", RESET: "{20}"}), OK], [20], None),
    "none left for long": ([(200, "[]", {LEFT: "0", RESET: "{200}"}), OK], [], None),
    "none left, who knows": ([(200, "[]", {LEFT: "0", RESET: "None"}), OK], [], None),
    "one left": ([(200, "[]", {LEFT: "1", RESET: "{20}"}), OK], [], None),
}
#: Of the configuration, of the issue: whether they are the same; None: the issue does not say.
PROJECTS = [
    ("shop-api", {"slug": "shop-api", "id": "5"}, True),
    ("5", {"slug": "shop-api", "id": "5"}, True),
    ("5", {"id": 5}, True),
    ("shop-api", {"slug": "billing", "id": "7"}, False),
    ("5", {"slug": "five", "id": "55"}, False),
    *(("5", odd, None) for odd in ({}, None, 5, [], "5", {"slug": None, "id": ""})),
]
#: Variables, and a line of the file.
READ_ONLY = [({}, f"SENTRY_READ_ONLY={value}") for value in ("", "0", "1", "'1'", "1 # x")]
READ_ONLY += [({}, f"{start}SENTRY_READ_ONLY=1") for start in ("export ", "# ", "X_", " ")]
READ_ONLY += [({}, line) for line in ("'SENTRY_READ_ONLY'=1", "SENTRY_READ_ONLY = 1\r")]
READ_ONLY += [({}, "SENTRY_READ_ONLY=\n1=2"), ({}, "SENTRY_READ_ONLY=1\nSENTRY_READ_ONLY=0")]
READ_ONLY += [({"SENTRY_READ_ONLY": value}, "SENTRY_READ_ONLY=1") for value in ("", " ", "0", "1")]
READ_ONLY += [({"SENTRY_READ_ONLY": "1"}, "SENTRY_READ_ONLY=0")]


class Waiting(m.Call):
    """A call that writes down how long it would wait."""

    def __init__(self) -> None:
        super().__init__({"id": 1})
        self.waits: list[float] = []

    def wait(self, seconds: float) -> None:
        self.waits.append(seconds)


def in_time(headers: dict[str, str]) -> dict[str, str]:
    """The headers with {n} replaced by the epoch n seconds from now."""
    now = time.time()
    return {k: re.sub(r"{(.+)}", lambda n: f"{now + int(n[1]):.0f}", v) for k, v in headers.items()}


def transport(url: str) -> Any:
    return m.new_transport(m.load_config({**CONFIGURED, "SENTRY_URL": url}, os.devnull))


def connected(**changes: str) -> Any:
    sentry = m.Sentry({**CONFIGURED, "SENTRY_URL": HOST, **changes}, os.devnull, [].append)
    sentry.connect()
    return sentry


@pytest.fixture
def web() -> Iterator[Any]:
    """All of the web: what is added to it."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mocked:
        yield mocked


def handle(name: str, sentry: Any, call: Any, **arguments: Any) -> dict[str, Any]:
    """What the tool answers to these arguments."""
    handler, listed, _ = m.TOOLS[name]
    return handler(sentry, call, **m.validate(listed["inputSchema"], arguments))


class TestSentryClient:
    @pytest.mark.parametrize("headers, expected", RESETS, ids=short)
    def test_the_end_of_a_limit_is_read_from_the_headers(
        self, headers: dict, expected: float
    ) -> None:
        headers = in_time(headers)
        assert m.limit_reset(429, headers) == pytest.approx(max(expected, 1), abs=2)
        assert m.limit_reset(200, {**headers, LEFT: "0"}) == pytest.approx(expected, abs=2)
        assert m.limit_reset(200, {**headers, LEFT: "1"}) == m.limit_reset(200, headers) == 0

    @pytest.mark.parametrize("name", LIMITS)
    def test_sentrys_limit_is_kept(self, web: Any, name: str) -> None:
        answers, waits, failed = LIMITS[name]
        for status, body, headers in answers:
            web.add("GET", API, body=body, status=status, headers=in_time(headers))
        sentry, call = connected(), Waiting()
        if failed:
            with pytest.raises(m.SentryError) as caught:
                sentry.search(call, query="")
            assert (caught.value.code, bool(caught.value.wait)) == (failed[0], failed[1] > 0)
            assert caught.value.wait >= failed[1]
        else:
            sentry.search(call, query="")
            if len(web.calls) == 1:
                sentry.search(call, query="")
        assert call.waits == pytest.approx(waits, abs=2)
        assert len(web.calls) == min(len(answers), 2) - (name == "too long")

    def test_a_call_without_time_left_does_not_wait(self, web: Any) -> None:
        web.add("GET", API, status=429, headers={RETRY: "20"})
        call = Waiting()
        call.begun -= 40
        with pytest.raises(m.SentryError, match="20"):
            connected().search(call, query="")
        assert (call.waits, len(web.calls)) == ([], 1)

    @pytest.mark.parametrize("project, key", [("shop-api", "projectSlug"), ("5", "project")])
    def test_a_search_is_of_the_project(self, web: Any, project: str, key: str) -> None:
        web.add("GET", API, json=[])
        connected(SENTRY_PROJECT=project).search(Waiting(), query="a&b", limit=3)
        request = web.calls[0].request
        wanted = {"query": "a&b", "limit": "3", key: project}
        assert request.params == wanted | {"collapse": ["filtered", "unhandled"]}
        assert request.headers["Authorization"] == f"Bearer {TOKEN}"
        assert f"sentry_mcp/{m.__version__}" in request.headers["User-Agent"]

    def test_every_tool_keeps_to_its_paths(self, web: Any) -> None:
        web.add("GET", f"{API}4501/", json=issue(4501, "SHOP-API-1", 5, "x"))
        web.add("PUT", f"{API}4501/", json=issue(4501, "SHOP-API-1", 5, "x", status="resolved"))
        web.add("POST", f"{API}4501/notes/", json={"id": "1"})
        web.add("GET", re.compile(f"{API}4501/events/(latest|oldest)/"), json=sample_event())
        for name, arguments in (
            (DETAIL, {"event": "oldest"}), (BREADCRUMBS, {}), (RESOLVE, {"comment": " Fixed "}),
        ):  # fmt: skip
            handle(name, connected(), Waiting(), issueId="4501", **arguments)
        made = [f"{c.request.method} {c.request.url.removeprefix(API)}" for c in web.calls]
        assert made[-3:] == ["GET 4501/", "PUT 4501/", "POST 4501/notes/"]
        detail = ["GET 4501/", "GET 4501/events/oldest/"]
        assert sorted(made[:4]) == sorted([*detail, "GET 4501/", "GET 4501/events/latest/"])
        sent = [json.loads(c.request.body) for c in list(web.calls)[-2:]]
        assert sent == [{"status": "resolved", "statusDetails": {}}, {"text": "Fixed"}]

    @pytest.mark.parametrize("again", [200, 404, 500])
    def test_a_change_without_content_is_read_again(self, web: Any, again: int) -> None:
        web.add("GET", f"{API}4501/", json=issue(4501, "SHOP-API-1", 5, "x"))
        web.add("PUT", f"{API}4501/", status=204)
        after = issue(4501, "SHOP-API-1", 5, "x", status="resolved")
        web.add("GET", f"{API}4501/", json=after, status=again)
        if again == 200:
            done = handle(RESOLVE, connected(), Waiting(), issueId="4501")
            assert (done["changed"], done["issue"]["status"]) == (True, "resolved")
        else:
            with pytest.raises(m.SentryError) as caught:
                handle(RESOLVE, connected(), Waiting(), issueId="4501")
            assert "unknown: look" in caught.value.message
        assert [call.request.method for call in web.calls] == ["GET", "PUT", "GET"]

    @pytest.mark.parametrize("project, said, expected", PROJECTS, ids=short)
    def test_an_issue_belongs_to_a_project(
        self, project: str, said: Any, expected: bool | None
    ) -> None:
        sentry = connected(SENTRY_PROJECT=project)
        known = [sentry.in_project({"project": said}, unknown=unknown) for unknown in (True, False)]
        assert known == ([True, False] if expected is None else [expected] * 2)

    def test_an_issue_that_does_not_say_its_project_is_not_changed(self, web: Any) -> None:
        web.add("GET", f"{API}4501/", json={"id": "4501", "status": "unresolved"})
        with pytest.raises(m.SentryError, match="not known to be in") as caught:
            handle(RESOLVE, connected(), Waiting(), issueId="4501")
        assert (caught.value.code, len(web.calls)) == (NOT_FOUND, 1)

    @pytest.mark.parametrize("depth", [*range(900, 1010, 5), 100_000])
    def test_a_deep_answer_is_an_error_of_sentry(self, web: Any, depth: int) -> None:
        web.add("GET", API, status=400, body="[" * depth + "]" * depth)
        with pytest.raises(m.SentryError) as caught:
            connected().search(Waiting(), query="")
        assert caught.value.status == 400

    def test_a_configuration_is_read_until_there_is_one(self) -> None:
        environ: dict[str, str] = {}
        sentry = m.Sentry(environ, os.devnull, [].append)
        with pytest.raises(m.SentryError) as caught:
            sentry.connect()
        assert caught.value.code == NO_SETUP
        environ |= CONFIGURED
        assert sentry.connect() is sentry.connect()

    @pytest.mark.parametrize("environ, line", READ_ONLY, ids=short)
    def test_read_only_is_what_the_configuration_says(
        self, tmp_path: Path, environ: dict, line: str
    ) -> None:
        path = tmp_path / "test.env"
        path.write_text(f"A=1\n{line}\nB=1\n", encoding="utf-8")
        expected = m.load_config(CONFIGURED | environ, str(path)).read_only
        assert m.Sentry(environ, str(path), [].append).read_only() is expected


# ------------------------------------------------------------------------------------------------
# Part 2, from inside: formatters
# ------------------------------------------------------------------------------------------------

#: Text, what must be gone from it, and what must stay.
SECRETS = [
    ("ask dana.w+shop@mail.example.com now", ["dana", "example.com"], ["ask", "now"]),
    ("postgres://app:hunter2@db:5432/shop", ["hunter2"], ["postgres://", "@db:5432/shop"]),
    ("https://u:p%40ss@h/x?y=1", ["p%40ss"], ["https://", "@h/x?y=1"]),
    ("/v1?token=abc123&base=USD", ["abc123"], ["/v1?token=", "&base=USD"]),
    ("/cb?x=1&access_token=abc123#top", ["abc123"], ["x=1", "#top"]),
    ("https://h/#id_token=abc123", ["abc123"], ["https://h/#"]),
    ("password = 'hunter2'", ["hunter2"], ["password = '"]),
    ('{"api_key": "abc123", "base": "USD"}', ["abc123"], ['"base": "USD"']),
    ("DB_PASSWORD='hunter2' PORT='5432'", ["hunter2"], ["PORT='5432'"]),
    ("secret='a\\'hunter2' x='y'", ["hunter2"], ["x='y'"]),
    ("token='never closed hunter2", ["hunter2"], ["token='"]),
    ("to\u200bken='hun\u202eter2'", ["hunter2", "\u200b", "\u202e"], ["token='"]),
]
HARMLESS = [
    "shop-api@2.4.1",
    "@app.route('/checkout')",
    "git+ssh://git@host/x",
    "Chrome 126.0.0.0",
    "/usr/lib/python3.12/site-packages/requests/sessions.py",
    "C:\\Users\\ci\\shop\\checkout.py",
    "node_modules/@sentry/node@8.1.0/index.js",
    "TypeError: can't read 'x' of None\n\tat f (a.js:1:2)",
    "author='Kim'",
    "monkey = 'x'; keyboard = 'y'",
    "token = get_token()",
    "https://h/search?q=rates&page=2",
    "café ☃ 東京 😀",
    "2026-01-02T03:04:05.678Z",
]
HIDDEN_KEYS = "password db_passwd apiKey API-Key X-Auth-Token sessionId csrftoken Cookie jwt email"
HIDDEN_KEYS += " client_secret Authorization ip ip_address first_name user_name private_key dsn ssn"
SHOWN_KEYS = "currency author authority hostname filename zip shipping keyboard monkey description"
SHOWN_KEYS += " table function status_code level passing path pinned"
#: mechanism.exception_id of A, B and C, and the order that they are told in.
CHAINS = [([2, 1, 0], "CBA"), ([1, 2, 0], "CAB"), ([0, 1, 2], "ABC"), ([7, 5, 9], "BAC")]
CHAINS += [([1, None, 0], "CBA"), ([1, 1, 0], "CBA"), ([None] * 3, "CBA"), ([[0], {}, 2], "BAC")]
HOSTILE_TEXT = (
    "a @ a@ a. a@a. . :// ://a: ?a=& &token= token=' ' \\' passw= ( {0} \t \u202e é 😀 < %"
)


def event_of(*entries: tuple[str, Any], **more: Any) -> dict:
    return {"entries": [{"type": kind, "data": data} for kind, data in entries], **more}


def crash_of(*frames: dict) -> dict:
    return event_of(("exception", {"values": [raised("Error", "x", *frames)]}))


def format_all(event: Any) -> Any:
    return m.hide_user(m.format_event(event, True, True, m.FULL), event)


def linked(kind: str, number: Any) -> dict:
    return {"type": kind, "mechanism": {"exception_id": number} if number is not None else None}


def shown_frames(*frames: dict) -> list[dict]:
    """The frames as they come out, after a check that every one is there or counted."""
    shown = format_all(crash_of(*frames))["stacktrace"]["frames"]
    assert sum(frame.get("omitted", 1) for frame in shown) == len(frames)
    return shown


def full_event() -> dict:
    """An event with everything that is read, so that each part can be replaced."""
    event = sample_event()
    event["entries"][0]["data"]["values"][2]["mechanism"] = {"exception_id": 0, "handled": False}
    event["entries"][0]["data"]["values"][2]["threadId"] = 1
    thread = {"id": 1, "crashed": True, "stacktrace": {"frames": [frame("a.c", "f", 1, "x\n")]}}
    event["entries"] += [
        {"type": "message", "data": {"formatted": "x"}},
        {"type": "threads", "data": {"values": [thread]}},
        {"type": "csp", "data": {"effective_directive": "img-src", "blocked_uri": "x"}},
    ]
    evidence = {"evidenceDisplay": [{"name": "query", "value": "SELECT", "important": True}]}
    event |= {"title": "t", "occurrence": evidence, "errors": [{"type": "js_no_source"}]}
    return event


def odd_versions(whole: dict) -> Iterator[None]:
    """The value with each part of it replaced in turn, in place."""
    places, queue = [], [whole]
    for part in queue:
        for key in list(part) if isinstance(part, dict) else range(len(part)):
            places.append((part, key))
            if isinstance(part[key], (dict, list)):
                queue.append(part[key])
    for part, key in places:
        kept = part[key]
        for odd in (None, 5, "x", [], {}, [None], True, [[]], {"x": None}, -1.5):
            part[key] = odd
            yield
        part[key] = kept


class Given(m.Sentry):
    """Has an issue and its event."""

    def __init__(self, given: tuple[dict, dict]) -> None:
        super().__init__(CONFIGURED, os.devnull, [].append)
        self.given = given

    def issue(self, *asked: Any, **more: Any) -> tuple[dict, dict]:
        return self.given


def wire(data: Any) -> bytes:
    """The line that answers with the data of a tool."""
    compact = {"ensure_ascii": False, "separators": (",", ":")}
    content = [{"type": "text", "text": json.dumps(data, **compact)}]
    answered = {"content": content, "structuredContent": data}
    line = json.dumps({"jsonrpc": "2.0", "id": 10**9, "result": answered}, **compact)
    return line.encode("utf-8", "backslashreplace") + b"\n"


def long_chain(piece: str, count: int) -> dict:
    long = (piece * 60_000)[:60_000]
    at = frame("a.py", "f", 5, f"{piece * 99}\n")
    return event_of(
        ("exception", {"values": [raised(f"Error{n}", long, at) for n in range(count)]})
    )


def vast(key: str) -> dict:
    """A crash with a part that has far too much of everything."""
    much = {f"{key}{n}" * 9: ["☃" * 999] * 50 for n in range(500)}
    tags = [{"key": name, "value": str(value)} for name, value in much.items()]
    crash = crash_of(frame("a.py", "f", 1, "x\n", much if key == "vars" else None))
    return crash | ({"tags": tags} if key == "tags" else {key: {"a": much, **much}})


def long_stack() -> dict:
    return crash_of(*(frame(f"é{n}.py" * 50, "f" * 99, n, "é" * 200 + "\n") for n in range(3000)))


def long_trail() -> dict:
    data = {f"k{n}": '"' * 999 for n in range(9)}
    crumbs = [crumb(n, "x" * 999, "☃" * 9999, **data) for n in range(150)]
    trail = ("breadcrumbs", {"values": crumbs})
    return event_of(
        ("exception", {"values": [raised("Error", "x", frame("a", "f", 1, "x\n"))]}), trail
    )


#: Events that are far too large in one way each.
MONSTERS = {
    "quotes": lambda: long_chain("\"\\'", 60),
    "emoji": lambda: long_chain("😀\u2764\ufe0f", 60),
    "controls": lambda: long_chain("\0\x1b\n\t", 60),
    "letters": lambda: long_chain("letters, ", 40),
    "stack": long_stack,
    "trail": long_trail,
    **{key: lambda key=key: vast(key) for key in ("vars", "tags", "contexts", "unknown")},
}


class TestFormatters:
    @pytest.mark.parametrize("category", ["Cc", "Cf", "Cs", "Co", "Zl", "Zp", "variation"])
    def test_what_cannot_be_seen_is_removed(self, category: str) -> None:
        selectors = {chr(n) for n in (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))}
        codes = [c for c in map(chr, range(0x110000)) if unicodedata.category(c) == category]
        codes = [c for c in codes or selectors if c not in "\t\n"]
        for start in range(0, len(codes), 500):
            some = codes[start : start + 500]
            left = m.clean("".join(f"a{c}b" for c in some), 5000)
            assert not {*some} & {*left}
            assert left.replace(" ", "") == "ab" * len(some)

    @pytest.mark.parametrize("text, gone, kept", SECRETS, ids=short)
    def test_secrets_and_people_are_filtered_from_text(
        self, text: str, gone: list[str], kept: list[str]
    ) -> None:
        left = m.clean(text, 500)
        assert [word for word in gone if word in left] == []
        assert [word for word in kept if word not in left] == []
        assert m.clean(left, 500) == left

    @pytest.mark.parametrize("text", HARMLESS, ids=short)
    def test_text_that_a_fix_needs_survives(self, text: str) -> None:
        assert m.clean(text, 500) == text
        assert m.clean(f"in {text} at", 500) == f"in {text} at"

    def test_text_is_clipped_and_says_so(self) -> None:
        assert m.clean("x" * 100, 100) == "x" * 100
        assert re.fullmatch(r"x{100}… \[99900 more characters\]", m.clean("x" * 100_000, 100))

    def test_hostile_text_costs_no_time(self) -> None:
        started = time.monotonic()
        for piece in HOSTILE_TEXT.split(" "):
            text = (piece or " ") * (100_000 // len(piece or " "))
            for limit in (200, 2000, 100_000):
                assert len(m.clean(text, limit)) <= limit + 40
                m.clean(f"token='{text}", limit)
                m.clean(f"?{text}@a", limit)
        assert time.monotonic() - started < 5

    def test_a_value_is_bounded_in_every_direction(self) -> None:
        deep: Any = "x"
        for _ in range(400):
            deep = {"a": [deep]}
        wide = {f"k{n}": [list(range(1000))] * 100 for n in range(1000)}
        for value in (deep, wide, [wide] * 100, ["x" * 10_000] * 1000, {"k" * 10_000: 1}):
            shown = m.mask(value, m.FULL)
            assert len(json.dumps(shown)) < 100_000
            assert re.search("omitted|more characters", json.dumps(shown))
        assert m.mask(list(range(100)), m.FULL)[-1] == {"omitted": 100 - m.FULL.items}

    @pytest.mark.parametrize(
        "value", [float("nan"), float("inf"), -float("inf"), 2**64, -(2**64), 10**400], ids=short
    )
    def test_a_number_that_clients_cannot_read_becomes_text(self, value: float) -> None:
        assert isinstance(m.mask({"x": value}, m.FULL)["x"], str)

    @pytest.mark.parametrize("value", [None, True, 0, -1, 2**62, 1.5, "x", [], {}, [{"a": [1]}]])
    def test_a_plain_value_stays_what_it_is(self, value: Any) -> None:
        assert m.mask({"x": value}, m.FULL) == {"x": value}

    def test_values_are_filtered_by_their_key(self) -> None:
        for key in HIDDEN_KEYS.split():
            for value in ("planted", 7, ["planted"], {"a": "planted"}):
                assert m.mask({"a": {key: value}}, m.FULL) == {"a": {key: "[Filtered]"}}, key
            assert m.mask([[key, "planted"]], m.FULL) == [[key, "[Filtered]"]], key
        for key in SHOWN_KEYS.split():
            assert m.mask({key: "x"}, m.FULL) == {key: "x"}, key
            assert m.mask([[key, "x"]], m.FULL) == [[key, "x"]], key

    def test_of_a_user_only_the_id_is_passed_on(self) -> None:
        assert m.mask({"user": "id:7"}, m.FULL) == {"user": "id:7"}
        assert m.mask({"user": "email:a@b.example"}, m.FULL) == {"user": "[Filtered]"}
        shown = m.mask({"user": {"id": "7", **PERSON}}, m.FULL)["user"]
        assert shown["id"] == "7"
        assert [value for value in PERSON.values() if value in str(shown)] == []

    @pytest.mark.parametrize("field", PERSON)
    def test_the_user_is_named_nowhere(self, field: str) -> None:
        event = full_event() | {"user": PERSON}
        event["contexts"]["a"] = {"x": [f"for {PERSON[field]}, in JSON"]}
        event["entries"][0]["data"]["values"][2]["value"] = f"no rate for {PERSON[field]}"
        assert PERSON[field] not in json.dumps(format_all(event))

    @pytest.mark.parametrize("ids, expected", CHAINS, ids=short)
    def test_a_chain_goes_from_what_surfaced_to_the_root(self, ids: list, expected: str) -> None:
        values = [linked(kind, number) for kind, number in zip("ABC", ids)]  # noqa: B905
        event = event_of(("exception", {"values": values}))
        assert "".join(value["type"] for value in m.exception_chain(event)) == expected
        shown = format_all(event)
        told = [shown["exception"]["type"], *(cause["type"] for cause in shown["causes"])]
        assert "".join(told) == expected

    @pytest.mark.parametrize("size", [1, 2, 3])
    @pytest.mark.parametrize("source", ["", "x()\n"])
    def test_a_recursion_is_folded(self, size: int, source: str) -> None:
        cycle = [frame("a.py", f"f{n}", n, source) for n in range(size)]
        ends = frame("main.py", "main", 1, "f()\n"), frame("b.py", "crash", 9, "1 / 0\n")
        shown = shown_frames(ends[0], *cycle * 100, ends[1])
        assert len(shown) <= 2 + 4 * size + 1
        assert (shown[0]["function"], shown[-1]["function"]) == ("main", "crash")

    def test_calls_from_other_lines_are_no_recursion(self) -> None:
        frames = [frame("a.py", "f", line, "f()\n") for line in range(1, 9)]
        assert [shown["lineNo"] for shown in shown_frames(*frames)] == list(range(1, 9))

    def test_the_stack_is_of_the_thread_that_raised(self) -> None:
        stacks = [{"frames": [frame(f"{n}.py", "f", n, "x\n")]} for n in (1, 2)]
        crashed = {"id": 1, "crashed": True, "stacktrace": stacks[0]}
        other = {"id": 2, "crashed": False, "stacktrace": stacks[1]}
        error = {"type": "E", "value": "x", "threadId": 2}
        threads = ("threads", {"values": [crashed, other]})
        event = event_of(("exception", {"values": [error]}), threads)
        assert format_all(event)["crashedAt"] == "2.py:2 in f"
        assert format_all(event_of(threads))["crashedAt"] == "1.py:1 in f"

    def test_runs_of_library_frames_are_folded(self) -> None:
        library = [frame(f"lib{n}.py", "call", n, "") for n in range(30)]
        own = frame("a.py", "f", 1, "x\n")
        shown = shown_frames(*library, own, *library, own, *library)
        assert [frame.get("filename") for frame in shown if frame.get("inApp")] == ["a.py"] * 2
        assert len(shown) <= 14
        assert (shown[0]["filename"], shown[-1]["filename"]) == ("lib0.py", "lib29.py")
        keys = {"filename", "function", "lineNo", "inApp"}
        assert all(frame.keys() == keys for frame in shown if frame.get("inApp") is False)

    def test_without_frames_of_its_own_the_last_keep_their_source(self) -> None:
        library = [{**frame("lib.py", f"f{n}", n, "x\n"), "inApp": False} for n in range(1, 9)]
        shown = shown_frames(*library)
        assert ["context" in frame for frame in shown][-3:] == [True] * 3
        assert format_all(crash_of(*library))["crashedAt"] == "lib.py:8 in f8"

    def test_a_thousand_frames_keep_the_newest(self) -> None:
        shown = shown_frames(*(frame(f"a{n}.py", f"f{n}", n, "x\n") for n in range(1000)))
        assert len(shown) <= m.FULL.frames + 3
        assert [frame["lineNo"] for frame in shown[-5:]] == list(range(995, 1000))

    def test_the_crash_frame_has_locals_and_eleven_lines(self) -> None:
        text = "\n".join(f"line {n}" for n in range(41))
        crash = {**frame("a.py", "f", 100, text, {"x": 1}), "lineNo": 80}
        library = [frame(f"lib{n}.py", "call", n, "") for n in range(5)]
        event = crash_of(frame("m.py", "main", 1, "f()\n"), crash, *library)
        told = format_all(event)
        [shown] = [one for one in told["stacktrace"]["frames"] if "vars" in one]
        assert told["crashedAt"] == "a.py:80 in f"
        assert [number for number, _ in shown["context"]] == list(range(75, 86))
        assert (shown["vars"], shown["lineNo"]) == ({"x": 1}, 80)

    def test_an_event_without_an_exception_still_tells(self) -> None:
        told = format_all(event_of(("message", {"formatted": "low stock"})))
        assert (told["message"], told["crashedAt"]) == ("low stock", None)
        stacks = [
            {"id": n, "stacktrace": {"frames": [frame(f"t{n}.c", "f", n, "")]}} for n in (1, 2)
        ]
        stacks[1]["crashed"] = True
        assert format_all(event_of(("threads", {"values": stacks})))["crashedAt"] == "t2.c:2 in f"
        csp = {"effective_directive": "img-src", "blocked_uri": "https://x.example"}
        assert "img-src" in json.dumps(format_all(event_of(("csp", csp))))
        odd = format_all(event_of(("hpkp", {"hostname": "h.example"}), title="It broke"))
        assert "h.example" in json.dumps(odd)
        assert odd["message"] == "It broke"

    def test_fields_have_the_types_of_the_contract(self) -> None:
        told = format_all(full_event())
        assert (told["release"], told["environment"]) == ("shop@2.4.1", "production")
        assert told["tags"]["browser"] == "Firefox 141"
        row = m.format_issue(issue(1, "A-1", 5, "x", count="1207", userCount="7"))
        assert (row["count"], row["userCount"]) == (1207, 7)

    def test_odd_data_never_raises_and_is_never_changed(self) -> None:
        event = full_event()
        before, row = json.dumps(event), issue(1, "A-1", 5, "x", assignedTo={"type": "team"})
        assert format_all(event)["causes"]
        for _ in odd_versions(event):
            for trace in (True, False):
                told = m.format_event(event, trace, trace, m.FULL)
                assert json.loads(json.dumps(told, allow_nan=False)) == told
        for _ in odd_versions(row):
            json.dumps(m.format_issue(row), allow_nan=False)
        assert json.dumps(event) == before

    @pytest.mark.parametrize("name", MONSTERS)
    def test_a_reply_of_any_event_fits(self, name: str) -> None:
        event, shown = MONSTERS[name](), {}
        row = issue(4501, "SHOP-API-1", 5, "é" * 9999)
        for tool in (DETAIL, BREADCRUMBS):
            arguments = {"issueId": "4501", **({"limit": 100} if tool == BREADCRUMBS else {})}
            data = shown[tool] = handle(tool, Given((row, event)), Waiting(), **arguments)
            assert len(wire(data)) <= 64 * 2**10
        kinds = [value["type"] for value in m.exception_chain(event)]
        told = shown[DETAIL]["latestEvent"]
        values = [told["exception"], *told["causes"]] if kinds else []
        assert [value.get("type") for value in values] == kinds
        assert all(value["value"] for value in values)
        crash = [frame for frame in told["stacktrace"]["frames"] if "context" in frame]
        assert not kinds or crash[-1]["context"]

    def test_an_ordinary_event_takes_little_room(self) -> None:
        event = full_event()
        build = lambda limits: m.format_event(event, True, True, limits)  # noqa: E731
        told = m.fit(event, {}, "latestEvent", build)
        assert len(json.dumps(told)) <= 8 * 2**10
        assert "shortened" not in told


# ------------------------------------------------------------------------------------------------
# Part 2, from inside: argument validation and tools
# ------------------------------------------------------------------------------------------------

A_COUNT = {"type": "number", "minimum": 1, "maximum": 25, "default": 10}
A_WORD = {"type": "string", "enum": ["one", "two"], "default": "two"}
AN_ID, A_FLAG = {"type": "string", "minLength": 1}, {"type": "boolean", "default": True}
#: A rule, whether it is required, the arguments, and the value or words of the refusal.
RULES = [
    *((A_COUNT, False, {"x": x}, expected) for x, expected in ((1, 1), (25, 25), (25.0, 25))),
    *((A_COUNT, False, {"x": odd}, ["x", "1 to 25"]) for odd in (0, 26, 1.5, True, "7", None, [])),
    *((A_COUNT, False, {"x": float(odd)}, ["x", "1 to 25"]) for odd in ("nan", "inf", "1e300")),
    *((A_WORD, False, {"x": odd}, ["x", "one, two"]) for odd in ("", "One", None, ["one"], True)),
    *((AN_ID, True, {"x": x}, "12") for x in ("12", 12, 12.0)),
    *((AN_ID, True, {"x": odd}, ["x"]) for odd in ("", None, 1.5, True, {}, ["A-1"])),
    *((A_FLAG, False, {"x": odd}, ["x", "true or false"]) for odd in (0, 1, "true", None)),
    *((rule, False, {}, rule.get("default")) for rule in (A_COUNT, A_WORD, AN_ID, A_FLAG)),
    (A_WORD, False, {"x": "one"}, "one"),
    (A_FLAG, False, {"x": False}, False),
    ({"type": "string"}, False, {"x": ""}, ""),
    (AN_ID, True, {}, ["x", "missing"]),
    *((AN_ID, False, {odd: 1}, [odd[:9], "x"]) for odd in ("y", "X", "y" * 5000)),
]
#: Optional arguments beyond the contract.
EXTRAS = {SEARCH: ["environment", "cursor"], DETAIL: ["event"], BREADCRUMBS: [], RESOLVE: []}


class TestValidation:
    @pytest.mark.parametrize("rule, required, arguments, expected", RULES, ids=short)
    def test_a_value_is_taken_or_told_what_is_right(
        self, rule: dict, required: bool, arguments: dict, expected: Any
    ) -> None:
        schema = {"type": "object", "properties": {"x": rule}}
        schema |= {"required": ["x"]} if required else {}
        if not isinstance(expected, list):
            value = m.validate(schema, arguments)["x"]
            assert (value, type(value)) == (expected, type(expected))
            return
        with pytest.raises(m.SentryError) as caught:
            m.validate(schema, arguments)
        assert (caught.value.code, caught.value.status) == (WRONG, 400)
        assert [word for word in expected if word not in caught.value.message] == []
        assert len(caught.value.message) < 400

    def test_arguments_are_not_changed(self) -> None:
        arguments = {"x": 5.0}
        m.validate({"properties": {"x": A_COUNT}}, arguments)
        assert type(arguments["x"]) is float


class TestTools:
    def test_there_are_four_tools_and_a_resource(self) -> None:
        assert list(m.TOOLS) == list(TOOLS)
        assert (m.RESOURCE["uri"], m.RESOURCE["mimeType"]) == (RECENT, "application/json")

    @pytest.mark.parametrize("name", TOOLS)
    def test_a_schema_is_that_of_the_contract(self, name: str) -> None:
        schema = m.TOOLS[name].listed["inputSchema"]
        assert list(schema["properties"]) == [*ARGUMENTS[name], *EXTRAS[name]]
        for argument, rule in schema["properties"].items():
            kind, bound, default = ARGUMENTS[name].get(argument, (rule["type"], None, None))
            assert rule["type"] == kind
            assert (rule.get("enum"), rule.get("maximum")) in ((bound, None), (None, bound))
            assert rule.get("minimum") == (1 if kind == "number" else None)
            if argument not in EXTRAS[name]:
                assert rule.get("default") == default
            assert 10 < len(rule["description"]) < 120
            assert not re.search(r"\s\s|\s$", rule["description"])
        assert m.validate(schema, {"issueId": "1"} if name != SEARCH else {})

    @pytest.mark.parametrize("name", TOOLS)
    def test_a_tool_is_one_unit(self, name: str) -> None:
        handler, listed, _ = m.TOOLS[name]
        assert listed["name"] == f"sentry_{handler.__name__}" == name
        told = " ".join(handler.__doc__.split())
        assert told.startswith(listed["description"])
        for argument, rule in listed["inputSchema"]["properties"].items():
            assert f"{argument}: {rule['description']}" in told
        assert listed["annotations"] == {
            "readOnlyHint": name != RESOLVE,
            "destructiveHint": name == RESOLVE,
            "idempotentHint": True,
            "openWorldHint": True,
        }
        output = listed["outputSchema"]
        assert set(output["required"]) <= set(output["properties"])

    @pytest.mark.parametrize("name", TOOLS)
    def test_defaults_are_in_the_schema_alone(self, name: str) -> None:
        given = list(inspect.signature(m.TOOLS[name].handler).parameters.values())[2:]
        assert all(one.kind in (one.KEYWORD_ONLY, one.VAR_KEYWORD) for one in given)
        assert all(one.default is one.empty for one in given)


# ------------------------------------------------------------------------------------------------
# Part 2, from inside: the protocol and the server
# ------------------------------------------------------------------------------------------------

HELLO = {"jsonrpc": "2.0", "id": 0, "method": "initialize"}
#: A line, and its message or the code of the error.
MESSAGES = [
    *((b"{}", {}), (b' [1, "x", null] \r\n', [1, "x", None]), (b'"\\ud800"', "\ud800")),
    ('{"é": "☃😀"}'.encode(), {"é": "☃😀"}),
    *((line, PARSE) for line in (b"", b"NaN", b"[Infinity]", b'{"x": -Infinity}', b"{'a': 1}")),
    *((line, PARSE) for line in (b"{} {}", b'"\xff"', b'"\xed\xa0\x80"', b"\xef\xbb\xbf{}")),
    *((line, PARSE) for line in (b"[" * 100_000, b"9" * 10_000)),
    (b" " * (16 * 2**20 + 1), INVALID),
]


def serve(*messages: Any, sentry: Any = None, output: Any = None, revision: str = LEGACY[0]) -> Any:
    """What a server in this process answers to the messages, line by line, and what it logs."""
    log, output = [], output or io.BytesIO()
    sentry = sentry or m.Sentry({}, os.devnull, log.append)
    first = [{**HELLO, "params": initialize_params(revision)}] if revision in LEGACY else []
    lines = [json.dumps(one).encode() if not isinstance(one, bytes) else one for one in messages]
    text = b"\n".join([json.dumps(one).encode() for one in first] + lines) + b"\n"
    m.Server(sentry, io.BytesIO(text), output, log.append).serve()
    received = output.getvalue()
    assert received.count(b"\n") == len(received.splitlines())
    return (
        [json.loads(line) for line in received.splitlines()][len(first) :],
        "".join(log),
        received,
    )


def asked(method: str, request_id: Any = 1, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}


class Broken(m.Sentry):
    """Has a bug."""

    def search(self, *arguments: Any, **params: Any) -> Any:
        raise ZeroDivisionError("planted-in-a-bug")


class SlowOutput(io.BytesIO):
    """Takes its time to write, as a pipe that is full."""

    def write(self, data: Any) -> int:
        threading.Event().wait(0.2)
        return super().write(data)


class TestProtocol:
    @pytest.mark.parametrize("line, expected", MESSAGES, ids=short)
    def test_a_line_is_json_or_an_error(self, line: bytes, expected: Any) -> None:
        if not isinstance(expected, int):
            assert m.parse_message(line) == expected
            return
        with pytest.raises(m.MCPError) as caught:
            m.parse_message(line)
        assert caught.value.error["code"] == expected

    @pytest.mark.parametrize("revision", LEGACY)
    def test_a_batch_is_of_one_revision(self, revision: str) -> None:
        ping = asked("ping", "a")
        answers, *_ = serve([ping, {"method": "x"}, 5], [{"method": "x"}], [], revision=revision)
        if revision == "2025-03-26":
            [batch, empty] = answers
            assert [one.get("id") for one in batch] == ["a", None]
            assert empty["error"]["code"] == INVALID
        else:
            assert [answer["error"]["code"] for answer in answers] == [INVALID] * 3

    def test_a_bug_is_told_to_the_log_alone(self) -> None:
        broken = Broken({**CONFIGURED, "SENTRY_URL": HOST}, os.devnull, [].append)
        call = asked("tools/call", name=SEARCH, arguments={})
        [answer], log, received = serve(call, sentry=broken)
        assert answer["error"] == {"code": -32603, "message": "Internal error"}
        assert answer["id"] == 1
        assert "planted-in-a-bug" in log
        assert b"planted" not in received
        assert b"ZeroDivision" not in received

    def test_what_was_read_is_answered_before_the_end(self) -> None:
        call = asked("tools/call", name=SEARCH, arguments={})
        [answer], *_ = serve(call, output=SlowOutput())
        assert answer["result"]["isError"] is True

    @pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="needs an unreadable file")
    def test_a_file_that_cannot_be_read_is_an_error_of_the_tool(self) -> None:
        sentry = m.Sentry(CONFIGURED, "/proc/self/mem", [].append)
        call = asked("tools/call", name=SEARCH, arguments={})
        listed, failed = serve(asked("tools/list", 2), call, sentry=sentry)[0]
        assert len(listed["result"]["tools"]) == 4
        assert json.loads(failed["result"]["content"][0]["text"])["error"]["code"] == NO_SETUP

    def test_the_log_ends_before_a_pipe_is_full(self, capfd: Any) -> None:
        log = m.Log()
        for _ in range(1000):
            assert log.write("é\ud800x\n") == 4
        log.flush()
        assert 3000 < len(capfd.readouterr().err.encode()) <= 4096
        log.left = -9  # as two threads leave it that take the last bytes at once
        log.write("x" * 99)
        assert capfd.readouterr().err == ""

    @pytest.mark.parametrize("auth", [None, 5, {}, {"scopes": None}, {"scopes": [None, {}]}])
    def test_a_check_of_odd_answers_says_something(self, web: Any, auth: Any) -> None:
        web.add("GET", f"{HOST}/api/0/", json={"auth": auth, "version": "0"})
        web.add("GET", API, json=[], headers={"X-Hits": "2"})
        lines = list(m.check(connected()))
        assert all(re.match("(ok    |FAIL  |      )[^ ]", line) for line in lines)
        assert TOKEN not in "".join(lines)
        assert "2 issues" in lines[-1]


# ------------------------------------------------------------------------------------------------
# Part 2, from inside: the promises of the docstring, held against the source
# ------------------------------------------------------------------------------------------------

PARSED = ast.parse(source())
NODES = list(ast.walk(PARSED))
CALLS = [node for node in NODES if isinstance(node, ast.Call)]
LAZY = {"requests", "dotenv", "urllib3"}
#: All that is imported from the standard library: what could start, listen or write is not there.
IMPORTS = {"argparse", "collections", "functools", "gc", "io", "json", "os"}
IMPORTS |= {"re", "sys", "threading", "time", "traceback", "typing"}
#: All that is used of these modules.
USED = {
    "os": {"_exit", "dup", "dup2", "environ", "fdopen", "path", "write"},
    "sys": {"argv", "executable", "exit", "stderr", "stdin", "stdout"},
    "io": {"StringIO", "TextIOBase"},
    "requests": {"Request", "Session"},
}
MUTATING = {"add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop"}
MUTATING |= {"popitem", "popleft", "put", "remove", "reverse", "setdefault", "sort", "update"}
EVIL = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "breakpoint",
    "input",
    "globals",
    "setattr",
    "delattr",
}


def named(node: ast.expr) -> str:
    return ast.unparse(node)


def calls_to(pattern: str) -> list[ast.Call]:
    return [call for call in CALLS if re.fullmatch(pattern, named(call.func))]


def imports(nodes: list[ast.AST]) -> Iterator[tuple[str, int]]:
    """The top-level packages imported, and how far each import is indented."""
    for node in nodes:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
            yield from ((name.partition(".")[0], node.col_offset) for name in names)


def banners() -> list[tuple[int, int, str, str]]:
    """Line, number, title and the names that it announces, of each section."""
    pattern = r"# --- (\d+)\. ([^:\n]+): (\w+(?:, \w+)*)"
    lines = enumerate(source().splitlines(), 1)
    found = [(at, re.match(pattern, line)) for at, line in lines if line.startswith("# ---")]
    return [(at, int(match[1]), match[2], match[3]) for at, match in found]


def defined() -> dict[str, int]:
    """The names of the module with the line where each is first defined."""
    found: dict[str, int] = {}
    for node in PARSED.body:
        for name in [getattr(node, "name", None), *stored(node)]:
            if name and not isinstance(node, (ast.Import, ast.ImportFrom)):
                found.setdefault(name, node.lineno)
    return found


def stored(node: ast.AST) -> set[str]:
    """The names that are assigned in a statement but not in the functions and classes in it."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Lambda)):
        return set()
    inner = set().union(*map(stored, ast.iter_child_nodes(node)))
    here = isinstance(node, ast.Name) and isinstance(node.ctx, (ast.Store, ast.Del))
    return inner | ({node.id} if here else set())


def local(node: ast.AST) -> set[str]:
    """The names that are arguments or variables anywhere in it."""
    inner = [part for part in ast.walk(node) if part is not node]
    return {part.arg for part in inner if isinstance(part, ast.arg)} | {
        part.id for part in inner if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
    }


def code_lines() -> set[int]:
    """The lines that hold code: not blank, no comment, no docstring."""
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    skipped |= {tokenize.ENCODING, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source()).readline):
        if token.type not in skipped:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in NODES:
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(
            node
        ):
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return lines


class TestHostileInside:
    """What a hostile event, server or configuration once got through."""

    def test_an_event_that_cannot_be_shortened_ends_in_an_error(self) -> None:
        with pytest.raises(m.SentryError, match="open it in Sentry"):
            m.fit({"id": "1"}, {}, "text", lambda limits: "x" * 100_000)

    def test_long_crumbs_and_mechanisms_fit(self) -> None:
        crumb = {"type": '"' * 200, "category": "\\" * 200, "level": "😀" * 200, "message": "x"}
        build = lambda limits: [m.format_crumb(crumb, limits) for _ in range(100)]  # noqa: E731
        told = m.fit({"id": "1"}, {}, "b", build)
        assert len(json.dumps(told)) < 200_000

    @pytest.mark.parametrize("text", ["?" * 6000, "?" * 2900 + '= password "" e@', "&a" * 5000])
    def test_no_text_takes_long_to_clean(self, text: str) -> None:
        start = time.monotonic()
        for _ in range(20):
            m.clean(text, 2000)
        assert time.monotonic() - start < 5

    def test_a_file_says_read_only_as_the_env_parser_reads_it(self, tmp_path: Path) -> None:
        file = tmp_path / "x.env"
        rest = "SENTRY_AUTH_TOKEN=t\nSENTRY_ORG=acme\nSENTRY_PROJECT=p\n"
        file.write_text(f"{rest}SENTRY_READ_ONLY=1\nREPLICA_READ_ONLY=0\n")
        sentry = m.Sentry({"SENTRY_READ_ONLY": " "}, str(file), print)
        assert sentry.read_only() and m.load_config({}, str(file)).read_only
        call = m.Call({})
        with pytest.raises(m.SentryError, match="nothing was changed"):
            m.resolve_issue(sentry, call, issueId="1", resolution="resolved", comment=None)

    def test_imports_begin_when_the_tools_are_listed(self) -> None:
        sentry, connecting = m.Sentry({}, os.devnull, print), threading.Event()
        sentry.connect = connecting.set
        server = m.Server(sentry, io.BytesIO(), io.BytesIO(), print)
        for method, params in (("initialize", initialize_params(LEGACY[0])), ("tools/list", {})):
            assert not connecting.is_set()
            message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            server._receive(json.dumps(message).encode())
        assert connecting.wait(PATIENCE)

    def test_a_log_that_nobody_listens_to_is_let_be(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "write", mock.Mock(side_effect=BrokenPipeError))
        log = m.Log()
        assert [log.write("some"), log.write("more")] == [4, 4]
        assert [call.args for call in os.write.mock_calls] == [(2, b"some"), (2, b"")]

    def test_a_write_is_not_repeated_after_a_tls_failure(self) -> None:
        adapter, _, _ = transport("https://sentry.example")
        assert (adapter.max_retries.other, adapter.max_retries.allowed_methods) == (0, ("GET",))

    def test_plain_http_on_loopback_uses_no_proxy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:1")
        monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:1")
        assert transport("http://127.0.0.1:9")[1]["proxies"] == {}
        assert transport("https://sentry.example")[1]["proxies"]["https"]

    def test_a_token_is_gone_before_a_text_is_cut(self) -> None:
        token = "sntryu_" + "ab" * 32
        config = m.load_config(
            {"SENTRY_AUTH_TOKEN": token, "SENTRY_ORG": "acme", "SENTRY_PROJECT": "p"}, os.devnull
        )
        facts = dict.fromkeys(("subject", "location"), "")
        error = m.map_http_error(400, {"detail": "x" * 280 + token}, config, wait=1, **facts)
        assert token[:20] not in error.message

    @pytest.mark.parametrize(
        "value",
        [
            {"clientIp": "x"},
            {"db_pass": "x"},
            {"name": "Authorization", "value": "x"},
            {"pass\u200bword": "x"},
            {"http.query": "token=x&a=1"},
            {"dump": '{\\"password\\": \\"x\\"}'},
            {"dump": "{'password': b'x'}"},
            {"user": "{'name': 'x'}"},
            {"feedback": {"name": "x"}},
        ],
    )
    def test_more_shapes_of_secrets_are_filtered(self, value: dict[str, Any]) -> None:
        shown = json.dumps(m.mask(value, m.FULL))
        assert "Filtered" in shown and not re.search(r"""["' =]x["'& \\]""", shown)

    def test_a_secret_that_is_not_there_is_not_made_up(self) -> None:
        assert m.mask({"name": "password", "size": 8}, m.FULL) == {"name": "password", "size": 8}

    @pytest.mark.parametrize("name", ["query", "environment"])
    def test_half_a_character_is_no_text(self, name: str) -> None:
        schema = m.TOOLS["sentry_search_issues"].listed["inputSchema"]
        with pytest.raises(m.SentryError, match=name):
            m.validate(schema, {name: "x\ud800"})

    def test_a_call_that_is_late_is_answered_as_its_method_is(self) -> None:
        server = m.Server(m.Sentry({}, os.devnull, print), io.BytesIO(), io.BytesIO(), print)
        told: dict[int, Any] = {}
        done = threading.Semaphore(0)

        def respond(call: Any, answer: Any) -> None:
            told[answer["id"]] = answer
            server._calls.discard(call)
            done.release()

        names = {1: "sentry_search_issues", 2: "sentry_resolve_issue"}
        methods = ("tools/call", "tools/call", "resources/read", "tools/call")
        for number, (method, age) in enumerate(zip(methods, (55, 55, 55, 40)), 1):  # noqa: B905
            params = {"name": names.get(number)}
            call = m.Call({"id": number, "method": method, "params": params}, respond)
            call.begun -= age
            server._calls.add(call)
        threading.Thread(target=server._watch, daemon=True).start()
        assert all(done.acquire(timeout=20) for _ in range(3))
        for number in names:
            text = told[number]["result"]["content"][0]["text"]
            assert "took too long" in text and ("unknown" in text) is (number == 2)
        assert told[3]["error"]["code"] == m.INTERNAL_ERROR
        assert [call.id for call in server._calls] == [4]

    def test_a_user_is_hidden_where_a_local_has_the_name_of_a_field(self) -> None:
        local = {"context": {"who": PERSON["name"]}, "type": PERSON["username"]}
        crash = frame("shop/dwhitfield.py", "f", 3, "a\nb\nc", local)
        event = {**event_of(("exception", {"values": [raised("E", "x", crash)]})), "user": PERSON}
        shown = format_all(event)
        assert "[user]" in json.dumps(shown["stacktrace"]["frames"][0]["vars"])
        assert PERSON["name"] not in json.dumps(shown)
        assert shown["crashedAt"] == "shop/dwhitfield.py:3 in f"

    @pytest.mark.parametrize("name, key", [(DETAIL, "latestEvent"), (BREADCRUMBS, "breadcrumbs")])
    def test_a_user_is_hidden_in_what_the_event_tells_alone(
        self, web: Any, name: str, key: str
    ) -> None:
        user = {"username": "unresolved", "name": "SHOP-API-1", "email": "instructions"}
        event = sample_event() | {"user": user, "message": "unresolved instructions"}
        web.add("GET", f"{API}4501/", json=issue(4501, "SHOP-API-1", 5, "instructions missing"))
        web.add("GET", f"{API}4501/events/latest/", json=event)
        told = handle(name, connected(), Waiting(), issueId="4501")
        assert told["notice"] == m.NOTICE
        assert not re.search("unresolved|instructions", json.dumps(told[key]))
        if "issue" in told:
            shown = told["issue"]
            assert (shown["shortId"], shown["status"]) == ("SHOP-API-1", "unresolved")
            assert shown["title"] == "[user] missing"

    def test_an_owner_is_cut_after_the_address_is_gone(self) -> None:
        owner = {"type": "user", "name": "maximilian.mustermann@example-company.com"}
        told = m.format_issue(issue(1, "A-1", 5, "x", assignedTo=owner))
        assert told["assignedTo"] == "user:[email]"

    @pytest.mark.parametrize("depth", [900, 960, 980, 990])
    def test_a_user_in_brackets_without_end_is_hidden(self, depth: int) -> None:
        nested: list = []
        for _ in range(depth):
            nested = [nested]
        assert m.mask({"user": nested}, m.FULL) == {"user": m.FILTERED}
        assert m.mask({"name": nested, "value": "x"}, m.FULL)["value"] == "x"

    def test_a_key_of_a_tag_is_text(self) -> None:
        tags = [{"key": [{"key": "secret", "value": "hunter2"}], "value": "x"}]
        assert "hunter2" not in json.dumps(format_all(event_of(tags=tags)))

    @pytest.mark.parametrize("name", ["missing.env", ""])
    def test_an_env_file_that_was_asked_for_has_to_be_there(
        self, tmp_path: Path, name: str
    ) -> None:
        with pytest.raises(ValueError, match=r"cannot be read \((FileNotFound|IsADirectory)Error"):
            m.load_config(CONFIGURED, str(tmp_path / name))

    def test_no_content_is_no_answer_to_a_question(self, web: Any) -> None:
        web.add("GET", f"{API}4501/", status=204)
        web.add("GET", f"{API}4501/events/latest/", status=204)
        for name in (DETAIL, BREADCRUMBS, RESOLVE):
            with pytest.raises(m.SentryError, match="SENTRY_URL"):
                handle(name, connected(), Waiting(), issueId="4501")

    @pytest.mark.parametrize("start", [b'{"id":007,', b'{"id":"a\tb",', b'{"id":"\xff",'])
    def test_a_long_line_with_an_odd_id_ends_nothing(self, start: bytes) -> None:
        long = start + b'"x":"' + b"x" * m.LINE_BYTES + b'"}'
        refused, pong = serve(long, asked("ping", 2))[0]
        assert refused["error"]["code"] == INVALID
        assert pong["id"] == 2

    def test_a_page_of_hostile_titles_fits(self, web: Any) -> None:
        odd = "\U0001f600" * 300
        row = issue(1, "A-1", 5, odd, culprit=odd, assignedTo={"type": "user", "name": odd})
        web.add("GET", API, json=[row] * 40)
        told = m.dump(handle(SEARCH, connected(), Waiting(), limit=25))
        assert len((told + m.dump(told)).encode()) <= 64 * 2**10

    def test_the_name_of_a_host_is_not_what_failed(self) -> None:
        pool = urllib3.HTTPSConnectionPool("certificates.proxy.example")
        late = urllib3.exceptions.ReadTimeoutError(pool, "/", "Read timed out.")
        assert m.map_network_error(requests.ReadTimeout(late), HOST).sent is True

    def test_a_header_in_a_text_is_filtered(self) -> None:
        for scheme in ("Basic", "Bearer"):
            assert "dXNl" not in m.clean(f"sent {scheme} dXNlcjpwYXNzd29yZDE=", 200)


class TestAudit:
    def test_one_place_talks_to_the_network(self) -> None:
        [call] = calls_to(r".*adapter\.send")  # an adapter follows no redirect
        assert [k.arg and named(k.value) for k in call.keywords] == ["timeout", None]
        used = [n for n in NODES if isinstance(n, ast.Attribute) and n.attr.endswith("adapter")]
        assert len([node for node in used if isinstance(node.ctx, ast.Load)]) == 1
        [session] = calls_to("Session")
        assert ast.unparse(session) == "Session()"
        assert f"{ast.unparse(session)}.merge_environment_settings(" in ast.unparse(PARSED)
        verbs = "get|post|put|patch|delete|head|options|request|mount|urlopen"
        assert calls_to(rf"(requests|Session|.*adapter|urllib3).*\.({verbs})") == []

    def test_tls_is_always_verified(self, monkeypatch: pytest.MonkeyPatch) -> None:
        names = {node.attr for node in NODES if isinstance(node, ast.Attribute)}
        names |= {node.arg for node in NODES if isinstance(node, (ast.keyword, ast.arg))}
        texts = {n.value for n in NODES if isinstance(n, ast.Constant) and isinstance(n.value, str)}
        assert not {"cert", "cert_reqs", "ssl_context"} & (names | texts)
        assert not {"verify", "trust_env"} & (names | texts)  # what requests makes of CA bundles
        [found] = calls_to(r".*merge_environment_settings")
        assert ", ".join(map(named, found.args)) == "config.url, {}, True, None, None"
        for bundle in ("", "/a/ca.pem"):
            monkeypatch.setenv("CURL_CA_BUNDLE", "")
            monkeypatch.setenv("REQUESTS_CA_BUNDLE", bundle)
            assert transport("https://sentry.example")[1]["verify"] == (bundle or True)
        assert not {"disable_warnings", "CERT_NONE", "_create_unverified_context"} & names

    def test_one_place_writes_to_stdout(self) -> None:
        assert [named(c.func) for c in calls_to(r".*stdout\.\w*write\w*")] == ["self._stdout.write"]
        [printed] = calls_to("print")
        [main] = [n for n in PARSED.body if isinstance(n, ast.FunctionDef) and n.name == "main"]
        assert main.lineno < printed.lineno <= main.end_lineno  # the report of --check

    def test_one_place_writes_to_stderr(self) -> None:
        [write] = calls_to(r"os\.write")
        assert named(write.args[0]) == "2"
        assert not [
            n for n in NODES if isinstance(n, ast.Attribute) and named(n) == "sys.stderr.write"
        ]

    def test_no_file_is_written(self) -> None:
        for call in calls_to(r"(.*\.)?open"):
            modes = [*call.args[1:2], *(k.value for k in call.keywords if k.arg == "mode")]
            assert named(call.func) == "open"
            assert [named(mode) for mode in modes] in ([], ["'rb'"])
        assert [named(c) for c in calls_to(r".*fdopen")] == ["os.fdopen(os.dup(1), 'wb')"]
        verbs = "write_text|write_bytes|touch|mkdir|makedirs|unlink|rename|replace_file|rmdir|chmod"
        assert calls_to(rf".*\.({verbs})") == []

    def test_nothing_is_started_evaluated_or_listened_to(self) -> None:
        assert not EVIL & {node.id for node in NODES if isinstance(node, ast.Name)}
        assert calls_to(r".*\.(listen|bind|accept|system|popen|fork|execv\w*|spawn\w*|kill)") == []
        for module, allowed in USED.items():
            used = {
                n.attr for n in NODES if isinstance(n, ast.Attribute) and named(n.value) == module
            }
            assert used <= allowed, module

    def test_imports_are_known_and_the_slow_ones_late(self) -> None:
        for name, indent in imports(NODES):
            assert name in (LAZY if name in LAZY else IMPORTS)
            assert name not in LAZY or indent > 0
        assert not IMPORTS - sys.stdlib_module_names
        assert not [n for n in NODES if isinstance(n, ast.ImportFrom) and n.level]
        whole = {a.name for n in NODES if isinstance(n, ast.Import) for a in n.names}
        parts = {n.module for n in NODES if isinstance(n, ast.ImportFrom)}
        assert not {"http", "http.server", "http.client"} & (whole | parts)

    def test_starting_imports_nothing_slow(self) -> None:
        code = "import sys, sentry_mcp; print(*sys.modules)"
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=True)
        loaded = set(done.stdout.split())
        assert not {*LAZY, "argparse", "asyncio", "logging", "socket", "ssl", "typing"} & loaded

    def test_there_is_no_global_state(self) -> None:
        assert not [node for node in NODES if isinstance(node, (ast.Global, ast.Nonlocal))]
        names = set(defined())
        for node in PARSED.body:
            if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                continue
            state = names - local(node)
            for part in ast.walk(node):
                if isinstance(part, (ast.Subscript, ast.Attribute)):
                    stores = isinstance(part.ctx, (ast.Store, ast.Del))
                    mutates = isinstance(part, ast.Attribute) and part.attr in MUTATING
                    owner = named(part.value)
                    assert owner not in state or not (stores or mutates), named(part)

    def test_the_docstring_lists_the_sections(self) -> None:
        listed = re.findall(r"(\d+)\. (\w+(?: \w+)*)", ast.get_docstring(PARSED))
        known = {int(number): title for number, title in listed}
        assert [(number, title) for _, number, title, _ in banners()] == sorted(known.items())
        assert list(known.keys() & range(1, 11)) == list(range(1, 11))

    def test_a_banner_names_what_its_section_defines(self) -> None:
        starts = [*banners(), (len(source().splitlines()) + 1, 0, "", "")]
        for (at, _, _, names), (end, *_) in itertools.pairwise(starts):
            for name in names.split(", "):
                assert at < defined().get(name, 0) < end, name

    def test_a_section_uses_only_those_above_it(self) -> None:
        starts, lines = [at for at, *_ in banners()], defined()
        for node in PARSED.body:
            mine, own = bisect.bisect(starts, node.lineno), local(node)
            for part in ast.walk(node):
                if isinstance(part, ast.Name) and part.id in lines and part.id not in own:
                    theirs = bisect.bisect(starts, lines[part.id])
                    assert theirs <= mine, f"line {part.lineno} uses {part.id}"

    def test_the_program_can_be_read_in_one_sitting(self) -> None:
        lines = source().splitlines()
        assert max(map(len, lines)) <= 100
        sizes = {
            f"{node.name}, line {node.lineno}": node.end_lineno - node.lineno + 1
            for node in NODES
            if isinstance(node, ast.FunctionDef)
        }
        assert {name: size for name, size in sizes.items() if size > 40} == {}
        assert len(lines) <= 1200
        assert len(code_lines()) <= 800

    def test_one_place_catches_everything(self) -> None:
        caught = [node.type for node in NODES if isinstance(node, ast.ExceptHandler)]
        assert None not in caught
        broad = re.findall(r"\b(?:Base)?Exception\b", " ".join(map(named, caught)))
        assert broad == ["Exception"]
        assert not calls_to("(contextlib.)?suppress")

    def test_threads_do_not_hold_up_the_exit(self) -> None:
        started = calls_to(r".*\bThread")
        assert started
        for call in started:
            assert {k.arg: named(k.value) for k in call.keywords}.get("daemon") == "True"

    def test_a_copy_says_what_it_is_and_needs(self) -> None:
        assert re.search(r"^# /// script\n(#( .*)?\n)+# ///$", source(), re.MULTILINE)
        assert re.fullmatch(r"\d+\.\d+\.\d+", assigned("__version__"))
        assert source().startswith("#!/usr/bin/env python3\n")
        assert "\t" not in source()


# ------------------------------------------------------------------------------------------------
# The demo
# ------------------------------------------------------------------------------------------------

NEXT_STEPS = """
That was all sample data: nothing left this machine. To see your own errors:
  1. set SENTRY_AUTH_TOKEN, SENTRY_ORG and SENTRY_PROJECT in a .env beside sentry_mcp.py
     (.env.example shows how),
  2. run  python sentry_mcp.py --check
  3. add the server to your editor; README.md has a block to copy for each."""


def demo() -> int:
    """Show the whole loop, from a search to the resolution, against a made-up Sentry."""
    with contextlib.suppress(AttributeError, ValueError):
        sys.stdout.reconfigure(errors="replace")  # an old Windows console lacks some characters
    print("Sample data: a made-up Sentry on this machine, asked as an editor would ask it.")
    with FakeSentry() as sentry, Client(settings(sentry)) as client:

        def call(name: str, **arguments: Any) -> dict[str, Any]:
            given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
            print(f"\n> {name}({given})")
            answered = client.request("tools/call", {"name": name, "arguments": arguments})
            result = answered.get("result", {})
            if "structuredContent" not in result:
                sys.exit(f"It failed: {answered}\nTry: pip install -r requirements.txt")
            return result["structuredContent"]

        for row in call(SEARCH, timeRange="7d")["issues"]:
            seen = f"{row['count']} events, {row['userCount']} users"
            print(f"  {row['shortId']:<11} {row['level']:<8} {seen:<21} {row['title']}")
        show_detail(call(DETAIL, issueId="SHOP-API-1")["latestEvent"])
        for crumb in call(BREADCRUMBS, issueId="SHOP-API-1")["breadcrumbs"]:
            what = crumb["message"] or " ".join(f"{k}={v}" for k, v in crumb["data"].items())
            print(f"  {crumb['timestamp'][11:19]}  {crumb['category']:<11} {what}")
        comment = "Fixed: rate() falls back to the stored rate"
        done = call(RESOLVE, issueId="SHOP-API-1", comment=comment)
        status = f"{done['issue']['previousStatus']} -> {done['issue']['status']}"
        print(f"  {done['issue']['shortId']}: {status}, comment posted")
    print(NEXT_STEPS)
    return 0


def show_detail(event: dict[str, Any]) -> None:
    """The chain of exceptions, the source of the crash with its line marked, and the locals."""
    surfaced = {**event["exception"], "crashedAt": event["crashedAt"]}
    for index, one in enumerate([surfaced, *event["causes"]]):
        print(f"  {'caused by ' if index else ''}{one['type']}: {one['value']}")
        print(f"      at {one['crashedAt']}")
    crash = event["stacktrace"]["frames"][-1]
    print(f"\n  {crash['filename']}")
    for number, text in crash["context"]:
        print(f"  {'>' if number == crash['lineNo'] else ' '} {number:>4} | {text}")
    for name, value in crash["vars"].items():
        print(f"      {name} = {value}")
    print(f"  release {event['release']}, environment {event['environment']}")


if __name__ == "__main__":
    try:
        sys.exit(demo())
    except KeyboardInterrupt:
        sys.exit(130)
