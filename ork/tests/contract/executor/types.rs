//! Inputs and outputs: typed parameters, the context, schemas, and outputs.

use ork::workflow::Form;
use ork_ports::executor::Call;
use ork_runtime::executor::call_error;
use serde_json::json;

use super::world::{World, assert_contains};

#[tokio::test]
async fn parameters_take_fields_by_name_and_type() {
    let Some(world) = World::new() else { return };
    let text = r#"
from __future__ import annotations
import dataclasses, datetime, enum, pathlib, uuid, decimal
from typing import Any, Dict, List, Literal, NewType, Optional, Tuple, TypedDict, Union
from ork import task, Context

class Color(enum.Enum):
    RED = "red"

@dataclasses.dataclass
class Tree:
    name: str
    kids: List[Tree] = dataclasses.field(default_factory=list)

class Size(TypedDict, total=False):
    width: int

Id = NewType("Id", int)

@task
def count(
    n: int, ratio: float, word: str, on: bool, tree: Tree, size: Size, color: Color, when: datetime.datetime,
    day: datetime.date, path: pathlib.Path, key: uuid.UUID, price: decimal.Decimal, pair: Tuple[int, str],
    numbers: List[int], names: Dict[str, int], either: Union[int, str], id: Id, any: Any,
    mode: Literal["fast", "slow"] = "fast", maybe: Optional[Tree] = None, plain=3, *, context: Context, **rest,
):
    assert isinstance(tree, Tree) and isinstance(tree.kids[0], Tree)
    assert size == {"width": 3} and color is Color.RED and when.utcoffset().total_seconds() == 0
    assert (day.day, path.name, pair, price) == (15, "b", (1, "x"), decimal.Decimal("1.5"))
    assert n == 3 and type(n) is int and type(ratio) is float and type(key) is uuid.UUID
    assert rest == {"more": [1]} and maybe is None and plain == 3 and mode == "fast"
    return [sum(numbers), names["a"], either, id, any, context.parallel_index]
"#;
    let input = json!({
        "n": 3.0, "ratio": 1, "word": "w", "on": true, "tree": { "name": "a", "kids": [{ "name": "b" }] },
        "size": { "width": 3 }, "color": "red", "when": "2024-01-15T10:30:00Z", "day": "2024-01-15", "path": "/a/b",
        "key": "0190a0b0-0000-7000-8000-000000000000", "price": "1.5", "pair": [1, "x"], "numbers": [1, 2],
        "names": { "a": 1 }, "either": "e", "id": 7, "any": { "deep": [null] }, "more": [1]
    });
    assert_eq!(world.run(text, input).await.unwrap(), json!([3, 1, "e", 7, { "deep": [null] }, 1]));
    world.end().await;
}

#[tokio::test]
async fn one_parameter_takes_the_whole_input_if_its_type_has_fields() {
    let Some(world) = World::new() else { return };
    let dataclass = "
import dataclasses
from ork import task
@dataclasses.dataclass
class Params:
    item: str
    times: int = 2
@task
def main(params: Params) -> str:
    return params.item * params.times
";
    assert_eq!(world.run(dataclass, json!({ "item": "x" })).await.unwrap(), json!("xx"));
    let anything = "def main(input):\n    return sorted(input)\n";
    assert_eq!(world.run(anything, json!({ "b": 1, "a": 2 })).await.unwrap(), json!(["a", "b"]));
    // Models in lists and dicts, and the constraints that pydantic adds to plain types.
    let nested = "
from typing import Annotated, Dict, List, Optional
from pydantic import BaseModel, Field
class File(BaseModel):
    path: str
def main(files: list[File], more: Dict[str, File], n: Annotated[int, Field(gt=1)], none: Optional[File] = None) -> List[File]:
    return [*files, more['a']]
";
    let input = json!({ "files": [{ "path": "p" }], "more": { "a": { "path": "q" } }, "n": 2 });
    assert_eq!(world.run(nested, input).await.unwrap(), json!([{ "path": "p" }, { "path": "q" }]));
    let wrong = json!({ "files": [{ "path": "p" }, { "path": 1 }], "more": {}, "n": 1 });
    assert_eq!(world.fails(nested, wrong).await, "`files.1.path`: Input should be a valid string");
    let wrong = json!({ "files": [], "more": {}, "n": 1 });
    assert_eq!(world.fails(nested, wrong).await, "`n`: Input should be greater than 1");
    let signature = world.describe(nested).await.unwrap();
    assert_eq!(signature.input["properties"]["files"]["items"]["required"], json!(["path"]));
    assert_eq!(signature.input["properties"]["n"], json!({ "exclusiveMinimum": 1, "type": "integer" }));
    // A parameter named `item` takes the field `item`, even if its type has fields.
    let item = "
from pydantic import BaseModel
from ork import task
class File(BaseModel):
    path: str
@task
def main(item: File) -> str:
    return item.path
";
    assert_eq!(world.run(item, json!({ "item": { "path": "p" } })).await.unwrap(), json!("p"));
    world.end().await;
}

