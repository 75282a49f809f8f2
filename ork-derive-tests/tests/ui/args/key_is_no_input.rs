//! A concurrency key that is not an input.

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
