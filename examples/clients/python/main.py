"""Calls a program in Rust: python main.py URL PREFIX SCHEMAS"""

import json
import sys

from models import Adjacent2, ClimbInput, Color, External2, Internal1, PairItem, Shapes, ShapesOutput, Tree
from ork_client import Client, JobError

url, prefix, schemas = sys.argv[1:4]
with open(schemas) as file:
    client = Client(url, json.load(file), prefix, events=True)

# A typed input, and a typed output.
shapes = Shapes(
    text="Grüße",
    flag=True,
    small=255,
    large=2**63,
    number=0.5,
    ranged=100,
    words=["a", "b"],
    pair=("a", PairItem(1)),
    counts={"a": 1},
    newtype=1.5,
    color=Color.dark_green,
    external=External2(Name="round"),
    internal=Internal1(kind="Circle", radius=2.0),
    adjacent=Adjacent2(kind="Count", value=3),
    untagged="text",
    tree=Tree(value=1, children=[Tree(value=2, children=[])]),
    anything={"a": [None]},
)
output = client.submit("shapes", shapes, ShapesOutput).result()
print("shapes", output.text, output.large, output.color.value, output.defaulted, output.tree.children[0].value)

# An input that the types would have rejected.
try:
    client.submit("shapes", {"text": 7}, ShapesOutput).result()
except JobError as error:
    assert error.outcome.error is not None
    print("refused", error.outcome.error.kind.value, error)

# The progress of a job.
job = client.submit("climb", ClimbInput(steps=20), int)
percents = [event.data.progress for event in job.events() if event.data.progress is not None]
print("climbed", job.result(), percents == sorted(percents) and len(percents) > 0)

# Cancel a job as soon as it has started.
job = client.submit("climb", ClimbInput(steps=1_000_000), int)
for event in job.events():
    if event.data.progress is not None:
        job.cancel()
        break
try:
    job.result()
except JobError as error:
    print("cancelled", error.outcome.state.value)
client.close()
