"""The page in a real browser: GraphiQL, the console and its form, without a complaint and without the net."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import pytest
from browser import Tab, browser

TOKEN = json.dumps({"authorization": "Bearer open sesame"})
QUERY = "subscription Orders { orders { id status } }"
RUN = ".graphiql-execute-button"
ANSWER = "document.querySelector('.graphiql-response').innerText"
ROAD = "Array.from(document.querySelectorAll('.road li'), (each) => each.className)"
SHARDS = "Array.from(document.querySelectorAll('[aria-label=Shards] tbody tr'))"
SUBMIT = "document.querySelector('.explain form').requestSubmit()"


class Page:
    """The service and a browser that shows its page."""

    def __init__(self, port: int, orders: IO[str], tab: Tab) -> None:
        self.url = f"http://127.0.0.1:{port}/graphql"
        self.tab = tab
        self._orders = orders

    def publish(self, order: int) -> None:
        """Have the service publish a change of an order."""
        self._orders.write(f"{order}\n")
        self._orders.flush()

    async def open(self) -> None:
        """Open GraphiQL and say who we are, once the editor is there."""
        await self.tab.open(self.url)
        await self.tab.until("document.querySelector('.graphiql-query-editor .CodeMirror') !== null")
        await self.click("Headers")
        await self.tab.until("document.querySelector('.graphiql-editor-tool .CodeMirror') !== null")
        await self.edit(".graphiql-editor-tool .graphiql-editor:not(.hidden) .CodeMirror", TOKEN)

    async def click(self, text: str) -> None:
        """Press the button with a text."""
        buttons = "Array.from(document.querySelectorAll('button'))"
        await self.tab.evaluate(f"{buttons}.find((each) => each.textContent === {json.dumps(text)}).click()")

    async def edit(self, selector: str, text: str) -> None:
        """Write a text into one of GraphiQL's editors."""
        await self.tab.focus(selector)
        await self.tab.until(f"document.activeElement.closest({json.dumps(selector)}) !== null")
        await self.tab.write(text)
        shown = f"document.querySelector({json.dumps(selector)}).CodeMirror.getValue()"
        await self.tab.until(f"{shown} === {json.dumps(text)}")

    async def run(self, query: str) -> None:
        """Run an operation in GraphiQL."""
        await self.edit(".graphiql-query-editor .CodeMirror", query)
        await self.tab.until(f"!document.querySelector('{RUN}').disabled")
        await self.tab.focus(RUN)


