"""The command `coulis`: its options, its answers, its codes; the commands that serve run as processes too."""

import asyncio
import json
import os
import pathlib
import re
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request

import coulis
import pytest
import typer
import websockets
from coulis import _coulis
from coulis.cli.commands import app
from coulis.cli.development import publish_line
from coulis.cli.loading import LoadError, endpoints, load, manager_of
from coulis.cli.migrating import migrations
from coulis.cli.statistics import read, rows
from coulis.fastapi import SubscriptionRouterFactory
from coulis.starlette import subscription_routes
from fastapi import APIRouter, FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount
from typer.testing import CliRunner

pytest_plugins = ["redis_server"]

QUERY = "subscription { orders { id } }"
SECONDS = 120
PROGRAM = """
    import coulis
    from coulis.fastapi import SubscriptionRouterFactory
    from fastapi import FastAPI

    registry = coulis.Registry()
    manager = coulis.SubscriptionManager(registry=registry, policies={"orders": "event.total < 100"})

    @registry.subscription(channel="sales")
    def orders(event, variables):
        return {"orders": {"id": event["id"]}}

    app = FastAPI()
    app.include_router(SubscriptionRouterFactory.create(manager))
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run a command in this process; answers the code and what it wrote."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NO_COLOR", "1")

    def run(*arguments, code=0, **options):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], **options)
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return run


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A program in the working directory; its name on the command line."""
    name = f"program_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(PROGRAM))
    monkeypatch.syspath_prepend(tmp_path)
    yield f"{name}:app"
    sys.modules.pop(name, None)


