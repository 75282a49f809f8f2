//! What the store does not take: the job, or the part, fails in words, and is not tried again without end.

use ork::{FailureKind, JobState, Parts, Result, task};

use super::tasks::{called, calls};
use super::world::{World, each, why};

#[task]
async fn says(words: String, key: String) -> Result<String> {
    called(&key);
    if words.starts_with("fine") { Ok(words) } else { Err(ork::Error::permanent(words)) }
}

#[task(part, tolerate = 1)]
fn says_part(key: String) -> Vec<says> {
    ["fine one", "poison", "fine two"].map(|words| says { words: words.into(), key: key.clone() }).into()
}

#[task(join)]
fn says_join(parts: Parts<String>) -> Result<Vec<String>> {
    parts.ok().into_iter().collect()
}

/// Lets the tables of jobs and parts refuse this word in a failure. Answers whether the store has tables.
async fn refuse_poison(world: &World) -> bool {
    let Some(store) = world.shared_store() else { return false };
    #[cfg(feature = "postgres")]
    if store.starts_with("postgres") {
        use sqlx::Connection as _;
        let mut connection = sqlx::PgConnection::connect(store).await.unwrap();
        for table in ["job", "part"] {
            let rule = format!("ALTER TABLE ork.{table} ADD CHECK (failure::text NOT LIKE '%poison%')");
            sqlx::raw_sql(sqlx::AssertSqlSafe(rule)).execute(&mut connection).await.unwrap();
        }
        connection.close().await.unwrap();
        return true;
    }
    #[cfg(feature = "sqlite")]
    if let Some(path) = store.strip_prefix("sqlite:") {
        let connection = rusqlite::Connection::open(path).unwrap();
        for (table, change) in [("job", "INSERT"), ("job", "UPDATE"), ("part", "INSERT"), ("part", "UPDATE")] {
            let rule = format!(
                "CREATE TRIGGER no_{table}_{change} BEFORE {change} ON {table} WHEN NEW.failure LIKE '%poison%' \
                 BEGIN SELECT RAISE(ABORT, 'refused'); END"
            );
            connection.execute_batch(&rule).unwrap();
        }
        return true;
    }
    false
}

/// Before, such a job was settled again and again over PostgreSQL, and over `SQLite` the worker stopped.
#[test]
fn a_job_whose_end_the_store_does_not_take_fails_in_words() {
    each(|world| async move {
        if !refuse_poison(&world).await {
            return;
        }
        let key = ork::JobId::new().to_string();
        let says = |words: &str| says { words: words.into(), key: key.clone() };
        let job = world.ork.submit(says("poison")).await.unwrap();
        let outcome = job.outcome().await.unwrap();
        assert!(why(&outcome).contains("how it ended cannot be stored"), "{outcome:?}");
        assert_eq!(outcome.status().failure.as_ref().unwrap().kind, FailureKind::Output);
        assert_eq!(calls(&key), 1);
        // The worker goes on.
        assert_eq!(world.ork.submit(says("fine")).and_wait().await.unwrap(), "fine");
        let job = world.ork.submit(says_part { key: key.clone() }).await.unwrap();
        assert_eq!(job.wait().await.unwrap(), ["fine one", "fine two"]);
        assert_eq!((job.status().await.unwrap().state, calls(&key)), (JobState::Success, 5));
        world.end().await;
    });
}
