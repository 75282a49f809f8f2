//! A split that cannot be named, and one that can.
/// Splits an album.
fn thumbnail_part(album: PathBuf) -> Result<impl Iterator<Item = thumbnail>> {
    images(album)
}
/// The inputs of `thumbnail_part`, to submit the whole job with.
struct thumbnail_part {
    /// The input `album`.
    album: PathBuf,
}
const _: () = {
    use ::ork::__private as __ork;
    type __Work = thumbnail;
    const __INPUTS: (__ork::Input<PathBuf>,) = (__ork::input("album", ""),);
    impl __ork::TaskMessage for thumbnail_part {
        const TASK: __ork::Str = <__Work as __ork::TaskMessage>::TASK;
        const KIND: __ork::JobKind = __ork::JobKind::Job;
        type Answer = __ork::JoinOf<__Work>;
        fn to_json(&self) -> __ork::Json {
            __ork::Writer::new().input(&__INPUTS.0, &self.album).finish()
        }
    }
    impl __ork::Debug for thumbnail_part {
        fn fmt(&self, __f: &mut __ork::Formatter<'_>) -> __ork::Formatted {
            __ork::debug("thumbnail_part", self, __f)
        }
    }
    impl __ork::HasSplit for __Work {}
    const __TASK: __ork::TaskDef = __ork::TaskDef {
        name: <__Work as __ork::TaskMessage>::TASK,
        role: __ork::Role::Split,
        function: __ork::concat!(__ork::module_path!(), "::thumbnail_part"),
        location: __ork::here!(),
        docs: "Splits an album.",
        options: __ork::Options {
            chunk: __ork::Some(100),
            on_error: __ork::OnError::Stop,
            tolerate: __ork::Some(__ork::Tolerate::Percent(5f64)),
            ..__ork::Options::DEFAULT
        },
        params: &[__INPUTS.0.param()],
        output: __ork::schema::<()>,
        run: __ork::Run::BlockingSplit(|__call| __ork::run_blocking(
            &__call,
            |__call| {
                let __fields = __call.fields(&["album"])?;
                __ork::Ok(thumbnail_part(__INPUTS.0.read(&__fields)?))
            },
            __ork::Splits::<__Work>::fallible(),
        )),
        rules: __ork::rules!(),
    };
    __ork::submit!(__TASK);
};
async fn type_part(input: Vec<u8>) -> Vec<r#type> {
    input.into_iter().map(|n| r#type { n }).collect()
}
/// The inputs of `type_part`, to submit the whole job with.
struct type_part {
    /// The input `input`.
    input: Vec<u8>,
}
const _: () = {
    use ::ork::__private as __ork;
    type __Work = r#type;
    const __INPUT: __ork::Body<Vec<u8>> = __ork::body();
    impl __ork::TaskMessage for type_part {
        const TASK: __ork::Str = <__Work as __ork::TaskMessage>::TASK;
        const KIND: __ork::JobKind = __ork::JobKind::Job;
        type Answer = __ork::JoinOf<__Work>;
        fn to_json(&self) -> __ork::Json {
            __INPUT.write(&self.input)
        }
    }
    impl __ork::Debug for type_part {
        fn fmt(&self, __f: &mut __ork::Formatter<'_>) -> __ork::Formatted {
            __ork::debug("type_part", self, __f)
        }
    }
    impl __ork::HasSplit for __Work {}
    const _: () = {
        use __ork::NotResult as _;
        __ork::reject_result(__ork::Probe::<Vec<r#type>>::IS_RESULT)
    };
    const __TASK: __ork::TaskDef = __ork::TaskDef {
        name: <__Work as __ork::TaskMessage>::TASK,
        role: __ork::Role::Split,
        function: __ork::concat!(__ork::module_path!(), "::type_part"),
        location: __ork::here!(),
        docs: "",
        options: __ork::Options::DEFAULT,
        params: &[__INPUT.param()],
        output: __ork::schema::<()>,
        run: __ork::Run::AsyncSplit(|__call| __ork::run_async(
            __call,
            |__call| { __ork::Ok(type_part(__INPUT.read(__call)?)) },
            __ork::Splits::<__Work>::plain(),
        )),
        rules: __ork::rules!(),
    };
    __ork::submit!(__TASK);
};