/// Regression: there was one form only, in which the parameter took the whole input, so `{"load": ..}` gave "0 rows".
#[tokio::test]
async fn the_only_parameter_takes_the_form_that_the_call_requests() {
    let Some(world) = World::new() else { return };
    let dataclass = "
from dataclasses import dataclass
@dataclass
class Report:
    rows: int = 0
def main(load: Report) -> str:
    return f'{load.rows} rows'
";
    let model = dataclass.replace("dataclasses import dataclass\n@dataclass", "pydantic import BaseModel");
    let model = model.replace("class Report:", "class Report(BaseModel):");
    let given = json!({ "load": { "rows": 3 }, "rows": 4 });
    for text in [dataclass, &model] {
        world.file("task.py", text);
        // The same interpreter serves all forms.
        for (form, input, expected) in [
            (Form::Whole, &given, "4 rows"),
            (Form::Field, &given, "3 rows"),
            (Form::Either, &given, "3 rows"),
            (Form::Either, &json!({ "rows": 5 }), "5 rows"),
        ] {
            let call = world.python("task.py", input);
            assert_eq!(world.make(Call { form, ..call }).await.unwrap(), json!(expected), "{form:?}");
        }
        let wrong = Call { form: Form::Field, ..world.python("task.py", &json!({ "load": { "rows": "x" } })) };
        assert_contains(&world.make(wrong).await.unwrap_err(), &["`load.rows`"]);
        let missing = Call { form: Form::Field, ..world.python("task.py", &json!({})) };
        assert_eq!(world.make(missing).await.unwrap_err().to_string(), "`load`: is missing: expected an object");
        let signature = world.describe(text).await.unwrap();
        let by_name = signature.by_name.clone().unwrap();
        assert_eq!(
            (&by_name["required"], &signature.input["properties"]["rows"]["type"]),
            (&json!(["load"]), &json!("integer"))
        );
    }
    // With `Form::Either`, a type that has a field of the parameter's name takes the whole input.
    let held = dataclass.replace("rows: int = 0", "load: int = 0").replace("load.rows", "load.load");
    world.file("task.py", &held);
    let call = Call { form: Form::Either, ..world.python("task.py", &json!({ "load": 6 })) };
    assert_eq!(world.make(call).await.unwrap(), json!("6 rows"));
    // An untyped parameter named `input` takes the whole input as well, unless the call requests the other form.
    world.file("task.py", "def main(input):\n    return input\n");
    for (form, expected) in [(Form::Whole, json!({ "input": 1 })), (Form::Field, json!(1)), (Form::Either, json!(1))] {
        let call = world.python("task.py", &json!({ "input": 1 }));
        assert_eq!(world.make(Call { form, ..call }).await.unwrap(), expected, "{form:?}");
    }
    // Several parameters, or one named `item`, take fields whatever the form is, so there is no second schema.
    for (text, input) in [
        ("def main(index: int, count: int):\n    return index + count\n", json!({ "index": 1, "count": 2 })),
        (
            &*dataclass.replace("load", "item").replace("f'{item.rows} rows'", "item.rows").replace("str", "int"),
            json!({ "item": { "rows": 3 } }),
        ),
    ] {
        assert_eq!(world.describe(text).await.unwrap().by_name, None);
        for form in [Form::Whole, Form::Field, Form::Either] {
            let output = world.make(Call { form, ..world.python("task.py", &input) }).await;
            assert_eq!(output.unwrap(), json!(3), "{form:?}");
        }
    }
    world.end().await;
}

