//! Raw identifiers, and documentation that only the compiler can read.
/// One.
#[doc = include_str!("two.md")]
fn r#type(r#match: u8, mut _unused: u8) -> u8 {
    r#match
}
/// The inputs of `type`, to submit a job with.
#[allow(clippy::pub_underscore_fields)]
struct r#type {
    /// The input `match`.
    r#match: u8,
    /// The input `_unused`.
    _unused: u8,
}
const _: () = {
    use ::ork::__private as __ork;
    const __INPUTS: (__ork::Input<u8>, __ork::Input<u8>) = (
        __ork::input("match", ""),
        __ork::input("_unused", ""),
    );
    impl __ork::TaskMessage for r#type {
        const TASK: __ork::Str = "type";
        const KIND: __ork::JobKind = __ork::JobKind::Single;
        type Answer = __ork::Returned<u8>;
        fn to_json(&self) -> __ork::Json {
            __ork::Writer::new()
                .input(&__INPUTS.0, &self.r#match)
                .input(&__INPUTS.1, &self._unused)
                .finish()
        }
    }
    impl __ork::Debug for r#type {
        fn fmt(&self, __f: &mut __ork::Formatter<'_>) -> __ork::Formatted {
            __ork::debug("type", self, __f)
        }
    }
    const __RETURNS: __ork::Returns<u8> = __ork::value();
    const _: () = {
        use __ork::NotResult as _;
        __ork::reject_result(__ork::Probe::<u8>::IS_RESULT)
    };
    const __TASK: __ork::TaskDef = __ork::TaskDef {
        name: <r#type as __ork::TaskMessage>::TASK,
        role: __ork::Role::Work,
        function: __ork::concat!(__ork::module_path!(), "::type"),
        location: __ork::here!(),
        docs: __ork::concat!("One.\n", include_str!("two.md"), ""),
        options: __ork::Options::DEFAULT,
        params: &[__INPUTS.0.param(), __INPUTS.1.param()],
        output: __RETURNS.schema,
        run: __ork::Run::Blocking(|__call| __ork::run_blocking(
            &__call,
            |__call| {
                let __fields = __call.fields(&["match", "_unused"])?;
                __ork::Ok(
                    r#type(__INPUTS.0.read(&__fields)?, __INPUTS.1.read(&__fields)?),
                )
            },
            __ork::write!(__RETURNS, Reads < u8 >),
        )),
        rules: __ork::rules!(),
    };
    __ork::submit!(__TASK);
};
