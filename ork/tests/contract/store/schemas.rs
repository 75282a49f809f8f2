//! The schemas of a job are stored with it and are contained in its messages. Parking a job costs no attempt.

use std::sync::Arc;
use std::time::Duration;

use ork::{Failure, FailureKind, Fingerprint, JobId, JobState, SchemaIds};
use ork_core::job::{AttemptOutcome, Job, Phase};
use ork_core::tx::{Actor, AppendParts, Claim, Claimed, NewJob, OpenParts, PartPage, Settle, SettleResult};

use super::world::{START, each};

fn fingerprint(text: &str) -> Fingerprint {
    text.parse().unwrap()
}

#[test]
fn schemas_of_a_job_are_stored_and_sent_with_its_messages() {
    each(|world| async move {
        let (input, part) =
            (fingerprint("026efc0d-5269-5386-8c1e-8100806a251c"), fingerprint("126efc0d-5269-5386-8c1e-8100806a251c"));
        let mut job = Job::new(JobId::new(), "split", START);
        job.schemas.input = Some(input);
        let id = job.id;
        let claim = Claim::new(NewJob { job, input: "{}".into() }, Phase::Start, 1, world.by());
        assert!(matches!(world.apply(claim).await, Claimed::Granted { .. }));
        let schemas = || {
            let store = Arc::clone(&world.store);
            async move { store.job(id).await.unwrap().unwrap().job.schemas }
        };
        assert_eq!(schemas().await, SchemaIds { input: Some(input), part: None });
        let open =
            OpenParts { job: id, attempt: 1, policy: ork::Policy::default(), has_join: false, schema: Some(part) };
        assert_eq!(world.apply(open).await, Some(1));
        assert_eq!(schemas().await, SchemaIds { input: Some(input), part: Some(part) });
        let page = PartPage { job: id, epoch: 1, first: 0, inputs: vec!["0".into(), "1".into()] };
        let append = AppendParts { page, actor: Actor { hold: true, ..world.by() } };
        let appended = world.store.apply(append).await.unwrap();
        let schemas = appended.rows.into_iter().flat_map(|row| row.messages).map(|message| match message {
            ork_core::message::Outgoing::Work(message) => message.schema,
            other => panic!("{other:?}"),
        });
        assert!(schemas.eq([Some(part), Some(part)]));
    });
}

#[test]
fn a_parked_job_is_retried_later_and_loses_no_attempt() {
    each(|world| async move {
        let id = world.submit("plain").await;
        let mut attempt = 1;
        for round in 1..=3 {
            assert!(matches!(world.claim(id, Phase::Start, attempt).await, Claimed::Granted { .. }));
            let again = START + Duration::from_secs(round);
            let failure = Failure::new(FailureKind::Input, "parked");
            let how = AttemptOutcome::Parked { failure, retry_at: again };
            let settle = Settle {
                job: id,
                phase: Phase::Start,
                attempt,
                outcome: how,
                output: None,
                permit: None,
                actor: world.by(),
            };
            assert!(matches!(world.apply(settle).await, SettleResult::Applied));
            let job = world.store.job(id).await.unwrap().unwrap().job;
            assert_eq!((job.state, job.due, job.phase_attempt()), (JobState::Retrying, Some(again), 1));
            assert_eq!(job.failure.unwrap().message, "parked");
            attempt += 1;
            assert_eq!(job.attempt, attempt, "what comes late is known by its attempt");
        }
    });
}
