//! Draws troubles: what happens, when, and for how long.

use super::HOUR;
use super::foreign::Foreign;
use super::trouble::{Ends, Kind, SHORTEST_TIMEOUT, Trouble};
use crate::dice::Dice;

/// Draws a trouble of this kind, and when it begins.
pub(super) fn trouble(dice: &mut Dice, kind: Kind, (n_workers, n_clients): (u64, usize), calm: u64) -> (u64, Trouble) {
    let at = dice.below(calm);
    let worker = usize::try_from(dice.below(n_workers)).unwrap();
    let client = dice.index(n_clients);
    let back = 1 + dice.any_size(20_000);
    // Every fourth trouble lasts longer than a heartbeat counts.
    let lasts = if dice.percent(25) { dice.between(15_000, 40_000) } else { dice.any_size(15_000) };
    let lasts = if calm > HOUR && dice.percent(25) { dice.any_size(HOUR) } else { lasts };
    let lasts = (1 + lasts).min(calm - at);
    let trouble = match kind {
        Kind::Crash => Trouble::Crash { worker, back },
        Kind::Freeze => Trouble::Freeze { worker, lasts },
        Kind::Drain => Trouble::Drain { worker, back },
        Kind::Stop => Trouble::Stop { worker, back },
        Kind::Turn => {
            let by = i64::try_from(dice.any_size(3_600_000)).unwrap();
            Trouble::Turn { worker, by: if dice.percent(50) { -by } else { by } }
        }
        Kind::Sleep => Trouble::Sleep { lasts },
        Kind::InCommit => {
            let what = [Ends::Dies, Ends::Drains, Ends::Drains, Ends::Stops];
            let what = what.get(dice.index(what.len())).copied().unwrap_or(Ends::Dies);
            Trouble::InCommit { worker, after: dice.any_size(30), what }
        }
        Kind::Conflicts => Trouble::Conflicts { lasts },
        Kind::NoSpace => Trouble::NoSpace { lasts },
        Kind::Undone => Trouble::Undone { lasts: lasts.min(10_000) },
        Kind::Doubt => Trouble::Doubt { lasts: lasts.min(20_000) },
        Kind::Locked => Trouble::Locked { lasts },
        Kind::ReadOnly => Trouble::ReadOnly { lasts },
        Kind::Damaged => {
            let percent = [5, 30, 100];
            Trouble::Damaged { percent: percent.get(dice.index(percent.len())).copied().unwrap_or(100), lasts }
        }
        Kind::Migrates => Trouble::Migrates { breaks: dice.percent(50), lasts },
        Kind::PowerLoss => Trouble::PowerLoss { back },
        Kind::ClientDies => Trouble::ClientDies { client, back },
        Kind::ClientFreezes => Trouble::ClientFreezes { client, lasts },
        Kind::Objects => Trouble::Objects { lasts },
        Kind::Cut => Trouble::Cut { worker: dice.percent(60).then_some(worker), lasts },
        Kind::Channels => Trouble::Channels { worker },
        Kind::SlowBroker => Trouble::SlowBroker { most: 1 + dice.any_size(8_000), lasts },
        Kind::Blocks => Trouble::Blocks { lasts },
        Kind::Full => Trouble::Full { lasts },
        Kind::Doubles => Trouble::Doubles { most: 1 + dice.index(4) },
        Kind::Foreign => {
            let what = [Foreign::Unreadable, Foreign::UnknownTask, Foreign::UnknownJob];
            Trouble::Foreign(what.get(dice.index(what.len())).copied().unwrap_or(Foreign::Unreadable))
        }
        Kind::Holds => Trouble::Holds { most: 1 + dice.index(4), lasts },
        Kind::Purge => Trouble::Purge,
        Kind::Failover => Trouble::Failover { most: 1 + dice.index(4), lasts },
        Kind::Stranger => Trouble::Stranger { most: 1 + dice.index(4), lasts, keeps: dice.percent(30) },
        Kind::Expires => Trouble::Expires { longest: 1 + dice.any_size(20_000), lasts },
        Kind::Cancels => Trouble::Cancels { lasts },
        Kind::NoChannels => Trouble::NoChannels { worker: dice.percent(50).then_some(worker), lasts },
        Kind::Publishers => Trouble::Publishers { worker: dice.percent(50).then_some(worker), lasts },
        Kind::Timeout => Trouble::Timeout { longest: SHORTEST_TIMEOUT + dice.any_size(30_000), lasts },
        Kind::Deletes => Trouble::Deletes,
        Kind::DropsOldest => Trouble::DropsOldest { most: dice.index(4), lasts },
        Kind::Late => Trouble::Late { most: 1 + dice.any_size(8_000), lasts },
        Kind::Refuses => Trouble::Refuses { worker: dice.percent(50).then_some(worker), lasts },
    };
    (at, trouble)
}
