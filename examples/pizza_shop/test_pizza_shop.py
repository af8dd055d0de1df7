"""Tells every story of the pizza shop and compares the diary, line by line."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from examples.pizza_shop import stories
from examples.pizza_shop.counter import open_book, take
from examples.pizza_shop.couriers import drive
from examples.pizza_shop.menu import Address, Order, Pizza, Way
from examples.pizza_shop.opening import Staff, schedule, workflows
from examples.pizza_shop.shop import Shop
from wfe.core import HistoryEntry
from wfe.host import WorkflowHost

ROOT = Path(__file__).parents[2]
DIARIES = Path(__file__).with_name("diaries.txt").read_text(encoding="utf-8")


def diary(story: stories.Story) -> list[str]:
    """Return the expected diary of a story; ``diaries.txt`` holds what the program prints."""
    begin = f"# {stories.title(story)}\n"
    (told,) = [each for each in DIARIES.split("\n\n") if each.startswith(begin)]
    return [line for line in told.splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("story", stories.STORIES, ids=stories.title)
async def test_story_goes_as_told(story: stories.Story) -> None:
    async with stories.evening() as e:
        await story(e)

        assert e.shop.diary == diary(story)


def test_the_program_tells_all_of_them() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "examples.pizza_shop"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ,
    )

    assert done.stderr == ""
    assert done.stdout.strip() == DIARIES.strip()


async def test_what_is_undone_is_undone_last_first() -> None:
    async with stories.evening() as e:
        await stories.ben_cannot_pay(e)

        history = await e.test.host.history("pizza-order-1")
        undone = [entry.step for entry in history if entry.kind == "step_compensated"]
        assert undone == ["charge", "redeem", "reserve"]
        assert e.shop.larder["Tartufo"] == 10
        assert e.shop.accounts["Ben"] == Decimal(20)
        ben = await e.test.host.get("pizza-order-1")
        assert (ben.status, ben.data.receipt, ben.data.total) == ("complete", "", Decimal("39.800"))


async def test_the_party_is_delivered_by_a_run_of_its_own() -> None:
    async with stories.evening() as e:
        await stories.cleo_has_a_party(e)

        host = e.test.host
        party, trip = await host.get("pizza-order-1"), await host.get("delivery of o-3")
        assert (trip.parent_id, trip.root_id) == (party.id, party.id)
        assert (trip.data.courier, trip.data.signed_by) == ("Pia", "the neighbour")
        assert party.data.trip == trip.data
        assert party.data.address == Address("Via Verdi 2", floor=3)
        said = [entry.actor for entry in await host.history(party.id) if entry.step == "owner"]
        assert "owner" in said
        assert e.staff.board.seen["workflow_started"] == 3  # the order, the trip, the programme
        assert e.staff.board.seen["workflow_completed"] == 3
        (points,) = (await host.find(definition="loyalty")).items
        assert points.data["result"] == "CLEO-5 was used"
        assert await host.query(points.id, "points") == "149.250 points"
        assert e.shop.points["Cleo"] == Decimal("99.250")


async def test_a_voucher_that_is_not_used_is_void() -> None:
    async with stories.evening() as e:
        await stories.cleo_has_a_party(e)
        e.shop.diary.clear()
        run = await e.test.start("loyalty", {"customer": "Dora", "spent": Decimal(60)})
        await e.later(32 * 24 * 60)

        assert await run.result(timeout=10) == "the voucher was not used"
        assert e.shop.points["Dora"] == Decimal(60)
        assert e.shop.diary[-1].endswith("Dora: voucher DORA-5 is void, points are back")


async def test_the_oven_never_holds_more_than_two() -> None:
    async with stories.evening() as e:
        order = Order(id="o-1", customer="Ada", pizzas=[Pizza("Margherita")] * 5)
        await e.test.start("pizza-order", order)
        hot: list[int] = []
        for _ in range(60):
            await e.later(1)
            pointers = (await e.test.host.get("pizza-order-1")).pointers
            hot.append(sum(p.step == "bake" and p.status == "sleeping" for p in pointers))

        assert max(hot) == 2
        ada = await e.test.host.get("pizza-order-1")
        assert ada.data.ready
        # From 18:10 on there is room, but the door must stay shut: two times in ten minutes.
        assert [line for line in e.shop.diary if "into the oven" in line] == [
            "Fri 18:02 Ada: Margherita into the oven",
            "Fri 18:02 Ada: Margherita into the oven",
            "Fri 18:12 Ada: Margherita into the oven",
            "Fri 18:12 Ada: Margherita into the oven",
            "Fri 18:22 Ada: Margherita into the oven",
        ]


async def test_who_watches_sees_everything() -> None:
    async with stories.evening() as e:
        await stories.ada_collects(e)
        await e.test.clock.settle()

        assert e.staff.watch.ran["charge"] == 2  # the bank was busy once
        assert e.staff.watch.ran["bake"] == 6  # in and out, three times
        assert e.staff.board.seen["step_retrying"] == 1
        assert e.staff.board.seen["progress"] == 6
        assert "pizza-order-1 complete" in e.staff.hours.ended
        assert e.shop.payments == {"o-1": Decimal("27.450")}


async def test_who_watches_hears_of_a_cancelled_order_too() -> None:
    async with stories.evening() as e:
        await stories.dino_changes_his_mind(e)

        assert e.staff.hours.ended == ["pizza-order-1 terminated"]
        dino = (await e.test.host.history("pizza-order-1"))[-1]
        assert dino.kind == "workflow_terminated"
        asked = [h for h in await e.test.host.history("pizza-order-1") if h.actor == "Dino"]
        assert {h.reason for h in asked} == {"I am not hungry any more"}


async def test_a_courier_with_a_flat_tyre_tries_again() -> None:
    async with stories.evening() as e:
        order = Order(
            id="o-1",
            customer="Ada",
            pizzas=[Pizza("Funghi")],
            way=Way.DELIVERY,
            address=Address("Via flat tyre"),
        )
        run = await e.test.start("pizza-order", order)
        await e.later(11)
        worker = asyncio.create_task(e.test.host.activities.work("courier", drive))
        await e.later(2)
        await e.test.host.publish_event("signed", "o-1", "Ada")
        await e.later(15)
        worker.cancel()

        assert (await run.wait(timeout=10)).data.trip.signed_by == "Ada"
        history = await e.test.host.history("delivery of o-1")
        assert [h.step for h in history if h.kind == "step_retrying"] == ["activity"]


async def test_the_closing_calls_the_owner_when_something_is_wrong() -> None:
    async with stories.evening() as e:
        e.shop.larder["Funghi"] = -1
        await schedule(e.test.host)
        run = await e.test.host.schedules.trigger("closing")

        assert (await run.wait(timeout=10)).status == "failed"
        assert e.shop.diary == [
            "Fri 18:00 closing: something is wrong, the owner must come",
            "Fri 18:00 closing: lights off",
        ]


async def test_what_the_waiter_did_is_on_record() -> None:
    async with stories.evening() as e:
        await stories.kim_forgets_the_address(e)

        trip = await e.test.host.get("delivery of o-10")
        assert (trip.data.street, trip.data.signed_by) == ("Via Dante 5", "the neighbour")
        acted = [
            (entry.kind, entry.actor)
            for entry in await e.test.host.history(trip.id)
            if entry.actor is not None
        ]
        assert acted == [
            ("data_patched", "waiter"),
            ("workflow_resumed", "waiter"),
            ("step_skipped", "Gino"),
        ]


# -- a restart ------------------------------------------------------------------------------------


def starts(history: list[HistoryEntry]) -> Counter[str]:
    """Count how often each body was done."""
    return Counter(entry.step or "" for entry in history if entry.kind == "step_completed")


async def test_the_power_fails_and_another_host_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "shop.db"
    shop = Shop(
        larder={"Funghi": 5, "Diavola": 5},
        accounts={"Ada": Decimal(100)},
        minute=timedelta(milliseconds=60),
    )
    order = Order(id="o-1", customer="Ada", pizzas=[Pizza("Funghi"), Pizza("Diavola")])

    first = WorkflowHost(f"sqlite:///{file}", **Staff(shop).options())
    first.register(*workflows())
    async with first:
        book = open_book(file)
        asleep = first.subscribe(["step_sleeping"])
        await take(first, book, order)
        with pytest.raises(sqlite3.IntegrityError):
            await take(first, book, Order(id="o-1", customer="Ada", pizzas=[Pizza("Funghi")]))
        async with asyncio.timeout(20):
            async for event in asleep:
                if event.step == "bake":
                    break
        await first.stop(grace=0)  # with two pizzas in the oven
    assert not any("ready" in line for line in shop.diary)

    second = WorkflowHost(f"sqlite:///{file}", **Staff(shop).options())
    second.register(*workflows())
    async with second:
        run = await second.run("o-1")
        await second.publish_event("collected", "o-1", "Ada")
        instance = await run.wait(timeout=20)
        done = starts(await run.history())
        streamed = sorted([item.payload async for item in second.stream(run.id, follow=False)])
        assert len((await second.find(definition="pizza-order")).items) == 1
    assert book.execute("SELECT id, customer FROM orders").fetchall() == [("o-1", "Ada")]
    book.close()

    assert instance.status == "complete"
    assert [line.partition("Ada: ")[2] for line in shop.diary] == [
        "ingredients reserved",
        "paid 21.20 €",
        "receipt printed",
        "Funghi into the oven",
        "Diavola into the oven",
        "table wiped",
        "ready: Diavola, Funghi",
        "handed to Ada, thank you",
    ]
    assert sorted(instance.data.boxed) == ["Diavola", "Funghi"]
    assert instance.data.collected_by == "Ada"
    assert shop.payments == {"o-1": Decimal("21.200")}
    assert shop.larder == {"Funghi": 4, "Diavola": 4}
    assert {step: done[step] for step in ("reserve", "charge", "bake", "box", "thank")} == {
        "reserve": 1,
        "charge": 1,
        "bake": 2,
        "box": 2,
        "thank": 1,
    }
    assert streamed.count("Funghi: baked") == streamed.count("Diavola: baked") == 1
