//! The tasks of a run, and the scripts that they follow.

use std::sync::Arc;
use std::time::Duration;

use ork::{Context, Error, Parts, Result, State, task};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::dice::Dice;
use super::ends::Return;
use super::executor::Owner;
use super::world::{Calling, World};

/// The behavior of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Script {
    /// The number that it returns.
    pub(crate) key: u64,
    /// How many milliseconds it takes.
    pub(crate) takes: u64,
    /// How many attempts fail first.
    pub(crate) fails: u32,
    pub(crate) how: How,
    /// How often it reports progress.
    #[serde(default)]
    pub(crate) reports: u32,
}

/// How a call ends that does not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) enum How {
    Returns,
    /// It fails, and must not be retried.
    FailsForGood,
    Panics,
    /// It returns what the store, or a part queue, cannot hold.
    Unstorable,
    /// It terminates its process.
    Kills,
}

/// A value that neither the store nor the part queues of a run can hold.
pub(crate) const UNSTORABLE: u64 = 999_999_999;

/// The number of retries of each task here.
pub(crate) const RETRIES: u32 = 2;

impl Script {
    pub(crate) fn generate(dice: &mut Dice) -> Self {
        let how = match dice.below(20) {
            0 => How::FailsForGood,
            1 => How::Panics,
            2 => How::Unstorable,
            3 => How::Kills,
            _ => How::Returns,
        };
        let fails = if dice.percent(25) { u32::try_from(dice.between(1, 3)).unwrap() } else { 0 };
        // Some calls take longer than a heartbeat counts.
        let takes = if dice.percent(10) { dice.between(15_000, 60_000) } else { dice.any_size(20_000) };
        let reports = if dice.percent(20) { u32::try_from(dice.between(1, 3)).unwrap() } else { 0 };
        Self { key: dice.below(1_000), takes, fails, how, reports }
    }

    /// A script that takes a second at most, and terminates no process.
    pub(crate) fn short(dice: &mut Dice) -> Self {
        let mut script = Self { takes: dice.any_size(1_000), ..Self::generate(dice) };
        script.be_harmless();
        script
    }

    /// Makes it return what the store can hold.
    pub(crate) const fn be_storable(&mut self) {
        if matches!(self.how, How::Unstorable) {
            self.how = How::Returns;
        }
    }

    /// Keeps it from terminating its process.
    pub(crate) const fn be_harmless(&mut self) {
        if matches!(self.how, How::Kills) {
            self.how = How::Returns;
        }
    }

    /// How this attempt returns.
    fn end(&self, attempt: u32) -> Return {
        let is_last = attempt > RETRIES || (attempt > self.fails && self.how != How::Panics);
        if is_last { Return::Last(self.result()) } else { Return::Again }
    }

    /// The final result, if it succeeds.
    pub(crate) fn result(&self) -> Option<u64> {
        self.succeeds().then_some(self.key)
    }

    /// Returns whether it succeeds if nothing disturbs it.
    pub(crate) fn succeeds(&self) -> bool {
        self.how == How::Returns && self.fails <= RETRIES
    }
}

/// The state of a task: the world and the process in which it runs.
#[derive(Debug, Clone)]
pub(crate) struct Here {
    pub(crate) world: Arc<World>,
    pub(crate) owner: Owner,
}

impl Here {
    pub(crate) async fn play(&self, script: &Script, context: &Context) -> Result<u64> {
        let call = self.world.begins(self.owner, context);
        self.finish(&call, script, context).await
    }

    async fn finish(&self, call: &Calling, script: &Script, context: &Context) -> Result<u64> {
        self.works(call, script, context).await;
        if script.how == How::Kills {
            self.world.ends_itself(self.owner).await;
        }
        call.returns(script.end(context.attempt()));
        self.outcome(script, context)
    }

    /// Passes on the result of a request to the store. An attempt fails if it is refused, which the script of its job
    /// does not say.
    fn unhindered<T>(&self, context: &Context, result: Result<T>) -> Result<T> {
        if result.is_err() {
            self.world.oracle(|oracle| oracle.ends.hindered.insert(context.job_id()));
        }
        result
    }

