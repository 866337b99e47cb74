"""What an endpoint's configuration says of signatures, proxies and TLS is what its sender does."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
from certificates import serving_tls
from forward_proxy import proxying
from scripted_receiver import delivery, receiving, reply, says

from notifier.config import load
from notifier.core.retry import Delivered
from notifier.daemon import adapters
from notifier.runtime.clock import Clock

WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.mark.parametrize(
    ("keys", "header"),
    [
        (f"type: webhook, secrets: [{WHSEC}]", "webhook-signature"),
        (f"type: webhook, secrets: [{WHSEC}], signature: github", "x-hub-signature-256"),
        ("type: webhook, secrets: [any text of 20 bytes, another such text x], signature: stripe", "stripe-signature"),
        ("type: webhook, signature: none", None),
        ("type: slack", None),
        ("type: slack, service: mattermost", None),
    ],
)
async def test_an_endpoint_is_reached_as_it_is_configured(tmp_path: Path, keys: str, header: str | None) -> None:
    """Through its proxy, with its certificate, headers and signature."""
    authority = trustme.CA()
    server = serving_tls(authority, "127.0.0.1")
    server.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(server)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("me@example.com").private_key_and_cert_chain_pem.write_to_path(tmp_path / "me.pem")
    async with receiving(says(reply()), server) as receiver, proxying(credentials="u:p") as proxy:
        more = "ca_file: ca.pem, cert_file: me.pem, headers: {X-Team: video}"
        proxy_url = proxy.url.replace("//", "//u:p@")
        (tmp_path / "config.yaml").write_text(
            f"endpoints: {{e: {{{keys}, url: '{receiver.url}', proxy: '{proxy_url}', {more}}}}}"
        )
        sender = adapters.sender(load(tmp_path / "config.yaml", env={}).endpoints["e"], Clock())
        attempt = await sender.send(delivery(), lambda: True)
        await sender.close()
    assert attempt.outcome == Delivered()
    assert len(proxy.asked) == 1
    headers = receiver.requests[0].headers
    assert headers["x-team"] == "video"
    signed = {"webhook-signature", "x-hub-signature-256", "stripe-signature"} & headers.keys()
    assert signed == (set() if header is None else {header})
