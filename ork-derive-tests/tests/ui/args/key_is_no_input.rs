//! The key of a limit is one of the inputs.

use ork::{Context, task};

#[task(concurrency(4, key = "tennant"))]
fn misspelt(tenant: String, user: String) {
    drop((tenant, user));
}

#[task(concurrency(4, key = "context"))]
fn no_inputs(context: Context) {
    drop(context);
}

fn main() {}