    fn outcome(&self, script: &Script, context: &Context) -> Result<u64> {
        if context.attempt() <= script.fails {
            let now = self.world.executor.now();
            self.world.oracle(|oracle| oracle.failed(context.idempotency_key(), context.attempt(), now));
            return Err(Error::new("not yet"));
        }
        match script.how {
            How::Returns => Ok(script.key),
            How::Unstorable => Ok(UNSTORABLE),
            How::Kills => Err(Error::permanent("its process has ended")),
            How::FailsForGood => Err(Error::permanent("never")),
            How::Panics => std::panic::panic_any(Scripted),
        }
    }
}

/// The payload of a scripted panic.
pub(crate) struct Scripted;

#[task(retries = 2, backoff = "500ms")]
pub(crate) async fn plain(script: Script, here: State<Here>, context: Context) -> Result<u64> {
    here.play(&script, &context).await
}

/// Takes no time by the clock: it waits for its thread instead.
#[task(retries = 2, backoff = "500ms")]
pub(crate) fn blocking(script: Script, here: State<Here>, context: Context) -> Result<u64> {
    let call = here.world.begins(here.owner, &context);
    call.returns(script.end(context.attempt()));
    here.outcome(&script, &context)
}

#[task(retries = 2, backoff = "500ms", concurrency = 2)]
pub(crate) async fn narrow(script: Script, here: State<Here>, context: Context) -> Result<u64> {
    here.play(&script, &context).await
}

#[task(retries = 2, backoff = "500ms", timeout = "5s")]
pub(crate) async fn timed(script: Script, here: State<Here>, context: Context) -> Result<u64> {
    here.play(&script, &context).await
}

#[task(retries = 2, backoff = "500ms")]
pub(crate) async fn many(script: Script, here: State<Here>, context: Context) -> Result<u64> {
    here.play(&script, &context).await
}

#[task(part, chunk = 5)]
pub(crate) fn many_part(scripts: Vec<Script>, here: State<Here>, context: Context) -> impl Iterator<Item = many> {
    let splitting = here.world.splits(here.owner, &context);
    scripts.into_iter().map(move |script| {
        let _continues = &splitting;
        many { script }
    })
}

#[task(join, retries = 2, backoff = "500ms")]
pub(crate) async fn many_join(parts: Parts<u64>, here: State<Here>, context: Context) -> Result<u64> {
    let call = here.world.begins(here.owner, &context);
    let sum = here.unhindered(&context, parts.all_ok()?.collect().await)?.into_iter().sum();
    call.returns(Return::Last(Some(sum)));
    Ok(sum)
}

#[task(retries = 2, backoff = "500ms")]
pub(crate) async fn trunk(script: Script, below: Vec<Script>, here: State<Here>, context: Context) -> Result<u64> {
    let call = here.world.begins(here.owner, &context);
    for script in below {
        here.unhindered(&context, context.submit(plain { script }).await)?;
    }
    here.finish(&call, &script, &context).await
}

/// Splits itself into as many parts as there are scripts.
#[task(retries = 2, backoff = "500ms")]
pub(crate) async fn itself(scripts: Vec<Script>, here: State<Here>, context: Context) -> Result<u64> {
    if context.is_part() {
        let index = usize::try_from(context.parallel_index()).unwrap_or(usize::MAX);
        let script = scripts.get(index).ok_or_else(|| Error::permanent("no such part"))?;
        return here.play(script, &context).await;
    }
    drop(here.world.splits(here.owner, &context));
    let call = here.world.begins(here.owner, &context);
    here.unhindered(&context, context.split(u64::try_from(scripts.len()).unwrap_or(0)).await)?;
    call.returns(Return::Last(Some(0)));
    Ok(0)
}

#[task(join, retries = 2, backoff = "500ms")]
pub(crate) async fn itself_join(parts: Parts<u64>, here: State<Here>, context: Context) -> Result<u64> {
    let call = here.world.begins(here.owner, &context);
    let sum = here.unhindered(&context, parts.all_ok()?.collect().await)?.into_iter().sum();
    call.returns(Return::Last(Some(sum)));
    Ok(sum)
}

/// Follows another job: `of` is the number of that job, and `when` the reason.
#[task(retries = 2, backoff = "500ms")]
pub(crate) async fn next(of: u64, when: String, here: State<Here>, context: Context) -> Result<String> {
    let call = here.world.begins(here.owner, &context);
    call.returns(Return::Last(Some(of)));
    let answer = format!("{of} {when}");
    here.world.oracle(|oracle| oracle.ends.followed.insert((of, when)));
    Ok(answer)
}

/// The time limit of `timed`.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(5);
