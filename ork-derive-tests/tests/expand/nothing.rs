//! A task with neither inputs nor output, that blocks.

#[task]
pub(crate) fn tick() {}
