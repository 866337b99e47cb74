"""The subscriptions of one source, and the watches that this node gives back.

A dropped subscription is also taken out of the counts of troubles and of unheard watches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from notifier.core.model import Watch
from notifier.follow.subscription import Subscription
from notifier.follow.troubles import Troubles
from notifier.follow.unheard import Unheard
from notifier.runtime.wake import Wake


class Unsure:
    """Keeps watches that this node may not own any more, or that may have changed.

    The watcher releases them in the store, and then claims what is free, as it is now.
    """

    def __init__(self, wake: Wake) -> None:
        """Set `wake` when there are any."""
        self._wake = wake
        self._watches: list[Watch] = []

    def __len__(self) -> int:
        return len(self._watches)

    def add(self, watches: Iterable[Watch]) -> None:
        """Have these released."""
        self._watches.extend(watches)
        if self._watches:
            self._wake.set()

    def take(self) -> list[Watch]:
        """Return all, and keep none."""
        watches, self._watches = self._watches, []
        return watches


class Followed:
    """Keeps subscriptions by the numbers of their watches."""

    def __init__(self, *, troubles: Troubles, unheard: Unheard, unsure: Unsure) -> None:
        self._troubles = troubles
        self._unheard = unheard
        self._unsure = unsure
        self._all: dict[int, Subscription] = {}

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Subscription]:
        """Iterate over the subscriptions of this moment; others may come and go meanwhile."""
        return iter(list(self._all.values()))

    def get(self, pk: int) -> Subscription | None:
        """Return the subscription of a watch."""
        return self._all.get(pk)

    def watches(self) -> list[Watch]:
        """Return the watches that have not ended."""
        return [subscription.watch for subscription in self._all.values() if not subscription.watch.ended]

    def some(self, count: int, *, connected: bool) -> list[Watch]:
        """Return up to `count` watches that have not ended, with a connection or without."""
        matching = (
            subscription.watch
            for subscription in self._all.values()
            if not subscription.watch.ended and (subscription.task is not None) is connected
        )
        return list(islice(matching, max(0, count)))

    def add(self, watch: Watch) -> Subscription:
        """Follow a watch; a subscription of the same number is dropped."""
        self.drop(watch.pk)
        subscription = self._all[watch.pk] = Subscription(watch)
        self._unheard.note(watch)
        return subscription

    def describe(self, subscription: Subscription, watch: Watch) -> None:
        """Take over what describes a watch."""
        subscription.describe(watch)
        self._unheard.note(watch)

    def drop(self, pk: int) -> None:
        """Stop following a watch."""
        subscription = self._all.get(pk)
        if subscription is not None:
            self.forget(subscription)

    def forget(self, subscription: Subscription) -> None:
        """Stop following by this subscription; another of the same watch stays."""
        pk = subscription.watch.pk
        if self._all.get(pk) is subscription:
            del self._all[pk]
            self._troubles.forget(pk)
            self._unheard.forget(pk)
        subscription.drop()

    def let_go(self, subscription: Subscription) -> None:
        """Stop following a watch that is not as we know it. A watch that was dropped is nobody's loss."""
        if not subscription.gone:
            self.forget(subscription)
            self._unsure.add([subscription.watch])

    async def look(self) -> None:
        """Count anew whose events nobody receives, if a reload has changed the endpoints."""
        await self._unheard.look(self._all)
