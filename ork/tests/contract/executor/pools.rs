//! The interpreter pool: interpreters are reused between calls, and their number is limited.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::{World, wait_until_gone, within};

const PID: &str = "import os\nprint('loaded')\ndef main():\n    return os.getpid()\n";

fn pid(value: &Value) -> i32 {
    i32::try_from(value.as_i64().unwrap()).unwrap()
}

#[tokio::test]
async fn interpreter_is_reused_until_its_file_changes() {
    let Some(world) = World::new() else { return };
    let first = world.run(PID, json!({})).await.unwrap();
    assert_eq!(world.run(PID, json!({})).await.unwrap(), first);
    assert_eq!(world.recorder.all(), ["INFO loaded"], "the file is read once");
    let changed = world.run(&format!("{PID}\n"), json!({})).await.unwrap();
    assert_ne!(changed, first);
    wait_until_gone(&[pid(&first)]).await;
    assert_eq!(world.local.interpreters(), 1);
    // An interpreter is not reused for a call with other environment variables.
    let mut call = world.python("task.py", &json!({}));
    call.code.env.insert("REGION".into(), "eu".into());
    assert_ne!(world.make(call).await.unwrap(), changed);
    assert_eq!(world.local.interpreters(), 2);
    world.end().await;
}

#[tokio::test]
async fn interpreter_that_died_while_idle_is_not_reused() {
    let Some(world) = World::new() else { return };
    let first = pid(&world.run(PID, json!({})).await.unwrap());
    rustix::process::kill_process(rustix::process::Pid::from_raw(first).unwrap(), rustix::process::Signal::KILL)
        .unwrap();
    wait_until_gone(&[first]).await;
    assert_ne!(pid(&world.run(PID, json!({})).await.unwrap()), first);
    world.end().await;
}

#[tokio::test]
async fn interpreter_limit_holds_and_the_longest_idle_one_ends_first() {
    let Some(world) = World::new() else { return };
    for name in ["a.py", "b.py", "c.py"] {
        world.file(name, PID);
    }
    let mut pids = Vec::new();
    for name in ["a.py", "b.py", "a.py", "c.py"] {
        pids.push(pid(&world.make(world.python(name, &json!({}))).await.unwrap()));
        assert!(world.local.interpreters() <= 2);
    }
    assert_eq!(pids[0], pids[2]);
    wait_until_gone(&[pids[1]]).await;
    assert_eq!(pid(&world.make(world.python("a.py", &json!({}))).await.unwrap()), pids[0], "it was used more recently");
    world.end().await;
}

#[tokio::test]
async fn calls_run_concurrently_up_to_the_limit_and_others_wait() {
    let Some(world) = World::new() else { return };
    // The first two calls wait for each other, so they must run at the same time. The rest must wait for one of them.
    let text = "
import pathlib
def main(me: str, other: str, ctx):
    pathlib.Path(me).touch()
    while not pathlib.Path(other).exists():
        pass
    return me
";
    world.file("task.py", text);
    let calls = [("x", "y"), ("y", "x"), ("z", "z"), ("z", "z"), ("z", "z"), ("z", "z")];
    let running: Vec<_> = calls
        .iter()
        .map(|(me, other)| world.start(world.python("task.py", &json!({ "me": me, "other": other }))))
        .collect();
    for call in running {
        within(call).await.unwrap().unwrap();
        assert!(world.local.interpreters() <= 2);
    }
    // A call that is cancelled does not wait for an interpreter any longer.
    let call = world.python("task.py", &json!({ "me": "x", "other": "never" }));
    let (first, second) = (world.start(call.clone()), world.start(call.clone()));
    let third = world.python("task.py", &json!({ "me": "x", "other": "y" }));
    let cancelled = third.cancelled.clone();
    let third = world.start(third);
    cancelled.cancel();
    within(third).await.unwrap().ok();
    call.cancelled.cancel();
    assert!(within(first).await.unwrap().is_err() && within(second).await.unwrap().is_err());
    world.end().await;
}

#[tokio::test]
async fn idle_interpreter_ends_after_the_idle_timeout() {
    let Some(world) = World::with(|settings| settings.idle = Duration::from_millis(1)) else { return };
    let text =
        "import atexit, os\natexit.register(lambda: open('ended', 'w').close())\ndef main():\n    return os.getpid()\n";
    let found = pid(&world.run(text, json!({})).await.unwrap());
    wait_until_gone(&[found]).await;
    assert!(world.folder.path().join("ended").exists(), "it ended regularly");
    assert_eq!(world.run(PID, json!({})).await.map(|_| ()).unwrap(), ());
    world.end().await;
}
