//! Tasks that split themselves: their parts, their joins, their outputs, and what they may not do.

use ork::{Context, Error, JobState, Parts, Result, task};

use super::tasks::*;
use super::world::{each, why};

/// Splits itself into so many parts, each of which says which one it is and what it was given.
#[task]
async fn rows(sheet: String, n: u64, context: Context) -> Result<String> {
    if context.is_part() {
        assert_eq!(context.parent_id(), Some(context.job_id()));
        let Numbered { part, total } = context.part_data()?;
        assert_eq!(part, context.parallel_index());
        return Ok(format!("{sheet}{part}/{total}"));
    }
    assert_eq!(context.parent_id(), None);
    context.split(n).await?;
    Ok("not joined".into())
}

#[task(join)]
async fn rows_join(parts: Parts<String>, context: Context) -> Result<String> {
    called(&format!("{}.join", context.job_id()));
    Ok(parts.all_ok()?.collect().await?.join(" "))
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Numbered {
    part: u64,
    total: u64,
}

#[test]
fn a_join_sees_all_parts_in_order_and_runs_once() {
    each(|world| async move {
        for n in [0, 1, 2, 17, 1_000] {
            let job = world.ork.submit(rows { sheet: "s".into(), n }).await.unwrap();
            let expected: Vec<_> = (0..n).map(|part| format!("s{part}/{n}")).collect();
            assert_eq!(job.wait().await.unwrap(), expected.join(" "));
            assert_eq!(calls(&format!("{}.join", job.id())), 1);
            let status = job.status().await.unwrap();
            assert_eq!((status.total, status.parts.ok, status.parts.settled()), (Some(n), n, n));
        }
        world.end().await;
    });
}
