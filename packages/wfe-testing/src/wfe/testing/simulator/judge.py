"""What must hold when the cluster has come to rest."""

from __future__ import annotations

from wfe.core.engine.views import state_of
from wfe.core.models import WorkflowStatus
from wfe.testing.simulator.cluster import Cluster
from wfe.testing.simulator.laws import Broken, Law
from wfe.testing.simulator.ledger import Account, same_state
from wfe.testing.simulator.truth import at_once
from wfe.testing.simulator.users import Users

__all__ = ["Judge"]

_ASKS = frozenset({"signal", "approval", "activity"})
"""Extras of pointers that wait for somebody."""


class Judge:
    """Looks at a cluster on which nothing goes wrong any more."""

    def __init__(self, cluster: Cluster, users: Users) -> None:
        """Judge *cluster* and what it told *users*."""
        self._cluster = cluster
        self._users = users
        self._ledger = cluster.world.ledger
        self._truth = cluster.world.truth

    @property
    def open(self) -> list[Account]:
        """Runs that are not final."""
        accounts = self._ledger.accounts.values()
        return [each for each in accounts if not each.final or each.inbox]

    def at_rest(self) -> None:
        """Check what holds whenever the hosts have had the time to react.

        Raises:
            Broken: Something does not hold.
        """
        for account in self.open:
            self._check_owned(account)
            if account.inbox and account.owner is not None:
                problem = f"{account.name} has not read {list(account.inbox.values())}"
                raise Broken(Law.SETTLES, f"{problem}, though its owner {account.owner} lives")

    def _check_owned(self, account: Account) -> None:
        header = self._truth.header_of(account.new.n)
        if header is None:
            raise Broken(Law.KEPT, f"{account.name} is not in the store")
        if header.owner is not None:
            host = self._cluster.owner(header.owner)
            if host is None:
                problem = f"{account.name} is owned by {header.owner}, which is dead"
                raise Broken(Law.ORPHANS, problem)
            if account.new.n not in host.engine.live:
                problem = f"{account.name} is owned by {host.name}, which does not drive it"
                raise Broken(Law.WEDGED, problem)
        elif header.status == WorkflowStatus.RUNNABLE:
            self._check_waits(account, header.wake)

    def _check_waits(self, account: Account, wake: int | None) -> None:
        children = any(not child.final for child in account.children)
        pointers = list(account.state.pointers.values())
        asks = any(_ASKS & pointer.extra.keys() for pointer in pointers)
        waits = self._ledger.topics.of(account.new.n) or children or account.inbox or asks
        if wake is None and not (waits or self._ledger.places.waiting(account.new.n)):
            raise Broken(Law.WEDGED, f"nothing will wake {account.name}: {pointers}")

    def at_the_end(self) -> None:
        """Check what holds when every run is final.

        Raises:
            Broken: Something does not hold.
        """
        for account in self._ledger.accounts.values():
            self._check_history(account)
        for host in self._cluster.well:
            for running in host.running.values():
                problem = f"{running.spec.name} still runs, though its run is final"
                raise Broken(Law.SCOPES, problem)
        for actor, intent in self._users.intents.items():
            rows = self._ledger.by_id[intent.run].journal.named[actor]
            if rows > 1 or (intent.sure and rows != 1):
                problem = f"{intent.what} of {intent.run} by {actor} has {rows} rows"
                raise Broken(Law.INTENTS, problem)
        for id, sure in self._users.events.items():
            if sure and id not in self._ledger.topics.events:
                raise Broken(Law.KEPT, f"event {id} was acknowledged, but not stored")

    def _check_history(self, account: Account) -> None:
        """The journal alone, from its first row, gives what snapshot and tail give."""
        n = account.new.n
        rows = at_once(self._truth.history(n, -1, 1_000_000))
        if [row.seq for row in rows] != list(range(account.state.seq + 1)):
            raise Broken(Law.GAPLESS, f"{account.name} has the rows {[row.seq for row in rows]}")
        (loaded,) = at_once(self._truth.load([n]))
        state, _, _ = state_of(loaded)
        if not same_state(state, account.state):
            raise Broken(Law.FOLDS, f"{account.name} is {state}, but its rows say {account.state}")
        account.journal.hooks()
        if account.state.status == WorkflowStatus.COMPLETE and not account.journal.rewritten:
            last = account.journal.plan.definition.root.nodes[-1]
            if account.journal.completions(last) < 1:
                raise Broken(Law.ORDER, f"{account.name} is complete, but {last.name} is not")
