"""Images fetched from other servers, and never from this one's own network; it knows neither requests nor pictures.

A name is resolved first, every address that it has is checked, and the connection is made to one that was checked, not
to the name: what a resolver says later has no say. The same holds for each redirect. Off unless a server allows it.
"""

import asyncio
import ipaddress
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from socket import IPPROTO_TCP, SOCK_STREAM
from typing import TypeAlias
from urllib.parse import SplitResult, urljoin, urlsplit

import httpx2

from illume.serve.errors import ApiError

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_SPECIAL = (
    tuple(  # where Python's tables, or older ones, see nothing special: local NAT64, IPv4's old form, 6to4, Teredo
        map(
            ipaddress.ip_network,
            ("64:ff9b:1::/48", "::/96", "2002::/16", "2001::/32", "192.0.0.0/24", "192.88.99.0/24"),
        )
    )
)
_PORTS = {"http": 80, "https": 443}
_REDIRECTS = (301, 302, 303, 307, 308)


class FetchError(ApiError):
    """An image that is not fetched. What lies behind an address that was tried is not told: it is the same error."""

    def __init__(self, why: str = "the image could not be fetched") -> None:
        super().__init__(422, why, param="image_url", code="image_not_fetched")


def is_public(address: Address) -> bool:
    """Whether an address is out in the internet: none of this host, its network, or of a special use.

    An IPv4 address inside an IPv6 one counts as what it is.
    """
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in _NAT64:
            return is_public(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
        if address.scope_id is not None or address.is_site_local:
            return False
    if any(address in network for network in _SPECIAL):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


async def resolved(host: str, port: int) -> Sequence[str]:
    """The addresses of a host, by the system's resolver."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=SOCK_STREAM, proto=IPPROTO_TCP)
    return [str(at[0]) for *_, at in found]  # a link-local one carries its link, after %


@dataclass(frozen=True)
class Fetcher:
    """Fetches images. size: most bytes; seconds: for all of it; allowed: which addresses may be connected to."""

    size: int
    seconds: float = 10.0
    redirects: int = 3
    ports: frozenset[int] = frozenset(_PORTS.values())
    resolve: Resolve = resolved
    allowed: Callable[[Address], bool] = is_public

    async def fetch(self, url: str) -> bytes:
        """The bytes behind an http or https address. FetchError says no more than that they could not be had."""
        try:
            async with asyncio.timeout(self.seconds):
                return await self._follow(url)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError, ssl.SSLError) as error:  # TimeoutError too
            raise FetchError from error

    async def _follow(self, url: str) -> bytes:
        for _ in range(self.redirects + 1):
            parts = _checked(url, self.ports)
            address = await self._address(parts)
            found = await self._get(parts, address)
            if isinstance(found, bytes):
                return found
            url = urljoin(url, found)
        raise FetchError(f"the image could not be fetched: more than {self.redirects} redirects")

    async def _address(self, parts: SplitResult) -> Address:
        """An address of the host, if all of them are allowed."""
        assert parts.hostname is not None  # checked
        found = await self.resolve(parts.hostname, _port(parts))
        addresses = [ipaddress.ip_address(one) for one in found]
        if not addresses or not all(map(self.allowed, addresses)):
            raise FetchError
        return addresses[0]

    async def _get(self, parts: SplitResult, address: Address) -> bytes | str:
        """The bytes of one answer, or where it leads to."""
        numbers = f"[{address}]" if address.version == 6 else str(address)
        url = parts._replace(netloc=f"{numbers}:{_port(parts)}", fragment="").geturl()
        headers = {"Host": parts.netloc, "Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "illume"}
        extensions = {"sni_hostname": parts.hostname}
        async with (
            httpx2.AsyncClient(trust_env=False, follow_redirects=False, timeout=self.seconds) as client,
            client.stream("GET", url, headers=headers, extensions=extensions) as response,
        ):
            if response.status_code in _REDIRECTS:
                return response.headers["location"] if "location" in response.headers else _nothing()
            if response.status_code != 200:
                raise FetchError
            return await self._read(response)

    async def _read(self, response: httpx2.Response) -> bytes:
        data = bytearray()
        async for chunk in response.aiter_raw():  # raw: nothing is unpacked, however it says it is packed
            data += chunk
            if len(data) > self.size:
                raise FetchError(f"the image could not be fetched: more than the {self.size:,} bytes that are left")
        return bytes(data)


def _checked(url: str, ports: frozenset[int]) -> SplitResult:
    """The parts of an address that may be tried at all."""
    try:
        parts = urlsplit(url)
        port = _port(parts) if parts.scheme in _PORTS else 0
    except ValueError as error:
        raise FetchError("the image's address is none") from error
    if parts.scheme not in _PORTS or not parts.hostname:
        raise FetchError("an image's address begins with https:// or http://")
    if parts.username is not None or parts.password is not None:
        raise FetchError("an image's address holds no user name")
    if port not in ports:
        raise FetchError(f"images are fetched from the ports {', '.join(map(str, sorted(ports)))} only")
    return parts


def _port(parts: SplitResult) -> int:
    return _PORTS[parts.scheme] if parts.port is None else parts.port


def _nothing() -> str:
    raise FetchError
