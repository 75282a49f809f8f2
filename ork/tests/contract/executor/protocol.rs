//! Nothing that a task prints, reads or returns disturbs the protocol between ork and its interpreter.

use ork_runtime::executor::call_error;
use serde_json::json;

use super::world::World;

#[tokio::test]
async fn printed_output_is_logged_and_does_not_break_the_protocol() {
    let Some(world) = World::new() else { return };
    let text = r#"
import os, subprocess, sys
print("while loading")
def main():
    print('{"type": "returned", "id": 1, "bytes": 2}')
    os.write(1, b"raw\n")
    sys.__stdout__.write("buffered\n")
    sys.stderr.write("to stderr\n")
    subprocess.run(["echo", "from a child"], check=True)
    print("10%", end="\r"); print("100%")
    print("x" * 20000)
    print("half", end="")
    return sys.stdin.read()
"#;
    assert_eq!(world.run(text, json!({})).await.unwrap(), json!(""));
    let lines = world.recorder.all();
    let expected = [
        "INFO while loading",
        "INFO {\"type\": \"returned\", \"id\": 1, \"bytes\": 2}",
        "INFO raw",
        "INFO buffered",
        "INFO to stderr",
        "INFO from a child",
        "INFO 100%",
    ];
    assert_eq!(lines[..7], expected);
    assert_eq!(lines[7].len(), "INFO ".len() + 8 * 1024);
    assert_eq!(lines[8..], ["INFO half"]);
    world.end().await;
}

#[tokio::test]
async fn large_inputs_and_outputs_pass() {
    let Some(world) = World::new() else { return };
    let text = "
import sys
def main(text: str, times: int) -> str:
    sys.stderr.write('y' * 1_000_000 + '\\n')
    return text * times
";
    let long = "x".repeat(20_000_000);
    let output = world.run(text, json!({ "text": long, "times": 2 })).await.unwrap();
    assert_eq!(output.as_str().unwrap().len(), 40_000_000);
    let message = world.fails(text, json!({ "text": long, "times": 4 })).await;
    assert_eq!(message, "`main` returned 80000002 bytes of JSON, and at most 67108864 are taken");
    world.end().await;
}

/// Values that JSON cannot express are replaced or reported, and the interpreter is reused.
#[tokio::test]
async fn values_that_are_not_json_do_not_break_the_protocol() {
    let Some(world) = World::new() else { return };
    let text = r#"
from ork import TaskError
def main(fail: bool, ctx):
    ctx.log.info("half \ud800 text")
    ctx.metrics.record("odd", float("nan"))
    ctx.progress(float("inf"), "far")
    if fail:
        raise TaskError("odd details", details={"nan": float("nan")})
    deep = []
    for _ in range(500):
        deep = [deep]
    return deep
"#;
    let message = world.fails(text, json!({ "fail": false })).await;
    assert_eq!(message, "invalid output: recursion limit exceeded at line 1 column 128");
    let error = world.run(text, json!({ "fail": true })).await.unwrap_err();
    let details = call_error(error).unwrap().into_failure().details.unwrap();
    assert_eq!(details["repr"], "{'nan': nan}");
    let lines = ["INFO half ? text", "WARN the measurement odd is nan and was left out", "progress 0 far"];
    assert_eq!(world.recorder.all()[..3], lines);
    assert_eq!(world.local.interpreters(), 1, "it continues");
    world.end().await;
}

#[tokio::test]
async fn threads_and_forked_processes_do_no_harm() {
    let Some(world) = World::new() else { return };
    let text = r#"
import multiprocessing, os, sys, threading
from ork import task, Context

def double(n):
    return 2 * n

@task
def main(ctx: Context):
    threads = [threading.Thread(target=lambda: [ctx.log.info("line " + "x" * 5000) for _ in range(50)]) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    child = os.fork()
    if child == 0:
        try:
            ctx.progress(1)
        except RuntimeError as error:
            os.write(2, str(error).encode() + b"\n")
        os._exit(0)
    os.waitpid(child, 0)
    sums = []
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            sums.append(sum(pool.map(double, [1, 2])))
    return sums
"#;
    world.file("tasks/pool.py", text);
    assert_eq!(world.make(world.python("tasks/pool.py", &json!({}))).await.unwrap(), json!([6, 6]));
    let lines = world.recorder.all();
    assert_eq!(lines.iter().filter(|line| line.starts_with("INFO line x")).count(), 200);
    assert!(lines.iter().any(|line| line.contains("a process made by `fork` cannot report to ork")), "{lines:?}");
    world.end().await;
}

#[tokio::test]
async fn thread_left_running_does_not_log_in_the_next_call() {
    let Some(world) = World::new() else { return };
    let text = "
import threading
old = []
def main(ctx):
    for event, done in old:
        event.set()
        done.wait()
    event, done = threading.Event(), threading.Event()
    def late():
        event.wait()
        ctx.log.info('late')
        done.set()
    threading.Thread(target=late, daemon=True).start()
    old.append((event, done))
    return len(old)
";
    for n in 1..=2 {
        assert_eq!(world.run(text, json!({})).await.unwrap(), json!(n));
    }
    assert!(world.recorder.all().is_empty(), "{:?}", world.recorder.all());
    world.end().await;
}

#[tokio::test]
async fn task_files_do_not_shadow_the_standard_library() {
    let Some(world) = World::new() else { return };
    world.file("copy.py", "raise RuntimeError('not the library')\n");
    world.file("ork.py", "raise RuntimeError('not ork')\n");
    world.file(
        "random.py",
        "import copy, random\ndef main():\n    return copy.copy([random.Random(1).randint(1, 1)])\n",
    );
    assert_eq!(world.make(world.python("random.py", &json!({}))).await.unwrap(), json!([1]));
    world.end().await;
}
