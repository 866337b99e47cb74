"""Several nodes on one database."""

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
