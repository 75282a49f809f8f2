//! Failures: which are tried again, which are not, and how many a job with parts bears.
//!
//! - `retries run fetch page=a busy=2` is refused twice, tries again after a pause, and prints the third answer.
//! - `retries run fetch page=a busy=9` gives up after four attempts: exit code 1.
//! - `retries run fetch page= busy=0` fails at once: an empty address is wrong however often one asks.
//! - `retries run crawl pages=8` asks for eight pages of which every fourth is gone, and bears it: `6 of 8 parts ok`.
//! - `retries run crawl pages=8 gone_every=2` bears no more than a quarter: exit code 1.

#![expect(clippy::needless_pass_by_value, reason = "a task owns its inputs")]

use ork::{Context, Error, Result, task};

/// Asks a server that is busy the first few times.
#[task(retries = 3, backoff = "20ms")]
fn fetch(
    /// The page's address.
    page: String,
    /// How many attempts are refused.
    busy: u32,
    context: Context,
) -> Result<String> {
    if page.is_empty() {
        return Err(Error::permanent("the address of the page is empty"));
    }
    context.log(format!("asking for {page}"));
    if context.attempt() <= busy {
        // Any error will do: it is tried again because it might pass.
        Err(format!("the server was busy at attempt {}", context.attempt()))?;
    }
    Ok(format!("{page}, at attempt {}", context.attempt()))
}

/// Reads one page.
#[task]
fn crawl(page: u32, gone: bool) -> Result<()> {
    if gone {
        return Err(Error::permanent(format!("page {page} is gone")));
    }
    Ok(())
}

/// Asks for many pages; up to a quarter of them may fail.
#[task(part, tolerate = "25%")]
fn crawl_part(
    /// How many pages.
    pages: u32,
    /// Every so many pages one is gone; every fourth if nobody says.
    gone_every: Option<u32>,
) -> impl Iterator<Item = crawl> {
    let every = gone_every.unwrap_or(4).max(1);
    (1..=pages).map(move |page| crawl { page, gone: page % every == 0 })
}

fn main() -> std::process::ExitCode {
    ork::main()
}