class Started:
    """A `coulis` process."""

    def __init__(self, folder, *arguments, **environment):
        command = [sys.executable, "-m", "coulis.cli", *arguments]
        variables = {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200", **environment}
        self.child = subprocess.Popen(
            command, cwd=folder, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        # One that hangs fails the test: its output ends.
        self.watchdog = threading.Timer(SECONDS, self.child.kill)
        self.watchdog.start()

    def line(self, pattern):
        """Read until a line matches; answers the first group."""
        seen = []
        for line in self.child.stdout:
            seen.append(line)
            if found := re.search(pattern, line):
                return found[1]
        raise AssertionError(f"`{pattern}` did not come: {seen}")

    def rest(self):
        out, _ = self.child.communicate()
        self.watchdog.cancel()
        return self.child.returncode, out

    def __enter__(self):
        return self

    def __exit__(self, *raised):
        if self.child.returncode is None:
            self.child.terminate()
            self.rest()


def counted(address, name, value):
    """Wait until a service counts so many."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        with urllib.request.urlopen(f"http://{address}/metrics") as answer:
            if read(answer.read().decode())[name] == value:
                return
    raise AssertionError(f"`{name}` did not become {value}")


def parameters():
    root = typer.main.get_command(app)
    for command in root.commands.values():
        for parameter in command.params:
            if parameter.name != "help":
                yield command.name, parameter


def test_every_option_is_an_environment_variable_too():
    found = {(command, parameter.name): parameter.envvar for command, parameter in parameters()}
    assert len(found) > 50
    assert all(str(variable).startswith("COULIS_") for variable in found.values()), found
    for command in {command for command, _ in found}:
        names = [variable for (other, _), variable in found.items() if other == command]
        assert len(names) == len(set(names)), f"{command}: one variable for two options"


def test_every_command_and_option_has_help(run):
    for command in typer.main.get_command(app).commands.values():
        assert command.help, command.name
        assert run(command.name, "--help").output
    assert [(command, p.name) for command, p in parameters() if not p.help] == []


def test_the_version_is_that_of_the_package(run):
    assert run("--version").output == f"{coulis.__version__}\n"


def test_dev_publish_tail_and_stats_work_together(tmp_path, program):
    with Started(tmp_path, "dev", program, "--port", "0", "--no-reload") as dev:
        address = dev.line(r"ws://([^/]+)/graphql/subscriptions")
        assert dev.line(r"to try +(.*)") == f"""coulis publish sales '{{"id": 1}}' --http http://{address}"""
        url = f"ws://{address}/graphql/subscriptions"
        with Started(tmp_path, "tail", QUERY, "--count", "2", COULIS_URL=url) as tail:
            counted(address, "coulis_subscriptions", 1)
            publish = Started(
                tmp_path, "publish", "sales", '{"id": 7, "total": 3}', "--http", f"http://{address}"
            )
            assert publish.rest() == (0, "1 event, 1 deliveries\n")
            withheld = Started(
                tmp_path, "publish", "sales", '{"id": 8, "total": 300}', COULIS_HTTP=f"http://{address}"
            )
            assert withheld.rest() == (0, "1 event, 0 deliveries\n")
            again = Started(
                tmp_path, "publish", "sales", '{"id": 9, "total": 1}', "--http", f"http://{address}"
            )
            assert again.rest()[0] == 0
            assert tail.rest() == (0, '{"orders": {"id": 7}}\n{"orders": {"id": 9}}\n')
        stats = Started(tmp_path, "stats", "--url", f"http://{address}/metrics", "--count", "1")
        code, table = stats.rest()
        assert code == 0
        assert re.search(r"^ *published +3 *$", table, re.MULTILINE), table
        refused = Started(tmp_path, "publish", "", "{}", "--http", f"http://{address}")
        assert refused.rest() == (1, "error: the event is refused: ValueError: channel cannot be empty\n")
        for headers, status in (
            ({"Origin": "https://elsewhere"}, 403),
            ({"Content-Type": "text/plain"}, 415),
        ):
            request = urllib.request.Request(
                f"http://{address}/coulis/publish", b"{}", {"Content-Type": "application/json", **headers}
            )
            with pytest.raises(urllib.error.HTTPError) as answer:
                urllib.request.urlopen(request)
            assert answer.value.code == status
            answer.value.close()


def test_dev_starts_anew_when_a_file_changes(tmp_path, program):
    with Started(tmp_path, "dev", program, "--port", "0") as dev:
        address = dev.line(r"ws://([^/]+)/graphql/subscriptions")
        file = tmp_path / f"{program.partition(':')[0]}.py"
        dev.line(r"(startup complete)")
        file.write_text(file.read_text().replace("create(manager)", "create(manager, '/other')"))
        # A change before the first look of the web server at the files is none: it is told of again.
        seen = threading.Event()
        touching = threading.Thread(target=touch_until, args=(file, seen))
        touching.start()
        try:
            assert dev.line(r"ws://([^/]+)/other") == address
        finally:
            seen.set()
            touching.join()


def touch_until(file, seen):
    while not seen.wait(2.0):
        file.touch()


def test_demo_serves_real_clients_and_checks_them(tmp_path):
    code, out = Started(tmp_path, "demo", "--events", "5", "--rate", "1000").rest()
    assert code == 0, out
    assert [line.split()[-1] for line in out.splitlines() if re.match(r" +(acme|initech) ", line)] == [
        "yes"
    ] * 3
    assert "4111" not in out


def test_publish_reads_lines(run, monkeypatch):
    sent = []
    monkeypatch.setattr("coulis.cli.publishing._post", lambda http, event: sent.append(event) or 2)
    result = run(
        "publish",
        "c",
        "-",
        "--tenant",
        "t",
        "--before",
        "{}",
        input='{"a": 1}\n\n[2]\n',
        env={"COULIS_USER": "u"},
    )
    assert result.output == "2 events, 4 deliveries\n"
    known = {"type": "changed", "channel": "c", "before": {}, "tenant_id": "t", "user_id": "u"}
    assert sent == [{**known, "data": {"a": 1}}, {**known, "data": [2]}]


async def test_publish_gives_events_to_a_bus(run, redis):
    bus = coulis.EventBusConfig.redis(redis, "mine")
    async with coulis.SubscriptionManager(bus, registry=coulis.Registry()) as manager:
        await manager.create_subscription("s", "c", QUERY)
        options = ["--bus", redis, "--group", "mine", "--event-id", "1"]
        for _ in range(2):
            result = await asyncio.to_thread(run, "publish", "orders", '{"id": 7}', *options)
            assert result.output == "1 event, accepted by the bus\n"
        last = await asyncio.to_thread(run, "publish", "orders", '{"id": 8}', *options[:4])
        assert last.exit_code == 0
        messages = manager.events("s")
        found = [json.loads(await asyncio.wait_for(anext(messages), SECONDS)) for _ in range(2)]
        assert [message["payload"]["data"]["orders"]["id"] for message in found] == [7, 8]
        await messages.aclose()


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["publish", "c", "{"], 2, "`data` is no JSON"),
        (["publish", "c", "{}", "--before", "x"], 2, "`--before` is no JSON"),
        (["publish", "c", "-", "--event-id", "1"], 2, "`--event-id` names one event"),
        (["publish", "c", "{}", "--http", "127.0.0.1"], 2, "`--http` is `127.0.0.1`"),
        (["publish", "c", "{}", "--http", "http://127.0.0.1:1"], 1, "start `coulis dev`"),
        (["publish", "c", "{}", "--bus", "http://x"], 1, "the bus does not take it"),
        (["tail", QUERY, "--url", "http://x"], 2, "`--url` is `http://x`"),
        (["tail", QUERY, "--url", "ws://127.0.0.1:1"], 1, "cannot be reached"),
        (["tail", QUERY, "--payload", "[]"], 2, "`--payload` is `[]`: pass a JSON object"),
        (["stats", "--url", "ftp://x"], 2, "`--url` is `ftp://x`"),
        (["stats", "--url", "http://127.0.0.1:1"], 1, "cannot be reached"),
        (["bench", "--subscriptions", "0"], 2, "`--subscriptions` is `0`"),
        (["bench", "--plot", "x.txt"], 2, "ends in .png, .svg or .pdf"),
        (["check"], 2, "there is nothing to check"),
        (["check", "--schema", "absent"], 2, "`absent` cannot be read"),
        (["check", "--operations", "."], 2, "has no file that ends in"),
        (["check", "--schema", "a", "--app", "b", "--operations", "c"], 2, "one schema"),
        (["explain", QUERY, "{}", "--app", "nowhere:app"], 1, "no module `nowhere`"),
        (["explain", QUERY, "{}", "--app", "nowhere"], 1, "not of the form `module:name`"),
        (["explain", QUERY, "{"], 2, "`data` is no JSON"),
        (["explain", QUERY], 2, "there is no event: pass its data as JSON, or `--at`"),
        (["explain", QUERY, "{}", "--at", "1"], 2, "`data` is of an event that was not published"),
        (["explain", QUERY, "--at", "1", "--tenant", "t"], 2, "`--tenant` is of an event that was not"),
        (["explain", QUERY, "--at", "1"], 2, "pass `--bus`, or an `--app` whose manager has a bus"),
        (["explain", QUERY, "--at", "1", "--bus", "http://x"], 1, "the bus cannot be followed: "),
        (["explain", QUERY, "--at", "1", "--bus", "b", "--app", "a:b"], 2, "leave `--bus` out"),
        (["explain", "subscription {", "{}"], 1, "InvalidQuery: "),
        (["explain", QUERY, "{}", "--filter", "event ="], 1, "PolicyError: filter: 1:"),
        (["dev", "nowhere:app", "--port", "0", "--no-reload"], 1, "no module `nowhere`"),
        (["dev", "nowhere:app", "--port", "0", "--log-level", "loud"], 2, "`--log-level` is `loud`"),
        (["dev", "nowhere:app", "--host", "192.0.2.1"], 1, "cannot be listened on"),
    ],
)
def test_bad_input_is_told_with_the_way_out(run, arguments, code, told):
    assert told in run(*arguments, code=code).output


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        ([], 0, "delivered: delivered"),
        (
            ["--filter", "event.total > 5"],
            1,
            "policy: denied by filter at 1:13\n  event.total > 5\n              ^",
        ),
        (
            ["--filter", "event.total > 1 &&\n event.id == vars.id", "--variables", '{"id": 2}'],
            1,
            "\n   event.id ==",
        ),
        (["--policy", "'admin' in ctx.roles"], 1, "denied by policy"),
        (["--policy", "'admin' in ctx.roles", "--role", "admin"], 0, "delivered"),
        (["--tenant", "acme", "--as-tenant", "other"], 1, "denied by isolation"),
        (["--tenant", "acme", "--as-tenant", "acme"], 0, "delivered"),
        (["--channel", "other"], 1, "channel: it is on the channels orders"),
        (["--before", '{"total": 9}', "--filter", "event.total > 5"], 0, "tombstone"),
    ],
)
def test_explain_names_the_clause_that_decides(run, options, code, told):
    assert told in run("explain", QUERY, '{"id": 1, "total": 3}', *options, code=code).output


