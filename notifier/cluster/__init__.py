"""Several nodes on one database."""

from notifier.cluster.leadership import SharedEndpoints
from notifier.cluster.membership import Membership
from notifier.cluster.peers import Identity, NodeReport, Peers
from notifier.cluster.row_counts import RowCounts

__all__ = [
    "Identity",
    "Membership",
    "NodeReport",
    "Peers",
    "RowCounts",
    "SharedEndpoints",
]
