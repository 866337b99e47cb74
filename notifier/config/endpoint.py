"""Endpoints of every type, and the choice among them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError

from notifier.config.chat import AppriseEndpoint, SlackEndpoint
from notifier.config.endpoint_keys import HttpEndpointKeys
from notifier.config.identity import FormSecrets, Signature
from notifier.config.problems import carry, detail, got, invalid, refusal, suggest
from notifier.config.secret import HttpUrl, SecretUrl
from notifier.config.section import Context, Impossible
from notifier.config.template import JsonTemplate

Format = Literal["standard", "cloudevents"]


def _secrets_or_none(schema: dict[str, Any]) -> None:
    """Require secrets in the JSON Schema unless `signature` is `none`."""
    some = {"required": ["secrets"], "properties": {"secrets": {"minItems": 1}}}
    schema["anyOf"] = [some, {"required": ["signature"], "properties": {"signature": {"const": "none"}}}]


class WebhookEndpoint(HttpEndpointKeys):
    """A receiver of signed callbacks (Standard Webhooks 1.0.0)."""

    model_config = ConfigDict(json_schema_extra=_secrets_or_none)

    type: Literal["webhook"] = Field(description="signed callbacks (Standard Webhooks)")
    url: HttpUrl = Field(description="where to POST; may be {file: PATH} or {credential: NAME}")
    signature: Signature = Field(
        default="standard",
        description="standard: Standard Webhooks; github: X-Hub-Signature-256; stripe: Stripe-Signature; none",
    )
    format: Format = Field(
        default="standard", description="standard: the event as it is; cloudevents: a CloudEvent 1.0, structured mode"
    )
    template: JsonTemplate | None = Field(
        default=None, description="Jinja2 template of the body, which must be JSON; null: the unchanged event"
    )
    secrets: FormSecrets = Field(
        default=(),
        validate_default=True,
        description="whsec_... (or whsk_...), newest first; all of them sign. For other signatures: 16 bytes or more",
    )

    @property
    def target(self) -> SecretUrl:
        """Return the URL."""
        return self.url

    def impossible(self) -> Iterator[Impossible]:
        """Refuse two forms of one body as well."""
        yield from super().impossible()
        if self.format != "standard" and self.template is not None:
            message = f"a template makes the whole body; remove it, or `format: {self.format}`"
            yield Impossible(key="template", keys=frozenset({"template", "format"}), message=message)


EndpointConfig = Annotated[WebhookEndpoint | SlackEndpoint | AppriseEndpoint, Field(discriminator="type")]
TYPES: dict[str, type[WebhookEndpoint] | type[SlackEndpoint] | type[AppriseEndpoint]] = {
    "webhook": WebhookEndpoint,
    "slack": SlackEndpoint,
    "apprise": AppriseEndpoint,
}


def read_endpoint(value: Any, *, context: Context) -> WebhookEndpoint | SlackEndpoint | AppriseEndpoint:
    """Read an endpoint with the model that its key `type` names. Raises pydantic.ValidationError."""
    if not isinstance(value, Mapping):
        raise refusal([detail((), invalid(f"expected a mapping with the keys type and url, got {got(value)}"))])
    kinds = f"{', '.join([*TYPES][:-1])} or {[*TYPES][-1]}"
    if "type" not in value:
        raise refusal([detail(("type",), invalid(f"required, but missing: {kinds}"))])
    kind = value["type"]
    if isinstance(kind, str) and kind in TYPES:
        return TYPES[kind].model_validate(value, context=context)
    hint = suggest(kind, TYPES) if isinstance(kind, str) else None
    faults = [detail(("type",), invalid(f"expected {kinds}, got {got(kind)}", suggestion=hint))]
    if hint is not None:  # the other keys are read as those of the type that was probably meant
        try:
            TYPES[hint].model_validate({**value, "type": hint}, context=context)
        except ValidationError as exc:
            faults += carry(exc)
    raise refusal(faults)
