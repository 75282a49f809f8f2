//! Storeless work: jobs are kept in memory, their parts are counted in a part queue, and outcomes are sent in messages.
//!
//! A job without parts is claimed and settled by `settle`. `split` makes the parts of a job and their queue; a part that
//! has ended passes the barrier before its delivery is acknowledged (`part`); and the worker that finds the queue complete
//! joins the parts (`join`). `member` carries out hooks, also those of a set that another program made.

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
