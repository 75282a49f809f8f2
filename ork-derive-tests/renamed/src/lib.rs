//! A package that knows ork only under another name, like a package with two versions of ork.

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

/// Adds up the parts.
///
/// # Errors
/// When a part has failed.
#[task(join, crate = "other")]
pub fn double_join(parts: Parts<u32>) -> Result<u32> {
    parts.all_ok()?.into_iter().sum()
}

/// Inside a crate that hides ork behind its own path.
pub mod hidden {
    pub use other as inner;

    /// Returns its input.
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
