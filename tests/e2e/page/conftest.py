"""A browser for each module: while one is open, an event loop runs in this thread, where other tests want theirs."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from fixtures.page_browser import DESKTOP, Person, chromium, person
from fixtures.page_server import PageServer, page_server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture
def server() -> Iterator[PageServer]:
    with page_server() as found:
        yield found


@pytest.fixture
def somebody(browser: Browser, server: PageServer) -> Iterator[Person]:
    with person(browser, server.url, **DESKTOP) as who:
        yield who
        who.check()
