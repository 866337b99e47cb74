"""Sends to a channel of Slack as a bot: one message for each task, edited as the task moves.

The place of each message is kept in the store, so that an edit may come after a restart and from any node. A failure is
also told in the message's thread, if that is wanted: an edit notifies nobody. Slack has no idempotency key: where the
answer to a new message is lost, the next attempt posts it once more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any, Protocol

import structlog

from notifier.core.errors import StoreUnavailable
from notifier.core.model import ChatMessage, Delivery, Json, Micros
from notifier.core.payload import encode
from notifier.core.retry import Attempt, Delivered, Failed, Outcome, Rejected
from notifier.senders import slack_api
from notifier.senders.connections import StillOurs, always
from notifier.senders.exchange import Exchange
from notifier.senders.notice import NOTHING, Additions, is_failure, read
from notifier.senders.pace import ChannelPace
from notifier.senders.services import load
from notifier.senders.shown import unless_shown
from notifier.senders.target import Target

log = structlog.stdlib.get_logger()


class EditedMessages(Protocol):
    """Keeps the messages that are edited."""

    async def find(self, endpoint: str, watch: int, place: str) -> ChatMessage | None:
        """Return the message of a watch, if it has one there. Raises StoreUnavailable."""
        ...

    async def keep(self, endpoint: str, watch: int, message: ChatMessage, *, before: ChatMessage | None) -> None:
        """Save a message in the place of `before`. Raises StoreUnavailable."""
        ...


class SlackBot:
    """Sends to one channel."""

    def __init__(
        self,
        target: Target,
        *,
        token: str,
        channel: str,
        messages: EditedMessages,
        pace: ChannelPace,
        interval: float,
        clock: Callable[[], Micros],
        thread: bool = False,
        retry_on_timeout: bool = True,
        template: str | None = None,
        additions: Additions = NOTHING,
    ) -> None:
        """Post by the API at `target.url`; `interval` is between two messages to the channel, in seconds."""
        self._service = load("slack")  # loaded here, so that no attempt waits for it
        self._text: Callable[[Delivery], str | Rejected] | None = None
        if template is not None:
            from notifier.senders.template import Renderer  # imported here, since Jinja2 takes 40 ms to load

            self._text = Renderer(template).text
        headers = {**target.headers, "authorization": f"Bearer {token}"}
        self._posting = _Call(target, "chat.postMessage", headers, clock)
        self._editing = _Call(target, "chat.update", headers, clock)
        self._channel = channel
        self._place = place_of(target.url, channel)
        self._messages = messages
        self._pace = pace
        self._interval = interval
        self._clock = clock
        self._thread = thread
        self._retry_on_timeout = retry_on_timeout
        self._additions = additions

    async def send(self, delivery: Delivery, still_ours: StillOurs = always) -> Attempt:
        """Try once: post the task's message, or edit it and tell a failure in its thread.

        Raises nothing but CancelledError.
        """
        try:
            return await self._send(delivery, still_ours)
        except StoreUnavailable as exc:  # nothing was asked: where the message is, only the store knows
            return Attempt(at=self._clock(), outcome=Failed(reason="store", detail=str(exc), spend=False))
        except Exception as exc:  # the boundary of an attempt, as in `Exchange`; a retry would fail the same way
            log.exception("sender.unexpected_error", endpoint=delivery.endpoint, delivery=delivery.id)
            detail = f"a fault of this program: {type(exc).__name__}"
            return Attempt(at=self._clock(), outcome=Rejected(reason="internal", detail=detail, well=None))

    async def close(self) -> None:
        """Release the connections; the caller has waited for its attempts."""
        await self._posting.close()
        await self._editing.close()

    async def _send(self, delivery: Delivery, still_ours: StillOurs) -> Attempt:
        lane = delivery.lane
        before = None if lane is None else await self._messages.find(delivery.endpoint, lane, self._place)
        sequence = _sequence(delivery)
        if before is None or lane is None:
            return await self._post(delivery, lane, sequence, None, still_ours)
        shown, attempt = before, Attempt(at=self._clock(), outcome=Delivered())
        if sequence >= before.sequence:  # else an old delivery was sent again by hand: the message shows more
            attempt = await self._edit(delivery, before, still_ours)
            if isinstance(attempt.outcome, Failed) and attempt.outcome.reason in slack_api.NOT_THERE:
                log.info("slack.message_replaced", endpoint=delivery.endpoint, reason=attempt.outcome.reason)
                return await self._post(delivery, lane, sequence, before, still_ours)
            if not isinstance(attempt.outcome, Delivered):
                return attempt
            shown = replace(before, sequence=sequence)
        if self._thread and is_failure(delivery.event_type) and before.replied != delivery.event_id:
            reply = await self._reply(delivery, before, still_ours)
            if not isinstance(reply.outcome, Delivered):
                return reply
            shown, attempt = replace(shown, replied=delivery.event_id), reply
        if shown != before:
            await self._messages.keep(delivery.endpoint, lane, shown, before=before)
        return attempt

    async def _post(
        self, delivery: Delivery, lane: int | None, sequence: int, before: ChatMessage | None, still_ours: StillOurs
    ) -> Attempt:
        """Post a message of its own, and keep its place if it is a task's."""
        content = self._content(delivery, mention=True)
        if isinstance(content, Rejected):
            return Attempt(at=self._clock(), outcome=content)
        attempt, place = await self._call(self._posting, {"channel": self._channel} | content, still_ours)
        if isinstance(attempt.outcome, Delivered) and lane is not None and place is not None:
            # The message tells a failure itself, so its thread need not.
            told = delivery.event_id if is_failure(delivery.event_type) else None
            message = ChatMessage(
                place=self._place, channel=place.channel, ts=place.ts, sequence=sequence, replied=told
            )
            await self._messages.keep(delivery.endpoint, lane, message, before=before)
        return unless_shown(attempt, retry=self._retry_on_timeout)

    async def _edit(self, delivery: Delivery, message: ChatMessage, still_ours: StillOurs) -> Attempt:
        content = self._content(delivery, mention=False)
        if isinstance(content, Rejected):
            return Attempt(at=self._clock(), outcome=content)
        # An edit leaves what it does not name: a message without details must say so.
        edit: dict[str, Json] = {"attachments": []} | content | {"channel": message.channel, "ts": message.ts}
        attempt, _ = await self._call(self._editing, edit, still_ours)
        return attempt

    async def _reply(self, delivery: Delivery, message: ChatMessage, still_ours: StillOurs) -> Attempt:
        content = self._content(delivery, mention=True)
        if isinstance(content, Rejected):
            return Attempt(at=self._clock(), outcome=content)
        reply = content | {"channel": message.channel, "thread_ts": message.ts}
        attempt, _ = await self._call(self._posting, reply, still_ours)
        return unless_shown(attempt, retry=self._retry_on_timeout)

    def _content(self, delivery: Delivery, *, mention: bool) -> dict[str, Json] | Rejected:
        """Return the message's text and details; `mention` calls those who are to be called."""
        if self._text is not None:
            text = self._text(delivery)
            return text if isinstance(text, Rejected) else {**self._service.text(text), "unfurl_links": False}
        additions = self._additions if mention else replace(self._additions, mentions=())
        return {**self._service.message(read(delivery, additions)), "unfurl_links": False, "unfurl_media": False}

    async def _call(
        self, call: _Call, content: Mapping[str, Json], still_ours: StillOurs
    ) -> tuple[Attempt, slack_api.MessagePlace | None]:
        """Wait for the channel's turn and call; return also the place that the reply tells."""
        wait = await self._pace.turn(self._interval)
        if wait > 0:
            detail = "the channel's turn comes later: others post to it, or Slack asked for patience"
            outcome = Failed(reason="rate_limited", detail=detail, retry_after=wait, throttle=True, spend=False)
            return Attempt(at=self._clock(), outcome=outcome), None
        attempt, place = await call.make(content, still_ours)
        failed = attempt.outcome
        if isinstance(failed, Failed) and failed.retry_after and failed.throttle:
            self._pace.hold(failed.retry_after)
        return attempt, place


