"""The time limits of one source's watches: idle streams, no change, the deadline and the last look after it.

It looks at one watch at a time, ends streams whose time is up, and returns what else is due. It connects nothing and
saves nothing: the feed does (`feed.py`).

The deadline alone ends no watch: the task may have ended while nobody looked. A watch past its deadline gets one more
connection, and is lost once the upstream has told its present state, or could not be asked for a while.
"""

from __future__ import annotations

from enum import Flag

from notifier.core import reconnect
from notifier.core.errors import Unavailable
from notifier.core.model import Micros, Watch
from notifier.core.reconnect import Ending, GiveUp, Wait
from notifier.follow.policy import FeedPolicy
from notifier.follow.subscription import Renewal, Stage, Subscription
from notifier.follow.troubles import Troubles
from notifier.runtime.clock import Clock
from notifier.sources.sse import SseStream

STEADY = 60.0  # seconds for which a stream has to stay open to prove that its troubles are over
PRESENT_QUIET = 1.0  # seconds without a byte after which a stream that was opened anew has told its present state
PRESENT_LONGEST = 10.0  # seconds after which it has, though it never paused, or said nothing at all
SWEEPS = 8  # sweeps until a watch whose limits are far is looked at again, at least; at most twice as many
SPREAD = 64  # different waits between those two numbers: watches are looked at again in turns, not all in one sweep


class Due(Flag):
    """What a look at a watch asks of the feed."""

    NOTHING = 0
    STALLED = 1  # the watch has stalled, and an event has to say so
    LAST_LOOK = 2  # its turn comes before all others: it is past its deadline


class TimeLimits:
    """Measures the watches of one source by its policy; durations are measured on a clock that nobody sets."""

    def __init__(self, *, policy: FeedPolicy, clock: Clock, troubles: Troubles) -> None:
        self.policy = policy  # replaced by a reload
        self._clock = clock
        self._troubles = troubles

    def is_overdue(self, watch: Watch, now: Micros) -> bool:
        """Return whether the deadline of a watch has passed."""
        return self._clock.elapsed(watch.created_at, now) >= self.policy.deadline * 1e6

    def is_past_window(self, watch: Watch) -> bool:
        """Return whether streams of a watch cannot be resumed any more."""
        window = self.policy.resume_window
        return window is not None and self._clock.elapsed(watch.created_at, self._clock()) >= window * 1e6

    def look(self, subscription: Subscription, now: Micros, tick: float) -> Due:
        """Look at a watch at a time of the loop's clock, end its stream if need be, and return what is due."""
        if subscription.stage is Stage.CLOSING or subscription.lock.locked():
            return Due.NOTHING
        watch, policy, due = subscription.watch, self.policy, Due.NOTHING
        left = policy.deadline - self._clock.elapsed(watch.created_at, now) / 1e6  # seconds until a limit is reached
        if left <= 0:
            due = self._look_once_more(subscription, tick)
        else:
            subscription.overdue = subscription.asked = None  # a reload may have moved the deadline
            subscription.looked = False
        if policy.stall_after is not None and not watch.stalled:
            left_to_stall = policy.stall_after - self._clock.elapsed(watch.changed_at, now) / 1e6
            if left_to_stall <= 0:
                due |= Due.STALLED
            left = min(left, left_to_stall)
        far = policy.sweep * SWEEPS * (1 + watch.pk % SPREAD / SPREAD)
        left = 0.0 if subscription.overdue is not None else min(left, far)
        stream = subscription.stream
        if stream is not None:
            left = min(left, policy.idle_timeout - (tick - stream.last_activity))
            self._look_at_stream(subscription, stream, tick)
        subscription.look_at = tick + left
        return due

    def after(
        self, subscription: Subscription, ending: Ending, *, polled: bool, jitter: float, tick: float
    ) -> Wait | GiveUp:
        """Return what follows a connection, or a poll, that ended at a time of the loop's clock."""
        policy, poll, health = self.policy.reconnect, self.policy.poll, subscription.health
        steady = self._clock.steady()
        if poll is None or not polled:
            decision = reconnect.after(ending, health, policy, now=steady, jitter=jitter)
        else:
            decision = reconnect.after_poll(ending, health, policy, pause=poll.pause, now=steady, jitter=jitter)
        if subscription.overdue is None:
            return decision
        return self._after_deadline(subscription, subscription.overdue, ending, decision, tick)

    def _after_deadline(
        self, subscription: Subscription, since: float, ending: Ending, decision: Wait | GiveUp, tick: float
    ) -> Wait | GiveUp:
        """Return what follows a connection that ended after the deadline, which was seen to have passed at `since`."""
        if subscription.asked is None:
            subscription.asked = tick
        answered = not isinstance(ending.error, Unavailable | None) or (
            ending.observed and subscription.opened >= since
        )
        return reconnect.after_deadline(
            decision,
            self.policy.reconnect,
            deadline=self.policy.deadline,
            looked=subscription.looked or answered,
            asking=tick - subscription.asked,
        )

    def _look_at_stream(self, subscription: Subscription, stream: SseStream, tick: float) -> None:
        idle_timeout, pk = self.policy.idle_timeout, subscription.watch.pk
        if tick - stream.last_activity >= idle_timeout:
            subscription.interrupt(Unavailable(f"no bytes for {idle_timeout:g} s"))
        elif stream.unread is not None:
            self._troubles.begin(pk, stream.unread, observed=stream.observations > 0)
        elif self._troubles.any and tick - subscription.opened >= STEADY:
            self._troubles.end(pk, proven=True)

    def _look_once_more(self, subscription: Subscription, tick: float) -> Due:
        """See to it that a watch past its deadline gets one more complete look at the upstream.

        A watch without a connection gets its turn at once. An open stream is replaced at the next sweep, so that what
        it has received by now is read first.
        """
        if subscription.overdue is None:
            subscription.overdue = tick
            return Due.LAST_LOOK if subscription.stage is Stage.WAITING else Due.NOTHING
        stream = subscription.stream
        if stream is None or subscription.looked:
            return Due.NOTHING
        if subscription.opened < subscription.overdue:
            subscription.renewal = Renewal.NOW
            subscription.interrupt()
            return Due.NOTHING
        quiet = stream.observations > 0 and tick - stream.last_activity >= PRESENT_QUIET
        if quiet or tick - subscription.opened >= PRESENT_LONGEST:
            subscription.looked = True
            subscription.interrupt()
        return Due.NOTHING
