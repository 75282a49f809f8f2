//! Failures: exceptions, files without a task, and interpreters that crash or are missing.

use ork_ports::executor::{Ended, ExecutorError};
use ork_runtime::executor::call_error;
use serde_json::json;

use super::world::{World, assert_contains, wait_until_gone};

#[tokio::test]
async fn exception_becomes_a_failure_with_its_location_and_its_traceback_is_logged() {
    let Some(world) = World::new() else { return };
    let text = "
from ork import task
@task
def main(n: int):
    return helper(n)
def helper(n):
    try:
        return 1 / n
    except ZeroDivisionError as error:
        raise ValueError('no such share') from error
";
    let Err(ExecutorError::Raised(raised)) = world.run(text, json!({ "n": 0 })).await else { panic!("no exception") };
    assert_eq!((raised.message.as_str(), raised.kind.as_str()), ("ValueError: no such share", "ValueError"));
    assert_eq!(raised.at, ["task.py:5 in main", "task.py:10 in helper"]);
    assert!(raised.retry && raised.details.is_none());
    assert_contains(&raised.traceback, &["ZeroDivisionError", "return 1 / n", "direct cause", "in helper"]);
    assert!(!raised.traceback.contains("_worker.py"), "{}", raised.traceback);
    let traceback = world.recorder.wait("ERROR Traceback").await;
    assert_contains(&traceback, &["ValueError: no such share"]);
    let failure = call_error(ExecutorError::Raised(raised)).unwrap().into_failure();
    assert!(failure.retryable);
    let details = json!({ "type": "ValueError", "at": ["task.py:5 in main", "task.py:10 in helper"] });
    assert_eq!(failure.details, Some(details));
    // An exception does not cost the interpreter: the next call uses the same one.
    assert_eq!(world.make(world.python("task.py", &json!({ "n": 1 }))).await.unwrap(), json!(1.0));
    assert_eq!(world.local.interpreters(), 1);
    world.end().await;
}

#[tokio::test]
async fn task_error_carries_details_and_may_be_permanent() {
    let Some(world) = World::new() else { return };
    let text = "
from ork import task, TaskError
@task
def main(retry: bool):
    raise TaskError('the album is empty', details={'album': 7}, retry=retry)
";
    for retry in [true, false] {
        let error = world.run(text, json!({ "retry": retry })).await.unwrap_err();
        let failure = call_error(error).unwrap().into_failure();
        assert_eq!(failure.message, "the album is empty");
        assert_eq!((failure.details, failure.retryable), (Some(json!({ "album": 7 })), retry));
    }
    world.end().await;
}

#[tokio::test]
async fn memory_recursion_and_exit_errors_are_ordinary_failures() {
    let Some(world) = World::new() else { return };
    for (body, expected) in [
        ("def main():\n    raise MemoryError()\n", "MemoryError"),
        ("def main():\n    return main()\n", "RecursionError: maximum recursion depth exceeded"),
        ("import sys\ndef main():\n    sys.exit(3)\n", "SystemExit: 3"),
        ("import asyncio\nasync def main():\n    raise asyncio.CancelledError('by itself')\n", "CancelledError"),
        ("class Odd(Exception):\n    def __str__(self):\n        return 1/0\ndef main():\n    raise Odd()\n", "Odd"),
    ] {
        assert_contains(&world.fails(body, json!({})).await, &[expected]);
    }
    assert_eq!(world.run("def main():\n    return 1\n", json!({})).await.unwrap(), json!(1));
    world.end().await;
}

#[tokio::test]
async fn file_without_a_valid_task_is_rejected_with_the_reason() {
    let Some(world) = World::new() else { return };
    let task = "from ork import task\n";
    for (text, expected) in [
        ("x = 1\n", vec!["task.py has no task", "put `@task` above its function, or name it `main`"]),
        ("main = 5\n", vec!["`main` in task.py is not a function, but int"]),
        ("def main(:\n", vec!["task.py, line 1: invalid syntax"]),
        ("def main(*all): ...\n", vec!["`main` has `*all`"]),
        ("def main(x: complex): ...\n", vec!["the parameter `x` of `main`", "`complex` has no form in JSON"]),
        ("def main(x: 'Missing'): ...\n", vec!["annotations of `main` cannot be read: name 'Missing' is not defined"]),
        ("def main(x: dict[int, int]): ...\n", vec!["write `dict[str, ..]`"]),
    ] {
        let error = world.run(text, json!({})).await.unwrap_err();
        assert_contains(&error, &expected);
        assert!(!call_error(error).unwrap().into_failure().retryable, "{expected:?}");
    }
    let two = format!("{task}@task\ndef a(): ...\n@task\ndef b(): ...\n");
    assert_contains(&world.fails(&two, json!({})).await, &["2 functions with @task: `a` (line 2), `b` (line 4)"]);
    // A task that the file imports does not count as the task of the file.
    world.file("other.py", &format!("{task}@task\ndef other(): ...\n"));
    let own = format!("{task}from other import other\n@task()\ndef own():\n    return 'own'\n");
    assert_eq!(world.run(&own, json!({})).await.unwrap(), json!("own"));
    for (text, expected) in [
        ("import not_there\n", "task.py cannot be imported: ModuleNotFoundError: No module named 'not_there'"),
        ("from ork import task\n@task\nclass A: ...\n", "@task stands above a function"),
        ("raise SystemExit(1)\n", "task.py cannot be imported: SystemExit: 1"),
    ] {
        assert_contains(&world.fails(text, json!({})).await, &[expected]);
        // Reading the types of the task fails with the same message.
        assert_contains(&world.describe(text).await.unwrap_err(), &[expected]);
    }
    assert_eq!(world.local.interpreters(), 0, "an interpreter that could not load a file is not kept");
    world.end().await;
}

