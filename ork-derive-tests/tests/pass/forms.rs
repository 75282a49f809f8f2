//! Places in which a task may be defined, and macros that may define it.

use ork::{Context, Parts, Result, State, task};

macro_rules! tasks {
    ($($name:ident($input:ident: $type:ty, $retries:literal);)*) => { $(
        #[task(retries = $retries, timeout = "1s")]
        fn $name($input: $type, state: State<$type>, context: Context) -> $type {
            drop((state, context));
            $input
        }
    )* };
}

tasks! {
    one(number: u32, 1);
    two(text: String, 2);
}

mod shapes {
    use ork::task;

    #[task]
    pub fn area(width: f64, height: f64) -> f64 {
        width * height
    }
}

// A single `use` imports the function and its message.
use shapes::area;

#[task(part)]
fn area_part(sides: Vec<f64>) -> impl Iterator<Item = area> {
    sides.into_iter().map(|side| area { width: side, height: side })
}

#[task(join)]
fn area_join(parts: Parts<f64>) -> Result<f64> {
    parts.all_ok()?.into_iter().sum()
}

#[cfg(any())]
#[task]
fn gone(value: NoSuchType) {}

#[task]
#[cfg(any())]
fn gone_too(value: NoSuchType) {}

fn main() {
    // A task may be defined inside a function and use types of that function.
    #[derive(serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
    struct Local(u8);

    #[task]
    async fn inner(local: Local) -> u8 {
        local.0
    }

    drop(inner { local: Local(1) });
    drop(one { number: area(1.0, 2.0) as u32 });
}
