from ork import task, Context
from pydantic import BaseModel


class Input(BaseModel):
    item: str


class Output(BaseModel):
    region: str
    worker: int
    of: int


@task
def main(input: Input, ctx: Context) -> Output:
    return Output(region=input.item, worker=ctx.parallel_index, of=ctx.parallel_count)