@pytest.fixture
def service() -> Iterator[tuple[int, IO[str]]]:
    """Start the service, and stop it by ending its standard input."""
    command = [sys.executable, str(Path(__file__).with_name("page_server.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None and child.stdout is not None
        line = child.stdout.readline()
        assert line, "the service did not start: its output is above"
        yield int(line), child.stdin
        with suppress(BrokenPipeError):
            child.stdin.close()
        assert child.wait(60) == 0


@pytest.fixture
async def page(service: tuple[int, IO[str]]) -> AsyncIterator[Page]:
    """Start a browser; at the end it must have nothing to complain of, and have asked nobody else."""
    async with browser() as tab:
        page = Page(*service, tab)
        yield page
        here = (page.url.partition("/graphql")[0], page.url.partition("/graphql")[0].replace("http", "ws"))
        assert [each for each in tab.addresses if not each.startswith((*here, "data:"))] == []
        # Whoever has no token is told so, and the browser notes each 401 that it gets.
        complaints = [each for each in tab.complaints if "401 (Unauthorized)" not in each]
        assert complaints == []


def column(place: int) -> str:
    """Answer an expression for the numbers of one column of the table of shards."""
    return f"{SHARDS}.map((row) => parseFloat(row.cells[{place}].textContent) || 0)"


async def test_a_subscription_in_graphiql_shows_what_is_published(page: Page) -> None:
    await page.open()
    await page.run(QUERY)
    await page.tab.until("document.getElementById('state').textContent === 'connected'")
    await page.tab.until(f"document.querySelector('{RUN}').getAttribute('aria-label').includes('Stop')")
    page.publish(4711)
    await page.tab.until(f"{ANSWER}.includes('4711') && {ANSWER}.includes('paid')")
    await page.tab.focus(RUN)
    await page.run('{ hello(name: "you") }')
    await page.tab.until(f'{ANSWER}.includes("from the page\'s server")')


async def test_the_schema_comes_once_the_reader_has_said_who_it_is(page: Page) -> None:
    await page.open()
    fetch = 'button[aria-label="Re-fetch GraphQL schema"]'
    await page.tab.until(f"document.querySelector('{fetch}') !== null")
    await page.tab.focus(fetch)
    await page.tab.focus('button[aria-label="Show Documentation Explorer"]')
    await page.tab.until("document.body.innerText.includes('subscription: Subscription')")
    # A dialog brings style elements, which the page's policy must let through.
    await page.tab.focus('button[aria-label="Open settings dialog"]')
    await page.tab.until("document.body.innerText.includes('Persist headers')")


async def test_the_console_moves_and_explains(page: Page, tmp_path: Path) -> None:
    tab = page.tab
    await page.open()
    await page.run(QUERY)
    await tab.until("document.getElementById('state').textContent === 'connected'")
    await tab.evaluate("location.hash = 'console'")
    await tab.until("document.getElementById('tile-connections')?.textContent === '1'")
    await tab.until("document.getElementById('tile-subscriptions').textContent === '1'")
    order = 0
    moving: tuple[float, list[float]] = (0, [])
    while not moving[0]:
        order += 1
        page.publish(order)
        # As it moves each second, there is a next look at it.
        await tab.evaluate("fetch(location.href.replace('#', '?page=page.css#'))")
        shown = "parseFloat(document.getElementById('tile-deliveries').textContent)"
        moving = await tab.evaluate(f"[{shown} || 0, {column(3)}]")
    assert sum(moving[1]) > 0
    assert sorted(await tab.evaluate(column(4)))[-2:] in ([1], [0, 1]), "one shard has the subscription"
    assert set(await tab.evaluate(column(1))) == {0}, "nothing waits"
    await tab.until("document.querySelectorAll('.chart path.line').length >= 6")
    assert await tab.evaluate("document.querySelector('.chart svg').getAttribute('aria-label')") != ""
    await tab.until("document.querySelector('[aria-label=Connections] tbody').innerText.includes('acme')")

    await tab.until("document.getElementById('explain-channel').value === 'orders'")
    await tab.evaluate("document.getElementById('explain-tenant').value = 'acme'")
    await tab.evaluate(SUBMIT)
    await tab.until("document.querySelector('.verdict').innerText.startsWith('Delivered')")
    assert await tab.evaluate(ROAD) == ["passed"] * 5
    await tab.evaluate("document.getElementById('explain-tenant').value = 'others'")
    await tab.evaluate(SUBMIT)
    await tab.until("document.querySelector('.verdict').innerText.startsWith('Not delivered')")
    assert await tab.evaluate(ROAD) == ["passed", "passed", "passed", "withheld"]
    await tab.evaluate("document.getElementById('explain-data').value = '{'")
    await tab.evaluate(SUBMIT)
    await tab.until("document.querySelector('.verdict').innerText.startsWith('The event is no JSON')")

    for width, scheme in ((1280, "light"), (1280, "dark"), (360, "light")):
        await tab.resize(width, 800, scheme)
        overhang = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert await tab.evaluate(overhang) == 0
        (tmp_path / f"console-{width}-{scheme}.png").write_bytes(await tab.picture())


async def test_strangers_are_asked_who_they_are(page: Page) -> None:
    tab = page.tab
    await tab.open(f"{page.url}#console")
    await tab.until("document.querySelector('.gate')?.innerText.includes('(401)')")
    assert await tab.evaluate("document.querySelector('.tiles').offsetParent") is None
    await tab.evaluate(f"document.getElementById('gate-headers').value = {json.dumps(TOKEN)}")
    await page.click("Look again")
    await tab.until("document.getElementById('tile-connections').textContent === '0'")
