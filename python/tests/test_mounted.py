"""The ASGI application mounted in other frameworks: Litestar, Quart, Django Channels."""

import coulis
import pytest
from conftest import served, until
from coulis.asgi import SubscriptionApp

QUERY = "subscription { user { id } }"


def in_litestar(application):
    from litestar import Litestar, asgi
    from litestar.types import Receive, Scope, Send

    @asgi("/graphql", is_mount=True, copy_scope=True)
    async def graphql(scope: Scope, receive: Receive, send: Send) -> None:
        await application(scope, receive, send)

    return Litestar([graphql])


def in_quart(application):
    from quart import Quart

    app = Quart(__name__)

    # Quart's own routes stay; what is under the path never reaches it.
    own = app.asgi_app

    async def asgi_app(scope, receive, send):
        chosen = application if scope.get("path", "").startswith("/graphql") else own
        await chosen(scope, receive, send)

    app.asgi_app = asgi_app
    return app


def in_channels(application):
    from channels.routing import ProtocolTypeRouter, URLRouter
    from django.urls import path

    return ProtocolTypeRouter({"websocket": URLRouter([path("graphql", application)])})


@pytest.fixture
def django():
    """Django with the settings that Channels needs to be imported."""
    from django.conf import settings

    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], SECRET_KEY="no secret", USE_TZ=True)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("mount", [in_litestar, in_quart, in_channels])
async def test_it_serves_under_a_path_of_another_framework(manager, connect, django, mount):
    async with served(mount(SubscriptionApp(manager))) as address:
        client = await connect(address, "/graphql")
        await client.init()
        assert await client.subscribe("1", QUERY) == []
        await until(lambda: manager.executor.subscriptions_by_channel("user"))
        assert await manager.publish_event("t", "user", {"id": 7}) == 1
        assert (await client.hear())["payload"] == {"data": {"user": {"id": 7}}}
        await client.socket.close()
        await until(lambda: not manager.executor.subscriptions_by_channel("user"))


def test_nothing_of_them_is_needed():
    """The package itself imports none of the libraries that it works with."""
    import subprocess
    import sys

    program = (
        "import sys, coulis, coulis.asgi, coulis.strawberry, coulis.ariadne, coulis.sources;"
        "print([name for name in ('strawberry', 'ariadne', 'graphql', 'pydantic', 'msgspec', 'starlette',"
        " 'fastapi') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
    assert coulis.__version__
