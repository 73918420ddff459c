"""Client of a Guilder node's control API: find, hire, wallet, tasks, events.

Each request has a connection of its own, on which the other end first proves that it knows the node's token, before the
token or anything else is sent: after a node was killed, its port may be anybody's.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import http.client
import json
import os
import queue
import secrets
import stat
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypedDict
from urllib.parse import quote, urlencode

__all__ = [
    "ApiError",
    "AsyncClient",
    "Balance",
    "Client",
    "Delivered",
    "Failure",
    "Found",
    "GuilderError",
    "NotRunning",
    "Task",
    "TaskFailed",
]

Event = dict[str, Any]
"""A line of a stream: a hire's, or of all that happens. `say` is a sentence for people."""

Input = bytes | str | Iterable[bytes]
"""What a service works on: bytes, text (sent as UTF-8), or pieces."""


class Found(TypedDict, total=False):
    """A service that others sell."""

    seller: str
    service: str
    description: str
    price: int
    unit: str
    mints: list[str]
    expires: int | None


class Failure(TypedDict, total=False):
    """Why something didn't come off: the one shape of errors. `code` is for programs, `fault` the party at fault."""

    code: str
    fault: str
    message: str
    hint: str | None
    retryable: bool
    task: str | None
    money: str | None


class Task(TypedDict, total=False):
    """A task, bought or sold. Moments are seconds since the Unix epoch."""

    id: str
    side: str
    service: str
    peer: str | None
    state: str
    ended: bool
    delivered: bool
    failure: Failure | None
    price: int | None
    unit: str | None
    mint: str | None
    created: int
    updated: int
    award: str | None
    receipt: str | None
    output_bytes: int | None
    money: str | None
    label: str


class Balance(TypedDict, total=False):
    """What the wallet holds at one mint in one unit, by where it is."""

    mint: str
    unit: str
    available: int
    purse: int
    at_risk: int
    waiting: int
    earned: int
    pending: int


class GuilderError(Exception):
    """Anything that this client raises. `retryable`: the same request may come off later, though nothing is changed."""

    retryable: bool = False


class NotRunning(GuilderError):
    """No node runs on this home, or what answers isn't it. A hire with an `id` is safe to repeat once it runs again."""

    def __init__(self, message: str, *, retryable: bool = True) -> None:
        self.retryable = retryable
        super().__init__(message)


class ApiError(GuilderError):
    """The node refused. `code` is for programs; `fault` is the party at fault; `money` says what became of the money."""

    def __init__(self, error: Failure) -> None:
        self.code: str = error.get("code", "unknown")
        self.fault: str = error.get("fault", "unknown")
        self.message: str = error.get("message", "the node gave no reason")
        self.hint: str | None = error.get("hint")
        self.retryable = bool(error.get("retryable", False))
        self.task: str | None = error.get("task")
        self.money: str | None = error.get("money")
        super().__init__(f"{self.message} ({self.hint})" if self.hint else self.message)


class TaskFailed(GuilderError):
    """A hire that wasn't delivered: `task` says why, and what became of the money."""

    def __init__(self, task: Task) -> None:
        self.task = task
        failure: Failure = task.get("failure") or {}
        self.code: str = failure.get("code", "unknown")
        self.fault: str = failure.get("fault", "unknown")
        self.hint: str | None = failure.get("hint")
        self.retryable = bool(failure.get("retryable", False))
        self.money: str | None = task.get("money")
        super().__init__(failure.get("message", f"it ended as {task.get('state')}"))


@dataclass(frozen=True)
class Delivered:
    """What a hire came to."""

    task: Task
    output: bytes

    @property
    def text(self) -> str:
        """The output as text."""
        return self.output.decode()


def default_home() -> Path:
    """The node's folder, where `guilder` looks for it too."""
    if home := os.environ.get("GUILDER_HOME"):
        return Path(home)
    data = os.environ.get("XDG_DATA_HOME")
    return (Path(data) if data else Path.home() / ".local" / "share") / "guilder"


def _read_private(path: Path) -> bytes:
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise NotRunning(f"{path} can be read by others: chmod 600 it, restart the node", retryable=False)
    return path.read_bytes()


