"""From a commit to a settled delivery."""

from notifier.deliver.dispatcher import LOOK_AGAIN, Dispatcher, EndpointSetup
from notifier.deliver.endpoint import EndpointDestination
from notifier.deliver.environment import EndpointPolicy
from notifier.deliver.sender import Sender

__all__ = [
    "LOOK_AGAIN",
    "Dispatcher",
    "EndpointDestination",
    "EndpointPolicy",
    "EndpointSetup",
    "Sender",
]
