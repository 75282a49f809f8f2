//! Python tasks as users write them: one file for each task, pydantic models, and a context.

use ork_runtime::executor::call_error;
use serde_json::json;

use super::world::World;

const STATIC: &str = r#"
from ork import task, Context
from pydantic import BaseModel

def get_all_items():
    return list(range(10))

def process_items(items):
    return [item * item for item in items]

class Input(BaseModel):
    pass

class Output(BaseModel):
    processed: int

@task
def main(input: Input, ctx: Context) -> Output:
    # Divide work by index
    all_items = get_all_items()
    my_items = [
        item for i, item in enumerate(all_items)
        if i % ctx.parallel_count == ctx.parallel_index
    ]

    results = process_items(my_items)

    ctx.log.info(
        f"Instance {ctx.parallel_index}/{ctx.parallel_count} "
        f"processed {len(results)} items"
    )

    return Output(processed=len(results))
"#;

const COUNT: &str = "
from ork import task
from pydantic import BaseModel

def count_items_to_process():
    return 7

class Output(BaseModel):
    count: int

@task
def main() -> Output:
    count = count_items_to_process()
    return Output(count=count)
";

const DISCOVER: &str = r#"
# tasks/discover.py
from ork import task
from pydantic import BaseModel
from cloud import storage

class Output(BaseModel):
    files: list[str]

@task
def main() -> Output:
    client = storage.Client()
    blobs = client.list_blobs("my-bucket", prefix="raw/2024-01-15/")
    files = [f"gs://my-bucket/{b.name}" for b in blobs]
    return Output(files=files)
"#;

/// A stand-in for the cloud package, in the workflow's folder. `PANDAS` is one for pandas.
const CLOUD: &str = r#"
class Blob:
    def __init__(self, name):
        self.name = name

class storage:
    class Client:
        def list_blobs(self, bucket, prefix):
            return [Blob(f"{prefix}{n}.parquet") for n in range(3)]
"#;

const PANDAS: &str = r#"
class Frame(list):
    def to_parquet(self, path):
        print("writing", path)

def read_parquet(path):
    return Frame([path, "a", "b"])
"#;

const PROCESS: &str = r#"
# tasks/process.py
from ork import task, Context
from pydantic import BaseModel
import frames as pd

def transform(df):
    return df

class Input(BaseModel):
    item: str  # Automatically populated with one file path

class Output(BaseModel):
    input_file: str
    output_file: str
    rows: int

@task
def main(input: Input, ctx: Context) -> Output:
    df = pd.read_parquet(input.item)
    df = transform(df)

    output_path = input.item.replace("/raw/", "/processed/")
    df.to_parquet(output_path)

    ctx.metrics.record("rows_processed", len(df))

    return Output(
        input_file=input.item,
        output_file=output_path,
        rows=len(df)
    )
"#;

const AGGREGATE: &str = "
# tasks/aggregate.py
from ork import task
from pydantic import BaseModel

class ProcessOutput(BaseModel):
    input_file: str
    output_file: str
    rows: int

class Input(BaseModel):
    process: list[ProcessOutput]  # All process outputs

class Output(BaseModel):
    total_rows: int
    files_processed: int

@task
def main(input: Input) -> Output:
    return Output(
        total_rows=sum(p.rows for p in input.process),
        files_processed=len(input.process)
    )
";

#[tokio::test]
async fn instance_computes_its_share_of_the_work() {
    let Some(world) = World::new() else { return };
    world.file("tasks/process.py", STATIC);
    // The call is instance 1 of 4. Its input also has the output of the previous step, which the task ignores.
    let call = world.python("tasks/process.py", &json!({ "discover": { "count": 3 } }));
    assert_eq!(world.make(call).await.unwrap(), json!({ "processed": 3 }));
    assert_eq!(world.recorder.all(), ["INFO Instance 1/4 processed 3 items"]);
    world.end().await;
}

#[tokio::test]
async fn files_are_discovered_processed_and_aggregated() {
    let Some(world) = World::new() else { return };
    for (name, text) in [
        ("tasks/count.py", COUNT),
        ("tasks/discover.py", DISCOVER),
        ("tasks/process.py", PROCESS),
        ("tasks/aggregate.py", AGGREGATE),
        // One module is in the workflow's folder, the other beside the tasks: both can be imported.
        ("cloud.py", CLOUD),
        ("tasks/frames.py", PANDAS),
    ] {
        world.file(name, text);
    }
    let none = json!({});
    assert_eq!(world.make(world.python("tasks/count.py", &none)).await.unwrap(), json!({ "count": 7 }));
    let found = world.make(world.python("tasks/discover.py", &none)).await.unwrap();
    let files = found["files"].as_array().unwrap();
    assert_eq!(files[2], "gs://my-bucket/raw/2024-01-15/2.parquet");
    let mut outputs = Vec::new();
    for item in files {
        let call = world.python("tasks/process.py", &json!({ "item": item, "discover": found }));
        outputs.push(world.make(call).await.unwrap());
    }
    assert_eq!(outputs[0]["output_file"], "gs://my-bucket/processed/2024-01-15/0.parquet");
    assert!(world.recorder.all().contains(&"metric rows_processed 3 {}".to_owned()), "{:?}", world.recorder.all());
    let call = world.python("tasks/aggregate.py", &json!({ "process": outputs }));
    assert_eq!(world.make(call).await.unwrap(), json!({ "total_rows": 9, "files_processed": 3 }));
    world.end().await;
}

/// The programs in `docs/python.md` run, and behave as the page describes.
#[tokio::test]
async fn examples_in_the_python_document_work() {
    let Some(world) = World::new() else { return };
    let document = include_str!("../../../../docs/python.md");
    let programs: Vec<_> =
        document.split("```python\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    world.file("tasks/process.py", programs[0]);
    world.file("rows.txt", "one\ntwo\n");
    let call = world.python("tasks/process.py", &json!({ "item": "rows.txt" }));
    assert_eq!(world.make(call).await.unwrap(), json!({ "path": "rows.txt", "rows": 2 }));
    assert_eq!(world.recorder.all(), ["INFO reading rows.txt", "metric rows 2 {\"table\": \"users\"}"]);
    let raises = programs[1].replace("raise", "def main():\n    raise");
    let failure = call_error(world.run(&raises, json!({})).await.unwrap_err()).unwrap().into_failure();
    assert_eq!((failure.message.as_str(), failure.retryable), ("the album is empty", false));
    assert_eq!(failure.details, Some(json!({ "album": 7 })));
    world.end().await;
}
