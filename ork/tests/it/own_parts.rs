//! The parts of dynamic splits: their data, their limits, and their retries.

use std::collections::HashMap;

use ork::{Context, Error, JobId, Parts, Result, task};

use super::tasks::*;
use super::world::{each, why};

/// Its bad parts fail at their first attempt, and succeed when they are retried.
#[task(tolerate = 1)]
async fn heals_by_part(run: String, context: Context) -> Result<String> {
    if !context.is_part() {
        called(&format!("{run}.function"));
        context.split_into(["good", "ill", "ill", "ill"]).await?;
        return Ok("healed".into());
    }
    let (kind, index) = (context.part_data::<String>()?, context.parallel_index());
    let times = called(&format!("{run}.{index}"));
    if kind == "ill" && times == 1 { Err(Error::permanent("ill")) } else { Ok(kind) }
}

#[test]
fn retry_runs_only_the_failed_parts_and_keeps_the_output() {
    each(|world| async move {
        let run = JobId::new().to_string();
        let job = world.ork.submit(heals_by_part { run: run.clone() }).await.unwrap();
        assert_eq!(why(&job.wait().await.unwrap()), "3 of 4 parts failed");
        world.ork.retry_part(job.id(), 2).await.unwrap();
        assert_eq!(why(&job.wait().await.unwrap()), "2 of 4 parts failed");
        assert_eq!([0, 1, 2, 3].map(|index| calls(&format!("{run}.{index}"))), [1, 1, 2, 1]);
        let explained = world.ork.why(job.id()).await.unwrap();
        assert!(explained.sentence.contains("retries the 2 parts that did not succeed"), "{explained}");
        world.ork.retry(job.id()).await.unwrap();
        assert_eq!(job.result().await.unwrap(), "healed");
        assert_eq!([0, 1, 2, 3].map(|index| calls(&format!("{run}.{index}"))), [1, 2, 2, 2]);
        assert_eq!(calls(&format!("{run}.function")), 1);
        world.end().await;
    });
}

/// One call at a time for each tenant; the tenant is in the input of the job.
#[task(concurrency(1, key = "tenant"))]
async fn billed(tenant: String, n: u64, context: Context) -> Result<u64> {
    static RUNNING: std::sync::Mutex<Option<HashMap<String, u32>>> = std::sync::Mutex::new(None);
    let add = |one: bool| {
        let mut running = RUNNING.lock().unwrap();
        let now = running.get_or_insert_default().entry(tenant.clone()).or_default();
        *now = if one { *now + 1 } else { *now - 1 };
        *now
    };
    assert_eq!(add(true), 1, "more than one at a time");
    if context.is_part() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        called(&tenant);
    } else {
        context.split(n).await?;
    }
    add(false);
    Ok(n)
}

#[test]
fn limit_key_of_parts_comes_from_the_input_of_their_job_and_the_split_releases_its_permit() {
    each(|world| async move {
        let tenants = [(); 3].map(|()| JobId::new().to_string());
        let submit = |tenant: &String| world.ork.submit(billed { tenant: tenant.clone(), n: 20 });
        let jobs = [submit(&tenants[0]), submit(&tenants[1]), submit(&tenants[2])];
        for job in jobs {
            assert_eq!(job.await.unwrap().result().await.unwrap(), 20);
        }
        assert_eq!(tenants.each_ref().map(|tenant| calls(tenant)), [20, 20, 20]);
        world.end().await;
    });
}

/// The input is read once for parts that are claimed together, and each part gets it, even if it is large.
#[task]
async fn heavy(load: String, n: u64, context: Context) -> Result<u64> {
    if context.is_part() {
        return Ok(u64::try_from(load.len()).unwrap() + context.parallel_index());
    }
    context.split(n).await?;
    Ok(0)
}

#[task(join)]
fn heavy_join(parts: Parts<u64>) -> Result<u64> {
    parts.all_ok()?.into_iter().sum()
}

#[test]
fn every_part_gets_a_large_input() {
    each(|world| async move {
        let heavies = [2_000_000, 3_000_000].map(|len| heavy { load: "x".repeat(len), n: 50 });
        for (message, expected) in heavies.into_iter().zip([100_001_225, 150_001_225]) {
            assert_eq!(world.ork.submit(message).result().await.unwrap(), expected);
        }
        world.end().await;
    });
}
