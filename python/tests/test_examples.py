"""The examples as their readers run them: real servers, real clients, signals."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import psycopg
import pytest
import servers
import websockets
from conftest import PATIENCE, Client
from coulis.asgi import SUBPROTOCOL

EXAMPLES = Path(servers.__file__).parents[1]


@contextlib.contextmanager
def serving(*arguments, **environment):
    """Run a server in a process of its own; yields its address and the process."""
    command = [sys.executable, "-m", *arguments]
    process = subprocess.Popen(
        command, cwd=EXAMPLES, env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True
    )
    log = []
    try:
        for line in process.stderr:
            log.append(line)
            if (found := re.search(r"running on http://(\S+)", line)) is not None:
                break
        else:
            raise AssertionError("".join(log))
        # Whoever does not read what a process writes stops it.
        reading = threading.Thread(target=lambda: log.extend(process.stderr))
        reading.start()
        yield found[1], process
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
        reading.join()
        assert "Exception in ASGI" not in "".join(log), "".join(log)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def uvicorn(app):
    return ("uvicorn", "--port", "0", "--ws", "websockets-sansio", *app)


@contextlib.asynccontextmanager
async def connected(address, payload, path="/"):
    """Connect a client; yields it and the payload of the acknowledgement."""
    url = f"ws://{address}{path}"
    async with websockets.connect(url, subprotocols=[SUBPROTOCOL], proxy=None) as socket:
        client = Reader(socket)
        await client.say(type="connection_init", payload=payload)
        acknowledged = await client.hear()
        assert acknowledged["type"] == "connection_ack"
        yield client, acknowledged.get("payload")


class Reader(Client):
    """A client that keeps the last cursor."""

    cursor = None

    async def hear(self):
        message = json.loads(await asyncio.wait_for(self.socket.recv(), PATIENCE))
        if message["type"] == "next":
            told = message["payload"].get("extensions", {}).get("coulis", {})
            self.cursor = told.get("cursor", self.cursor)
        return message

    async def data(self):
        message = await self.hear()
        assert message["type"] == "next", message
        return message["payload"]["data"]

    async def start(self, id, query, resume=None, **payload):
        """Subscribe, and wait until it is active: the server tells where it begins."""
        extensions = {"coulis": {"resume": resume}}
        await self.say(type="subscribe", id=id, payload={"query": query, "extensions": extensions, **payload})
        message = await self.hear()
        assert message["type"] == "next", message
        return message["payload"]["extensions"]["coulis"]["resumed"]

    async def refusal(self, id, query):
        """Subscribe, and answer the codes of the errors that come."""
        await self.say(type="subscribe", id=id, payload={"query": query})
        message = await self.hear()
        assert (message["type"], message["id"]) == ("error", id), message
        return codes([message])

    async def result(self, id, query, **payload):
        """Run a query or mutation to its end; answer its payload. What else comes is left out."""
        await self.say(type="subscribe", id=id, payload={"query": query, **payload})
        found = None
        while (message := await self.hear())["id"] != id or message["type"] != "complete":
            found = message["payload"] if message["id"] == id else found
            assert message["type"] != "error", message
        return found


def codes(heard):
    return [error["extensions"]["code"] for message in heard for error in message["payload"]]


# The chat.

MESSAGES = 'subscription { messages(room: "%s") { id name text } }'
SAY = "mutation ($room: String!, $text: String!) { say(room: $room, text: $text) { id } }"


@pytest.fixture
def chat():
    with serving(*uvicorn(["chat.app:app"])) as (address, _):
        yield address


async def say(client, room, text):
    return await client.result(f"say {text}", SAY, variables={"room": room, "text": text})


async def test_members_of_a_room_read_what_is_said_and_others_do_not(chat):
    async with (
        connected(chat, {"name": "ann"}) as (ann, told),
        connected(chat, {"name": "ann"}) as (reader, _),
        connected(chat, {"name": "bob"}) as (bob, _),
    ):
        assert told["rooms"] == ["lobby", "staff"]
        await reader.start("lobby", MESSAGES % "lobby")
        await bob.start("lobby", MESSAGES % "lobby")
        assert await bob.refusal("staff", MESSAGES % "staff") == ["FORBIDDEN"]
        refused = await say(bob, "staff", "let me in")
        assert refused["errors"][0]["extensions"]["code"] == "FORBIDDEN"
        for room, text in (("staff", "psst"), ("lobby", "hi")):
            await say(ann, room, text)
        # Another room's messages reach nobody who did not ask for them, a member or not.
        for client in (reader, bob):
            assert await client.data() == {"messages": {"id": 2, "name": "ann", "text": "hi"}}


async def test_who_comes_late_reads_the_history_and_who_comes_back_what_was_missed(chat):
    async with connected(chat, {"name": "ann"}) as (ann, told):
        for text in ("one", "two", "three"):
            await say(ann, "lobby", text)
        async with connected(chat, {"name": "bob"}) as (bob, also_told):
            assert also_told["history"] == told["history"]
            assert await bob.start("1", MESSAGES % "lobby", told["history"])
            texts = [(await bob.data())["messages"]["text"] for _ in range(3)]
            assert texts == ["one", "two", "three"]
        await say(ann, "lobby", "four")
        async with connected(chat, {"name": "bob"}) as (again, _):
            assert await again.start("1", MESSAGES % "lobby", bob.cursor)
            assert (await again.data())["messages"]["text"] == "four"


async def test_presence_is_told_once_for_each_who_comes_and_goes(chat):
    async with connected(chat, {"name": "ann"}) as (ann, told):
        assert told["online"] == ["ann"]
        await ann.start("1", "subscription { presence { name online } }")
        async with connected(chat, {"name": "bob"}) as (_, told):
            assert told["online"] == ["ann", "bob"]
            async with connected(chat, {"name": "bob"}):
                pass
        seen = [(await ann.data())["presence"] for _ in range(2)]
        async with connected(chat, {"name": "eve"}):
            seen += [(await ann.data())["presence"]]
        seen += [(await ann.data())["presence"]]
        assert [(one["name"], one["online"]) for one in seen] == [
            ("bob", True),
            ("bob", False),
            ("eve", True),
            ("eve", False),
        ]


async def test_a_server_that_ends_sends_its_clients_away(chat):
    with serving(*uvicorn(["chat.app:app"])) as (address, process):
        async with connected(address, {"name": "ann"}) as (ann, _):
            process.send_signal(signal.SIGTERM)
            code, reason, _ = await ann.closed()
            assert (code, reason) == (1012, "Service restart")


# The dashboard.

PATH = "/graphql/subscriptions"


@pytest.fixture
def dashboard():
    with (
        servers.running("postgres") as database,
        serving(*uvicorn(["--factory", "dashboard.app:create"]), DATABASE=database.address) as (address, _),
    ):
        yield address, database.address


async def test_changes_of_a_table_reach_clients_with_what_was_before(dashboard):
    address, database = dashboard
    orders = "subscription ($region: String) { orders(region: $region) { id status amount } }"
    async with (
        connected(address, {}, PATH) as (everything, _),
        connected(address, {}, PATH) as (europe, _),
        connected(address, {}, PATH) as (paid, _),
        httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as web,
    ):
        assert await everything.subscribe("1", orders) == []
        assert await europe.subscribe("1", orders, variables={"region": "eu"}) == []
        assert await paid.subscribe("1", "subscription { paid { id } }") == []
        assert (await web.post("/orders", params={"region": "us", "amount": 10})).json() == 1
        assert (await web.post("/orders", params={"region": "eu", "amount": 20})).json() == 2
        for status in ("paid", "sent"):
            await web.post(f"/orders/1/{status}")
        # Somebody else, who knows nothing of the service; what is rolled back did not happen.
        with psycopg.connect(database) as connection:
            connection.execute("update orders set amount = 0")
            connection.rollback()
            connection.execute("update orders set region = 'us' where id = 2")
            connection.commit()
        await web.delete("/orders/1")
        seen = [(await everything.data())["orders"] for _ in range(6)]
        assert [one["status"] if one else None for one in seen] == [
            "open",
            "open",
            "paid",
            "sent",
            "open",
            None,
        ]
        assert seen[3] == {"id": "1", "status": "sent", "amount": 10.0}
        # One that leaves the region is gone for who watches it.
        assert (await europe.data())["orders"]["status"] == "open"
        gone = await europe.hear()
        assert gone["payload"]["data"]["orders"] is None
        assert gone["payload"]["extensions"]["coulis"]["tombstone"]["orders"]["id"] == "2"
        assert (await paid.data())["paid"]["id"] == "1"


async def test_the_page_and_its_stream_are_served(dashboard):
    address, _ = dashboard
    async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False, timeout=PATIENCE) as web:
        page = (await web.get("/")).text
        (query,) = re.findall(r'const query = "(.*)"', page)
        (path,) = re.findall(r'EventSource\("(.*)\?query=', page)
        headers = {"accept": "text/event-stream"}
        async with web.stream("GET", path, params={"query": query}, headers=headers) as stream:
            lines = stream.aiter_lines()
            await anext(lines)
            await web.post("/orders", params={"region": "eu", "amount": 5})
            data = [line async for line in _until_data(lines)][-1]
        assert json.loads(data.removeprefix("data: "))["data"]["orders"]["region"] == "eu"


async def _until_data(lines):
    async for line in lines:
        yield line
        if line.startswith("data: {"):
            return


# The service with several customers.

SECRET = "a secret for tests, of 32 bytes or more"


def token(user, tenant, *roles, scope="read:invoices", **claims):
    header = {"alg": "HS256", "kid": "saas"}
    body = {"iss": "https://id.example", "aud": "invoices", "sub": user, "tenant_id": tenant, "scope": scope}
    body |= {"exp": int(time.time()) + 600, "roles": roles, **claims}
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, body))
    text = b".".join(parts)
    signed = hmac.new(SECRET.encode(), text, hashlib.sha256).digest()
    return (text + b"." + base64.urlsafe_b64encode(signed).rstrip(b"=")).decode()


@pytest.fixture
def saas():
    with serving(*uvicorn(["saas.app:app"]), SAAS_SECRET=SECRET) as (address, _):
        yield address


INVOICES = "subscription { invoices { id customer { email iban } } }"


async def issue(address, tenant, **invoice):
    customer = {"name": "Ada", "email": "ada@example.org", "iban": "DE0012345678"}
    async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as web:
        headers = {"authorization": f"Bearer {token('1', tenant)}"}
        body = {"amount": 10, "margin": 2, "customer": customer, **invoice}
        return (await web.post("/invoices", json=body, headers=headers)).json()


async def test_tenants_see_their_own_and_roles_see_their_fields(saas):
    acme, initech = token("1", "acme"), token("1", "initech")
    admin = token("2", "acme", "admin")
    async with (
        connected(saas, {"token": acme}, PATH) as (reader, _),
        connected(saas, {"authorization": f"Bearer {initech}"}, PATH) as (stranger, _),
        connected(saas, {"token": admin}, PATH) as (boss, _),
    ):
        for client in (reader, stranger, boss):
            assert await client.subscribe("1", INVOICES) == []
        assert await issue(saas, "acme", id="a", tenant_id="initech") == 2
        assert await issue(saas, "initech", id="b") == 1
        assert await stranger.data() == {
            "invoices": {"id": "b", "customer": {"email": None, "iban": "***5678"}}
        }
        assert await reader.data() == {
            "invoices": {"id": "a", "customer": {"email": None, "iban": "***5678"}}
        }
        everything = {"email": "ada@example.org", "iban": "DE0012345678"}
        assert await boss.data() == {"invoices": {"id": "a", "customer": everything}}
        assert await reader.subscribe("2", "subscription { invoices(min: 100) { id } }") == []
        assert await issue(saas, "acme", id="c", amount=500) == 3


async def test_what_a_token_does_not_allow_is_refused(saas):
    margin = "subscription { invoices { margin } }"
    async with connected(saas, {"token": token("1", "acme", "admin")}, PATH) as (client, _):
        assert codes(await client.subscribe("1", margin)) == ["FORBIDDEN_FIELD"]
        assert codes(await client.subscribe("2", "{ __schema { types { name } } }"))
    finance = token("1", "acme", "admin", scope="read:invoices finance")
    async with connected(saas, {"token": finance}, PATH) as (client, _):
        assert await client.subscribe("1", margin) == []
    async with connected(saas, {"token": token("1", "acme", scope="none")}, PATH) as (client, _):
        assert codes(await client.subscribe("1", INVOICES)) == ["FORBIDDEN_FIELD"]
    for wrong in (token("1", "acme", exp=1), token("1", "acme", aud="other"), token("1", None), "garbage"):
        with pytest.raises(websockets.ConnectionClosed) as closed:
            async with connected(saas, {"token": wrong}, PATH):
                pass
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4403, "Forbidden")


async def test_a_tenant_that_subscribes_too_often_is_told_and_others_are_not(saas):
    acme, initech = token("1", "acme"), token("1", "initech")
    async with connected(saas, {"token": acme}, PATH) as (busy, _):
        heard = [await busy.subscribe(f"{number}", INVOICES) for number in range(60)]
        assert ["RATE_LIMITED"] in list(map(codes, heard))
        async with connected(saas, {"token": initech}, PATH) as (quiet, _):
            assert await quiet.subscribe("1", INVOICES) == []


async def test_a_member_who_is_dismissed_gets_nothing_more(saas):
    async with connected(saas, {"token": token("7", "acme")}, PATH) as (member, _):
        assert await member.subscribe("1", INVOICES) == []
        async with httpx.AsyncClient(base_url=f"http://{saas}", trust_env=False) as web:
            for who, status in ((token("7", "acme"), 403), (token("2", "acme", "admin"), 204)):
                headers = {"authorization": f"Bearer {who}"}
                assert (await web.delete("/members/7", headers=headers)).status_code == status
            assert (await web.post("/invoices", json={})).status_code == 422
        assert codes([await member.hear()]) == ["REVOKED"]
        assert await issue(saas, "acme", id="a") == 0
