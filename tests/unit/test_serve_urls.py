"""Images from elsewhere: never from this host or its network, whatever an address looks like, wherever it leads."""

import asyncio
import ipaddress
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.serving import Served, data_url, png, served, some_picture
from illume.serve import conversation, urls
from illume.serve.urls import Fetcher, FetchError, is_public

PRIVATE = (
    "0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254", "172.16.0.1", "192.0.0.8",
    "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "203.0.113.7", "224.0.0.1", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::808:808",
    "100::1", "2001:db8::1", "2001:0:7f00:1::", "2002:7f00:1::", "fc00::1", "fd00::1", "fe80::1", "fe80::1%1",
    "fec0::1", "ff02::1",
)  # fmt: skip
PUBLIC = ("8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808")
IPV4_PRIVATE = [ipaddress.ip_network(one) for one in ("10.0.0.0/8", "127.0.0.0/8", "192.168.0.0/16", "169.254.0.0/16")]


def check_private_is_refused(public: Callable[[Any], bool]) -> None:
    assert [one for one in PRIVATE if public(ipaddress.ip_address(one))] == []


def test_nothing_private_counts_as_public() -> None:
    check_private_is_refused(is_public)


@pytest.mark.parametrize(
    "broken",
    [
        lambda one: one.is_global,
        lambda one: not one.is_private,
        lambda one: not (one.is_private or one.is_loopback or one.is_link_local),
        lambda one: is_public(one) or one == ipaddress.ip_address("::ffff:127.0.0.1"),
    ],
)
def test_the_check_catches_a_shorter_rule(broken: Callable[[Any], bool]) -> None:
    with pytest.raises(AssertionError):
        check_private_is_refused(broken)


@pytest.mark.parametrize("address", PUBLIC)
def test_the_internet_is_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@given(st.sampled_from(IPV4_PRIVATE), st.integers(0, 2**16), st.sampled_from(["::ffff:0:0", "64:ff9b::", "::"]))
def test_a_private_address_inside_another_is_private(network: Any, number: int, prefix: str) -> None:
    inner = int(network[number % network.num_addresses])
    assert not is_public(ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | inner))


class Elsewhere:
    """A server on loopback that plays others; `names`: what its hosts resolve to, `asked`: the Host headers it got."""

    def __init__(self, paths: dict[str, tuple[int, dict[str, str], bytes]]) -> None:
        self.asked: list[str] = []
        self.looked_up: list[str] = []
        self.names: dict[str, Sequence[str]] = {"pictures.test": ["127.0.0.1"], "inside.test": ["10.0.0.1"]}
        elsewhere = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                elsewhere.asked.append(self.headers["Host"])
                status, headers, body = paths[self.path]
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value.replace("PORT", str(elsewhere.port)))
                self.end_headers()
                self.wfile.write(body)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.http.server_port

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        self.looked_up.append(host)
        return self.names.get(host) or await urls.resolved(host, port)

    def fetcher(self, **settings: Any) -> Fetcher:
        """One that takes loopback, at this port, for the internet: the only place that a test connects to."""
        allowed = lambda one: one == ipaddress.ip_address("127.0.0.1") or is_public(one)  # noqa: E731
        own = Fetcher(1000, 5.0, ports=frozenset([self.port]), resolve=self.resolve, allowed=allowed)
        return replace(own, **settings)

    def fetch(self, path: str, host: str = "pictures.test", **settings: Any) -> bytes:
        return asyncio.run(self.fetcher(**settings).fetch(f"http://{host}:{self.port}{path}"))


