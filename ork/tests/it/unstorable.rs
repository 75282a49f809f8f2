//! Rows that the store rejects: the job or the part fails with a message, instead of being retried without end.

use ork::{FailureKind, JobState, Parts, Result, task};

use super::tasks::{called, calls};
use super::world::{World, each, why};

#[task]
async fn echoes(text: String, key: String) -> Result<String> {
    called(&key);
    if text.starts_with("fine") { Ok(text) } else { Err(ork::Error::permanent(text)) }
}

#[task(part, tolerate = 1)]
fn echoes_part(key: String) -> Vec<echoes> {
    ["fine one", "poison", "fine two"].map(|text| echoes { text: text.into(), key: key.clone() }).into()
}

#[task(join)]
fn echoes_join(parts: Parts<String>) -> Result<Vec<String>> {
    parts.ok().into_iter().collect()
}

/// Makes a table reject rows for which `bad` is true. Returns whether the store has tables.
async fn refuse(world: &World, table: &str, bad: &str) -> bool {
    let Some(store) = world.shared_store() else { return false };
    #[cfg(feature = "postgres")]
    if store.starts_with("postgres") {
        use sqlx::Connection as _;
        let mut connection = sqlx::PgConnection::connect(store).await.unwrap();
        let rule = format!("ALTER TABLE ork.{table} ADD CHECK (({bad}) IS NOT TRUE)");
        sqlx::raw_sql(sqlx::AssertSqlSafe(rule)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        return true;
    }
    #[cfg(feature = "sqlite")]
    if let Some(path) = store.strip_prefix("sqlite:") {
        let connection = rusqlite::Connection::open(path).unwrap();
        for change in ["INSERT", "UPDATE"] {
            let bad = ["document", "failure", "task", "input"]
                .iter()
                .fold(bad.to_owned(), |bad, column| bad.replace(&format!("{column} "), &format!("NEW.{column} ")));
            let rule = format!(
                "CREATE TRIGGER no_{table}_{change}_{} BEFORE {change} ON {table} WHEN {bad} \
                 BEGIN SELECT RAISE(ABORT, 'refused'); END",
                ork::JobId::new().to_string().replace('-', "")
            );
            connection.execute_batch(&rule).unwrap();
        }
        return true;
    }
    false
}

/// Makes the tables of jobs and parts reject failures with the word `poison`. Returns whether the store has tables.
async fn refuse_poison(world: &World) -> bool {
    let of_jobs = refuse(world, "job", "CAST(document AS TEXT) LIKE '%poison%'").await;
    of_jobs && refuse(world, "part", "CAST(failure AS TEXT) LIKE '%poison%'").await
}

/// Regression: such a job used to be settled again and again over PostgreSQL, and over `SQLite` the worker stopped.
#[test]
fn job_whose_outcome_cannot_be_stored_fails_with_a_message() {
    each(|world| async move {
        if !refuse_poison(&world).await {
            return;
        }
        let key = ork::JobId::new().to_string();
        let echoes = |text: &str| echoes { text: text.into(), key: key.clone() };
        let job = world.ork.submit(echoes("poison")).await.unwrap();
        let outcome = job.wait().await.unwrap();
        assert!(why(&outcome).contains("the outcome cannot be stored"), "{outcome:?}");
        assert_eq!(outcome.status().failure.as_ref().unwrap().kind, FailureKind::Output);
        assert_eq!(calls(&key), 1);
        // The worker continues.
        assert_eq!(world.ork.submit(echoes("fine")).result().await.unwrap(), "fine");
        let job = world.ork.submit(echoes_part { key: key.clone() }).await.unwrap();
        assert_eq!(job.result().await.unwrap(), ["fine one", "fine two"]);
        assert_eq!((job.status().await.unwrap().state, calls(&key)), (JobState::Succeeded, 5));
        world.end().await;
    });
}

/// Regression: such a job used to be split again and again.
#[test]
fn job_whose_parts_cannot_be_stored_fails_with_a_message() {
    each(|world| async move {
        // Inputs are bytes, which neither store compares with text.
        if !refuse(&world, "part", "length(input ) > 60").await {
            return;
        }
        let key = ork::JobId::new().to_string();
        let job = world.ork.submit(echoes_part { key: key.clone() }).await.unwrap();
        let outcome = job.wait().await.unwrap();
        assert!(why(&outcome).contains("cannot be stored"), "{outcome:?}");
        assert_eq!(calls(&key), 0);
        world.end().await;
    });
}

#[task]
fn follows(text: String) -> String {
    text
}

/// Regression: such a hook used to be sent again each second, forever.
#[test]
fn hook_that_cannot_be_stored_is_reported_with_its_job() {
    each(|world| async move {
        if !refuse(&world, "job", "task = 'follows'").await {
            return;
        }
        let echoes = echoes { text: "fine".into(), key: ork::JobId::new().to_string() };
        let job = world.ork.submit(echoes).on_complete(follows { text: "no".into() }).await.unwrap();
        job.result().await.unwrap();
        loop {
            let why = world.ork.why(job.id()).await.unwrap().sentence;
            if why.contains("cannot be stored") {
                assert!(why.contains("could not be sent"), "{why}");
                break;
            }
            tokio::task::yield_now().await;
        }
        world.end().await;
    });
}
