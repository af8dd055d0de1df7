"""A small HTTP interface for runs: start, look, suspend, resume, terminate, publish an event."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import httpx

from wfe.core import InvalidStateTransitionError, WorkflowBuilder, WorkflowNotFoundError
from wfe.host import WorkflowHost

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Answer = tuple[int, Any]


class WebApi:
    """A plain ASGI application over a host; put your authentication in front of it."""

    def __init__(self, host: WorkflowHost) -> None:
        self.host = host

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        asked = json.loads((await receive()).get("body") or b"null")
        try:
            status, value = await self.route(scope["method"], scope["path"].split("/")[1:], asked)
        except WorkflowNotFoundError as error:
            status, value = 404, {"error": str(error)}
        except InvalidStateTransitionError as error:
            status, value = 409, {"error": str(error)}
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(value).encode()})

    async def route(self, method: str, path: list[str], asked: Any) -> Answer:
        match method, path:
            case "POST", ["workflows", definition]:
                run = await self.host.start_workflow(definition, asked)
                return 201, {"id": run.id}
            case "GET", ["workflows", id]:
                found = await self.host.get(id)
                return 200, {"name": found.name, "status": found.status, "data": found.data}
            case "PUT", ["workflows", id, "suspend" | "resume" as intent]:
                await getattr(self.host, intent)(id, actor="web")
                return 202, None
            case "DELETE", ["workflows", id]:
                await self.host.terminate(id, actor="web")
                return 202, None
            case "POST", ["events", name, key]:
                return 202, {"id": await self.host.publish_event(name, key, asked)}
            case _:
                return 404, {"error": "no such place"}


order = WorkflowBuilder().wait_for("paid", key=lambda d: d["id"], output="payment").build("order")


async def main() -> None:
    async with WorkflowHost() as host:
        host.register(order)
        transport = httpx.ASGITransport(app=WebApi(host))
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            started = (await client.post("/workflows/order", json={"id": "7"})).json()
            url = f"/workflows/{started['id']}"
            print((await client.put(f"{url}/suspend")).status_code)
            print((await client.post("/events/paid/7", json={"euros": 12})).status_code)
            print((await client.put(f"{url}/resume")).status_code)
            await (await host.run(started["id"])).wait(timeout=10)
            print((await client.get(url)).json())
            print((await client.delete(url)).status_code)
            print((await client.get("/workflows/order-99")).status_code)


if __name__ == "__main__":
    asyncio.run(main())