def test_explain_holds_the_rules_of_a_program(run, program):
    options = ["--app", program, "--channel", "sales"]
    assert "delivered" in run("explain", QUERY, '{"total": 3}', *options).output
    sys.modules.pop(program.partition(":")[0])
    assert "policy: denied by" in run("explain", QUERY, '{"total": 300}', *options, code=1).output


@pytest.fixture
async def recorded(redis):
    """Options that name a bus, and the cursors of two events that it keeps."""
    bus = coulis.EventBusConfig.redis(redis, "mine")
    async with coulis.SubscriptionManager(bus, registry=coulis.Registry()) as manager:
        await manager.create_subscription("s", "c", QUERY)
        for total in (3, 300):
            await manager.publish_event("changed", "orders", {"id": total, "total": total})
        messages = manager.events("s")
        found = [json.loads(await asyncio.wait_for(anext(messages), SECONDS)) for _ in range(2)]
        await messages.aclose()
    cursors = [message["payload"]["extensions"]["coulis"]["cursor"] for message in found]
    return ["--bus", redis, "--group", "mine"], cursors


async def test_explain_tells_of_an_event_that_was_published(run, recorded):
    options, cursors = recorded
    expected = [(1, "policy: denied by filter at 1:13"), (0, "delivered: delivered")]
    for at in (cursors, ["1", "2"]):
        for place, (code, told) in zip(at, expected, strict=True):
            command = ["explain", QUERY, "--at", place, *options, "--filter", "event.total > 5"]
            result = await asyncio.to_thread(run, *command, code=code)
            assert result.output.startswith(told), result.output


