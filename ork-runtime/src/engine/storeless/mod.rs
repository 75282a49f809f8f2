//! Storeless work: jobs are kept in memory, their parts are counted in a part queue, and outcomes are sent in messages.
//!
//! `settle` claims jobs, and ends their attempts (`outcome`). `split` makes the part queue of a job, which begins with
//! its `head`, and sends the parts. `part` makes all attempts at a part; before its delivery is acknowledged, the part
//! passes the barrier (`arrive`). The worker that finds the queue complete joins the parts (`join`), if need be at a
//! later check (`check_set`). `member` carries out hooks, also those of a set that another program made, and `rejected`
//! does all this for messages that cannot be run.

mod arrive;
pub(crate) mod check_set;
mod head;
pub(super) mod join;
pub(super) mod member;
mod outcome;
mod part;
pub(super) mod rejected;
mod settle;
mod split;

pub(super) use self::part::part;
pub(super) use self::settle::{claim, settle};
pub(super) use self::split::split;
