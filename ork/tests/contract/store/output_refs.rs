//! Large outputs: rows keep the reference to an object unchanged. Also the look-ups that are needed to find objects
//! without a job.

use std::collections::HashSet;

use ork::{JobId, Policy};
use ork_core::job::{AttemptOutcome, Job, Phase, ReplyTo};
use ork_core::message::Outgoing;
use ork_core::output::OutputRef;
use ork_core::tx::{PartAttemptOutcome, Settle, SettleResult};

use super::world::{START, each, open, part};

fn note(object: &str) -> OutputRef {
    OutputRef { bytes: 3_000_000, object: Some(object.to_owned()) }
}

#[test]
fn an_output_reference_is_unchanged_in_rows_and_replies() {
    each(|world| async move {
        let to = ReplyTo { queue: "answers".into(), correlation: "c".into() };
        let id = world.submit_with(Job { reply: Some(to), ..Job::new(JobId::new(), "one", START) }).await;
        world.claim(id, Phase::Start, 1).await;
        let output = Some(note("a/one").to_row());
        let (how, by) = (AttemptOutcome::Succeeded, world.by());
        let settle = Settle {
            job: id,
            phase: Phase::Start,
            attempt: 1,
            outcome: how,
            output: output.clone(),
            permit: None,
            actor: by,
        };
        assert!(matches!(world.apply(settle).await, SettleResult::Applied));
        assert_eq!(world.store.job(id).await.unwrap().unwrap().output, output);
        let rows = world.take(10).await;
        let reply = rows.iter().flat_map(|row| &row.messages).find_map(|message| match message {
            Outgoing::Reply(reply) => Some(reply.body()),
            _ => None,
        });
        let reply_json: serde_json::Value = serde_json::from_slice(&reply.unwrap()).unwrap();
        let expected = serde_json::json!({"bytes": 3_000_000, "object": "a/one"});
        assert_eq!((&reply_json["output_at"], reply_json.get("output")), (&expected, None), "{reply_json}");

        let id = world.with_parts(2, Policy::default(), true).await;
        for index in 0..2 {
            world.start(part(id, index)).await;
            world.settle(part(id, index), PartAttemptOutcome::Succeeded(note(&format!("b/{index}")).to_row())).await;
        }
        let parts = world.store.parts(id, 0, 10).await.unwrap();
        let notes = parts.iter().map(|part| OutputRef::read(part.output.as_deref().unwrap()).unwrap().unwrap());
        assert!(notes.eq([note("b/0"), note("b/1")]));
    });
}

#[test]
fn every_store_has_its_own_stable_id() {
    each(|world| async move {
        // Borrows the whole world, whose folder would otherwise be removed already.
        let world = &world;
        let identity = world.store.store_id().await.unwrap();
        assert_eq!(world.store.store_id().await.unwrap(), identity);
        let folder = tempfile::tempdir().unwrap();
        for name in ["memory", "sqlite", "postgres"] {
            let Some(other) = open(name, folder.path()).await else { continue };
            let others = other.store_id().await.unwrap();
            assert_ne!(others, identity);
            other.close().await;
            if name == "sqlite" {
                let again = open(name, folder.path()).await.unwrap();
                assert_eq!(again.store_id().await.unwrap(), others);
                again.close().await;
            }
        }
    });
}

#[test]
fn existing_jobs_are_reported() {
    each(|world| async move {
        let known: HashSet<_> = [world.submit("one").await, world.submit("two").await].into();
        let mut queried: Vec<_> = (0..3_000).map(|_| JobId::new()).collect();
        queried.extend(&known);
        assert_eq!(world.store.existing_jobs(queried).await.unwrap(), known);
        assert_eq!(world.store.existing_jobs(Vec::new()).await.unwrap(), HashSet::new());
    });
}
