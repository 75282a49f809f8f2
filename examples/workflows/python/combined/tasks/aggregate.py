from ork import task
from pydantic import BaseModel


class Region(BaseModel):
    region: str
    worker: int
    of: int


class Input(BaseModel):
    process_region: list[Region]


@task
def main(input: Input) -> list[str]:
    return [f"{one.region} {one.worker}/{one.of}" for one in input.process_region]
