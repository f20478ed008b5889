"""Signed tokens: keys, claims, rotation, and what a client may send over a real socket."""

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import pathlib
import uuid

import coulis
import pytest
from conftest import served
from coulis.asgi import SubscriptionApp
from coulis.fastapi import SubscriptionRouterFactory
from fastapi import FastAPI

NOW = 1_700_000_000
# The engine ends a stream by its own clock.
FAR = 200_000_000_000
SECRET = b"a secret of the tests that is as long as the longest of hashes.!"
QUERY = "subscription { user { id } }"
TEST_KEYS = pathlib.Path(__file__).parents[2] / "engine/src/security/token/tests/test_keys"

# Made with OpenSSL and the private halves of the test keys: `{"sub":"7","exp":1700000600}`.
RS256 = (
    "eyJhbGciOiJSUzI1NiIsImtpZCI6IlJTMjU2In0.eyJzdWIiOiI3IiwiZXhwIjoxNzAwMDAwNjAwfQ."
    "a0MqwVBTqMrmBp4rxy2t5aNiu6phiV1_jCfd8s6qf9sJMcoixf7eN1poMlkSauRR3nvgyUL5dV4TugdnwN_nCu8WYFm9XC-pID-JZLif"
    "sACQnV5K7VXoA1qCxKNHsSn1VUtuB4BjfMkCCFOu0fahg3VwIT7OpYwJpIet0mLRNxwD6eGozOqJrgAvnKUqioUm689EPd8s2awqHxey"
    "Zm3RFgySWwfBI_HzqIfsWUj6ekdWTpYUj-X0c_Bj7dkE2CeE9gtRKbG2kn6IuawKfs9N-kZW3gpEwmEJIsQaBYdOM10b3t4TcbR5Jtmc"
    "_NeGKs2ARdF08WB67jsghbiR53WFAQ"
)
EDDSA = (
    "eyJhbGciOiJFZERTQSIsImtpZCI6IkVkRFNBIn0.eyJzdWIiOiI3IiwiZXhwIjoxNzAwMDAwNjAwfQ."
    "rhU9okx1oRtZg1k87SJiL7yfS78N3kvkXD7-GplqOa2SEUz1OCQmePkC0f8RoD0MDjgwoc6UUz8spJehkHNoCg"
)


def part(value):
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def token(secret=SECRET, header=(), **claims):
    header = {"alg": "HS256", **dict(header)}
    signed = f"{part(header)}.{part({'sub': '7', 'exp': NOW + 600, **claims})}"
    return f"{signed}.{part(hmac.new(secret, signed.encode(), hashlib.sha256).digest())}"


def verifier(**options):
    if not {"keys", "jwks", "jwks_file"} & set(options):
        options["keys"] = [coulis.JWTKey.hmac("HS256", SECRET)]
    return coulis.JWTVerifier(clock=options.pop("clock", lambda: NOW), **options)


def jwks(**secrets):
    """A document of keys for HS256 by name."""
    return json.dumps(
        {"keys": [{"kty": "oct", "alg": "HS256", "kid": kid, "k": part(k)} for kid, k in secrets.items()]}
    )


def refusal(call, *arguments):
    with pytest.raises(coulis.AuthenticationFailed) as raised:
        call(*arguments)
    return raised.value.code


def test_a_token_becomes_a_security_context():
    context = verifier().verify(
        token(sub=7, tenant_id="acme", roles=["clerk", "a b"], scope="read write", deep={"x": [1, 2.5, None]})
    )
    assert isinstance(context, coulis.SecurityContext)
    assert (context.user_id, context.tenant_id) == ("7", "acme")
    assert (context.roles, context.scopes) == (("clerk", "a b"), ("read", "write"))
    assert context.claims["exp"] == NOW + 600
    assert context.claims["deep"] == {"x": [1, 2.5, None]}
    assert context.federation is None


def test_a_context_ends_with_its_token():
    assert verifier().verify(token()).expires == NOW + 600
    assert verifier().verify(token(exp=NOW + 600.9)).expires == NOW + 600
    assert verifier(leeway=60).verify(token(exp=NOW - 30)).expires == NOW + 30
    header = {"alg": "HS256"}
    signed = f"{part(header)}.{part({'sub': '7'})}"
    endless = f"{signed}.{part(hmac.new(SECRET, signed.encode(), hashlib.sha256).digest())}"
    assert verifier(require_expiry=False).verify(endless).expires is None


