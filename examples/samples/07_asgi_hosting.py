"""A host that lives as long as a web application: started and stopped by its lifespan."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import httpx

from wfe.core import WorkflowBuilder
from wfe.host import WorkflowHost

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def greet(name: str) -> dict[str, str]:
    return {"greeting": f"Hello, {name}!"}


greeting = WorkflowBuilder().start_with(greet).build("greeting")


class Application:
    """A plain ASGI application; with a framework, give it ``lifespan`` the same way."""

    def __init__(self, url: str = "memory://") -> None:
        self.host = WorkflowHost(url)
        self.host.register(greeting)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.lifespan(receive, send)
        else:
            await self.hello(scope, send)

    async def lifespan(self, receive: Receive, send: Send) -> None:
        """Start the host with the server, and let it hand back its work at the end."""
        while (message := await receive())["type"] == "lifespan.startup":
            await self.host.start()
            await send({"type": "lifespan.startup.complete"})
        await self.host.stop()
        await send({"type": f"{message['type']}.complete"})

    async def hello(self, scope: Message, send: Send) -> None:
        """Answer GET /NAME with what a workflow says."""
        run = await self.host.start_workflow("greeting", {"name": scope["path"].strip("/")})
        body = json.dumps((await run.result(timeout=10))["greeting"]).encode()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def main() -> None:
    """Do what a server does: the lifespan, and requests within it."""
    application = Application()
    events: asyncio.Queue[Message] = asyncio.Queue()
    answers: asyncio.Queue[Message] = asyncio.Queue()
    serving = asyncio.create_task(
        application({"type": "lifespan", "asgi": {"version": "3.0"}}, events.get, answers.put)
    )
    await events.put({"type": "lifespan.startup"})
    print((await answers.get())["type"])
    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        print((await client.get("/Ada")).json())
    await events.put({"type": "lifespan.shutdown"})
    print((await answers.get())["type"])
    await serving


if __name__ == "__main__":
    asyncio.run(main())