async def test_explain_says_why_an_event_is_not_there(run, recorded):
    options, cursors = recorded
    epoch = cursors[0].split(".")[1]
    for place, more, told in [
        ("0", [], "trimmed: it is not kept any more, or is of another channel"),
        ("3", [], "future: nothing was published there as late as that"),
        (cursors[0], ["--channel", "quiet"], "future: nothing was published there as late as that"),
        (cursors[0].replace(epoch, "5eed"), [], "epoch: its cursor is of a log that is gone"),
        (f"1.{epoch}.7.1", [], "cursor: its cursor is of another channel"),
        ("nonsense", [], "`at` is `nonsense`: pass a result's cursor"),
    ]:
        result = await asyncio.to_thread(run, "explain", QUERY, "--at", place, *options, *more, code=1)
        assert told in result.output


def follows(module, bus):
    """Have the manager of a program follow a bus, where its events are on the channel `orders`."""
    file = pathlib.Path(f"{module}.py")
    text = file.read_text().replace("SubscriptionManager(", f"SubscriptionManager({bus}, ")
    file.write_text(text.replace("sales", "orders"))


async def test_explain_tells_of_a_published_event_by_the_rules_of_a_program(run, recorded, program):
    options, cursors = recorded
    module = program.partition(":")[0]
    follows(module, f"coulis.EventBusConfig.redis({options[1]!r}, {options[3]!r})")
    for place, code, told in zip(cursors, (0, 1), ("delivered", "policy: denied by"), strict=True):
        command = ["explain", QUERY, "--at", place, "--app", program]
        assert told in (await asyncio.to_thread(run, *command, code=code)).output
        sys.modules.pop(module)


