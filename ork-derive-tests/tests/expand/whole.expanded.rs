//! A task with two inputs.
/// Makes one thumbnail.
async fn thumbnail(path: PathBuf, width: u32) -> Result<PathBuf> {
    shrink(path, width).await
}
/// The inputs of `thumbnail`, to submit a job with.
struct thumbnail {
    /// The input `path`.
    path: PathBuf,
    /// The input `width`.
    width: u32,
}
const _: () = {
    use ::ork::__private as __ork;
    const __INPUTS: (__ork::Input<PathBuf>, __ork::Input<u32>) = (
        __ork::input("path", ""),
        __ork::input("width", ""),
    );
    impl __ork::TaskMessage for thumbnail {
        const TASK: __ork::Str = "thumbnail";
        const KIND: __ork::JobKind = __ork::JobKind::Single;
        type Answer = __ork::Returned<<Result<PathBuf> as __ork::IsResult>::Output>;
        fn to_json(&self) -> __ork::Json {
            __ork::Writer::new()
                .input(&__INPUTS.0, &self.path)
                .input(&__INPUTS.1, &self.width)
                .finish()
        }
    }
    impl __ork::Debug for thumbnail {
        fn fmt(&self, __f: &mut __ork::Formatter<'_>) -> __ork::Formatted {
            __ork::debug("thumbnail", self, __f)
        }
    }
    const __RETURNS: __ork::Returns<Result<PathBuf>> = __ork::result();
    const __TASK: __ork::TaskDef = __ork::TaskDef {
        name: <thumbnail as __ork::TaskMessage>::TASK,
        role: __ork::Role::Work,
        function: __ork::concat!(__ork::module_path!(), "::thumbnail"),
        location: __ork::here!(),
        docs: "Makes one thumbnail.",
        options: __ork::Options::DEFAULT,
        params: &[__INPUTS.0.param(), __INPUTS.1.param()],
        output: __RETURNS.schema,
        run: __ork::Run::Async(|__call| __ork::run_async(
            __call,
            |__call| {
                let __fields = __call.fields(&["path", "width"])?;
                __ork::Ok(
                    thumbnail(__INPUTS.0.read(&__fields)?, __INPUTS.1.read(&__fields)?),
                )
            },
            __ork::write!(__RETURNS, ReadsOk < Result < PathBuf > >),
        )),
        rules: __ork::rules!(),
    };
    __ork::submit!(__TASK);
};
