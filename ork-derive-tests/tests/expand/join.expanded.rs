//! A join: it has no message, but the result of the whole job.
async fn thumbnail_join(parts: Parts<PathBuf>, context: Context) -> Result<Sheet> {
    fold(parts, context).await
}
const _: () = {
    use ::ork::__private as __ork;
    type __Work = thumbnail;
    impl __ork::Joined for __Work {
        type Output = <Result<Sheet> as __ork::IsResult>::Output;
    }
    const _: fn() = || {
        use __ork::NoSplit as _;
        __ork::Binding::<__Work>::joined::<<Result<Sheet> as __ork::IsResult>::Output>()
    };
    const __RETURNS: __ork::Returns<Result<Sheet>> = __ork::result();
    const __TASK: __ork::TaskDef = __ork::TaskDef {
        name: <__Work as __ork::TaskMessage>::TASK,
        role: __ork::Role::Join,
        function: __ork::concat!(__ork::module_path!(), "::thumbnail_join"),
        location: __ork::here!(),
        docs: "",
        options: __ork::Options::DEFAULT,
        params: &[__ork::Param::Parts, __ork::Param::Context],
        output: __RETURNS.schema,
        run: __ork::Run::Async(|__call| __ork::run_async(
            __call,
            |__call| {
                __ork::Ok(
                    thumbnail_join(
                        <Parts<
                            PathBuf,
                        > as __ork::PartsOf<__ork::ReturnedBy<__Work>>>::of(__call),
                        <Context as __ork::IsContext>::of(__call),
                    ),
                )
            },
            __ork::write!(__RETURNS, ReadsOk < Result < Sheet > >),
        )),
        rules: __ork::rules!(),
    };
    __ork::submit!(__TASK);
};
