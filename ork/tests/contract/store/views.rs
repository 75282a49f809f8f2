//! Views of jobs and parts.

use ork::{Filter, JobState, Policy};
use ork_core::ledger::PartResult;
use ork_core::progress::Progress;

use super::world::{each, failed, ok, part};

#[test]
fn jobs_are_listed_newest_first_in_pages() {
    each(|world| async move {
        let mut ids = Vec::new();
        for n in 0..5 {
            ids.push(world.submit(if n % 2 == 0 { "even" } else { "odd" }).await);
        }
        ids.reverse();
        let list = async |filter: Filter| -> Vec<_> {
            world.store.jobs(filter).await.unwrap().into_iter().map(|view| view.job.id).collect()
        };
        assert_eq!(list(Filter { limit: 10, ..Filter::default() }).await, ids);
        assert_eq!(list(Filter { limit: 2, before: Some(ids[1]), ..Filter::default() }).await, ids[2..4]);
        let odd = Filter { limit: 10, task: Some("odd".into()), ..Filter::default() };
        assert_eq!(list(odd).await, [ids[1], ids[3]]);
        let none = Filter { limit: 10, states: vec![JobState::Failed], ..Filter::default() };
        assert!(list(none).await.is_empty());
    });
}

#[test]
fn parts_are_listed_in_order_in_pages_across_shards() {
    each(|world| async move {
        let id = world.with_parts(70_000, Policy::default(), false).await;
        for index in [69_999, 65_536, 65_535, 3] {
            world.start(part(id, index)).await;
            world.settle(part(id, index), if index == 3 { failed() } else { ok() }).await;
        }
        let all = world.store.parts(id, 0, 10).await.unwrap();
        let seen: Vec<_> = all.iter().map(|part| (part.index, part.how)).collect();
        let ok = PartResult::Succeeded;
        assert_eq!(seen, [(3, PartResult::Failed), (65_535, ok), (65_536, ok), (69_999, ok)]);
        assert_eq!(all[0].failure.as_ref().unwrap().message, "no");
        assert_eq!(all[1].output.as_deref(), Some(&b"1"[..]));
        let page = world.store.parts(id, 4, 2).await.unwrap();
        assert_eq!(page.iter().map(|part| part.index).collect::<Vec<_>>(), [65_535, 65_536]);
        assert!(world.store.parts(id, 70_000, 10).await.unwrap().is_empty());
    });
}

#[test]
fn progress_is_stored() {
    each(|world| async move {
        let id = world.submit("one").await;
        let progress = Progress { percent: 12.5, info: "reading".into() };
        world.store.progress(id, None, progress.clone()).await.unwrap();
        assert_eq!(world.store.job(id).await.unwrap().unwrap().progress, Some(progress));
    });
}
