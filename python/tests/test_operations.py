"""Liveness, readiness, metrics and the dashboard that reads them."""

import re

import coulis
import httpx
import pytest
from conftest import served
from coulis.asgi import MetricsApp, SubscriptionApp
from coulis.fastapi import metrics_router
from coulis.operations import Readiness, grafana_dashboard, prometheus, readiness
from coulis.starlette import metrics_routes
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

HEALTH = {
    "connected": True,
    "error": None,
    "held_back": 1.5,
    "reconnects": 1,
    "buffered": 2,
    "accepted": 3,
    "refused": 7,
    "received": 4,
    "malformed": 5,
    "gaps": 6,
}


async def get(app, path, method="GET"):
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
        return await http.request(method, path)


def samples(text):
    """Read the text format of Prometheus strictly; every sample has a name that was described before."""
    found, described = {}, {}
    for line in text.splitlines():
        if line.startswith("# "):
            _, word, name, rest = line.split(" ", 3)
            described.setdefault(name, {})[word] = rest
            continue
        sample = re.fullmatch(r'([a-z_]+)((?:\{[a-z]+="[^"]*"(?:,[a-z]+="[^"]*")*\})?) ([0-9.e+-]+)', line)
        assert sample, line
        name, labels, value = sample.groups()
        assert described[name]["HELP"] and described[name]["TYPE"] in ("counter", "gauge")
        assert name.endswith("_total") == (described[name]["TYPE"] == "counter")
        assert name + labels not in found, "twice"
        found[name + labels] = float(value)
    return found


def mounts(manager):
    fastapi = FastAPI()
    fastapi.include_router(metrics_router(manager), prefix="/inside")
    return [
        ("", MetricsApp(manager)),
        ("", MetricsApp(manager, SubscriptionApp(manager))),
        ("/inside", Starlette(routes=[Mount("/inside", MetricsApp(manager))])),
        ("/inside", Starlette(routes=metrics_routes(manager, "/inside"))),
        ("/inside", fastapi),
    ]


