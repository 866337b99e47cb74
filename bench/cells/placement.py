"""Which cell a watch belongs to: how even ways of hashing are, and how much moves when a cell is added.

`modulo`, `jump` and `rendezvous` need only the number of cells; `slots` needs a small table, from slot to cell, that
every router has alike.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

SLOTS = 16_384
SAMPLE = 200_000  # ids hashed for real
SMALL_SAMPLE = 40_000  # by rendezvous, which hashes once for each cell
TENANTS = 2_000
ZIPF = 1.1  # exponent: the first tenant has 2.1 times as many as the second, 12.6 times as many as the tenth
_MASK = (1 << 64) - 1

Place = Callable[[int, int], int]  # hash of a watch, number of cells -> cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """What one way of hashing does to a population."""

    way: str
    fullest: float  # watches of the fullest cell by the mean
    emptiest: float
    moved: float  # share of the watches that another cell has to take when one is added
    least: float  # the share that has to move in any case


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenancy:
    """What large tenants do to cells."""

    largest: float  # the first tenant's share of all watches
    fullest_by_task: float  # fullest cell by the mean, when source and id are hashed
    fullest_by_tenant: float  # when the tenant is


def digest(source: str, task: str) -> int:
    """Hash a watch's name; the same on every machine and in every version."""
    return int.from_bytes(hashlib.blake2b(f"{source}\0{task}".encode(), digest_size=8).digest(), "big")


def mix(value: int, salt: int) -> int:
    """Hash a number again, with a salt (the finaliser of splitmix64)."""
    value = (value + (salt + 1) * 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def modulo(key: int, cells: int) -> int:
    """Take the remainder."""
    return key % cells


def jump(key: int, cells: int) -> int:
    """Hash as Lamping and Veach do (A Fast, Minimal Memory, Consistent Hash Algorithm, 2014)."""
    cell, following = -1, 0
    while following < cells:
        cell = following
        key = (key * 2862933555777941757 + 1) & _MASK
        following = int((cell + 1) * ((1 << 31) / ((key >> 33) + 1)))
    return cell


def rendezvous(key: int, cells: int) -> int:
    """Let the highest hash of watch and cell win (Thaler and Ravishankar, 1998)."""
    return max(range(cells), key=lambda cell: mix(key, cell))


def even_slots(cells: int) -> list[int]:
    """Share the slots out evenly."""
    return [slot % cells for slot in range(SLOTS)]


def grown(table: Sequence[int], cell: int) -> list[int]:
    """Give a new cell its share of the slots, one at a time from whoever has most."""
    slots = list(table)
    held: dict[int, list[int]] = {}
    for slot, owner in enumerate(slots):
        held.setdefault(owner, []).append(slot)
    for _ in range(SLOTS // (len(held) + 1)):
        most = max(held, key=lambda owner: len(held[owner]))
        slots[held[most].pop()] = cell
    return slots


def spread(way: str, before: Sequence[int], after: Sequence[int], cells: int) -> Spread:
    """Compare where watches are before and after one more cell."""
    counts = Counter(before)
    mean = len(before) / cells
    moved = sum(a != b for a, b in zip(before, after, strict=True)) / len(before)
    return Spread(
        way=way,
        fullest=max(counts.values()) / mean,
        emptiest=min(counts[cell] for cell in range(cells)) / mean,
        moved=moved,
        least=1 / (cells + 1),
    )


def compare(cells: int) -> list[Spread]:
    """Place real ids by each of the ways."""
    keys = [digest("vidu", str(2_370_487_700_000_000 + number)) for number in range(SAMPLE)]
    ways: list[tuple[str, Place, Sequence[int]]] = [
        ("modulo", modulo, keys),
        ("jump", jump, keys),
        ("rendezvous", rendezvous, keys[:SMALL_SAMPLE]),
    ]
    found = [
        spread(name, [place(key, cells) for key in some], [place(key, cells + 1) for key in some], cells)
        for name, place, some in ways
    ]
    table = even_slots(cells)
    larger = grown(table, cells)
    found.append(
        spread("slots", [table[key % SLOTS] for key in keys], [larger[key % SLOTS] for key in keys], cells),
    )
    return found


def chance(watches: int, cells: int, rng: random.Random) -> tuple[float, float]:
    """Draw cells of a population too large to hash: the fullest and the emptiest, by the mean.

    Each is normally distributed around the mean; at thousands of watches a cell the binomial is that.
    """
    mean = watches / cells
    sizes = [rng.gauss(mean, (mean * (1 - 1 / cells)) ** 0.5) for _ in range(cells)]
    return max(sizes) / mean, min(sizes) / mean


def tenancy(cells: int, rng: random.Random) -> Tenancy:
    """Compare hashing tasks with hashing tenants, whose sizes follow Zipf's law."""
    weights = [(rank + 1) ** -ZIPF for rank in range(TENANTS)]
    total = sum(weights)
    by_tenant = [0.0] * cells
    for rank, weight in enumerate(weights):
        by_tenant[jump(digest("tenant", str(rank)), cells)] += weight / total
    by_task = Counter(
        jump(digest(f"tenant-{tenant}", str(number)), cells)
        for number, tenant in enumerate(rng.choices(range(TENANTS), weights, k=SAMPLE))
    )
    return Tenancy(
        largest=weights[0] / total,
        fullest_by_task=max(by_task.values()) * cells / SAMPLE,
        fullest_by_tenant=max(by_tenant) * cells,
    )
