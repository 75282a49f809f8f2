//! Calls that are no longer needed end, whatever they do, together with all processes that they have started.

use std::sync::Arc;
use std::time::Duration;

use ork::Timestamp;
use ork_ports::executor::{Executor as _, ExecutorError};
use serde_json::json;

use super::clock::Manual;
use super::installed::python;
use super::world::{Recorder, World, is_alive, killed, wait_until_gone, within};

/// Logs the ids of its process and of the process that it has started, then refuses to end in one of several ways.
const STUBBORN: &str = r#"
import os, signal, subprocess, sys, time
from ork import task, Context

IGNORES = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(1000)"

@task
def main(how: str, ctx: Context):
    if how == "subprocess":
        child = subprocess.Popen([sys.executable, "-c", IGNORES], stdout=subprocess.PIPE)
        child.stdout.readline()
        ctx.log.info("pids %d %d", os.getpid(), child.pid)
        child.wait()
    ctx.log.info("pids %d", os.getpid())
    if how == "ignore":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if how == "catch":
        while True:
            try:
                time.sleep(1000)
            except BaseException:
                pass
    if how == "sleep":
        time.sleep(1000)
    while how != "flood":
        pass
    while True:
        ctx.log.info("flood")
"#;

const WAYS: [&str; 6] = ["busy", "sleep", "subprocess", "ignore", "catch", "flood"];

#[tokio::test]
async fn a_cancelled_call_ends_whatever_it_does() {
    let Some(world) = World::new() else { return };
    world.file("task.py", STUBBORN);
    for how in WAYS {
        let call = world.python("task.py", &json!({ "how": how }));
        let (cancelled, recorder) = (call.cancelled.clone(), Arc::new(Recorder::default()));
        let running = world.start_with_listener(call, &recorder);
        let pids = recorder.pids("INFO pids ").await;
        cancelled.cancel();
        let ended = within(running).await.unwrap();
        assert!(matches!(ended, Err(ExecutorError::Interrupted)), "{how}: {ended:?}");
        wait_until_gone(&pids).await;
        assert_eq!(world.local.interpreters(), 0, "{how}");
    }
    world.end().await;
}

#[tokio::test]
async fn timed_out_calls_and_abandoned_calls_are_stopped() {
    let Some(world) = World::new() else { return };
    world.file("task.py", STUBBORN);
    let mut call = world.python("task.py", &json!({ "how": "subprocess" }));
    call.timeout = Some(Duration::from_secs(1));
    let ended = world.make(call).await;
    assert!(matches!(ended, Err(ExecutorError::TimedOut(after)) if after.as_secs() == 1), "{ended:?}");
    // On a busy machine the task may not have logged its processes before the time limit.
    if let Some(line) = world.recorder.all().iter().find_map(|line| line.strip_prefix("INFO pids ")) {
        wait_until_gone(&line.split(' ').map(|pid| pid.parse().unwrap()).collect::<Vec<_>>()).await;
    }
    let Some(world) = World::new() else { return };
    world.file("task.py", STUBBORN);
    let running = world.start(world.python("task.py", &json!({ "how": "busy" })));
    let pids = world.recorder.pids("INFO pids ").await;
    running.abort();
    wait_until_gone(&pids).await;
    world.end().await;
}

#[tokio::test]
async fn cancelled_task_can_clean_up_and_async_task_is_cancelled() {
    let Some(world) = World::with(|settings| settings.grace = Duration::from_mins(1)) else { return };
    let polite = "
def main(ctx):
    ctx.log.info('started')
    ctx.cancelled.wait()
    ctx.log.info('tidy')
";
    let asynchronous = "
import asyncio
async def main(ctx):
    ctx.log.info('started')
    try:
        await asyncio.sleep(1000)
    finally:
        ctx.log.info('tidy')
";
    for text in [polite, asynchronous] {
        world.file("task.py", text);
        let call = world.python("task.py", &json!({}));
        let (cancelled, recorder) = (call.cancelled.clone(), Arc::new(Recorder::default()));
        let running = world.start_with_listener(call, &recorder);
        recorder.wait("INFO started").await;
        cancelled.cancel();
        assert!(matches!(within(running).await.unwrap(), Err(ExecutorError::Interrupted)));
        recorder.wait("INFO tidy").await;
    }
    world.end().await;
}

/// Tasks that wait in different ways, and log that they were interrupted.
const SLEEPERS: [&str; 3] = [
    "
import os, time
from ork import Cancelled
def main(ctx):
    try:
        ctx.log.info('pids %d', os.getpid())
        time.sleep(1000)
    except Cancelled:
        ctx.log.info('tidy %s', bool(ctx.cancelled))
        raise
",
    "
import os, subprocess
def main(ctx):
    child = subprocess.Popen(['sh', '-c', 'trap \"exit 7\" TERM; echo up; while :; do sleep 1; done'], stdout=subprocess.PIPE)
    child.stdout.readline()
    try:
        ctx.log.info('pids %d %d', os.getpid(), child.pid)
        child.wait()
    finally:
        ctx.log.info('tidy %s', child.wait() == 7)
",
    "
import asyncio, os
async def main(ctx):
    try:
        ctx.log.info('pids %d', os.getpid())
        await asyncio.sleep(1000)
    finally:
        await asyncio.sleep(0.01)
        ctx.log.info('tidy %s', bool(ctx.cancelled))
",
];

