"""Returns the name of the file at a path."""

from pathlib import PurePath

from ork import task


@task
def main(item: str) -> str:
    return PurePath(item).stem
