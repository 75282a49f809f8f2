//! With mistakes: the function and its message are emitted for their callers, and every mistake is reported.
fn thumbnail(path: &str, width: u32) -> u32 {
    width
}
/// The inputs of `thumbnail`, to submit a job with.
struct thumbnail {
    /// The input `width`.
    width: u32,
}
const _: () = {
    use ::ork::__private as __ork;
    const __INPUTS: (__ork::Input<u32>,) = (__ork::input("width", ""),);
    impl __ork::TaskMessage for thumbnail {
        const TASK: __ork::Str = "thumbnail";
        const KIND: __ork::JobKind = __ork::JobKind::Single;
        type Answer = __ork::Returned<u32>;
        fn to_json(&self) -> __ork::Json {
            __ork::Writer::new().input(&__INPUTS.0, &self.width).finish()
        }
    }
    impl __ork::Debug for thumbnail {
        fn fmt(&self, __f: &mut __ork::Formatter<'_>) -> __ork::Formatted {
            __ork::debug("thumbnail", self, __f)
        }
    }
};
::core::compile_error! {
    "`#[task]` has no option `retires`: did you mean `retries`? the options are `part`, `join`, `name`, `queue`, `retries`, `backoff`, `timeout`, `priority`, `concurrency`, `unique`, `chunk`, `on_error`, `tolerate` and `crate`"
}
::core::compile_error! {
    "a task must own its inputs, which are read from a message: use `String`"
}