def redirect(to: str, status: int = 302) -> tuple[int, dict[str, str], bytes]:
    return status, {"Location": to}, b""


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    found = Elsewhere(
        {
            "/a.png": (200, {}, b"bytes"),
            "/large.png": (200, {}, b"x" * 2000),
            "/packed.png": (200, {"Content-Encoding": "gzip"}, b"not packed at all"),
            "/gone.png": (404, {}, b"no"),
            "/moved": redirect("/a.png"),
            "/moved-there": redirect("http://pictures.test:PORT/a.png", 308),
            "/moved-inside": redirect("http://inside.test:PORT/a.png"),
            "/moved-to-numbers": redirect("http://2130706434:PORT/a.png"),
            "/moved-to-metadata": redirect("http://169.254.169.254:PORT/latest"),
            "/moved-to-file": redirect("file:///etc/passwd"),
            "/moved-to-port": redirect("http://pictures.test:1/a.png"),
            "/moved-round": redirect("/moved-round"),
            "/moved-nowhere": (302, {}, b""),
        }
    )
    threading.Thread(target=found.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield found
    found.http.shutdown()
    found.http.server_close()


@pytest.mark.parametrize("path", ["/a.png", "/moved", "/moved-there"])
def test_a_picture_is_fetched(elsewhere: Elsewhere, path: str) -> None:
    assert elsewhere.fetch(path) == b"bytes"
    assert set(elsewhere.asked) == {f"pictures.test:{elsewhere.port}"}


def test_nothing_is_unpacked(elsewhere: Elsewhere) -> None:
    assert elsewhere.fetch("/packed.png") == b"not packed at all"


@pytest.mark.parametrize(
    "path",
    ["/gone.png", "/large.png", "/moved-inside", "/moved-to-numbers", "/moved-to-metadata", "/moved-to-file",
     "/moved-to-port", "/moved-round", "/moved-nowhere"],
)  # fmt: skip
def test_what_leads_astray_is_not_fetched(elsewhere: Elsewhere, path: str) -> None:
    with pytest.raises(FetchError):
        elsewhere.fetch(path)
    assert len(elsewhere.asked) <= 4


PRIVATE_URLS = (
    "http://127.0.0.1/", "http://localhost/", "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/",
    "http://127.1/", "http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://0.0.0.0/",
    "http://[::]/", "http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/", "http://[fd00::1]/",
)  # fmt: skip
UNTAKEN = (
    "file:///etc/passwd", "ftp://pictures.test/a.png", "gopher://pictures.test/", "data:,x", "//pictures.test/a",
    "a.png", "http://", "http:///a", "http://user:word@pictures.test/", "http://pictures.test:22/", "http://pictures.test:99999/",
    "http://[::1", "", "http://pictures.test:0/",
)  # fmt: skip


def check_not_connected(fetch: Callable[[str], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Such an address is refused before anything is connected to."""
    tried: list[object] = []

    async def connect(*args: Any, **kwargs: Any) -> bytes:
        tried.append(args)
        return b""

    monkeypatch.setattr(Fetcher, "_get", connect)
    for url in (*PRIVATE_URLS, *UNTAKEN):
        with pytest.raises(FetchError):
            fetch(url)
    assert tried == []


def test_no_spelling_of_a_private_address_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(host: str, port: int) -> Sequence[str]:
        return ["8.8.8.8"] if host == "pictures.test" else await urls.resolved(host, port)

    check_not_connected(lambda url: asyncio.run(Fetcher(10, resolve=resolve).fetch(url)), monkeypatch)


def test_the_check_catches_an_address_that_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    careless = Fetcher(10, allowed=lambda _: True)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check_not_connected(lambda url: asyncio.run(careless.fetch(url)), monkeypatch)


def test_one_private_address_among_others_is_enough(elsewhere: Elsewhere) -> None:
    elsewhere.names["both.test"] = ["127.0.0.1", "10.0.0.1"]
    with pytest.raises(FetchError):
        elsewhere.fetch("/a.png", host="both.test")
    assert elsewhere.asked == []


def check_looked_up_once(elsewhere: Elsewhere, fetcher: Fetcher) -> None:
    """A name that leads elsewhere when it is looked up again gains nothing: it is not."""
    asyncio.run(fetcher.fetch(f"http://pictures.test:{elsewhere.port}/a.png"))
    assert elsewhere.looked_up == ["pictures.test"]


def test_a_name_is_looked_up_once(elsewhere: Elsewhere) -> None:
    check_looked_up_once(elsewhere, elsewhere.fetcher())


def test_the_check_catches_a_second_look(elsewhere: Elsewhere) -> None:
    class Again(Fetcher):
        async def _get(self, parts: Any, address: Any) -> bytes | str:
            return await super()._get(parts, await self._address(parts))

    plain = elsewhere.fetcher()
    with pytest.raises(AssertionError):
        check_looked_up_once(elsewhere, Again(**{name: getattr(plain, name) for name in plain.__dataclass_fields__}))


def test_what_takes_too_long_is_given_up() -> None:
    async def never(host: str, port: int) -> Sequence[str]:
        await asyncio.sleep(60)
        return []

    with pytest.raises(FetchError):
        asyncio.run(Fetcher(10, seconds=0.01, resolve=never).fetch("http://pictures.test/"))


def test_an_error_does_not_tell_what_lies_behind(elsewhere: Elsewhere) -> None:
    said = set()
    for host, path in [("inside.test", "/a.png"), ("pictures.test", "/gone.png"), ("127.0.0.2", "/a.png")]:
        with pytest.raises(FetchError) as caught:
            elsewhere.fetch(path, host=host)
        said.add(caught.value.message)
    assert len(said) == 1


# A server that fetches


@contextmanager
def fetching(pictures: Mapping[str, bytes], size: int) -> Iterator[tuple[Served, Elsewhere]]:
    """A server with remote images, of so many bytes a request, and one that has these."""
    there = Elsewhere({path: (200, {}, data) for path, data in pictures.items()})
    threading.Thread(target=there.http.serve_forever, daemon=True).start()
    try:
        with served(remote_images=True) as found:
            found.service.fetcher = there.fetcher(size=size)
            yield found, there
    finally:
        there.http.shutdown()
        there.http.server_close()


def shown(there: Elsewhere, *paths: str) -> dict[str, Any]:
    urls = [path if ":" in path else f"http://pictures.test:{there.port}{path}" for path in paths]
    parts: list[Any] = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return {"messages": [{"role": "user", "content": [*parts, {"type": "text", "text": "?"}]}], "max_tokens": 2}


def test_a_picture_from_elsewhere_is_read_like_the_same_one_sent() -> None:
    picture = some_picture()
    with fetching({"/a.png": png(picture)}, 10_000) as (found, there), found.http() as http:
        given, fetched = (
            http.post("/v1/chat/completions", json=shown(there, url)).json() for url in (data_url(picture), "/a.png")
        )
        assert given["choices"] == fetched["choices"]
        answer = http.post("/v1/chat/completions", json=shown(there, f"http://inside.test:{there.port}/a.png"))
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "image_not_fetched")
        assert there.asked == [f"pictures.test:{there.port}"]


def check_images_share_their_bytes() -> None:
    """Two that are together larger than one may be: each by itself is fetched, both are not; data URLs cost nothing."""
    file = png(some_picture())
    with fetching({"/a.png": file, "/b.png": file}, 2 * len(file) - 1) as (found, there), found.http() as http:
        for path in ("/a.png", "/b.png"):
            body = shown(there, path, data_url(some_picture()))
            assert http.post("/v1/chat/completions", json=body).status_code == 200
        answer = http.post("/v1/chat/completions", json=shown(there, "/a.png", "/b.png"))
        assert answer.status_code == 422
        error = answer.json()["error"]
        assert (error["code"], error["param"]) == ("image_not_fetched", "messages.0.content.1.image_url")
        assert "left" in error["message"]


def test_the_images_of_a_request_share_their_bytes() -> None:
    check_images_share_their_bytes()


def test_the_check_catches_a_limit_for_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "replace", lambda fetcher, size: fetcher)
    with pytest.raises(AssertionError):
        check_images_share_their_bytes()
