//! The join of a task that splits itself must return the task's type, because a job that is not split has no join.

use ork::{Context, Parts, Result, task};

#[task]
async fn words(context: Context) -> Result<u64> {
    context.split(2).await?;
    Ok(0)
}

#[task(join)]
fn words_join(parts: Parts<u64>) -> Result<String> {
    drop(parts);
    Ok(String::new())
}

mod plainly {
    use super::{Parts, task};

    #[task]
    fn letters() -> u64 {
        0
    }

    #[task(join)]
    fn letters_join(parts: Parts<u64>) -> Vec<u64> {
        drop(parts);
        Vec::new()
    }

    #[task]
    fn lines() -> u64 {
        0
    }

    #[task(join)]
    fn lines_join(parts: Parts<u64>) {
        drop(parts);
    }
}

// With a split, every job is joined.
mod splits {
    use super::{Parts, task};

    #[task]
    fn pages() -> u64 {
        0
    }

    #[task(part)]
    fn pages_part() -> Vec<pages> {
        Vec::new()
    }

    #[task(join)]
    fn pages_join(parts: Parts<u64>) -> String {
        drop(parts);
        String::new()
    }
}

fn main() {}
