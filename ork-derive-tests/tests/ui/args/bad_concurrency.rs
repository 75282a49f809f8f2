//! Invalid concurrency limits: a limit is a number from 1, with an optional key.

use ork::task;

#[task(concurrency = 0)]
fn none_at_all() {}

#[task(concurrency("many"))]
fn not_a_number() {}

#[task(concurrency(4, "tenant"))]
fn a_key_without_its_word(tenant: String) {
    drop(tenant);
}

#[task(concurrency(4, by = "tenant"))]
fn another_word(tenant: String) {
    drop(tenant);
}

#[task(concurrency(4, key = "tenant", key = "user"))]
fn two_keys(tenant: String, user: String) {
    drop((tenant, user));
}

#[task(concurrency)]
fn no_value() {}

fn main() {}
