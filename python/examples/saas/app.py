"""Several customers in one service: signed tokens, tenants that see nothing of each other, roles, rates.

Run it in this folder's parent with `SAAS_SECRET=… uvicorn saas.app:app`.
"""

from __future__ import annotations

import os
from typing import Annotated, Any

import coulis
from coulis.fastapi import SubscriptionRouterFactory, metrics_router
from fastapi import Depends, FastAPI, Header, HTTPException

SCHEMA = """
type Query { invoices: [Invoice!]! }
type Subscription { invoices(min: Float = 0): Invoice }
type Invoice { id: ID! amount: Float! customer: Customer! margin: Float }
type Customer { name: String! email: String iban: String }
"""

manager = coulis.SubscriptionManager(
    schema=SCHEMA,
    # A publish that forgets the tenant reaches nobody.
    tenancy="strict",
    policies={"invoices": "event.amount >= args.min"},
    access={
        "rules": {
            "Customer.email": {"roles": ["clerk", "admin"], "otherwise": "mask"},
            "Customer.iban": {"roles": "admin", "redact": {"last": 4}},
            "Invoice.margin": {"roles": "admin", "scopes": "finance"},
        },
        "required_scopes": {"invoices": ["read:invoices"]},
    },
    # Subscribing, a second and at once: one customer cannot keep the others out.
    rates={"tenant": (5, 50), "connection": (5, 50)},
    # Results: a customer who floods its own readers is slowed down, and they are told.
    delivery_rates={"tenant": (5_000, 10_000)},
    limits={"subscribers_per_user_max": 20, "subscriptions_per_user_max": 100},
    introspection=False,
)

verifier = coulis.JWTVerifier(
    keys=[coulis.JWTKey.hmac("HS256", os.environ["SAAS_SECRET"], kid="saas")],
    issuer="https://id.example",
    audience="invoices",
    require=["tenant_id"],
)

app = FastAPI(title="Invoices")
app.include_router(SubscriptionRouterFactory.create(manager, auth_handler=verifier, keep_alive=30.0))
app.include_router(metrics_router(manager))


def caller(authorization: Annotated[str, Header()]) -> coulis.SecurityContext:
    """Answer who calls a route, by the same tokens."""
    try:
        return verifier.verify(authorization.removeprefix("Bearer "))
    except coulis.AuthenticationFailed:
        raise HTTPException(401) from None


Caller = Annotated[coulis.SecurityContext, Depends(caller)]


@app.post("/invoices")
async def issue(who: Caller, invoice: dict[str, Any]) -> int:
    """Issue an invoice: the tenant is the caller's, whatever the invoice says."""
    return await manager.publish_event("issued", "invoices", invoice, tenant_id=who.tenant_id)


@app.delete("/members/{user_id}", status_code=204)
async def dismiss(who: Caller, user_id: str) -> None:
    """End what a member of the caller's tenant is subscribed to, at once."""
    if "admin" not in who.roles:
        raise HTTPException(403)
    manager.executor.revoke(user_id, who.tenant_id)