SCHEMA = "type Query { a: Int }\ntype Subscription { orders(n: Int): Order! }\ntype Order { id: ID! }\n"


@pytest.mark.parametrize(
    ("name", "text", "problems"),
    [
        ("a.graphql", QUERY, []),
        ("a.graphql", "subscription {\n  orders { nope }\n}", ["2:3: .*", "2:12: .*nope.*"]),
        ("a.graphql", "subscription {\n  orders {", ["2:.*"] * 2),
        (
            "a.graphql",
            'subscription A { orders { id } }\nsubscription B { orders(n: "x") { id } }',
            ["2:28: .*"],
        ),
        ("a.graphql", 'subscription A { orders { id } } # query B { nope }\n"""query C"""', ["2:.*"]),
        ("a.cel", "event.total <\n  nope(1)", ["2:7: policy: no function `nope` .*"]),
        ("a.cel", "\n  event.total <\n  nope(1)", ["3:7: policy: no function `nope` .*"]),
        ("a.cel", "event.total < 1\n", []),
        ("a.json", '{"policies": {"orders": "event.total < 1"}, "owner": null}', []),
        (
            "a.json",
            '{"policies": {\n  "orders": "event.a == nope"}}',
            ["2:25: policy of field `orders`: .*`nope`"],
        ),
        ("a.json", '{"channels": {"c": {"policy": "x == \\"a\\""}}}', ["1:32: policy of channel `c`: .*`x`"]),
        ("a.json", '{"channels": {"c": {"policy": {"eq": [1]}}}}', [" policy of channel `c`: .*takes 2.*"]),
        ("a.json", '{"policies": {"orders": 3}}', [" policy of field `orders`: .*"]),
        ("a.json", '{"tenancy": "loose"}', [" .*loose.*"]),
        ("a.json", '{"access": {"rules": {"Order.nope": {"roles": "a"}}}}', [" .*nope.*"]),
        ("a.json", '{"polices": {}}', [" `polices` is unknown: pass policies, .*"]),
        ("a.json", "[]", [" no JSON object: .*"]),
        ("a.json", '{\n "a": }', ["2:7: no JSON: .*"]),
    ],
)
def test_check_says_what_is_wrong_and_where(run, tmp_path, name, text, problems):
    (tmp_path / "schema.graphql").write_text(SCHEMA)
    (tmp_path / name).write_text(text)
    option = "--operations" if name.endswith("graphql") else "--policies"
    result = run("check", "--schema", "schema.graphql", option, name, code=1 if problems else 0)
    found = [line for line in result.output.splitlines() if line.startswith(f"{name}:")]
    assert len(found) == len(problems), result.output
    for line, wanted in zip(found, problems, strict=True):
        assert re.fullmatch(f"{name}:{wanted}", line), (line, wanted)


def test_check_takes_folders_and_answers_json(run, tmp_path):
    (tmp_path / "schema.graphql").write_text("type Query {\n  a: Nope }")
    folder = tmp_path / "operations" / "deep"
    folder.mkdir(parents=True)
    (folder / "a.gql").write_text("subscription { a a(b: $c) }")
    (folder / "b.graphql").write_text(QUERY)
    result = run("check", "--schema", "schema.graphql", "--operations", "operations", "--json", "-", code=1)
    first, *others = json.loads(result.stdout)
    assert first == {
        "file": "schema.graphql",
        "line": 2,
        "column": 6,
        "message": "`schema` is no valid schema: cannot find type `Nope` in this document",
    }
    assert {problem["file"] for problem in others} == {"operations/deep/a.gql"}


