"""A second, naive account of everything that was committed, kept beside the store and compared.

The ledger sees each commit, claim and fence as the store answered it.  It folds every row, knows
every message that must be in an inbox, and complains at once when the store, an engine or a rule
did something else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import attrs
import orjson

from wfe.core.engine.live import LiveRun
from wfe.core.models import WorkflowStatus
from wfe.core.providers import (
    Conflict,
    Done,
    Header,
    Hold,
    InboxRow,
    Item,
    Message,
    Outcome,
    Snapshot,
    StoredInstance,
    superseded,
)
from wfe.core.rules.plan import Plan
from wfe.core.rules.state import State, apply, state_from_json
from wfe.testing.simulator.journal import GOES_BACK, Journal
from wfe.testing.simulator.laws import Broken, Law
from wfe.testing.simulator.places import Places
from wfe.testing.simulator.topics import Match, Topics

__all__ = ["Account", "Ledger", "Truths", "same_state"]

_FINAL: Final = frozenset({"workflow_completed", "workflow_failed", "workflow_terminated"})
_Expected: TypeAlias = tuple[str, str, str | None]
"""Kind, text and dedupe of a message that must be in an inbox."""
_NAMED: Final = {"event": ("pointer", "id"), "granted": ("pointer", "attempt", "key", "taken")}
_LAWS: Final = {"granted": Law.LIMITS}


@attrs.frozen
class Truths:
    """What the ledger may ask of the store."""

    header: Callable[[int], StoredInstance | None]
    inbox: Callable[[int], Sequence[InboxRow]]
    now: Callable[[], int]


@attrs.define(eq=False, kw_only=True)
class Account:
    """What is known of one instance.

    Attributes:
        inbox: Kind, text and dedupe of each unread message, by its number.
        upsets: How often its attempts may have been interrupted, so that they are repeated.
    """

    new: Header
    journal: Journal
    owner: int | None
    state: State = attrs.field(factory=State)
    inbox: dict[int, _Expected] = attrs.field(factory=dict[int, _Expected])
    children: list[Account] = attrs.field(factory=list["Account"])
    final: bool = False
    upsets: int = 0

    @property
    def name(self) -> str:
        return f"{self.new.definition}-{self.new.n}"


class Ledger:
    """All accounts.

    Attributes:
        accounts: By instance number.
        by_id: By public id.
        fenced: Epochs that may not write any more, with the time of it.
        commits: How many there were; ``steps``: completed steps in them.
        live: Finds the run that an epoch has in memory.
    """

    def __init__(self, plans: Mapping[str, Plan], tolerance: int) -> None:
        """Keep the accounts of runs of these *plans*; clocks differ by up to *tolerance* µs."""
        self.plans = plans
        self.tolerance = tolerance
        self.accounts: dict[int, Account] = {}
        self.by_id: dict[str, Account] = {}
        self.fenced: dict[int, int] = {}
        self.commits: int = 0
        self.steps: int = 0
        self.live: Callable[[int, int], LiveRun | None] = lambda _epoch, _n: None
        self.truths: Truths | None = None
        self._keys: dict[tuple[str, str], Account] = {}
        self._names: dict[str, Account] = {}
        self._mail: dict[int, list[_Expected]] = {}
        self.topics: Topics = Topics()
        self.places: Places = Places()

    # -- workers

    def was_fenced(self, epochs: Sequence[int], now: int) -> None:
        """Take note that *epochs* may not write any more."""
        for epoch in epochs:
            self.fenced.setdefault(epoch, now)

    def claimed(self, epoch: int, numbers: Sequence[int]) -> None:
        """Take note of a claim."""
        for n in numbers:
            account = self.accounts[n]
            if epoch in self.fenced:
                raise Broken(Law.OWNER, f"fenced worker {epoch} claimed {account.name}")
            if account.owner is not None:
                raise Broken(Law.OWNER, f"{account.name} was claimed from worker {account.owner}")
            account.owner = epoch

    def released(self, why: str) -> None:
        """Take note of runs that lost their owner other than by a commit."""
        for account in self.accounts.values():
            if account.owner is None:
                continue
            header = self._header(account.new.n)
            if header.owner is None:
                if why == "orphans" and account.owner not in self.fenced:
                    problem = f"{account.name} was taken from a worker that was not fenced"
                    raise Broken(Law.OWNER, problem)
                account.owner = None
                account.upsets += 1
                self._check_release(account, header)

    def set_aside(self, n: int) -> None:
        """Take note that a host gave up run *n* because of a fault."""
        account, header = self.accounts[n], self._header(n)
        if account.owner is not None and header.owner is None:
            account.owner = None
            account.upsets += 1
        aside = header.status == WorkflowStatus.SUSPENDED and header.error is not None
        if aside and account.state.status == WorkflowStatus.RUNNABLE:
            # The only status that no row has: the run could not be gone on with.
            account.state.status = header.status
            account.state.error = orjson.loads(header.error or "null")

    def _header(self, n: int) -> StoredInstance:
        found = None if self.truths is None else self.truths.header(n)
        if found is None:
            raise Broken(Law.KEPT, f"run {n} is not in the store any more")
        return found

    def finished(self, numbers: Sequence[int]) -> None:
        """Take note that an external worker handed in a result for each of *numbers*."""
        for n in numbers:
            self._check_inbox(self.accounts[n], [("activity_done", "", None)])

    # -- commits

    def committed(
        self, epoch: int | None, items: Sequence[Item], outcomes: Sequence[Outcome]
    ) -> None:
        """Take note of a batch and of what became of it."""
        self.commits += 1
        self._mail = {}
        for item, outcome in zip(items, outcomes, strict=True):
            if isinstance(outcome, Done):
                self._check_writer(epoch, item)
                self._apply(item, outcome.at)
                for n, _, _ in outcome.woken:
                    self._mail.setdefault(n, [])
            elif isinstance(outcome, Conflict) and item.n in self.accounts:
                self.accounts[item.n].upsets += 1
        for n, expected in self._mail.items():
            self._check_inbox(self.accounts[n], expected)

    def _check_writer(self, epoch: int | None, item: Item) -> None:
        if not item.n or item.new is not None:
            return
        account = self.accounts[item.n]
        if epoch is None or account.owner != epoch:
            problem = f"worker {epoch} wrote {account.name}, which {account.owner} owns"
            raise Broken(Law.OWNER, problem)
        if epoch in self.fenced:
            raise Broken(Law.OWNER, f"fenced worker {epoch} wrote {account.name}")
        if item.base != account.state.seq:
            problem = f"{account.name}: rows after {item.base}, but {account.state.seq} was last"
            raise Broken(Law.GAPLESS, problem)
        run = self.live(epoch, item.n)
        known = run is not None and run.state.seq == item.base
        if run is not None and known and not same_state(run.state, account.state):
            problem = f"{account.name} is in its owner's memory {run.state}, not {account.state}"
            raise Broken(Law.FOLDS, problem)

    def _apply(self, item: Item, at: int) -> None:
        if item.new is not None:
            self._born(item, item.new)
            self._mail.setdefault(item.n, [])
        if item.n:
            self._change(self.accounts[item.n], item, at)
        for child in item.starts:
            new = child.new
            if new is None or (new.idem and (new.definition, new.idem) in self._keys):
                continue
            self._apply(child, at)
            if item.n and new.parent == item.n:
                self.accounts[item.n].children.append(self.accounts[child.n])
        over = item.header is not None and item.header.final
        self._tell(item, at, over=over)
        if item.header is not None and item.header.release and not over:
            self._check_release(self.accounts[item.n], self._header(item.n))

    def _tell(self, item: Item, at: int, *, over: bool) -> None:
        """Note whom the item's waits, events, messages and places must reach."""
        for wanted in () if over else item.subscribe:
            for match in self.topics.subscribe(item.n, wanted):
                self._woken(match)
        for event in item.publish:
            for match in self.topics.publish(event, at):
                self._woken(match)
        for message in item.messages:
            self._send(item.n, message)
        if item.n:
            self._limit(item, over=over)

    def _limit(self, item: Item, *, over: bool) -> None:
        if over:
            self._grant(self.places.free(item.n, None))
            return
        if item.unhold:
            self._grant(self.places.free(item.n, item.unhold))
        for hold in item.hold:
            taken = self.places.taken(item.n, hold)
            for other in self.places.superseded(item.n, hold):
                self._send(item.n, superseded(other, hold.key))
            self._grant(self.places.hold(item.n, hold), taken=taken)

    def _grant(self, granted: Iterable[tuple[int, Hold]], *, taken: bool = False) -> None:
        for n, hold in granted:
            said = [hold.pointer, hold.attempt, hold.key, True if taken else None]
            dedupe = f"granted:{hold.pointer}:{hold.attempt}:{hold.key}"
            self._expect(self.accounts[n], ("granted", orjson.dumps(said).decode(), dedupe))

    def _born(self, item: Item, new: Header) -> None:
        if item.n in self.accounts or new.id in self.by_id:
            raise Broken(Law.ONCE, f"run {item.n} ({new.id}) was started twice")
        if new.idem is not None and (new.definition, new.idem) in self._keys:
            raise Broken(Law.ONCE, f"two runs of {new.definition} have the key {new.idem!r}")
        if new.name is not None and new.name in self._names:
            raise Broken(Law.ONCE, f"two runs are called {new.name!r}")
        journal = Journal(self.plans[new.definition])
        account = Account(new=new, journal=journal, owner=new.owner)
        self.accounts[item.n] = self.by_id[new.id] = account
        if new.idem is not None:
            self._keys[new.definition, new.idem] = account
        if new.name is not None:
            self._names[new.name] = account

    def _change(self, account: Account, item: Item, at: int) -> None:
        finals = 0
        for text in item.rows:
            row: list[Any] = orjson.loads(text)
            finals += row[1] in _FINAL
            if row[1] in GOES_BACK:
                account.final = False
                account.upsets += 1
                finals = 0  # it ended and was taken back in one transition
            account.journal.row(account.state, row, at, self.tolerance)
            apply(account.state, row)
        self.steps += account.journal.take_completed()
        if item.consumed:
            self._mail.setdefault(item.n, [])
        for i in item.consumed:
            if i and account.inbox.pop(i, None) is None:
                raise Broken(Law.WAKES, f"{account.name} consumed message {i}, which it has not")
        if 0 in item.consumed:
            self._check_direct(account, item, at)
        for pointer in item.unsubscribe:
            self.topics.end(item.n, pointer)
        if item.fold is not None:
            self._check_snapshot(account, item.fold)
        self._head(account, item, finals)

    def _check_direct(self, account: Account, item: Item, at: int) -> None:
        """What a run takes at once must be what its inbox would have got, and nothing before it."""
        if account.inbox:
            problem = f"{account.name} took something before {list(account.inbox.values())}"
            raise Broken(Law.WAKES, problem)
        taken = item.consumed.count(0)
        fitting = sum(
            self.topics.fitting(item.n, item.unsubscribe, event, at) for event in item.publish
        )
        if taken != (fitting if item.publish else 1):
            problem = f"{account.name} took {taken} messages at once, but {item.publish} ends"
            raise Broken(Law.WAKES, f"{problem} {fitting} of its waits")

    def _head(self, account: Account, item: Item, finals: int) -> None:
        header = item.header
        again = account.final and not finals  # what was asked of it came too late
        if account.final and item.rows and not item.consumed:
            raise Broken(Law.FINAL, f"{account.name} is final, but was written")
        if finals != (header is not None and header.final) and not again:
            problem = f"{account.name}: {finals} final rows with header {header}"
            raise Broken(Law.FINAL, problem)
        if header is None:
            return
        if header.status != account.state.status:
            problem = f"{account.name} is stored as {header.status}, its rows {account.state}"
            raise Broken(Law.FOLDS, problem)
        if header.final:
            if account.inbox:
                problem = f"{account.name} ended without reading {list(account.inbox.values())}"
                raise Broken(Law.LATE, problem)
            account.final = True
            account.owner = None
            self.topics.end(account.new.n)
        elif header.release:
            account.owner = None

    def _check_snapshot(self, account: Account, fold: Snapshot) -> None:
        found = state_from_json(orjson.loads(fold.state), orjson.loads(fold.data))
        if fold.seq != account.state.seq or not same_state(found, account.state):
            problem = f"{account.name}: the snapshot says {found}, its rows {account.state}"
            raise Broken(Law.FOLDS, problem)

    def _check_release(self, account: Account, header: StoredInstance) -> None:
        waits = header.wake is None or header.wake > self._now()
        if account.inbox and waits and not account.final:
            problem = f"{account.name} sleeps over {list(account.inbox.values())}"
            raise Broken(Law.WEDGED, problem)

    def _now(self) -> int:
        return 0 if self.truths is None else self.truths.now()

    # -- messages and events

    def _check_inbox(self, account: Account, expected: list[_Expected]) -> None:
        if self.truths is None:
            return
        rows = {row.i: row for row in self.truths.inbox(account.new.n)}
        lost = [account.inbox[i] for i in account.inbox if i not in rows]
        if lost:
            raise Broken(Law.WAKES, f"{account.name} lost the messages {lost}")
        wanted = list(expected)
        for i, row in rows.items():
            if i in account.inbox:
                continue
            match = next((m for m in wanted if _same(m, row)), None)
            if match is None:
                problem = f"{account.name} got {row.kind} {row.payload}, which nobody sent now"
                raise Broken(_LAWS.get(row.kind, Law.WAKES), problem)
            wanted.remove(match)
            account.inbox[i] = (row.kind, row.payload, match[2])
        if wanted:
            law = _LAWS.get(wanted[0][0], Law.WAKES)
            raise Broken(law, f"{account.name} did not get {wanted}")

    def _woken(self, match: Match) -> None:
        n, wanted, event, e = match
        text = orjson.dumps([wanted.pointer, event.id]).decode()
        self._expect(self.accounts[n], ("event", text, f"event:{wanted.pointer}:{e}"))

    def _send(self, n: int, message: Message) -> None:
        if message.target is None:
            targets = [child for child in self.accounts[n].children if not child.final]
        else:
            found = self.accounts.get(message.target)
            keeps = found is not None and (
                not found.final or (message.strict and message.allow_final)
            )
            targets = [found] if found is not None and keeps else []
        for account in targets:
            self._expect(account, (message.kind, message.payload, message.dedupe))

    def _expect(self, account: Account, message: _Expected) -> None:
        """Take note that *message* is sent, unless one of its dedupe text is there already."""
        expected = self._mail.setdefault(account.new.n, [])
        known = {*(m[2] for m in account.inbox.values()), *(m[2] for m in expected)}
        if message[2] is None or message[2] not in known:
            expected.append(message)


def same_state(ours: State, theirs: State) -> bool:
    """Whether two states are one; an empty undo log is as good as none."""
    if ours == theirs:
        return True
    ours, theirs = (
        attrs.evolve(each, logs={frame: log for frame, log in each.logs.items() if log})
        for each in (ours, theirs)
    )
    return ours == theirs


def _same(expected: tuple[str, str, str | None], row: InboxRow) -> bool:
    kind, text, _ = expected
    if kind != row.kind:
        return False
    if kind in _NAMED:  # the rest of the payload is the store's: positions and times
        payload = orjson.loads(row.payload)
        return bool([payload.get(key) for key in _NAMED[kind]] == orjson.loads(text))
    return kind == "activity_done" or text == row.payload
