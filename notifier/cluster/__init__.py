"""Several nodes on one database.

`membership` keeps this node's heartbeat, and takes over from nodes that `core/share.py` counts as dead; the fence of
its writes is in `store/node.py`, the time for which it may send in `store/store.py`. `leadership` shares the health of
endpoints, `row_counts` counts for all nodes, `peers` lists the nodes and their last reports, `this_node` makes this
one's, `readiness` says whether this one is ready.
"""

from notifier.cluster.leadership import SharedEndpoints
from notifier.cluster.membership import Membership
from notifier.cluster.peers import NodeReport, Peers
from notifier.cluster.readiness import STOPPING, Readiness
from notifier.cluster.row_counts import RowCounts
from notifier.cluster.this_node import ThisNode

__all__ = [
    "STOPPING",
    "Membership",
    "NodeReport",
    "Peers",
    "Readiness",
    "RowCounts",
    "SharedEndpoints",
    "ThisNode",
]
