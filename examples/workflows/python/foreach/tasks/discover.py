"""Lists the files to process."""

from ork import task
from pydantic import BaseModel


class Output(BaseModel):
    files: list[str]


@task
async def main() -> Output:
    return Output(files=[f"raw/2024-01-15/{name}.parquet" for name in "abcdefghijkl"])
