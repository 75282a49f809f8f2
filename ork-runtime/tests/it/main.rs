//! Whole jobs through a whole process: embedded broker, every store, no network. One behaviour a file.

mod cancel;
mod context;
mod failures;
mod parts;
mod policies;
mod resume;
mod shutdown;
mod submit;
mod tasks;
mod world;
