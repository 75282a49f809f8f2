"""Tasks of ork in Python.

    from ork import task, Context

    @task
    def main(path: str, ctx: Context) -> int:
        ctx.log.info("counting %s", path)
        return len(open(path).read().split())
"""

from ._context import Cancelled, Context, Metrics
from ._task import TaskError, task

__all__ = ["Cancelled", "Context", "Metrics", "TaskError", "task"]
