"""From a commit to a settled delivery.

`dispatcher` knows every destination. A `destination` sends: its `queue` holds deliveries, its flow (`core/flow.py`)
lets attempts start, a `sender` makes them, `verdict` decides by the outcome (done, later, dead), `outbox` claims, and
logs what is settled. `endpoint` adds the health that outlives a restart, `shared` the nodes that send to it as well,
`gathering` digests; `callbacks` has the URLs that come with watches, each a `callback`. `mutes` has the mutes in force.
"""

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
