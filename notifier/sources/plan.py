"""The settings of a source, and the objects that requests and readings of it need; shared by every kind of source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from notifier.core.errors import SourceError
from notifier.core.eventstream import MAX_EVENT
from notifier.core.model import Observation
from notifier.runtime.http1 import Proxy
from notifier.runtime.tls import Trust
from notifier.sources.http import Way
from notifier.sources.preset import Preset
from notifier.sources.request import RequestTemplate
from notifier.sources.snapshot import SnapshotReader

EXCERPT = 200  # characters of an unreadable snapshot that its error quotes


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSettings:
    """How a source asks and reads; replaced as a whole, so that open streams keep theirs."""

    preset: Preset
    token: str | None
    connect_timeout: float  # seconds, from the first DNS question to the reply's head
    max_event: int = MAX_EVENT  # bytes
    ssl: Trust = True
    proxy: str | None = None  # URL of an HTTP proxy, with its credentials
    result_timeout: float = 120.0  # seconds for which a result is fetched after success
    twin: SourceSettings | None = None  # for polls of tasks that have no stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to a poll of one task."""

    observation: Observation | None  # None: it is the one that `etag` stands for
    etag: str = ""  # to ask with the next time; empty: none was given
    hint: float | None = None  # seconds that the upstream asked us to wait before the next poll


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """The answer to a poll of several tasks."""

    found: Mapping[str, Observation | SourceError]  # by id, of those that it names
    hint: float | None = None  # seconds that the upstream asked us to wait before the next poll of any of them


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The settings with what they are made into; replaced as a whole, so that a request under way keeps its own."""

    source: str  # the source's name
    user_agent: str
    settings: SourceSettings
    template: RequestTemplate
    result: RequestTemplate | None  # of the request for a result, where the preset has one
    reader: SnapshotReader
    way: Way

    @classmethod
    def create(
        cls, source: str, settings: SourceSettings, *, user_agent: str, reader: SnapshotReader | None = None
    ) -> Plan:
        """Create a plan; a reader of the same preset may go on. Raises ValueError without a needed `base_url`."""
        template = RequestTemplate(preset=settings.preset, token=settings.token, user_agent=user_agent)
        proxy = None if settings.proxy is None else Proxy.at(settings.proxy)
        return cls(
            source=source,
            user_agent=user_agent,
            settings=settings,
            template=template,
            result=_of_result(settings, user_agent),
            reader=reader or SnapshotReader(source=source, preset=settings.preset),
            way=Way(tls=settings.ssl, proxy=proxy, credentials=template.credentials),
        )

    def redacted(self, error: SourceError) -> SourceError:
        """Return an error without credentials, which the provider's words in it may repeat."""
        error.args = (self.template.redact(str(error)),)
        return error

    def with_settings(self, settings: SourceSettings) -> Plan:
        """Return the plan for other settings; the reader of the same preset goes on."""
        reader = self.reader if settings.preset == self.settings.preset else None
        return Plan.create(self.source, settings, user_agent=self.user_agent, reader=reader)


def _of_result(settings: SourceSettings, user_agent: str) -> RequestTemplate | None:
    preset = settings.preset
    wanted = preset.result_request
    if wanted is None:
        return None
    named = {} if wanted.result_id is None else {"result_id": None}
    fields = {"url": wanted.url, "variables": preset.variables | named, "method": "GET", "transport": "poll"}
    return RequestTemplate(preset=preset.model_copy(update=fields), token=settings.token, user_agent=user_agent)
