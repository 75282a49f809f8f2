from ork import task
from pydantic import BaseModel


class Output(BaseModel):
    regions: list[str]


@task
def main() -> Output:
    return Output(regions=["eu", "us", "asia"])
