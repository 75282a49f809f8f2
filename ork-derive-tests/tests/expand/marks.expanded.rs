//! Context and states: by name, by mark, and forced to be inputs.
fn marked(context: ork::Context, state: State<Db>, own: my::Context, db: Db) -> u8 {
    1
}
/// The inputs of `marked`, to submit a job with.
struct marked {
    /// The input `own`.
    own: my::Context,
}
const _: () = {
    use ::ork::__private as __ork;
    const __INPUTS: (__ork::Input<my::Context>,) = (__ork::input("own", ""),);
    impl __ork::TaskMessage for marked {
        const TASK: __ork::Str = "marked";
        const KIND: __ork::JobKind = __ork::JobKind::Single;
        type Answer = __ork::Returned<u8>;
        fn to_json(&self) -> __ork::Json {
            __ork::Writer::new().input(&__INPUTS.0, &self.own).finish()
        }
    }
    impl __ork::Debug for marked {
        fn fmt(&self, __f: &mut __ork::Formatter<'_>) -> __ork::Formatted {
            __ork::debug("marked", self, __f)
        }
    }
    const __RETURNS: __ork::Returns<u8> = __ork::value();
    const _: () = {
        use __ork::NotResult as _;
        __ork::reject_result(__ork::Probe::<u8>::IS_RESULT)
    };
    const __TASK: __ork::TaskDef = __ork::TaskDef {
        name: <marked as __ork::TaskMessage>::TASK,
        role: __ork::Role::Work,
        function: __ork::concat!(__ork::module_path!(), "::marked"),
        location: __ork::here!(),
        docs: "",
        options: __ork::Options::DEFAULT,
        params: &[
            __ork::Param::Context,
            __ork::Param::state::<State<Db>>(),
            __INPUTS.0.param(),
            __ork::Param::state::<Db>(),
        ],
        output: __RETURNS.schema,
        run: __ork::Run::Blocking(|__call| __ork::run_blocking(
            &__call,
            |__call| {
                let __fields = __call.fields(&["own"])?;
                __ork::Ok(
                    marked(
                        <ork::Context as __ork::IsContext>::of(__call),
                        <State<Db> as __ork::IsState>::of(&__call.states)?,
                        __INPUTS.0.read(&__fields)?,
                        <Db as __ork::IsState>::of(&__call.states)?,
                    ),
                )
            },
            __ork::write!(__RETURNS, Reads < u8 >),
        )),
        rules: __ork::rules!(),
    };
    __ork::submit!(__TASK);
};
