"""Takes the name of a file out of its path."""

from pathlib import PurePath

from ork import task


@task
def main(item: str) -> str:
    return PurePath(item).stem
