//! A task whose output can only be written, with a join that has to read it.

use ork::{Parts, task};

#[derive(serde::Serialize, schemars::JsonSchema)]
struct Sheet {
    rows: u32,
}

#[task]
fn sheet() -> Sheet {
    Sheet { rows: 1 }
}

#[task(join)]
fn sheet_join(parts: Parts<Sheet>) -> Sheet {
    drop(parts);
    Sheet { rows: 2 }
}

fn main() {}