def _access(home: Path | None, caller: str | None) -> tuple[str, str]:
    """Where the node is, and the token to show."""
    url, token = os.environ.get("GUILDER_API"), os.environ.get("GUILDER_TOKEN")
    if home is None and caller is None and url and token:
        return url.removeprefix("http://").rstrip("/"), token
    home = home if home is not None else default_home()
    try:
        access = json.loads(_read_private(home / "api.json"))
    except (FileNotFoundError, ValueError):
        raise NotRunning(f"no node runs on {home}: start it with guilder up") from None
    if caller is None:
        return access["address"], access["token"]
    try:
        return access["address"], _read_private(home / "callers" / caller).decode().strip()
    except FileNotFoundError:
        raise NotRunning(f"there is no caller {caller}: guilder caller add --help", retryable=False) from None


class _Connection:
    """One connection, whose other end has proved that it is the node."""

    def __init__(self, address: str, token: str, timeout: float | None) -> None:
        self._token = token
        host, port = address.rsplit(":", 1)
        self._http = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=timeout)
        try:
            self._greet(int(port))
        except (http.client.HTTPException, OSError) as error:
            self.close()
            raise NotRunning(f"no node answers at {address}: {error}") from None
        except BaseException:
            self.close()
            raise

    def _greet(self, port: int) -> None:
        nonce = secrets.token_bytes(32)
        # Another's token than the daemon's own says before its dot whose it is; of a caller's the node knows the digest alone.
        of, dot, _ = self._token.partition(".")
        whose = f"&of={quote(of, safe='')}" if dot else ""
        known = hashlib.sha256(self._token.encode()).hexdigest() if of.startswith("caller/") else self._token
        self._http.request("GET", f"/v1/hello?nonce={nonce.hex()}{whose}")
        answer = self._http.getresponse().read()
        said = b"guilder/api/hello/1" + port.to_bytes(2, "big") + nonce
        expected = hmac.new(known.encode(), said, hashlib.sha256).hexdigest()
        try:
            proof = str(json.loads(answer)["proof"])
        except (ValueError, KeyError, TypeError):
            proof = ""
        if not hmac.compare_digest(proof, expected):
            raise NotRunning("another program has the node's port: start the node again")

    def request(self, method: str, path: str, body: bytes | Iterable[bytes] | None = None) -> http.client.HTTPResponse:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        # A connection that was closed after the greeting must not be opened anew: its other end would be unproven.
        self._http.auto_open = 0
        try:
            self._http.request(method, path, body=body, headers=headers)
            response = self._http.getresponse()
        except (http.client.HTTPException, OSError) as error:
            raise NotRunning(f"the node went away: {error!r}") from None
        if response.status // 100 != 2:
            try:
                error = json.loads(_read(response))
            except ValueError:
                error = {"message": f"status {response.status}"}
            raise ApiError(error)
        return response

    def interrupt(self) -> None:
        """Ends a read that another thread waits in."""
        if self._http.sock is not None:
            try:
                self._http.sock.shutdown(2)
            except OSError:
                pass

    def close(self) -> None:
        self._http.close()


def _terms(terms: dict[str, Any]) -> str:
    """A query: what isn't said is left out, lists have commas."""
    said: dict[str, str] = {}
    for name, value in terms.items():
        if value is None or value == []:
            continue
        if isinstance(value, bool):
            said[name] = "true" if value else "false"
        elif isinstance(value, (list, tuple)):
            said[name] = ",".join(str(item) for item in value)
        else:
            said[name] = str(value)
    return f"?{urlencode(said, quote_via=quote)}" if said else ""


def _bytes_of(data: Input) -> bytes | Iterable[bytes]:
    return data.encode() if isinstance(data, str) else data


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read()
    except (http.client.HTTPException, OSError) as error:
        raise NotRunning(f"the node went away: {error!r}") from None


def _lines(response: http.client.HTTPResponse) -> Iterator[Any]:
    while True:
        try:
            line = response.readline()
        except (http.client.HTTPException, OSError) as error:
            raise NotRunning(f"the node went away: {error!r}") from None
        if not line:
            return
        if line.strip():
            said = json.loads(line)
            if "error" in said:
                raise ApiError(said["error"])
            # Other kinds of lines are a later version's.
            if "item" in said:
                yield said["item"]