class _Call:
    """One method of the API."""

    def __init__(self, target: Target, method: str, headers: Mapping[str, str], clock: Callable[[], Micros]) -> None:
        url = f"{target.url.rstrip('/')}/{method}"
        self._exchange = Exchange(
            replace(target, url=url, headers=headers), content_type="application/json; charset=utf-8", clock=clock
        )
        self._clock = clock

    async def make(
        self, content: Mapping[str, Json], still_ours: StillOurs
    ) -> tuple[Attempt, slack_api.MessagePlace | None]:
        """Call once; return the attempt, and the place that a good reply tells."""
        place: slack_api.MessagePlace | None = None

        def judge(status: int, text: str, headers: Mapping[str, str], now: Micros) -> Outcome:
            nonlocal place
            outcome = slack_api.classify(status, text, headers, now=now, hide=self._exchange.secrets)
            if isinstance(outcome, Delivered):
                place = slack_api.placed(text)
            return outcome

        body = encode(dict(content))
        attempt = await self._exchange.post(body, (), judge, at=self._clock(), still_ours=still_ours)
        return attempt, place

    async def close(self) -> None:
        self._exchange.close()


def place_of(api_url: str, channel: str) -> str:
    """Return a digest of the place: where messages of another place are not found."""
    return sha256(f"{api_url}\n{channel}".encode()).hexdigest()[:16]


def _sequence(delivery: Delivery) -> int:
    """Return the event's number in its watch; 0 if it has none."""
    try:
        data: Any = json.loads(delivery.body)
        sequence = data["data"]["sequence"]
    except (ValueError, RecursionError, LookupError, TypeError):
        return 0
    return sequence if isinstance(sequence, int) and 0 <= sequence < 1 << 62 else 0