def test_claims_may_have_other_names():
    verified = verifier(
        user_claim="uid", tenant_claim="org", roles_claim="groups", scopes_claims="may", require="jti"
    )
    context = verified.verify(token(uid="u", org=9, groups="g h", may=["r"], jti="1"))
    assert (context.user_id, context.tenant_id) == ("u", "9")
    assert (context.roles, context.scopes) == (("g", "h"), ("r",))
    assert refusal(verified.verify, token(uid="u")) == "missing_claim"
    assert verifier(user_claim=None).verify(token(sub=None)).user_id is None


def test_tokens_of_other_libraries_are_verified():
    document = (TEST_KEYS / "all.jwks.json").read_text()
    rsa, ed25519 = ((TEST_KEYS / f"{name}.public.pem").read_text() for name in ("rsa", "ed25519"))
    for verified in [
        verifier(jwks=document),
        verifier(jwks=document.encode()),
        verifier(jwks=json.loads(document)),
        verifier(
            keys=[
                coulis.JWTKey.pem("RS256", rsa, kid="RS256"),
                coulis.JWTKey.pem("EdDSA", ed25519.encode(), kid="EdDSA"),
            ]
        ),
    ]:
        assert verified.verify(RS256).user_id == "7"
        assert verified.verify(EDDSA).user_id == "7"
    pinned = verifier(keys=[coulis.JWTKey.pem("PS256", rsa, kid="RS256")])
    assert refusal(pinned.verify, RS256) == "algorithm"


@pytest.mark.parametrize(
    ("refused", "code"),
    [
        (token(exp=NOW), "expired"),
        (token(exp="1700000600"), "invalid_claim"),
        (token(exp=None), "invalid_claim"),
        (token(nbf=NOW + 1), "not_yet_valid"),
        (token(sub=""), "invalid_claim"),
        (token(aud="others"), "audience"),
        (token(secret=b""), "signature"),
        (token(header={"alg": "none"}), "algorithm"),
        (token(header={"crit": ["exp"]}), "critical"),
        (token(header={"kid": "../../dev/null"}), "unknown_key"),
        (token(x="x" * (1 << 20)), "too_long"),
        (token() + "=", "malformed"),
        ("\ud800", "malformed"),
        ("", "malformed"),
        (".".join([part({"alg": "none"}), part({"sub": "7", "exp": NOW + 600}), ""]), "algorithm"),
    ],
)
def test_what_is_wrong_is_refused_with_a_code(refused, code):
    assert refusal(verifier().verify, refused) == code
    assert verifier().verify(token()).user_id == "7"


