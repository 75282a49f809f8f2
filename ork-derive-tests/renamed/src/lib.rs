//! A package that knows ork only under another name, as one does that has two versions of it.

use other::{Context, Parts, Result, task};

/// Doubles a number.
///
/// # Errors
/// None; but a task may have some.
#[task(crate = "other")]
pub async fn double(number: u32, context: Context) -> Result<u32> {
    context.log("doubling");
    Ok(std::future::ready(number * 2).await)
}

/// Makes the numbers up to one.
#[task(part, crate = "other")]
pub fn double_part(up_to: u32) -> impl Iterator<Item = double> {
    (0..up_to).map(|number| double { number })
}

/// Adds them.
///
/// # Errors
/// When a part has none.
#[task(join, crate = "other")]
pub fn double_join(parts: Parts<u32>) -> Result<u32> {
    parts.all_ok()?.into_iter().sum()
}

/// What stands inside a crate that hides ork behind a path of its own.
pub mod hidden {
    pub use other as inner;

    /// Answers what it is given.
    #[super::task(crate = "crate::hidden::inner", name = "echo")]
    pub fn echo(input: String) -> String {
        input
    }
}

#[cfg(test)]
mod tests {
    use other::Registry;

    #[test]
    fn the_tasks_are_found() {
        assert_eq!(Registry::collect().unwrap().names(), ["double", "echo"]);
    }
}
