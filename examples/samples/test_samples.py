"""Runs every sample as a script does, and compares all that it prints."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

SAMPLES = Path(__file__).parent

PRINTED = {
    "01_hello": """\
Hello, world!
Goodbye, world!
complete
""",
    "02_decision": """\
a 3
a 7
a 12
that wins
""",
    "03_data": """\
2 + 3 = 5
Sum(a=2, b=3, result=5)
""",
    "04_events": """\
waiting for the payment of A-1
thank you for 12 €, Ada
waiting for the payment of A-2
thank you for 9 €, Ben
""",
    "05_deferred": """\
00:00 60 degrees
00:02 100 degrees
tea is ready
""",
    "06_multiple_outcomes": """\
{'doctor': 'called', 'tea': 'elder', 'temperature': 39.2}
{'advice': 'go out', 'temperature': 36.8}
""",
    "07_asgi_hosting": """\
lifespan.startup.complete
Hello, Ada!
lifespan.shutdown.complete
""",
    "08_human_task": """\
Ada may go
nobody answered Ben: asking the head of the department
head: Still open: 30 days off for Ben?
Ben must stay
""",
    "09_for_each": """\
13 letters
""",
    "09s_for_each_sequential": """\
0: Oslo
1: Rome
2: Bern
home again
""",
    "10_while": """\
3
2
1
lift-off
""",
    "11_if": """\
ask the boss
no change needed
just buy it
typo: if_do: condition: Purchase has no field 'price' (there is: amount)
""",
    "12_outcome_branches": """\
meow
moo
silence of the fish
""",
    "13_parallel": """\
soup is ready
bread is ready
lunch!
after 2 h
the hare is there
the race is over
after 1 h
""",
    "14_recur": """\
Thu: please bring back Momo
Fri: please bring back Momo
thank you, Ada
""",
    "15_dependency_injection": """\
app: from the application object
shop: from a prototype
container: from the factory
""",
    "16_schedule": """\
Wed 00:00 main goes on
Wed 01:00 an hour later
Wed 09:00 main goes on
Thu 19:00 tidy up
Fri 19:00 tidy up
""",
    "17_saga": """\
train booked
hotel booked
enjoy it!
complete
train booked
hotel cancelled, in case that half of it was booked
train cancelled
we are sorry
complete
""",
    "18_activities": """\
worker 1 has {'text': 'Guten Tag'}
worker 2 has {'text': 'Guten Tag'}
worker 1 is too late: ActivityTokenError
got 'Good day'
complete
""",
    "19_middleware": """\
refused: who are you?
outer: before hello
inner: before hello
Hello, Ada!
inner: after hello
outer: after hello
hello-2 is complete
""",
    "20_web_api": """\
202
202
202
{'name': 'order-1', 'status': 'complete', 'data': {'id': '7', 'payment': {'euros': 12}}}
409
404
""",
}


def test_every_sample_is_here() -> None:
    assert sorted(PRINTED) == sorted(path.stem for path in SAMPLES.glob("[0-9]*.py"))


@pytest.mark.parametrize("name", PRINTED)
def test_sample_prints(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(SAMPLES / f"{name}.py"), run_name="__main__")

    assert capsys.readouterr().out == PRINTED[name]
