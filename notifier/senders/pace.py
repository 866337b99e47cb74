"""Keeps the rate of a channel that several endpoints may post to: Slack counts messages by channel, not by sender."""

from __future__ import annotations

import asyncio
from weakref import WeakValueDictionary

LONGEST_TURN = 5.0  # seconds that an attempt waits for its turn; a longer wait is left to the dispatcher


class ChannelPace:
    """The messages to one channel."""

    def __init__(self) -> None:
        self._free = 0.0  # by the loop's clock, when the next message may begin

    async def turn(self, interval: float) -> float:
        """Wait for the next turn, and have others wait `interval` seconds after it; return 0.0.

        If that takes longer than LONGEST_TURN, take none, and return the seconds at once.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        begin = max(now, self._free)
        if begin - now > LONGEST_TURN:
            return begin - now
        self._free = begin + interval
        if begin > now:
            await asyncio.sleep(begin - now)
        return 0.0

    def hold(self, seconds: float) -> None:
        """Let no message begin for so long: the channel has asked for it."""
        self._free = max(self._free, asyncio.get_running_loop().time() + seconds)


class Paces:
    """The paces of channels, each as long as somebody uses it."""

    def __init__(self) -> None:
        self._paces: WeakValueDictionary[str, ChannelPace] = WeakValueDictionary()

    def of(self, channel: str) -> ChannelPace:
        """Return the pace that all who post to a channel share."""
        pace = self._paces.get(channel)
        if pace is None:
            pace = self._paces[channel] = ChannelPace()
        return pace
