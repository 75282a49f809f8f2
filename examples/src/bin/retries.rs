//! Failures: which ones are retried, which ones are not, and how many failed parts a job tolerates.
//!
//! - `retries run fetch page=a busy=2` fails twice, is retried after a delay, and prints the result of the third
//!   attempt.
//! - `retries run fetch page=a busy=9` fails after four attempts, with exit code 1.
//! - `retries run fetch page= busy=0` fails at once: an empty address is a permanent error.
//! - `retries run crawl pages=8` requests eight pages, of which every fourth is gone, and succeeds:
//!   `6 of 8 parts succeeded`.
//! - `retries run crawl pages=8 gone_every=2` fails with exit code 1, because at most a quarter of the parts may
//!   fail.

#![expect(clippy::needless_pass_by_value, reason = "a task owns its inputs")]

use ork::{Context, Error, Result, task};

/// Requests a page from a server that is busy the first few times.
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
    context.log(format!("requesting {page}"));
    if context.attempt() <= busy {
        // Any other error is retried, as it may be temporary.
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

/// Requests many pages; up to a quarter of them may fail.
#[task(part, tolerate = "25%")]
fn crawl_part(
    /// How many pages.
    pages: u32,
    /// The interval at which pages are gone; every fourth by default.
    gone_every: Option<u32>,
) -> impl Iterator<Item = crawl> {
    let every = gone_every.unwrap_or(4).max(1);
    (1..=pages).map(move |page| crawl { page, gone: page % every == 0 })
}

fn main() -> std::process::ExitCode {
    ork::main()
}
