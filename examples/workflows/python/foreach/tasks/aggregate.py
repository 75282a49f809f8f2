"""Adds up the results of the files. Plain types are possible, too."""

from dataclasses import dataclass

from ork import task


@dataclass
class Processed:
    input_file: str
    output_file: str
    rows: int


@dataclass
class Total:
    total_rows: int
    files_processed: int


@task
def main(process: list[Processed]) -> Total:
    return Total(total_rows=sum(p.rows for p in process), files_processed=len(process))