#[tokio::test]
async fn wrong_input_names_its_field_and_is_not_retried() {
    let Some(world) = World::new() else { return };
    let plain = "def main(sizes: list[dict[str, int]], name: str = ''):\n    return 1\n";
    for (input, expected) in [
        (json!({}), "`sizes`: is missing: expected a list"),
        (json!({ "sizes": [{ "a": 1 }, { "b": "2" }] }), "`sizes.1.b`: expected an integer, found \"2\""),
        (json!({ "sizes": [], "name": true }), "`name`: expected a text, found true"),
    ] {
        assert_eq!(world.fails(plain, input).await, expected);
    }
    let model = "
from pydantic import BaseModel, Field
class Size(BaseModel):
    width: int = Field(gt=0)
class Input(BaseModel):
    sizes: list[Size]
def main(input: Input):
    return 1
";
    let error = world.run(model, json!({ "sizes": [{ "width": 1 }, { "width": 0 }] })).await.unwrap_err();
    assert_eq!(error.to_string(), "`sizes.1.width`: Input should be greater than 0");
    let failure = call_error(error).unwrap().into_failure();
    assert_eq!(failure.kind, ork::FailureKind::Input);
    assert!(!failure.retryable);
    world.end().await;
}

#[tokio::test]
async fn context_describes_the_job_and_forwards_logs_metrics_and_progress() {
    let Some(world) = World::new() else { return };
    let text = r#"
import logging
from ork import task, Context
@task
async def main(word: str, ctx: Context):
    ctx.log.warning("careful, %s", word)
    ctx.log.debug("small")
    ctx.metrics.record("rows", 2, table="users")
    ctx.metrics.record("bytes", 1.5, {"kind": "out"})
    ctx.progress(50, "half")
    left = (ctx.deadline - __import__("datetime").datetime.now(__import__("datetime").timezone.utc)).total_seconds()
    assert 0 < left < 200 and not ctx.cancelled and not ctx.cancelled.is_set()
    return [ctx.job_id, ctx.root_id, ctx.task_name, ctx.workflow_name, ctx.attempt, ctx.parallel_index,
            ctx.parallel_count, ctx.idempotency_key]
"#;
    world.file("task.py", text);
    let mut call = world.python("task.py", &json!({ "word": "you" }));
    call.timeout = Some(super::world::LONG);
    let about = call.instance.clone();
    let expected = json!([about.job, about.root, "process", "nightly", 2, 1, 4, format!("{}.1", about.job)]);
    assert_eq!(world.make(call).await.unwrap(), expected);
    let lines = [
        "WARN careful, you",
        "DEBUG small",
        "metric rows 2 {\"table\": \"users\"}",
        "metric bytes 1.5 {\"kind\": \"out\"}",
        "progress 50 half",
    ];
    assert_eq!(world.recorder.all(), lines);
    world.end().await;
}