class Client:
    """A node on this machine. Safe to use from several threads: each request has a connection of its own."""

    def __init__(
        self,
        home: str | os.PathLike[str] | None = None,
        timeout: float | None = None,
        caller: str | None = None,
    ) -> None:
        """`home` is the node's folder; `timeout` how long any one read may take, in seconds (none: as long as it takes).

        `caller` is who this program is to the node (`guilder caller add`); without, it is its owner. Where neither a home nor a caller is
        named, GUILDER_API and GUILDER_TOKEN of the environment say where the node is and who this program is, if they are set.
        """
        self.caller = caller
        self._named = Path(home) if home is not None else None
        self.home = self._named or default_home()
        self.timeout = timeout

    def _connect(self) -> _Connection:
        return _Connection(*_access(self._named, self.caller), self.timeout)

    def call(self, method: str, path: str, value: Any = None) -> Any:
        """Any request whose answer is one JSON value: see docs/api.md."""
        connection = self._connect()
        try:
            body = None if value is None else json.dumps(value).encode()
            return json.loads(_read(connection.request(method, path, body)))
        finally:
            connection.close()

    def stream(self, method: str, path: str, body: bytes | Iterable[bytes] | None = None) -> Iterator[Any]:
        """Any request whose answer is a stream, line by line as it comes."""
        connection = self._connect()
        try:
            yield from _lines(connection.request(method, path, body))
        finally:
            connection.close()

    def status(self) -> dict[str, Any]:
        """How the node does."""
        return self.call("GET", "/v1/status")

    def find(self, service: str, limit: int | None = None) -> Iterator[Found]:
        """Who sells a service, as they are found."""
        return self.stream("GET", f"/v1/find/{quote(service, safe='')}{_terms({'limit': limit})}")

    def hire_events(self, service: str, input: Input = b"", **terms: Any) -> Iterator[Event]:
        """Hires, and tells each step as it comes; the last is of kind `ended`. The task goes on if nobody listens."""
        return self.stream("POST", f"/v1/tasks{_terms({'service': service, **terms})}", _bytes_of(input))

    def hire(
        self,
        service: str,
        input: Input = b"",
        *,
        max_price: int | None = None,
        unit: str | None = None,
        deadline_secs: int | None = None,
        id: str | None = None,
        retry: int | None = None,
        label: str | None = None,
        mode: str | None = None,
        mint: str | None = None,
        seller: str | None = None,
        avoid: list[str] | None = None,
        prefer: list[str] | None = None,
        on_event: Callable[[Event], None] | None = None,
    ) -> Delivered:
        """Has a service done, pays for it, and returns the output.

        With `id` it can be repeated: the same key again is the same task. Raises `TaskFailed` if it wasn't delivered.
        """
        terms = {
            "max_price": max_price,
            "unit": unit,
            "deadline_secs": deadline_secs,
            "id": id,
            "retry": retry,
            "label": label,
            "mode": mode,
            "mint": mint,
            "seller": seller,
            "avoid": avoid or [],
            "prefer": prefer or [],
            "quiet": on_event is None or None,
        }
        ended: Task | None = None
        for event in self.hire_events(service, input, **terms):
            if event.get("kind") == "ended":
                ended = event  # type: ignore[assignment]
            if on_event is not None:
                on_event(event)
        if ended is None:
            raise NotRunning("the node went away before the task was over: repeat the hire with the same id")
        if not ended.get("delivered"):
            raise TaskFailed(ended)
        return Delivered(ended, self.output(ended["id"]))

    def tasks(self, **terms: Any) -> Iterator[Task]:
        """Tasks, the newest first, page by page: `state`, `side`, `service`, `peer`, `since`, `until`, `label`."""
        after: str | None = None
        while True:
            page: list[Task] = self.call("GET", f"/v1/tasks{_terms({**terms, 'limit': 100, 'after': after})}")
            yield from page
            if len(page) < 100:
                return
            last = page[-1]
            after = last["award"] if last["side"] == "seller" and last.get("award") else last["id"]

    def task(self, id: str) -> Task:
        """One task."""
        return self.call("GET", f"/v1/tasks/{quote(id, safe='')}")

    def output(self, id: str) -> bytes:
        """What a task has delivered."""
        connection = self._connect()
        try:
            return _read(connection.request("GET", f"/v1/tasks/{quote(id, safe='')}/output"))
        finally:
            connection.close()

    def cancel(self, id: str) -> Task:
        """Calls a task off."""
        return self.call("DELETE", f"/v1/tasks/{quote(id, safe='')}")

    def wallet(self) -> list[Balance]:
        """What the wallet holds."""
        return self.call("GET", "/v1/wallet")

    def events(self, after: int | None = None) -> Iterator[Event]:
        """All that happens from now on; given the `seq` of an event, first what is kept of what came after it (0: all)."""
        return self.stream("GET", "/v1/events" + _terms({"after": after}))


