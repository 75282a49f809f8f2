//! Tasks in a module in which no name has its usual meaning.

mod hostile {
    #![allow(dead_code, non_camel_case_types, unused_macros)]

    pub struct Box;
    pub struct Context;
    pub struct Debug;
    pub struct Err;
    pub struct None;
    pub struct Ok;
    pub struct Option;
    pub struct Result;
    pub struct Send;
    pub struct Some;
    pub struct String;
    pub struct TaskDef;
    pub struct TaskMessage;
    pub struct Vec;
    pub mod alloc {}
    pub mod core {}
    pub mod inventory {}
    pub mod ork {}
    pub mod serde {}
    pub mod std {}

    macro_rules! concat {
        () => {};
    }
    macro_rules! line {
        (never) => {};
    }
    macro_rules! module_path {
        (never) => {};
    }

    use ::ork::task;

    /// Works.
    #[task(retries = 1, backoff = "1s", timeout = "1s", queue = "q", priority = 1)]
    fn work(path: ::std::string::String, #[context] context: ::ork::Context) -> ::std::result::Result<u32, ::std::io::Error> {
        drop((path, context));
        ::std::result::Result::Ok(1)
    }

    #[task(part, chunk = 1, on_error = "finish", tolerate = 3)]
    fn work_part(input: ::std::vec::Vec<::std::string::String>) -> impl Iterator<Item = work> {
        input.into_iter().map(|path| work { path })
    }

    #[task(join)]
    async fn work_join(parts: ::ork::Parts<u32>, state: ::ork::State<u8>) {
        drop((parts, state));
    }

    /// Tasks with the names of primitives.
    #[task]
    fn str(bool: bool, u32: f64) -> u8 {
        _ = (bool, u32);
        1
    }

    #[task]
    fn call(fields: i64, self_: i8, __f: i8) {
        _ = (fields, self_, __f);
    }

    #[task]
    fn fields(call: i64) {
        _ = call;
    }
}

fn main() {}
