//! Every option of a task, and the attributes that are copied from the function to the generated items.
/// Does it.
#[cfg(feature = "slow")]
#[deprecated]
pub fn everything(path: String) {
    work(path);
}
#[cfg(feature = "slow")]
/// The inputs of `everything`, to submit a job with.
pub struct everything {
    /// Which.
    pub path: String,
}
#[cfg(feature = "slow")]
#[allow(deprecated)]
const _: () = {
    use ::other::__private as __ork;
    const __INPUTS: (__ork::Input<String>,) = (__ork::input("path", "Which."),);
    impl __ork::TaskMessage for everything {
        const TASK: __ork::Str = "a.b-c";
        const KIND: __ork::JobKind = __ork::JobKind::Single;
        type Answer = __ork::Returned<()>;
        fn to_json(&self) -> __ork::Json {
            __ork::Writer::new().input(&__INPUTS.0, &self.path).finish()
        }
    }
    impl __ork::Debug for everything {
        fn fmt(&self, __f: &mut __ork::Formatter<'_>) -> __ork::Formatted {
            __ork::debug("everything", self, __f)
        }
    }
    const __RETURNS: __ork::Returns<()> = __ork::value();
    const __TASK: __ork::TaskDef = __ork::TaskDef {
        name: <everything as __ork::TaskMessage>::TASK,
        role: __ork::Role::Work,
        function: __ork::concat!(__ork::module_path!(), "::everything"),
        location: __ork::here!(),
        docs: "Does it.",
        options: __ork::Options {
            retries: 3,
            backoff: __ork::Some(__ork::Duration::new(0, 500000000)),
            timeout: __ork::Some(__ork::Duration::new(5400, 0)),
            queue: __ork::Some("slow"),
            priority: 9,
            concurrency: __ork::Some(__ork::Concurrency {
                calls: 4,
                key: __ork::Some("path"),
            }),
            ..__ork::Options::DEFAULT
        },
        params: &[__INPUTS.0.param()],
        output: __RETURNS.schema,
        run: __ork::Run::Blocking(|__call| __ork::run_blocking(
            &__call,
            |__call| {
                let __fields = __call.fields(&["path"])?;
                __ork::Ok(everything(__INPUTS.0.read(&__fields)?))
            },
            __ork::write!(__RETURNS),
        )),
        rules: __ork::rules!(),
    };
    __ork::submit!(__TASK);
};
