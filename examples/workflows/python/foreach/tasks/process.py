"""Processes one file."""

from ork import task, Context
from pydantic import BaseModel


class Input(BaseModel):
    item: str  # One path of the `foreach` list


class Output(BaseModel):
    input_file: str
    output_file: str
    rows: int


@task
def main(input: Input, ctx: Context) -> Output:
    rows = len(input.item)
    ctx.metrics.record("rows_processed", rows)
    print("this goes to the log, and breaks nothing")
    return Output(input_file=input.item, output_file=input.item.replace("raw/", "processed/"), rows=rows)
