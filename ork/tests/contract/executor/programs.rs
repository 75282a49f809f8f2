//! Programs as tasks.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use ork_ports::executor::{Ended, ExecutorError};
use serde_json::json;

use super::world::{World, assert_contains, killed, wait_until_gone};

fn script(world: &World, name: &str, text: &str) {
    world.file(name, text);
    let path = world.folder.path().join(name);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn program_reads_its_input_and_prints_its_output() {
    let world = World::without_python(|settings| settings.withheld = vec!["PATH_TO_SECRETS".into()]);
    script(&world, "bin/echo.sh", "#!/bin/sh\necho \"got $1\" >&2\ncat\n");
    let input = json!({ "a": [1, "ü"] });
    assert_eq!(world.make(world.program(&["./bin/echo.sh", "this"], &input)).await.unwrap(), input);
    assert_eq!(world.recorder.all(), ["INFO got this"]);
    // Programs that are looked up by name, and print nothing, do not read their input, or close it.
    assert_eq!(world.make(world.program(&["true"], &json!({}))).await.unwrap(), json!(null));
    let long = json!({ "text": "x".repeat(10_000_000) });
    assert_eq!(world.make(world.program(&["sh", "-c", "exec <&-; echo 1"], &long)).await.unwrap(), json!(1));
    assert_eq!(world.make(world.program(&["cat"], &long)).await.unwrap(), long);
    world.end().await;
}

#[tokio::test]
async fn program_gets_job_variables_and_runs_in_the_workflow_folder() {
    let world = World::without_python(|settings| settings.withheld = vec!["HOME".into()]);
    let line = r#"printf '["%s","%s","%s","%s","%s","%s","%s","%s","%s","%s"]' "$ORK_JOB_ID" "$ORK_ROOT_ID" "$ORK_ATTEMPT" "$ORK_PARALLEL_INDEX" "$ORK_PARALLEL_COUNT" "$ORK_TASK" "$ORK_WORKFLOW" "$REGION" "$HOME" "$(pwd -P)""#;
    let mut call = world.program(&["sh", "-c", line], &json!({}));
    call.code.env.insert("REGION".into(), "eu".into());
    let (about, folder) = (call.instance.clone(), world.folder.path().canonicalize().unwrap());
    let expected = json!([about.job, about.root, "2", "1", "4", "process", "nightly", "eu", "", folder]);
    assert_eq!(world.make(call).await.unwrap(), expected);
    world.end().await;
}

#[tokio::test]
async fn failed_program_reports_its_exit_code_and_last_lines() {
    let world = World::without_python(|settings| settings.most_output = 1000);
    let call = world.program(&["sh", "-c", "echo one >&2; echo two >&2; echo 1; exit 3"], &json!({}));
    let Err(ExecutorError::Crashed(crash)) = world.make(call).await else { panic!("it returned") };
    assert_eq!((crash.ended, &crash.stderr[..]), (Ended::Code(3), &["one".to_owned(), "two".into()][..]));
    assert_eq!(crash.to_string(), "`sh` ended with exit code 3; last line of its standard error: two");
    let killed = world.make(world.program(&["sh", "-c", "kill -9 $$"], &json!({}))).await.unwrap_err();
    assert_contains(&killed, &["was killed by signal 9"]);
    let error = world.make(world.program(&["sh", "-c", "echo done"], &json!({}))).await.unwrap_err();
    assert_contains(
        &error,
        &["`sh` did not write JSON to its standard output", "\"done\\n\"", "print only the output"],
    );
    let call = world.program(&["sh", "-c", "while :; do echo 1234567890; done"], &json!({}));
    assert_eq!(
        world.make(call).await.unwrap_err().to_string(),
        "`sh` wrote more than 1000 bytes to its standard output"
    );
    world.end().await;
}

#[tokio::test]
async fn program_that_cannot_be_started_reports_the_reason() {
    let world = World::without_python(|_| {});
    world.file("plain.txt", "hello\n");
    script(&world, "odd.sh", "#!/no/such/shell\n");
    script(&world, "bare", "\u{1}\u{2}no program\n");
    let outside = world.scratch.path().join("outside.sh");
    std::fs::write(&outside, "#!/bin/sh\n").unwrap();
    for (program, expected) in [
        ("no-such-program", "`no-such-program` cannot be started: not found"),
        ("./none.sh", "there is no `none.sh` in the workflow's folder"),
        ("./plain.txt", "not executable: run `chmod +x` on it"),
        ("./odd.sh", "the interpreter in its first line (`#!`) does not exist"),
        ("./bare", "not a program"),
        (outside.to_str().unwrap(), "is outside the workflow's folder"),
        ("../outside.sh", "is outside the workflow's folder"),
    ] {
        assert_contains(&world.make(world.program(&[program], &json!({}))).await.unwrap_err(), &[expected]);
    }
    assert_contains(&world.make(world.program(&[], &json!({}))).await.unwrap_err(), &["no program is given"]);
    std::fs::remove_file(outside).unwrap();
    world.end().await;
}

/// A shell script that ignores SIGTERM, as does its child process.
const STUBBORN: &str = "trap '' TERM; sleep 1000 & echo pids $$ $! >&2; wait; wait; sleep 1000";

#[tokio::test]
async fn stopping_a_program_stops_its_child_processes() {
    let world = World::without_python(|_| {});
    let call = world.program(&["sh", "-c", STUBBORN], &json!({}));
    world.cancel_while_it_runs(call).await;
    let mut call = world.program(&["sh", "-c", STUBBORN], &json!({}));
    call.timeout = Some(Duration::from_millis(50));
    assert!(matches!(world.make(call).await, Err(ExecutorError::TimedOut(_))));
    world.end().await;
}

/// The process that [`no_orphan_is_left_when_ork_is_killed`] kills.
#[tokio::test]
#[ignore = "a process that the next test starts and kills"]
async fn a_program_that_is_killed() {
    let world = World::without_python(|_| {});
    assert_eq!(world.make(world.program(&["echo", "1"], &json!({}))).await.unwrap(), json!(1));
    let running = world.start(world.program(&["sh", "-c", STUBBORN], &json!({})));
    let pids = world.recorder.pids("INFO pids ").await;
    println!("\npids {} {}", pids[0], pids[1]);
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn no_orphan_is_left_when_ork_is_killed() {
    killed("programs::a_program_that_is_killed").await;
}

#[tokio::test]
async fn process_that_left_its_group_does_not_block_the_call() {
    let world = World::without_python(|_| {});
    let line = "setsid sh -c 'echo pids $$ >&2; : > up; exec sleep 1000' & while [ ! -e up ]; do :; done; echo 1";
    let call = world.program(&["sh", "-c", line], &json!({}));
    assert_eq!(world.make(call).await.unwrap(), json!(1));
    let pids = world.recorder.pids("INFO pids ").await;
    world.end().await;
    for pid in &pids {
        let pid = rustix::process::Pid::from_raw(*pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    wait_until_gone(&pids).await;
}

#[tokio::test]
async fn background_processes_end_with_the_program() {
    let world = World::without_python(|_| {});
    let call = world.program(&["sh", "-c", "sleep 1000 & echo pids $! >&2; echo 1"], &json!({}));
    assert_eq!(world.make(call).await.unwrap(), json!(1));
    wait_until_gone(&world.recorder.pids("INFO pids ").await).await;
    world.end().await;
}
