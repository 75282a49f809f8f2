//! One parameter called `input` is the whole body, and a `main` is named after its module.
pub async fn main(input: Input, ctx: Context) -> Output {
    work(input, ctx).await
}
/// The inputs of `main`, to submit a job with.
pub struct main {
    /// The input `input`.
    pub input: Input,
}
const _: () = {
    use ::ork::__private as __ork;
    const __INPUT: __ork::Body<Input> = __ork::body();
    impl __ork::TaskMessage for main {
        const TASK: __ork::Str = __ork::module_name(__ork::module_path!());
        const KIND: __ork::JobKind = __ork::JobKind::Single;
        type Answer = __ork::Returned<Output>;
        fn to_json(&self) -> __ork::Json {
            __INPUT.write(&self.input)
        }
    }
    impl __ork::Debug for main {
        fn fmt(&self, __f: &mut __ork::Formatter<'_>) -> __ork::Formatted {
            __ork::debug("main", self, __f)
        }
    }
    const __RETURNS: __ork::Returns<Output> = __ork::value();
    const _: () = {
        use __ork::NotResult as _;
        __ork::reject_result(__ork::Probe::<Output>::IS_RESULT)
    };
    const __TASK: __ork::TaskDef = __ork::TaskDef {
        name: <main as __ork::TaskMessage>::TASK,
        role: __ork::Role::Work,
        function: __ork::concat!(__ork::module_path!(), "::main"),
        location: __ork::here!(),
        docs: "",
        options: __ork::Options::DEFAULT,
        params: &[__INPUT.param(), __ork::Param::Context],
        output: __RETURNS.schema,
        run: __ork::Run::Async(|__call| __ork::run_async(
            __call,
            |__call| {
                __ork::Ok(
                    main(
                        __INPUT.read(__call)?,
                        <Context as __ork::IsContext>::of(__call),
                    ),
                )
            },
            __ork::write!(__RETURNS, Reads < Output >),
        )),
        rules: __ork::rules!(),
    };
    __ork::submit!(__TASK);
};
