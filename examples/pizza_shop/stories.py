"""What happened to the customers of one evening; each story stands for itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeAlias

import attrs

from examples.pizza_shop.couriers import courier_service
from examples.pizza_shop.menu import Address, Order, Pizza, Size, Way
from examples.pizza_shop.opening import Staff, schedule, workflows
from examples.pizza_shop.shop import Shop
from wfe.core import ActivityTokenError, UpdateRejectedError
from wfe.testing import WorkflowTest

__all__ = ["STORIES", "Evening", "Story", "evening", "title"]

SIX = datetime(2025, 6, 13, 18, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@attrs.define
class Evening:
    """A host in memory, its virtual clock, and the shop that it works for."""

    test: WorkflowTest
    staff: Staff

    @property
    def shop(self) -> Shop:
        return self.staff.shop

    def note(self, who: str, what: str) -> None:
        """Write into the diary what is said at the counter."""
        self.shop.note(self.test.clock.now(), who, what)

    async def later(self, minutes: float) -> None:
        """Let time pass."""
        await self.test.clock.advance(minutes * MINUTE)


Story: TypeAlias = Callable[[Evening], Coroutine[None, None, None]]


@asynccontextmanager
async def evening() -> AsyncGenerator[Evening]:
    """Open the shop at six o'clock, with a full larder."""
    names = ("Margherita", "Funghi", "Diavola", "Tartufo")
    guests = dict.fromkeys(("Ada", "Dino", "Eva", "Fred", "Gina", "Hugo", "Kim"), Decimal(100))
    shop = Shop(
        larder=dict.fromkeys(names, 10),
        accounts={**guests, "Ben": Decimal(20), "Cleo": Decimal(900)},
    )
    staff = Staff(shop)
    with courier_service() as shop.courier_url:
        async with WorkflowTest(*workflows(), start=SIX, patience=20, **staff.options()) as test:
            test.host.subscribe(staff.board)
            yield Evening(test, staff)


async def ada_collects(e: Evening) -> None:
    """Sold out, a voucher, a busy bank, a burnt pizza, a tip; and she must be reminded."""
    e.shop.busy = 1
    e.shop.clumsy = {"Diavola"}
    pizzas = [Pizza("Diavola"), Pizza("Hawaii", Size.FAMILY)]
    order = Order(id="o-1", customer="Ada", pizzas=pizzas, voucher="XMAS")
    run = await e.test.start("pizza-order", order)
    await e.later(11)
    e.note("Ada", await e.test.host.query(run.id, "progress"))
    e.note("Ada", await e.test.host.update(run.id, "tip", "2.50", actor="Ada"))
    try:
        await e.test.host.update(run.id, "tip", "-1", actor="Ada")
    except UpdateRejectedError as error:
        e.note("Ada", error.message)
    await e.later(21)
    await e.test.host.publish_event("collected", "o-1", "Ada herself")
    await run.wait(timeout=10)
    e.note("Ada", " · ".join([item.payload async for item in e.test.host.stream(run.id)]))


async def ben_cannot_pay(e: Evening) -> None:
    """The card is refused: what was done for him is undone, the last first."""
    pizzas = [Pizza("Tartufo"), Pizza("Tartufo")]
    order = Order(id="o-2", customer="Ben", pizzas=pizzas, voucher="XMAS")
    run = await e.test.start("pizza-order", order)
    await run.wait(timeout=10)


async def cleo_has_a_party(e: Evening) -> None:
    """A big order: the chef is silent, the address changes, a courier gets lost, nobody opens."""
    host = e.test.host
    order = Order(
        id="o-3",
        customer="Cleo",
        pizzas=[Pizza("Tartufo", Size.FAMILY)] * 3,
        way=Way.DELIVERY,
        address=Address("Via Roma 1"),
    )
    run = await e.test.start("pizza-order", order)
    await e.later(10)
    (question,) = await host.approvals("pizza-order")
    e.note(question.step, question.prompt)
    await host.approve(run.id, "yes", actor="owner", comment="Cleo always pays")
    await e.later(5)
    await host.signal(run.id, "new address", {"street": "Via Verdi 2", "floor": 3})
    await e.later(15)

    lost = await host.activities.claim("courier", "Lino", lease=5 * MINUTE)
    assert lost is not None
    e.note("Lino", f"drives to {lost.parameters['street']}")
    await e.later(6)  # and is never heard of
    found = await host.activities.claim("courier", "Pia", lease=5 * MINUTE)
    assert found is not None
    e.note("Pia", f"drives to {found.parameters['street']}")
    await host.activities.complete(found.token, "Pia")
    try:
        await host.activities.complete(lost.token, "Lino")
    except ActivityTokenError:
        e.note("Lino", "comes too late")
    await e.later(10)
    await run.wait(timeout=10)
    await e.later(25 * 60)  # a day later she has a voucher for so much money
    await host.publish_event("redeemed", "CLEO-5")
    await e.test.clock.settle()


async def dino_changes_his_mind(e: Evening) -> None:
    """An order is cancelled while the kitchen is at it: hooks clean up."""
    order = Order(id="o-4", customer="Dino", pizzas=[Pizza("Funghi")])
    run = await e.test.start("pizza-order", order)
    await e.later(5)
    await e.test.host.terminate(run.id, "I am not hungry any more", actor="Dino")
    await e.test.clock.settle()