def test_check_holds_operations_against_a_program(run, tmp_path, program):
    (tmp_path / "a.graphql").write_text("subscription { }")
    assert "a.graphql:1:" in run("check", "--app", program, "--operations", "a.graphql", code=1).output
    (tmp_path / "broken.py").write_text("import coulis\n\nraise RuntimeError('not today')\n")
    told = run("check", "--app", "broken:app", code=1).output
    assert "broken.py:3: RuntimeError: not today" in told
    assert "nothing:app: there is no module" in run("check", "--app", "nothing:app", code=1).output


def test_bench_writes_figures_and_a_picture(run, tmp_path):
    options = ["--subscriptions", 2, "--subscriptions", 3, "--events", 60]
    result = run("bench", *options, "--json", "out.json", "--plot", "out.svg")
    report = json.loads((tmp_path / "out.json").read_text())
    assert [row["deliveries"] for row in report["results"]] == [120, 180]
    assert all(row["latency_us_p99"] >= row["latency_us_p50"] > 0 for row in report["results"])
    assert report["machine"]["coulis"] == coulis.__version__
    assert "<svg" in (tmp_path / "out.svg").read_text()
    assert re.search(r"^ +3 +[\d,]+ ", result.stdout, re.MULTILINE)
    piped = run("bench", *options, "--resolver", "--json", "-")
    assert json.loads(piped.stdout)["resolver"] is True