/// A call whose time limit has passed gets no time to check for cancellation.
#[tokio::test]
async fn timeout_interrupts_at_once() {
    let clock = Manual::new(Timestamp::default());
    let Some(world) = World::still(&clock) else { return };
    for text in SLEEPERS {
        world.file("task.py", text);
        let mut call = world.python("task.py", &json!({}));
        call.timeout = Some(Duration::from_secs(3));
        let recorder = Arc::new(Recorder::default());
        let running = world.start_with_listener(call, &recorder);
        let pids = recorder.pids("INFO pids ").await;
        clock.advance(Duration::from_secs(3));
        let ended = within(running).await.unwrap();
        assert!(matches!(ended, Err(ExecutorError::TimedOut(_))), "{ended:?}");
        assert_eq!(recorder.wait("INFO tidy ").await, "True", "{text}");
        wait_until_gone(&pids).await;
    }
    world.end().await;
}

/// When the worker stops or the caller has gone, a call is interrupted immediately, even if it was cancelled before.
#[tokio::test]
async fn shutdown_and_dropped_callers_interrupt_at_once() {
    for is_cancelled in [false, true] {
        let Some(world) = World::still(&Manual::new(Timestamp::default())) else { return };
        for text in SLEEPERS {
            world.file("task.py", text);
            let call = world.python("task.py", &json!({}));
            let (cancelled, recorder) = (call.cancelled.clone(), Arc::new(Recorder::default()));
            let running = world.start_with_listener(call, &recorder);
            let pids = recorder.pids("INFO pids ").await;
            if is_cancelled {
                cancelled.cancel();
            }
            running.abort();
            assert_eq!(recorder.wait("INFO tidy ").await, "True", "{text}");
            wait_until_gone(&pids).await;
        }
        world.file("task.py", SLEEPERS[0]);
        let running = world.start(world.python("task.py", &json!({})));
        let pids = world.recorder.pids("INFO pids ").await;
        within(world.local.shutdown()).await;
        assert!(matches!(within(running).await.unwrap(), Err(ExecutorError::Interrupted)));
        wait_until_gone(&pids).await;
        world.end().await;
    }
}

/// SIGTERM from ork raises an exception in the task, so that the task can close its resources.
#[tokio::test]
async fn sleeping_task_can_clean_up_on_sigterm() {
    let Some(world) = World::with(|settings| settings.grace = Duration::from_secs(1)) else { return };
    let text = "
import time
from ork import Cancelled
def main(ctx):
    ctx.log.info('started')
    try:
        time.sleep(1000)
    except Cancelled:
        ctx.log.info('tidy')
        raise
";
    world.file("task.py", text);
    let call = world.python("task.py", &json!({}));
    let cancelled = call.cancelled.clone();
    let running = world.start(call);
    world.recorder.wait("INFO started").await;
    cancelled.cancel();
    assert!(matches!(within(running).await.unwrap(), Err(ExecutorError::Interrupted)));
    world.recorder.wait("INFO tidy").await;
    world.end().await;
}

/// A service manager may send SIGTERM to each process of a service. The worker alone decides which of them end, and
/// when.
#[tokio::test]
async fn sigterm_from_others_does_not_end_a_task() {
    let Some(world) = World::new() else { return };
    let text = "
import os, signal
from ork import Cancelled
def main(fail: bool):
    os.kill(os.getpid(), signal.SIGTERM)
    if fail:
        raise Cancelled('by itself')
    return 1
";
    assert_eq!(world.run(text, json!({ "fail": false })).await.unwrap(), json!(1));
    assert_eq!(world.fails(text, json!({ "fail": true })).await, "Cancelled: by itself");
    world.end().await;
}

#[tokio::test]
async fn file_that_never_finishes_loading_can_be_cancelled() {
    let Some(world) = World::new() else { return };
    world.file("task.py", "import os\nprint('pids', os.getpid())\nwhile True: pass\n");
    let call = world.python("task.py", &json!({}));
    world.cancel_while_it_runs(call).await;
    world.end().await;
}

#[tokio::test]
async fn shutdown_ends_running_calls_and_idle_interpreters() {
    let Some(world) = World::new() else { return };
    world.file("idle.py", "import os\ndef main():\n    return os.getpid()\n");
    let idle = world.make(world.python("idle.py", &json!({}))).await.unwrap();
    let idle = i32::try_from(idle.as_i64().unwrap()).unwrap();
    assert!(is_alive(idle));
    world.file("task.py", STUBBORN);
    let running = world.start(world.python("task.py", &json!({ "how": "ignore" })));
    let busy = world.recorder.pids("INFO pids ").await;
    within(world.local.shutdown()).await;
    assert!(matches!(within(running).await.unwrap(), Err(ExecutorError::Interrupted)));
    wait_until_gone(&[idle]).await;
    wait_until_gone(&busy).await;
    let late = world.make(world.python("idle.py", &json!({}))).await;
    assert!(matches!(late, Err(ExecutorError::Interrupted)), "{late:?}");
    world.end().await;
}

/// The process that [`no_orphan_is_left_when_the_program_is_killed`] kills.
#[tokio::test]
#[ignore = "a process that the next test starts and kills"]
async fn a_program_that_is_killed() {
    let world = World::new().unwrap();
    world.file("task.py", STUBBORN);
    let running = world.start(world.python("task.py", &json!({ "how": "subprocess" })));
    let pids = world.recorder.pids("INFO pids ").await;
    println!("\npids {} {}", pids[0], pids[1]);
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn no_orphan_is_left_when_the_program_is_killed() {
    if python().is_some() {
        killed("stop::a_program_that_is_killed").await;
    }
}
