"""Processes its share of a hundred items, by its index among the parallel instances."""

from ork import task, Context
from pydantic import BaseModel


class Input(BaseModel):
    pass


class Output(BaseModel):
    processed: int


@task
def main(input: Input, ctx: Context) -> Output:
    items = range(100)
    own = [item for i, item in enumerate(items) if i % ctx.parallel_count == ctx.parallel_index]
    ctx.log.info(f"Instance {ctx.parallel_index}/{ctx.parallel_count} processed {len(own)} items")
    return Output(processed=len(own))