def test_bench_without_matplotlib_says_how_to_get_it(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert "pip install 'coulis[plot]'" in run("bench", "--plot", "x.png", code=1).output


def test_stats_tells_rates_of_what_grows():
    before = read("# HELP x\ncoulis_published_total 10\ncoulis_pending 3\nother 1\nbad line\n")
    now = read(
        'coulis_published_total 30\ncoulis_pending 4\ncoulis_zero 0\ncoulis_closed_total{code="1012"} 2\n'
    )
    assert rows(now, before, 2.0, False) == [
        ("published", "30", "10.0/s"),
        ("pending", "4", ""),
        ('closed{code="1012"}', "2", "1.0/s"),
    ]
    assert ("zero", "0", "") in rows(now, None, 0, True)
    assert rows({"coulis_a_total": 1}, {"coulis_a_total": 9}, 1.0, False) == [("a", "1", "0.0/s")]


def test_the_dashboard_is_printed(run):
    assert json.loads(run("dashboard").stdout)["title"] == "Coulis"


async def test_tail_comes_back_with_its_cursor(tmp_path):
    subscribed = []

    async def serve(socket):
        assert json.loads(await socket.recv()) == {"type": "connection_init", "payload": {"token": "secret"}}
        await socket.send('{"type": "connection_ack"}')
        subscribe = json.loads(await socket.recv())
        subscribed.append(subscribe["payload"]["extensions"]["coulis"]["resume"])
        number = len(subscribed)
        result = {"data": {"a": number}, "extensions": {"coulis": {"cursor": f"cursor {number}"}}}
        await socket.send(json.dumps({"type": "next", "id": "1", "payload": result}))
        if number == 1:
            await socket.close(1012, "Service restart")
        else:
            await socket.send('{"type": "complete", "id": "1"}')
            await socket.wait_closed()

    async with websockets.serve(serve, "127.0.0.1", 0, subprotocols=["graphql-transport-ws"]) as server:
        port = server.sockets[0].getsockname()[1]
        arguments = ["tail", "subscription { a }", "--url", f"ws://127.0.0.1:{port}/"]
        tail = Started(tmp_path, *arguments, COULIS_TOKEN="secret")

        code, out = await asyncio.to_thread(tail.rest)
    assert (code, out) == (
        0,
        '{"a": 1}\nthe server closed with 1012 Service restart: again in 0.5 s\n{"a": 2}\n',
    )
    assert subscribed == ["", "cursor 1"]


async def test_tail_tells_what_the_server_refuses(tmp_path):
    async def serve(socket):
        await socket.recv()
        await socket.close(4403, "Forbidden")

    async with websockets.serve(serve, "127.0.0.1", 0, subprotocols=["graphql-transport-ws"]) as server:
        port = server.sockets[0].getsockname()[1]

        tail = Started(tmp_path, "tail", QUERY, "--url", f"ws://127.0.0.1:{port}/")
        assert await asyncio.to_thread(tail.rest) == (1, "error: the server closed with 4403 Forbidden\n")


async def test_tail_does_not_wait_for_ever(tmp_path):
    async def serve(socket):
        await socket.wait_closed()

    async with websockets.serve(serve, "127.0.0.1", 0, subprotocols=["graphql-transport-ws"]) as server:
        port = server.sockets[0].getsockname()[1]

        tail = Started(tmp_path, "tail", QUERY, "--url", f"ws://127.0.0.1:{port}/", "--timeout", "0.1")
        assert await asyncio.to_thread(tail.rest) == (1, "error: nothing came for 0.1 seconds\n")


def test_endpoints_are_found_wherever_they_are(manager_closed):
    manager = manager_closed
    inner = APIRouter(prefix="/inner")
    inner.include_router(SubscriptionRouterFactory.create(manager, "/end"), prefix="/y")
    fastapi = FastAPI()
    fastapi.include_router(inner, prefix="/api")
    fastapi.mount("/mounted", Starlette(routes=subscription_routes(manager, "/there")))
    assert sorted(path for path, _ in endpoints(fastapi)) == ["/api/inner/y/end", "/mounted/there"]
    starlette = Starlette(routes=[Mount("/a", routes=subscription_routes(manager, "/b"))])
    plain = coulis.asgi.MetricsApp(manager, coulis.asgi.SubscriptionApp(manager))
    assert [path for path, _ in endpoints(starlette)] == ["/a/b"]
    assert [(path, app.manager) for path, app in endpoints(plain)] == [("/", manager)]


@pytest.fixture
def manager_closed():
    manager = coulis.SubscriptionManager(registry=coulis.Registry())
    yield manager
    manager.executor.close()


def test_a_program_without_one_manager_is_told(tmp_path, monkeypatch, manager_closed):
    (tmp_path / "several.py").write_text("import coulis\na = b = None\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LoadError, match="`several:a` has 0 managers"):
        manager_of("several:a")
    with pytest.raises(LoadError, match="`several` has no `c`"):
        load("several:c")
    sys.modules["several"].a = manager_closed
    assert manager_of("several:a") is manager_of("several:b") is manager_closed
    sys.modules.pop("several")


def test_the_line_to_try_names_a_channel_of_the_program(manager_closed):
    assert "publish orders " in publish_line(manager_closed, "x")
    manager_closed.registry.subscription("ticks")(lambda event, variables: None)
    assert "publish ticks " in publish_line(manager_closed, "x")


def test_migrations_prints_what_the_bus_needs(monkeypatch, capsys):
    monkeypatch.setattr(_coulis, "postgres_migrations", lambda: "CREATE TABLE a ();", raising=False)
    migrations()
    assert capsys.readouterr().out == "CREATE TABLE a ();\n"


@pytest.mark.parametrize("missing", ["typer", "rich", "uvicorn", "websockets"])
def test_without_the_extra_the_command_says_how_to_get_it(missing):
    script = f"import sys; sys.modules['{missing}'] = None; from coulis.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(
        rf"error: `{missing}[\w.]*` is not installed: pip install 'coulis\[cli\]'\n", done.stderr
    ), done.stderr


def test_the_console_script_is_installed():
    command = os.path.join(os.path.dirname(sys.executable), "coulis")
    done = subprocess.run([command, "--version"], capture_output=True, text=True, timeout=SECONDS)
    assert (done.returncode, done.stdout) == (0, f"{coulis.__version__}\n")
