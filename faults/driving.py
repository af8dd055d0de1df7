"""Runs servers, hosts and clients, breaks them as planned, and heals everything at the end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs

from faults.hosting import make_host
from faults.members import Happened, Member, Shape
from faults.network import ADDRESS, Links
from faults.plan import KINDS, Fault
from faults.reading import open_reader
from faults.servers import Ballast, Postgres, Search, SlowDisk, Valkey, family, has_strace
from faults.settings import Settings
from faults.workload import LIMIT
from wfe.host import WorkflowHost

__all__ = ["SETUPS", "Cluster"]

SETUPS: Final = ("postgres", "postgres+valkey", "sqlite")
_FAKETIME: Final = ("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
                    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1")  # fmt: skip
_PLACES: Final = "SELECT key, count(*) FROM wfe_holders GROUP BY key"
_OPEN: Final = "SELECT count(*) FROM wfe_instances WHERE completed_at IS NULL"
_UNDER: Final = "SELECT count(*) FROM wfe_instances WHERE owner IS NOT NULL"


@attrs.define
class Cluster:
    """Everything that runs."""

    settings: Settings
    folder: Path
    happened: Happened
    links: Links
    hosts: list[Member] = attrs.field(factory=list[Member])
    clients: list[Member] = attrs.field(factory=list[Member])
    postgres: Postgres | None = None
    valkey: Valkey | None = None
    search: Search | None = None
    file: Ballast | None = None
    clock: Path | None = None
    internal: list[str] = attrs.field(factory=list[str])
    """What the logs say that should never be said."""
    _locks: dict[str, asyncio.Lock] = attrs.field(factory=dict[str, asyncio.Lock])
    _began: float = attrs.field(factory=time.monotonic)

    # -- beginning and ending

    @staticmethod
    @asynccontextmanager
    async def made(shape: Shape, folder: Path) -> AsyncIterator[Cluster]:
        """Start all that *shape* names; end it, whatever happens."""
        names = [f"h{number}" for number in range(shape.hosts)]
        server = shape.setup != "sqlite"
        links = Links.make(names) if shape.namespaces and server else Links()
        plain = Settings(folder=str(folder), seed=shape.seed, db="", rate=shape.rate)
        cluster = Cluster(plain, folder, Happened(), links)
        try:
            await cluster._serve(shape, ADDRESS if links.names else "127.0.0.1")
            cluster._people(names, shape.clients)
            yield cluster
        finally:
            await cluster._close()

    async def _serve(self, shape: Shape, address: str) -> None:
        if shape.setup == "sqlite":
            self.file = Ballast.mount(self.folder / "file", 1024)
            self.settings = attrs.evolve(self.settings, db=f"sqlite:///{self.file.folder}/wfe.db")
        else:
            self.postgres = await Postgres.start(shape.version)
            self.settings = attrs.evolve(self.settings, db=self.postgres.url(host=address))
        if "valkey" in shape.setup:
            self.valkey = await Valkey.start(None)
            url = f"{self.valkey.url(address)}?prefix=faults:"
            self.settings = attrs.evolve(self.settings, queue=url, lock=url, lifecycle=url)
        if shape.search and self.links.names:
            self.search = await Search.start()
            self.settings = attrs.evolve(self.settings, search=self.search.url())

    def _people(self, names: list[str], clients: int) -> None:
        file = self.folder / "settings.json"
        self.settings.write(file)
        base = [sys.executable, "-m"]
        fake = next((path for path in _FAKETIME if Path(path).exists()), None)
        for number, name in enumerate(names):
            # The first is as on a machine of its own; the others know of one another's deaths.
            machine = self.folder / f"machine{min(number, 1)}"
            machine.mkdir(exist_ok=True)
            environment: dict[str, str] = {"TMPDIR": str(machine)}
            if number == 0 and fake is not None:
                self.clock = self.folder / "clock"
                self.clock.write_text("+0\n")
                environment |= {
                    "LD_PRELOAD": fake,
                    "FAKETIME_TIMESTAMP_FILE": str(self.clock),
                    "FAKETIME_CACHE_DURATION": "1",
                    "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                }
            command = [*self.links.command(name), *base, "faults.hosting", str(file), name]
            log = self.folder / f"{name}.log"
            self.hosts.append(Member(name, command, environment, log))
        # Clients stand beside the servers: nobody cuts them off.
        for number in range(clients):
            name = f"c{number}"
            command = [*base, "faults.client", str(file), name]
            self.clients.append(Member(name, command, {}, self.folder / f"{name}.log"))

    async def _close(self) -> None:
        for member in (*self.clients, *self.hosts):
            member.signal(signal.SIGCONT)
            await member.kill()
        if self.search is not None:
            self.search.forwarder.close()
        for server in (self.search, self.valkey, self.postgres):
            if server is not None:
                server.server.close()
        if self.file is not None and self.file.mounted:
            await asyncio.to_thread(self.file.unmount)

    # -- what can be done here

    def kinds(self) -> list[str]:
        """Return the kinds of faults that can be made here; note why others cannot."""
        there = {"host", "client"}
        there |= {name for name in ("postgres", "valkey", "search", "file") if getattr(self, name)}
        found: list[str] = []
        for kind, known in KINDS.items():
            if known.on not in there:
                continue
            why = self._why_not(kind)
            if why is None:
                found.append(kind)
            else:
                self.happened.missing[kind] = why
        return found

    def _why_not(self, kind: str) -> str | None:
        match kind:
            case "cut" | "deaf" | "mute" | "no-valkey" if not self.links.names:
                return "the hosts have no network of their own"
            case "no-valkey" if self.valkey is None:
                return "there is no Valkey"
            case "deaf" | "mute" | "no-valkey" if not self.links.one_way:
                return "iptables does not work here"
            case "clock" if self.file is not None:
                return "hosts on one file have one clock, that of their machine"
            case "clock" if self.clock is None:
                return "libfaketime is not installed"
            case "slow-fsync" | "file-slow" if not has_strace():
                return "strace is not installed"
            case "disk-full" | "journal-full":
                mounted = self.postgres is not None and self.postgres.data.mounted
                return None if mounted else "no small file system can be mounted"
            case "file-full":
                mounted = self.file is not None and self.file.mounted
                return None if mounted else "no small file system can be mounted"
            case _:
                return None

    # -- faults

    def say(self, text: str) -> None:
        """Take note of what happens."""
        line = f"{time.monotonic() - self._began:8.2f} {text}"
        self.happened.log.append(line)
        with (self.folder / "faults.log").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    async def break_things(self, plan: list[Fault]) -> None:
        """Let every fault of the plan happen, those on the same thing one after the other."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for fault in plan:
                await asyncio.sleep(max(began + fault.at - time.monotonic(), 0))
                group.create_task(self._one(fault))

    async def _one(self, fault: Fault) -> None:
        on = KINDS[fault.kind].on
        where = f"{on}{fault.target}" if on in {"host", "client"} else on
        if fault.kind == "clock":
            where = "host0"
        lock = self._locks.setdefault(where, asyncio.Lock())
        if lock.locked():
            return  # that one has enough to bear
        async with lock:
            self.say(f"{fault.kind} {where} for {fault.lasts:.1f} s")
            self.happened.faults[fault.kind] += 1
            try:
                await self._makers()[fault.kind](fault)
            except Exception as error:
                self.happened.wrong.append(f"the suite could not do {fault}: {error!r}")
                raise
            self.say(f"{fault.kind} {where} is over")

    def _makers(self) -> dict[str, Callable[[Fault], Awaitable[None]]]:
        return {
            "kill": self._kill,
            "pause": self._pause,
            "nap": self._pause,
            "stop": self._stop,
            "cut": self._link,
            "deaf": self._link,
            "mute": self._link,
            "no-valkey": self._link,
            "clock": self._clock,
            "client-kill": self._client,
            "postgres-kill": self._server,
            "postgres-restart": self._server,
            "valkey-kill": self._server,
            "valkey-restart": self._server,
            "search-gone": self._server,
            "slow-fsync": self._slow,
            "file-slow": self._slow,
            "disk-full": self._full,
            "journal-full": self._full,
            "file-full": self._full,
            "valkey-flush": self._flush,
            "valkey-freeze": self._freeze,
        }

    async def _kill(self, fault: Fault) -> None:
        host = self.hosts[fault.target]
        await host.kill()
        await asyncio.sleep(fault.lasts)
        host.start()

    async def _client(self, fault: Fault) -> None:
        client = self.clients[fault.target]
        await client.kill()
        await asyncio.sleep(fault.lasts)
        client.start()

    async def _pause(self, fault: Fault) -> None:
        host = self.hosts[fault.target]
        host.signal(signal.SIGSTOP)
        await asyncio.sleep(fault.lasts)
        host.signal(signal.SIGCONT)

    async def _stop(self, fault: Fault) -> None:
        host = self.hosts[fault.target]
        host.wanted = False
        if host.process is not None:
            self.happened.stopped.append(host.process.pid)
        host.signal(signal.SIGTERM)
        if not await host.ended(60):
            self.happened.wrong.append(f"{host.name} did not stop within 60 s of SIGTERM")
            await host.kill()
        await asyncio.sleep(fault.lasts)
        host.start()

    async def _link(self, fault: Fault) -> None:
        name = self.hosts[fault.target].name
        match fault.kind:
            case "cut":
                self.links.cut(name)
            case "deaf":
                self.links.drop(name, "INPUT")
            case "no-valkey" if self.valkey is not None:
                self.links.drop_port(name, self.valkey.port)
            case _:
                self.links.drop(name, "OUTPUT")
        await asyncio.sleep(fault.lasts)
        self.links.heal(name)

    async def _clock(self, fault: Fault) -> None:
        assert self.clock is not None
        self.clock.write_text(f"{fault.size:+.1f}\n")
        await asyncio.sleep(fault.lasts)

    async def _server(self, fault: Fault) -> None:
        name, _, what = fault.kind.partition("-")
        server: Any = getattr(self, name)
        await (server.halt() if what == "restart" else server.kill())
        await asyncio.sleep(fault.lasts)
        await server.revive()

    async def _slow(self, fault: Fault) -> None:
        if self.postgres is not None:
            slow = self.postgres.slow()
        else:
            alive = [host.process for host in self.hosts if host.process is not None]
            pids = [pid for each in alive if each.poll() is None for pid in family(each.pid)]
            slow = SlowDisk.of(pids, 80)
        await asyncio.sleep(fault.lasts)
        await asyncio.to_thread(slow.end)

    async def _full(self, fault: Fault) -> None:
        disk = self.file
        if self.postgres is not None:
            disk = self.postgres.data if fault.kind == "disk-full" else self.postgres.journal
        assert disk is not None
        until = time.monotonic() + fault.lasts
        while time.monotonic() < until:
            disk.fill()  # whatever was given back meanwhile
            await asyncio.sleep(0.2)
        disk.free()
        if self.postgres is not None:
            await self.postgres.revive()

    async def _flush(self, _: Fault) -> None:
        assert self.valkey is not None
        await self.valkey.flush()

    async def _freeze(self, fault: Fault) -> None:
        assert self.valkey is not None
        self.valkey.server.freeze()
        await asyncio.sleep(fault.lasts)
        self.valkey.server.thaw()

    # -- watching

    async def watch(self) -> None:
        """Start again what ended by itself, and look whether limits hold, until cancelled."""
        while True:
            for member in (*self.hosts, *self.clients):
                process = member.process
                if member.wanted and process is not None and process.poll() is not None:
                    code = process.returncode
                    self.happened.wrong.append(f"{member.name} ended by itself with {code}")
                    self.say(f"{member.name} ended by itself with {code}")
                    member.start()
            await self._look()
            await asyncio.sleep(0.5)

    async def _look(self) -> None:
        try:
            rows = await asyncio.wait_for(asyncio.to_thread(self._ask, _PLACES), 5)
        except (OSError, TimeoutError):
            return
        self.happened.samples += 1
        for key, count in rows:
            self.happened.most_places = max(self.happened.most_places, count)
            if count > LIMIT:
                self.happened.wrong.append(f"{count} hold a place of {key}, {LIMIT} may")

    def _ask(self, sql: str) -> list[Any]:
        """Ask the store; an OSError says that it does not answer."""
        with open_reader(self.url) as reader:
            return reader.rows(sql)

    @property
    def url(self) -> str:
        """The store's URL for this process."""
        return self.settings.db if self.postgres is None else self.postgres.url()

    # -- rest

    async def rest(self, seconds: float) -> bool:
        """Bring the clients to their end and wait until every run has ended; return whether."""
        began = time.monotonic()
        for client in self.clients:
            client.wanted = False
            client.signal(signal.SIGTERM)
        calm = 0
        while time.monotonic() - began < seconds:
            with contextlib.suppress(OSError):
                over = all(c.process is None or c.process.poll() is not None for c in self.clients)
                left = await asyncio.to_thread(self._ask, _OPEN)
                held = await asyncio.to_thread(self._ask, _UNDER)
                calm = calm + 1 if over and left[0][0] == 0 and held[0][0] == 0 else 0
                if calm >= 4:
                    self.happened.settled = round(time.monotonic() - began, 1)
                    return True
            await asyncio.sleep(0.5)
        for client in self.clients:
            if client.process is not None and client.process.poll() is None:
                self.happened.wrong.append(f"{client.name} did not come to its end")
        return False

    @asynccontextmanager
    async def judge(self) -> AsyncIterator[WorkflowHost]:
        """Return a host of this process that drives nothing."""
        known = self.settings
        settings = Settings(folder=known.folder, seed=known.seed, db=self.url, lease=30.0)
        async with make_host(settings, "judge", drives=False) as host:
            yield host
