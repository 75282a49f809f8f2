//! A task with neither inputs nor output, that blocks.
pub(crate) fn tick() {}
/// The inputs of `tick`, to submit a job with.
pub(crate) struct tick {}
const _: () = {
    use ::ork::__private as __ork;
    impl __ork::TaskMessage for tick {
        const TASK: __ork::Str = "tick";
        const KIND: __ork::JobKind = __ork::JobKind::Single;
        type Answer = __ork::Returned<()>;
        fn to_json(&self) -> __ork::Json {
            __ork::Writer::new().finish()
        }
    }
    impl __ork::Debug for tick {
        fn fmt(&self, __f: &mut __ork::Formatter<'_>) -> __ork::Formatted {
            __ork::debug("tick", self, __f)
        }
    }
    const __RETURNS: __ork::Returns<()> = __ork::value();
    const __TASK: __ork::TaskDef = __ork::TaskDef {
        name: <tick as __ork::TaskMessage>::TASK,
        role: __ork::Role::Work,
        function: __ork::concat!(__ork::module_path!(), "::tick"),
        location: __ork::here!(),
        docs: "",
        options: __ork::Options::DEFAULT,
        params: &[],
        output: __RETURNS.schema,
        run: __ork::Run::Blocking(|__call| __ork::run_blocking(
            &__call,
            |__call| {
                let __fields = __call.fields(&[])?;
                __ork::Ok(tick())
            },
            __ork::write!(__RETURNS),
        )),
        rules: __ork::rules!(),
    };
    __ork::submit!(__TASK);
};