#[tokio::test]
async fn outputs_of_many_types_become_json() {
    let Some(world) = World::new() else { return };
    let text = r#"
import dataclasses, datetime, enum, pathlib
from pydantic import BaseModel
class Model(BaseModel):
    when: datetime.date
@dataclasses.dataclass
class Data:
    model: Model
class Numbers(BaseModel):
    mean: list[float | None]
class Color(enum.Enum):
    RED = "red"
def main(kind: str):
    return {
        "data": Data(Model(when=datetime.date(2024, 1, 15))), "color": Color.RED, "none": None, "set": {1},
        "path": pathlib.Path("a"), "tuple": (1, 2), "text": "ü\u2028", "when": datetime.datetime(2024, 1, 15), 3: 4,
    } if kind == "all" else {
        "number": Numbers(mean=[1.0, float("nan")]), "within": {"a": [Data(Numbers(mean=[float("-inf")]))]},
        "none": Numbers(mean=[None]), "listed": {"means": [1.0, float("inf")]}, "nan": float("nan"), "object": object(), "half": "\ud800"}[kind]
"#;
    let expected = json!({
        "data": { "model": { "when": "2024-01-15" } }, "color": "red", "none": null, "set": [1], "path": "a",
        "tuple": [1, 2], "text": "ü\u{2028}", "when": "2024-01-15T00:00:00", "3": 4
    });
    assert_eq!(world.run(text, json!({ "kind": "all" })).await.unwrap(), expected);
    assert_eq!(world.run(text, json!({ "kind": "none" })).await.unwrap(), json!({ "mean": [null] }));
    // Regression: such a pydantic model became `{"mean": [1.0, null]}`, and the number was lost.
    for (kind, message) in [
        ("nan", "it is nan, and JSON has no such number"),
        ("number", "`mean[1]` is nan"),
        ("within", "`mean[0]` is -inf"),
        ("listed", "`means[1]` is inf"),
        ("object", "type `object` has no form"),
        ("half", "no Unicode"),
    ] {
        assert_contains(&world.fails(text, json!({ "kind": kind })).await, &[message]);
    }
    let wrong = "def main() -> list[int]:\n    return [1, 'two']\n";
    let message = "`1` of what `main` returned is not what it says: expected an integer, found \"two\"";
    let error = world.run(wrong, json!({})).await.unwrap_err();
    assert_eq!(error.to_string(), message);
    assert_eq!(call_error(error).unwrap().into_failure().kind, ork::FailureKind::Output);
    assert_eq!(world.run("def main():\n    pass\n", json!({})).await.unwrap(), json!(null));
    world.end().await;
}

#[tokio::test]
async fn schemas_are_read_from_types() {
    let Some(world) = World::new() else { return };
    let models = "
from typing import Optional
from pydantic import BaseModel
from ork import task
class Inner(BaseModel):
    n: int
class Input(BaseModel):
    item: str
    inner: list[Inner] = []
class Output(BaseModel):
    files: list[str]
@task
def main(input: Input) -> Output: ...
";
    let signature = world.describe(models).await.unwrap();
    assert_eq!((signature.function.as_str(), signature.line), ("main", 12));
    assert_eq!(signature.input["type"], "object");
    assert_eq!(signature.input["required"], json!(["item"]));
    assert_eq!(signature.input["properties"]["item"]["type"], "string");
    assert_eq!(signature.input["properties"]["inner"]["items"]["$ref"], "#/$defs/Inner");
    assert_eq!(signature.input["$defs"]["Inner"]["properties"]["n"]["type"], "integer");
    assert_eq!(signature.output["properties"]["files"]["items"]["type"], "string");
    let plain = r#"
from __future__ import annotations
from dataclasses import dataclass
from typing import Optional, Literal
from ork import Context
@dataclass
class Tree:
    kids: list[Tree]
def main(count: int, tree: Tree, mode: Literal["a", "b"] = "a", size: Optional[int] = None, x=1, *, ctx: Context) -> Tree: ...
"#;
    let signature = world.describe(plain).await.unwrap();
    let tree = json!({
        "title": "Tree", "type": "object", "required": ["kids"],
        "properties": { "kids": { "type": "array", "items": { "$ref": "#/$defs/Tree" } } }
    });
    let expected = json!({
        "type": "object",
        "properties": {
            "count": { "type": "integer" },
            "tree": { "$ref": "#/$defs/Tree" },
            "mode": { "type": "string", "enum": ["a", "b"], "default": "a" },
            "size": { "anyOf": [{ "type": "integer" }, { "type": "null" }], "default": null },
            "x": { "default": 1 }
        },
        "required": ["count", "tree"],
        "$defs": { "Tree": tree }
    });
    assert_eq!(signature.input, expected);
    assert_eq!(signature.output["properties"], tree["properties"]);
    let nothing = world.describe("def main(): ...\n").await.unwrap();
    assert_eq!((&nothing.input, &nothing.output), (&json!({ "type": "object", "properties": {} }), &json!({})));
    // The types of a file are cached: no interpreter is started to read them again.
    let interpreters = world.local.interpreters();
    assert_eq!(world.describe(plain).await.unwrap(), signature);
    assert_eq!(world.local.interpreters(), interpreters);
    world.end().await;
}