def test_issuer_audience_and_leeway_are_held():
    strict = verifier(issuer="https://id.example", audience=["orders", "stock"], leeway=30)
    ours = {"iss": "https://id.example", "aud": ["x", "stock"]}
    assert strict.verify(token(**ours, exp=NOW - 29)).user_id == "7"
    assert refusal(strict.verify, token(**ours, exp=NOW - 30)) == "expired"
    assert refusal(strict.verify, token(**{**ours, "iss": "https://evil.example"})) == "issuer"
    assert refusal(strict.verify, token(**{**ours, "aud": "payments"})) == "audience"
    assert refusal(strict.verify, token(iss="https://id.example")) == "missing_claim"
    assert verifier(any_audience=True).verify(token(aud="others")).user_id == "7"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "pass one of `keys`, `jwks` and `jwks_file`"),
        ({"keys": [], "jwks": "{}"}, "pass one of"),
        ({"keys": []}, "no key to verify with"),
        ({"jwks": "{"}, "cannot be read"),
        ({"jwks": b"\xff"}, "utf-8"),
        ({"jwks": jwks(a=b"short")}, "5 bytes: HS256 wants 32"),
        ({"jwks": {"keys": [{"kty": "oct", "k": "A" * 43}]}}, "names no `alg`"),
        ({"jwks": jwks(a=SECRET), "algorithm": "none"}, "`none` is no algorithm"),
        ({"jwks": jwks(a=SECRET), "issuer": []}, "`issuer` is empty"),
        ({"jwks": jwks(a=SECRET), "audience": ""}, "`audience` is empty"),
        ({"jwks": jwks(a=SECRET), "audience": "a", "any_audience": True}, "pass one of them"),
        ({"jwks": jwks(a=SECRET), "leeway": -1}, "`leeway`"),
        ({"jwks": jwks(a=SECRET), "leeway": float("nan")}, "`leeway`"),
        ({"jwks": jwks(a=SECRET), "reload_interval": -1}, "`reload_interval`"),
        ({"jwks": "[" + " " * (1 << 20) + "]"}, "jwks_bytes_max"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        coulis.JWTVerifier(**options)


def test_bad_keys_are_refused():
    for make, message in [
        (lambda: coulis.JWTKey.hmac("HS512", SECRET[:63]), "63 bytes: HS512 wants 64"),
        (lambda: coulis.JWTKey.hmac("RS256", SECRET), "cannot be used for RS256"),
        (lambda: coulis.JWTKey.hmac("none", SECRET), "`none` is no algorithm"),
        (lambda: coulis.JWTKey.pem("RS256", (TEST_KEYS / "rsa.private.pem").read_text()), "private"),
        (lambda: coulis.JWTKey.pem("RS256", (TEST_KEYS / "rsa-1024.public.pem").read_text()), "1024 bits"),
        (lambda: coulis.JWTKey.jwk('{"kty":"oct"}'), "no `alg`|no `k`"),
    ]:
        with pytest.raises(ValueError, match=message):
            make()
    key = coulis.JWTKey.hmac("HS256", SECRET.decode(), kid="a")
    assert (key.algorithm, key.kid) == ("HS256", "a")
    assert "secret" not in repr(key)


def test_keys_are_replaced_or_stay():
    rotating = verifier(jwks=jwks(old=SECRET))
    new = token(secret=SECRET[::-1], header={"kid": "new"})
    assert refusal(rotating.verify, new) == "unknown_key"
    rotating.replace_keys(jwks(new=SECRET[::-1]))
    assert rotating.verify(new).user_id == "7"
    assert refusal(rotating.verify, token(header={"kid": "old"})) == "unknown_key"
    with pytest.raises(ValueError, match="no key to verify with"):
        rotating.replace_keys({"keys": []})
    assert rotating.verify(new).user_id == "7"
    rotating.replace_keys([coulis.JWTKey.hmac("HS256", SECRET, kid="old")])
    assert rotating.verify(token(header={"kid": "old"})).user_id == "7"


def test_a_file_is_read_again_for_a_name_that_is_not_known(tmp_path, caplog):
    file = tmp_path / "jwks.json"
    file.write_text(jwks(old=SECRET))
    clock = [float(NOW)]
    rotating = verifier(jwks_file=file, reload_interval=5, clock=lambda: clock[0])
    old, new = token(header={"kid": "old"}), token(header={"kid": "new"})
    file.write_text(jwks(new=SECRET))

    # Not before it is time, and not for a name that is known.
    clock[0] = NOW + 4.9
    assert refusal(rotating.verify, new) == "unknown_key"
    clock[0] = NOW + 5
    assert rotating.verify(old).user_id == "7"
    assert rotating.verify(new).user_id == "7"
    assert refusal(rotating.verify, old) == "unknown_key"

    # A file that cannot be used leaves the keys; the next look is due after the interval again.
    file.write_text("{")
    clock[0] = NOW + 10
    assert refusal(rotating.verify, old) == "unknown_key"
    assert "the old keys stay" in caplog.text
    assert rotating.verify(new).user_id == "7"
    file.write_text(jwks(old=SECRET))
    clock[0] = NOW + 14.9
    assert refusal(rotating.verify, old) == "unknown_key"
    clock[0] = NOW + 15
    assert rotating.verify(old).user_id == "7"

    # A clock that was set back.
    file.write_text(jwks(new=SECRET))
    clock[0] = NOW - 1000
    assert rotating.verify(new).user_id == "7"


def test_strangers_do_not_make_the_file_be_read_all_the_time(tmp_path, monkeypatch):
    file = tmp_path / "jwks.json"
    file.write_text(jwks(old=SECRET))
    clock = [float(NOW)]
    rotating = verifier(jwks_file=str(file), clock=lambda: clock[0])
    reads = []
    monkeypatch.setattr("coulis.jwt._content", lambda path: reads.append(path) or file.read_bytes())
    clock[0] = NOW + 60
    for _ in range(100):
        assert refusal(rotating.verify, token(header={"kid": str(uuid.uuid4())})) == "unknown_key"
    assert len(reads) == 1


def test_a_withdrawn_key_is_gone_after_a_reload(tmp_path):
    file = tmp_path / "jwks.json"
    file.write_text(jwks(old=SECRET, new=SECRET[::-1]))
    rotating = verifier(jwks_file=file)
    assert not rotating.reload()
    file.write_text(jwks(new=SECRET[::-1]))
    assert rotating.verify(token(header={"kid": "old"})).user_id == "7"
    assert rotating.reload()
    assert refusal(rotating.verify, token(header={"kid": "old"})) == "unknown_key"
    file.unlink()
    with pytest.raises(FileNotFoundError):
        rotating.reload()
    with pytest.raises(ValueError, match="no `jwks_file`"):
        verifier().reload()


@pytest.fixture
async def address(manager):
    async with served(SubscriptionApp(manager, auth_handler=verifier())) as address:
        yield address


def payloads(token):
    return [
        {"authorization": f"Bearer {token}"},
        {"Authorization": f"bearer {token}"},
        {"token": token},
        {"authToken": token},
        {"authToken": f"Bearer {token}"},
        {"headers": {"Authorization": f"Bearer {token}"}},
        {"headers": {"authorization": f"Bearer {token}"}, "token": token, "authToken": None},
    ]


@pytest.mark.parametrize("place", range(len(payloads(""))))
async def test_a_token_of_the_payload_lets_in(manager, address, connect, place):
    client = await connect(address)
    await client.init(payloads(token(tenant_id="acme", exp=FAR))[place])
    assert await client.subscribe("1", QUERY) == []
    assert await manager.publish_event("t", "user", {"id": 1}, user_id=7, tenant_id="other") == 0
    assert await manager.publish_event("t", "user", {"id": 2}, user_id=8, tenant_id="acme") == 0
    assert await manager.publish_event("t", "user", {"id": 3}, user_id=7, tenant_id="acme") == 1
    assert (await client.hear())["payload"] == {"data": {"user": {"id": 3}}}


@pytest.mark.parametrize("place", range(len(payloads(""))))
async def test_a_bad_token_closes_4403_and_says_no_more(address, connect, caplog, place):
    caplog.set_level(logging.INFO, "coulis.jwt")
    closes = set()
    for bad in [token(exp=1), token(secret=b"x" * 32), token(header={"kid": "nobody"}), "a.b.c"]:
        client = await connect(address)
        await client.say(type="connection_init", payload=payloads(bad)[place])
        closes.add(str(await client.closed()))
    assert closes == {"(4403, 'Forbidden', [])"}
    assert "a client was refused: expired at second 1 " in caplog.text


@pytest.mark.parametrize(
    "payload",
    [
        None,
        {},
        {"user_id": 7, "sub": "7"},
        {"token": None},
        {"token": ""},
        {"token": 7},
        {"token": [token()]},
        {"authorization": token()},
        {"authorization": f"Basic {token()}"},
        {"authorization": {"Bearer": token()}},
        {"headers": token()},
        {"headers": {"token": token()}},
        {"token": token(), "authToken": token(sub="8")},
        {"authorization": f"Bearer {token()}", "Authorization": f"Bearer {token(sub='8')}"},
        {"authorization": f"Bearer {token()}", "headers": {"authorization": "Basic eDp5"}},
    ],
)
async def test_no_token_or_several_let_nobody_in(address, connect, payload):
    client = await connect(address)
    await client.say(type="connection_init", **({} if payload is None else {"payload": payload}))
    assert await client.closed() == (4403, "Forbidden", [])


async def test_the_http_header_counts_where_the_payload_has_no_token(manager, connect):
    app = FastAPI()
    app.include_router(SubscriptionRouterFactory.create(manager, auth_handler=verifier()))
    good, bad = ({"Authorization": f"Bearer {text}"} for text in (token(exp=FAR), token(exp=1)))
    async with served(app) as address:

        async def connecting(headers, payload):
            client = await connect(address, "/graphql/subscriptions", additional_headers=headers)
            await client.say(type="connection_init", payload=payload)
            return client

        assert await (await connecting(good, {})).hear() == {"type": "connection_ack"}
        assert await (await connecting(bad, {"token": token(exp=FAR)})).hear() == {"type": "connection_ack"}
        for headers, payload in [
            (bad, {}),
            (good, {"token": token(exp=1)}),
            (good, {"token": ""}),
            ({"Authorization": f"Basic {token()}"}, {}),
            ([("Authorization", f"Bearer {token()}"), ("Authorization", f"Bearer {token(sub='8')}")], {}),
        ]:
            assert await (await connecting(headers, payload)).closed() == (4403, "Forbidden", [])


async def test_any_object_that_authenticates_gets_the_scope(manager, connect):
    class ByPath:
        async def authenticate(self, payload, scope):
            await asyncio.sleep(0)
            return {"user_id": scope["path"].strip("/")} if payload == {"let": "in"} else None

    async with served(SubscriptionApp(manager, auth_handler=ByPath())) as address:
        client = await connect(address, "/seven")
        await client.init({"let": "in"})
        await client.subscribe("1", QUERY)
        assert await manager.publish_event("t", "user", {"id": 1}, user_id="seven") == 1
        client = await connect(address, "/seven")
        await client.say(type="connection_init", payload={})
        assert await client.closed() == (4403, "Forbidden", [])