#[tokio::test]
async fn crash_reports_exit_status_and_last_lines_and_the_next_call_gets_a_new_interpreter() {
    let Some(world) = World::new() else { return };
    let text = "
import ctypes, os, signal, sys
from ork import task, Context
@task
def main(how: str, ctx: Context):
    print('pid', os.getpid())
    sys.stderr.write('last words')
    if how == 'exit':
        os._exit(7)
    if how == 'kill':
        os.kill(os.getpid(), signal.SIGKILL)
    if how == 'segfault':
        ctypes.string_at(0)
    return how
";
    for (how, ended) in [("exit", Ended::Code(7)), ("kill", Ended::Signal(9)), ("segfault", Ended::Signal(11))] {
        let Err(ExecutorError::Crashed(crash)) = world.run(text, json!({ "how": how })).await else { panic!("{how}") };
        assert_eq!(crash.ended, ended, "{how}");
        assert_eq!(crash.stderr.last().unwrap(), "last words", "{how}");
        assert_contains(&crash, &["the Python process of `task.py`", "last words"]);
        let failure = call_error(ExecutorError::Crashed(crash)).unwrap().into_failure();
        assert!(failure.retryable);
        assert_eq!(world.local.interpreters(), 0, "{how}");
    }
    wait_until_gone(&world.recorder.pids("INFO pid ").await).await;
    assert_eq!(world.run(text, json!({ "how": "well" })).await.unwrap(), json!("well"));
    world.end().await;
}

/// A task that writes to every file descriptor violates the protocol. The call fails, and the worker continues.
#[tokio::test]
async fn protocol_violation_on_the_private_pipe_ends_the_interpreter() {
    let Some(world) = World::new() else { return };
    let text = "
import os
def main():
    for fd in range(3, 20):
        try:
            os.write(fd, b'nonsense\\n')
        except OSError:
            pass
    return 1
";
    assert_contains(&world.fails(text, json!({})).await, &["wrote invalid data to its private pipe"]);
    assert_eq!(world.local.interpreters(), 0);
    world.end().await;
}

#[tokio::test]
async fn missing_python_or_file_is_reported_with_advice() {
    let world = World::without_python(|_| {});
    let error = world.fails("def main(): ...\n", json!({})).await;
    assert_contains(&error, &["`python-that-is-not-there`: not found; install Python 3.9 or newer, or set ORK_PYTHON"]);
    let missing = world.make(world.python("tasks/none.py", &json!({}))).await.unwrap_err();
    assert_contains(&missing, &["there is no `tasks/none.py` in the workflow's folder"]);
    assert_eq!(world.local.interpreters(), 0);
    world.end().await;
}

#[tokio::test]
async fn files_outside_of_the_workflow_folder_are_rejected() {
    let world = World::without_python(|_| {});
    let outside = world.scratch.path().join("outside.py");
    std::fs::write(&outside, "def main(): ...\n").unwrap();
    std::os::unix::fs::symlink(&outside, world.folder.path().join("link.py")).unwrap();
    world.file("tasks/in.py", "");
    for (file, expected) in [
        (outside.to_str().unwrap(), "is outside the workflow's folder"),
        ("../outside.py", "is outside the workflow's folder"),
        ("tasks/../tasks/in.py", "is outside the workflow's folder"),
        ("link.py", "is a link to a file outside the workflow's folder"),
        ("tasks", "is not a file"),
        ("", "no file is given"),
    ] {
        let error = world.make(world.python(file, &json!({}))).await.unwrap_err();
        assert_contains(&error, &[expected]);
        assert!(!call_error(error).unwrap().into_failure().retryable);
    }
    std::fs::remove_file(outside).unwrap();
    world.end().await;
}
