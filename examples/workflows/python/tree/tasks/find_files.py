"""Finds all files below a folder, except hidden ones."""

import os
from typing import TypedDict


class Files(TypedDict):
    files: list[str]


def main(folder: str) -> Files:
    files = []
    for inner, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = [os.path.join(inner, name) for name in names if not name.startswith(".")]
        # A link may lead out of the tree.
        files += [os.path.relpath(path, folder) for path in paths if not os.path.islink(path)]
    return {"files": sorted(files)}