async def eva_orders_twice(e: Evening) -> None:
    """A double click is one order; her second one waits for the first; the power fails."""
    host = e.test.host
    first = Order(id="o-5", customer="Eva", pizzas=[Pizza("Funghi")])
    run = await e.test.start("pizza-order", first, idempotency_key="o-5")
    again = await e.test.start("pizza-order", first, idempotency_key="o-5")
    e.note("Eva", "clicked twice, one order" if again.id == run.id else "two orders")
    late = datetime(2025, 6, 13, 19, 30, tzinfo=UTC)
    second = Order(id="o-6", customer="Eva", pizzas=[Pizza("Diavola")], begin_at=late)
    other = await e.test.start("pizza-order", second, reference="Eva's desk")
    await e.later(5)
    await host.suspend(run.id, "no power", actor="fuse")
    await e.later(30)
    e.note("oven", f"the order is {(await host.get(run.id)).status}")
    await host.resume(run.id, actor="fuse")
    await e.later(15)
    await host.publish_event("collected", "o-5", "Eva")
    await host.publish_event("collected", "o-6", "her son")
    await e.later(60)
    await other.wait(timeout=10)


async def hugo_comes_early(e: Evening) -> None:
    """Before the kitchen begins, orders are taken but wait; the hungry child's goes first."""
    host = e.test.host
    await host.pause_definition("pizza-order")
    for id, pizza, priority in (("o-11", "Tartufo", 0), ("o-12", "Margherita", 10)):
        order = Order(id=id, customer="Hugo", pizzas=[Pizza(pizza)])
        await e.test.start("pizza-order", order, priority=priority)
        await host.publish_event("collected", id, f"Hugo ({pizza})")
    await e.later(30)
    e.note("kitchen", "begins")
    await host.resume_definition("pizza-order")
    await e.later(30)


async def fred_forgets_the_pizza(e: Evening) -> None:
    """An empty order fails; it is put right and goes on from there, and is then ordered again."""
    host = e.test.host
    run = await e.test.start("pizza-order", Order(id="o-7", customer="Fred", pizzas=[]))
    failed = await run.wait(timeout=10)
    assert failed.error is not None
    e.note("Fred", f"{failed.status}: {failed.error.message}")
    funghi = {"name": "Funghi", "size": Size.NORMAL}
    await host.rewind(run.id, "check", {"pizzas": [funghi]}, actor="waiter")
    await e.later(15)
    await host.publish_event("collected", "o-7", "Fred")
    await run.wait(timeout=10)
    same = await host.fork(run.id, "check", {"id": "o-8"}, actor="Fred")
    await e.later(15)
    await host.publish_event("collected", "o-8", "Fred again")
    await same.wait(timeout=10)


async def kim_forgets_the_address(e: Evening) -> None:
    """The delivery is suspended, mended and resumed; nobody needs to sign: that step is skipped."""
    host, trip = e.test.host, "delivery of o-10"
    order = Order(id="o-10", customer="Kim", pizzas=[Pizza("Funghi")], way=Way.DELIVERY)
    run = await e.test.start("pizza-order", order)
    await e.later(15)
    stuck = await host.get(trip)
    assert stuck.error is not None
    e.note("delivery", f"{stuck.status}: {stuck.error.message}")
    await host.patch_data(trip, {"street": "Via Dante 5"}, actor="waiter")
    await host.resume(trip, actor="waiter", reason="Kim rang us up")
    await e.test.clock.settle()
    found = await host.activities.claim("courier", "Gino")
    assert found is not None
    e.note("Gino", f"drives to {found.parameters['street']}")
    await host.activities.complete(found.token, "Gino")
    await e.later(5)
    (waiting,) = (await host.get(trip)).pointers
    await host.skip(trip, waiting.id, actor="Gino", reason="Kim waves from the balcony")
    await run.wait(timeout=10)


async def gina_is_too_late(e: Evening) -> None:
    """Closed for orders; then the shop closes by itself, and writes its report."""
    e.shop.open = False
    order = Order(id="o-9", customer="Gina", pizzas=[Pizza("Funghi")])
    try:
        await e.test.start("pizza-order", order)
    except PermissionError as error:
        e.note("Gina", str(error))
    await schedule(e.test.host)
    await e.later(6 * 60)
    (failed,) = (await e.test.host.find(definition="report")).items
    e.note("report", f"{failed.status}, nobody came")
    e.shop.payments["found in a pocket"] = Decimal("26.50")
    await e.test.host.retry(failed.id, from_step="sales", actor="owner")
    e.note("report", await (await e.test.host.run(failed.id)).result(timeout=10))


STORIES: tuple[Story, ...] = (
    ada_collects,
    ben_cannot_pay,
    cleo_has_a_party,
    dino_changes_his_mind,
    eva_orders_twice,
    fred_forgets_the_pizza,
    hugo_comes_early,
    kim_forgets_the_address,
    gina_is_too_late,
)


def title(story: Story) -> str:
    """Return what a story is called."""
    name: str = getattr(story, "__name__", "")
    return name.replace("_", " ").capitalize()