@pytest.mark.parametrize("number", range(5))
async def test_the_routes_answer_wherever_they_are_mounted(manager, number):
    prefix, app = mounts(manager)[number]
    for path, body in (("/healthz", "alive\n"), ("/readyz", "ready\n")):
        answer = await get(app, prefix + path)
        assert (answer.status_code, answer.text) == (200, body)
    answer = await get(app, prefix + "/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert samples(answer.text)["coulis_ready"] == 1
    head = await get(app, prefix + "/metrics", "HEAD")
    assert (head.status_code, head.content) == (200, b"")
    assert (await get(app, prefix + "/metrics", "POST")).status_code == 405


async def test_other_paths_go_to_the_app_that_is_inside(manager):
    assert (await get(MetricsApp(manager, SubscriptionApp(manager)), "/other")).status_code == 400
    alone = await get(MetricsApp(manager), "/other")
    assert (alone.status_code, alone.text) == (404, "there are /healthz, /readyz, /metrics\n")


async def test_it_serves_beside_the_subscriptions(manager, connect):
    async with served(MetricsApp(manager, SubscriptionApp(manager))) as address:
        client = await connect(address)
        await client.init()
        await client.subscribe("1", "subscription { user { id } }")
        await manager.publish_event("t", "user", {"id": 1})
        await client.hear()
        async with httpx.AsyncClient() as http:
            found = samples((await http.get(f"http://{address}/metrics")).text)
        assert found["coulis_connections"] == found["coulis_subscriptions"] == 1
        assert found["coulis_delivered_total"] == found["coulis_published_total"] == 1
        for name in ("delivered_total", "published_total", "subscriptions"):
            family = f"coulis_shard_{name}{{"
            assert sum(value for sample, value in found.items() if sample.startswith(family)) == 1
        await client.socket.close(1000)
        await client.socket.wait_closed()
        assert await manager.drain(10)
    found = samples(prometheus(manager))
    assert found['coulis_connections_closed_total{code="1000"}'] == 1
    assert found["coulis_connections_opened_total"] == 1
    assert found["coulis_connections"] == 0


async def test_what_is_not_ready_says_why_and_lives(manager, monkeypatch):
    app = MetricsApp(manager)
    monkeypatch.setattr(manager, "health", lambda: {**HEALTH, "connected": False, "error": "secret"})
    answer = await get(app, "/readyz")
    assert (answer.status_code, answer.text) == (503, "the bus is not connected\n")
    monkeypatch.undo()
    assert readiness(manager) == Readiness(True, "ready")
    door = SubscriptionApp(manager)
    await door.drain()
    assert (await get(app, "/readyz")).text == "draining\n"
    assert samples(prometheus(manager))["coulis_draining"] == 1
    assert (await get(app, "/healthz")).status_code == 200


async def test_a_closed_engine_is_not_ready(manager):
    await manager.close()
    answer = await get(MetricsApp(manager), "/readyz")
    assert (answer.status_code, answer.text) == (503, "the engine is closed\n")
    assert samples((await get(MetricsApp(manager), "/metrics")).text)["coulis_ready"] == 0


async def test_a_bus_that_is_away_is_told(manager):
    """Nothing listens on port 1."""
    config = coulis.EventBusConfig.redis("redis://127.0.0.1:1", "group")
    async with coulis.SubscriptionManager(config, registry=coulis.Registry()) as away:
        found = samples(prometheus(away))
        assert found["coulis_bus_connected"] == found["coulis_ready"] == 0
        assert set(away.health()) == set(HEALTH), "the rows of the other tests are those that exist"


async def test_the_bus_and_the_process_are_told(manager, monkeypatch):
    assert not [name for name in samples(prometheus(manager)) if name.startswith("coulis_bus_")]
    monkeypatch.setattr(manager, "health", lambda: HEALTH)
    found = samples(prometheus(manager))
    bus = {name.removeprefix("coulis_bus_"): value for name, value in found.items() if "_bus_" in name}
    assert bus == {
        "connected": 1,
        "held_back_seconds": 1.5,
        "reconnects_total": 1,
        "buffered": 2,
        "accepted_total": 3,
        "refused_total": 7,
        "received_total": 4,
        "malformed_total": 5,
        "gaps_total": 6,
    }
    assert found["process_resident_memory_bytes"] > 1_000_000
    assert found["process_open_fds"] > 3
    assert found["process_cpu_seconds_total"] > 0
    assert any(name.startswith(f'coulis_build_info{{version="{coulis.__version__}"') for name in found)


def queries(dashboard):
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["query"]


async def test_every_query_of_the_dashboard_names_a_metric_that_exists(manager, monkeypatch):
    app = SubscriptionApp(manager)
    app.door.count(1000)  # a label's values exist once there is one
    monkeypatch.setattr(manager, "health", lambda: HEALTH)
    found = samples(prometheus(manager))
    labels = {}
    for name in found:
        labels.setdefault(name.partition("{")[0], set()).update(re.findall(r'([a-z]+)="', name))
    asked = set()
    for title, query in queries(grafana_dashboard()):
        (name,) = re.findall(r"\b(?:coulis|process)_\w+", query)[:1]
        asked.update(re.findall(r"\b(?:coulis|process)_\w+", query))
        wanted = set(re.findall(r"by \((\w+)\)", query)) - {"instance"}
        assert wanted <= labels[name], (title, query)
    assert asked <= set(labels), asked - set(labels)
    untold = {name for name in labels if name.startswith("coulis_")} - asked
    assert untold <= {"coulis_subscribers", "coulis_rate_allowed_total", "coulis_refused_events_total"}


def test_panels_do_not_overlap():
    taken = set()
    for panel in grafana_dashboard()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells
    ids = [panel["id"] for panel in grafana_dashboard()["panels"]]
    assert len(ids) == len(set(ids))