class AsyncClient:
    """The same for asyncio. Requests run in threads; a stream that is left is closed at once."""

    def __init__(
        self,
        home: str | os.PathLike[str] | None = None,
        timeout: float | None = None,
        caller: str | None = None,
    ) -> None:
        self._client = Client(home, timeout, caller)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def call(self, method: str, path: str, value: Any = None) -> Any:
        """Any request whose answer is one JSON value."""
        return await asyncio.to_thread(self._client.call, method, path, value)

    async def stream(
        self, method: str, path: str, body: bytes | Iterable[bytes] | None = None
    ) -> AsyncIterator[Any]:
        """Any request whose answer is a stream."""
        connection = await asyncio.to_thread(self._client._connect)
        lines: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=64)
        gone = threading.Event()

        def put(item: tuple[str, Any]) -> None:
            while not gone.is_set():
                try:
                    return lines.put(item, timeout=0.1)
                except queue.Full:
                    continue

        def read() -> None:
            try:
                for item in _lines(connection.request(method, path, body)):
                    put(("item", item))
                put(("end", None))
            except BaseException as error:  # handed to whoever waits for the next line
                put(("error", error))

        reader = threading.Thread(target=read, name="guilder", daemon=True)
        reader.start()
        try:
            while True:
                kind, value = await asyncio.to_thread(_take, lines, gone)
                if kind == "item":
                    yield value
                elif kind == "error":
                    raise value
                else:
                    return
        finally:
            gone.set()
            connection.interrupt()
            await asyncio.shield(asyncio.to_thread(reader.join))
            connection.close()

    async def status(self) -> dict[str, Any]:
        """How the node does."""
        return await self.call("GET", "/v1/status")

    def find(self, service: str, limit: int | None = None) -> AsyncIterator[Found]:
        """Who sells a service, as they are found."""
        return self.stream("GET", f"/v1/find/{quote(service, safe='')}{_terms({'limit': limit})}")

    def hire_events(self, service: str, input: Input = b"", **terms: Any) -> AsyncIterator[Event]:
        """Hires, and tells each step as it comes; the last is of kind `ended`."""
        return self.stream("POST", f"/v1/tasks{_terms({'service': service, **terms})}", _bytes_of(input))

    async def hire(
        self,
        service: str,
        input: Input = b"",
        *,
        on_event: Callable[[Event], None] | None = None,
        **terms: Any,
    ) -> Delivered:
        """As `Client.hire`, with the same terms."""
        ended: Task | None = None
        async for event in self.hire_events(service, input, **{**terms, "quiet": on_event is None or None}):
            if event.get("kind") == "ended":
                ended = event
            if on_event is not None:
                on_event(event)
        if ended is None:
            raise NotRunning("the node went away before the task was over: repeat the hire with the same id")
        if not ended.get("delivered"):
            raise TaskFailed(ended)
        return Delivered(ended, await self.output(ended["id"]))

    async def tasks(self, **terms: Any) -> list[Task]:
        """Tasks, the newest first."""
        return await asyncio.to_thread(lambda: list(self._client.tasks(**terms)))

    async def task(self, id: str) -> Task:
        """One task."""
        return await asyncio.to_thread(self._client.task, id)

    async def output(self, id: str) -> bytes:
        """What a task has delivered."""
        return await asyncio.to_thread(self._client.output, id)

    async def cancel(self, id: str) -> Task:
        """Calls a task off."""
        return await asyncio.to_thread(self._client.cancel, id)

    async def wallet(self) -> list[Balance]:
        """What the wallet holds."""
        return await asyncio.to_thread(self._client.wallet)

    def events(self, after: int | None = None) -> AsyncIterator[Event]:
        """All that happens from now on; given the `seq` of an event, first what is kept of what came after it (0: all)."""
        return self.stream("GET", "/v1/events" + _terms({"after": after}))


def _take(lines: queue.Queue[tuple[str, Any]], gone: threading.Event) -> tuple[str, Any]:
    while not gone.is_set():
        try:
            return lines.get(timeout=0.1)
        except queue.Empty:
            continue
    return ("end", None)
