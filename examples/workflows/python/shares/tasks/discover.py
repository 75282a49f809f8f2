"""Returns the number of instances."""

from ork import task
from pydantic import BaseModel


class Output(BaseModel):
    count: int


@task
def main() -> Output:
    return Output(count=5)
