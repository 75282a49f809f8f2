//! The contents of the task rows and the messages.

use ork::__private::{
    self as row, Answer, Duration, JobKind, JoinOf, Joined, OnError, Returned, Role, States, TaskMessage, Tolerate,
};
use ork::Registry;
use serde_json::json;

use crate::splits::{as_option, as_vec_part};
use crate::{add, def, discover, io_error, misnamed, nothing};

#[test]
fn message_has_task_kind_and_result_type() {
    fn describe<M: TaskMessage<Answer = A>, A: Answer<Output = T>, T>() -> (&'static str, JobKind) {
        (M::TASK, M::KIND)
    }
    fn joins<X: Joined<Output = T>, T>() {}
    assert_eq!(describe::<add, Returned<i64>, i64>(), ("add", JobKind::Single));
    assert_eq!(describe::<nothing, Returned<()>, ()>(), ("nothing", JobKind::Single));
    assert_eq!(describe::<io_error, Returned<String>, String>(), ("io_error", JobKind::Single));
    assert_eq!(describe::<misnamed, _, String>(), ("renamed.task-1", JobKind::Single));
    assert_eq!(describe::<discover::main, _, u8>(), ("discover", JobKind::Single));
    assert_eq!(describe::<discover::main_part, JoinOf<discover::main>, u64>(), ("discover", JobKind::Job));
    assert_eq!(describe::<as_vec_part, _, u32>(), ("as_vec", JobKind::Job));
    joins::<as_option, ()>();
    let message = add { left: 1, right: None };
    assert_eq!(message.to_json().unwrap(), r#"{"left":1,"right":null}"#);
    assert_eq!(format!("{message:?}"), r#"add {"left":1,"right":null}"#);
}

#[test]
fn row_holds_the_options() {
    let options = def("add", Role::Work).options;
    assert_eq!((options.retries, options.priority, options.queue), (3, 9, Some("sums")));
    assert_eq!(options.backoff, Some(Duration::from_millis(500)));
    assert_eq!(options.timeout, Some(Duration::from_mins(90)));
    let split = def("as_vec", Role::Split).options;
    assert_eq!((split.chunk, split.on_error, split.tolerate), (Some(7), OnError::Stop, Some(Tolerate::Percent(2.5))));
    assert_eq!(def("as_option", Role::Split).options.tolerate, Some(Tolerate::Count(3)));
    assert_eq!(def("as_vec", Role::Join).options.retries, 1);
    let none = def("nothing", Role::Work).options;
    assert_eq!((none.retries, none.timeout, none.on_error), (0, None, OnError::Finish));
}

#[test]
fn row_describes_the_function() {
    let add = def("add", Role::Work);
    assert_eq!(add.docs, "Adds two numbers.\n\nSlowly.");
    assert_eq!(add.function, "run::add");
    assert!(add.location.file.ends_with("run/main.rs") && add.location.line > 1, "{}", add.location);
    assert_eq!(def("discover", Role::Join).function, "run::discover::main_join");
    let mut generator = schemars::SchemaGenerator::default();
    let [row::Param::Field { docs: left, .. }, row::Param::Field { name, docs, schema, optional, .. }] = add.params
    else {
        panic!("{:?}", add.params)
    };
    assert_eq!((*left, *name, *docs), ("The first.", "right", "The second,\nif any."));
    assert!(optional());
    assert_eq!(schema(&mut generator).get("type"), Some(&json!(["integer", "null"])));
    assert_eq!((add.output)(&mut generator).get("type"), Some(&json!("integer")));
    assert_eq!((def("nothing", Role::Work).output)(&mut generator).get("type"), Some(&json!("null")));
    let params = def("given", Role::Work).params;
    assert!(
        matches!(
            params,
            [row::Param::Field { .. }, row::Param::Context, row::Param::State { .. }, row::Param::State { .. }]
        ),
        "{params:?}"
    );
    assert!(matches!(def("whole", Role::Work).params, [row::Param::Body { .. }]));
    assert!(matches!(
        def("as_vec", Role::Join).params,
        [row::Param::Context, row::Param::Parts, row::Param::State { .. }]
    ));
}

#[test]
fn missing_states_are_found_at_startup() {
    let registry = Registry::collect().unwrap();
    let mut states = States::default();
    assert!(states.insert(1_u32));
    let missing: Vec<_> = registry.check_states(&states).unwrap_err().iter().map(ToString::to_string).collect();
    assert!(matches!(missing.as_slice(), [one] if one.contains("needs a `State<u64>`")), "{missing:?}");
}
