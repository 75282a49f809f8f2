"""Adds up the counts, by kind of file."""

from collections import Counter, defaultdict
from typing import TypedDict


class Counted(TypedDict):
    kind: str
    counts: dict[str, int]


def main(count_file: list[Counted]) -> dict[str, dict[str, int]]:
    kinds: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for counted in count_file:
        kinds[counted["kind"]].update(counted["counts"])
    return {kind: dict(counts) for kind, counts in sorted(kinds.items())}
