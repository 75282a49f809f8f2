//! Encoding and decoding: a message survives the round trip, and no input can break the decoder.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use ork_core::clock::Timestamp;
use ork_core::event::{EventKind, PendingEvent};
use ork_core::hook::{Hooks, OnComplete, PartHook, When};
use ork_core::job::{Job, State};

use ork_test_support::hook_fragments;

fn names() -> Names {
    Names::new("ork", Allowed::default()).unwrap()
}

fn raw(properties: BasicProperties, body: &'static [u8]) -> RawDelivery {
    RawDelivery {
        exchange: "ork".into(),
        routing_key: "add".into(),
        redelivered: false,
        properties,
        body: Bytes::from_static(body),
    }
}

fn id() -> impl Strategy<Value = JobId> {
    any::<[u8; 16]>().prop_map(JobId::from_bytes)
}

fn message() -> impl Strategy<Value = Message> {
    let kind = prop_oneof![
        Just(WorkKind::Job),
        Just(WorkKind::Single),
        Just(WorkKind::Step),
        Just(WorkKind::Join),
        (any::<u32>(), any::<u64>()).prop_map(|(epoch, index)| WorkKind::Part { epoch, index }),
    ];
    let reply =
        prop::option::of(("[a-z.-]{1,50}", ".{0,60}").prop_map(|(queue, correlation)| ReplyTo { queue, correlation }));
    let schema = prop::option::of(".{0,9}".prop_map(|text| Fingerprint::of(&text)));
    (
        (id(), prop::option::of(id()), prop::option::of(id()), "[a-z_]{1,80}"),
        (kind, 1..=u32::MAX, (0..=9_u8, 0..=3_u32), any::<Vec<u8>>(), (reply, schema, hooks())),
    )
        .prop_map(
            |((job, root, parent, task), (kind, attempt, (priority, lost), body, (reply, schema, hooks)))| Message {
                job,
                root: root.unwrap_or(job),
                parent,
                task,
                kind,
                attempt,
                priority,
                losses: lost,
                waited: lost == 1,
                body: body.into(),
                reply,
                schema,
                hooks: hooks.filter(|hooks| hooks.part.is_none() || !matches!(kind, WorkKind::Part { .. })),
            },
        )
}

fn hooks() -> impl Strategy<Value = Option<Box<Hooks>>> {
    let part = (any::<u64>(), 1..=1_u64 << 32, "part[.][a-z.]{0,40}")
        .prop_map(|(part_id, total_parts, part_queue)| PartHook { part_id, total_parts, part_queue });
    let when = prop_oneof![Just(When::Always), Just(When::Success), Just(When::Failure)];
    let inputs = prop::option::of(prop_oneof![Just("null"), Just("{\"a\":1.0}"), Just("[\"\u{e4}\"]")]);
    let hook = (".{1,40}", prop::option::of("[a-z]{1,9}"), inputs, when).prop_filter_map(
        "a name without control characters, and a method that is not the route",
        |(route, method, inputs, when)| {
            let is_valid = !route.contains(char::is_control) && method.as_ref() != Some(&route);
            is_valid.then(|| OnComplete { route, method, inputs: inputs.map(str::to_owned), when })
        },
    );
    (prop::option::of(part), prop::collection::vec(hook, 0..4)).prop_map(|(part, on_complete)| {
        let hooks = Hooks { part, on_complete };
        (!hooks.is_empty()).then(|| Box::new(hooks))
    })
}

fn value() -> impl Strategy<Value = AMQPValue> {
    let leaf = prop_oneof![
        any::<bool>().prop_map(AMQPValue::Boolean),
        any::<i8>().prop_map(AMQPValue::ShortShortInt),
        any::<u16>().prop_map(AMQPValue::ShortUInt),
        any::<i32>().prop_map(AMQPValue::LongInt),
        any::<u32>().prop_map(AMQPValue::LongUInt),
        any::<i64>().prop_map(AMQPValue::LongLongInt),
        any::<f64>().prop_map(AMQPValue::Double),
        any::<u64>().prop_map(AMQPValue::Timestamp),
        any::<Vec<u8>>().prop_map(|bytes| AMQPValue::LongString(bytes.into())),
        prop_oneof![Just("single"), Just("part"), Just("join"), Just("7"), Just(""), Just("part.a")].prop_map(text),
        prop::collection::vec(prop::sample::select(hook_fragments::HOOKS), 0..12)
            .prop_map(|signs| text(&signs.concat())),
        Just(AMQPValue::Void),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let name = prop::sample::select(&["route", "when", "inputs", "type", "x"][..]).prop_map(ShortString::from);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|values| AMQPValue::FieldArray(values.into())),
            prop::collection::btree_map(name, inner, 0..4).prop_map(|fields| AMQPValue::FieldTable(fields.into())),
        ]
    })
}

proptest! {
    #[test]
    fn messages_survive_the_round_trip(message in message()) {
        let publication = encode(Outgoing::Work(message.clone()), &names(), usize::MAX).unwrap();
        prop_assert_eq!(publication.routing_key.as_str(), message.task.as_str());
        let raw = RawDelivery {
            exchange: publication.exchange,
            routing_key: publication.routing_key,
            redelivered: false,
            properties: publication.properties,
            body: publication.body,
        };
        let decoded = decode(&raw, &names());
        prop_assert_eq!(decoded.message.unwrap(), message);
        prop_assert!(!decoded.anonymous);
    }

    #[test]
    fn no_input_breaks_the_decoder(
        headers in prop::collection::btree_map(
            prop_oneof![Just(WORK_KIND), Just(JOB), Just(ROOT), Just(PARENT), Just(EPOCH), Just(INDEX), Just(ATTEMPT),
                    Just("x-delivery-count"), Just("part_id"), Just("total_parts"), Just("part_queue"),
                    Just("on_complete"), Just("oncomplete")]
                .prop_map(ShortString::from),
            value(),
            0..8,
        ),
        fields in prop::collection::vec(prop::option::of(".{0,60}"), 6),
        priority in any::<u8>(),
    ) {
        let mut properties = BasicProperties::default()
            .with_headers(FieldTable::from(headers.into_iter().collect::<BTreeMap<_, _>>()))
            .with_priority(priority);
        let mut fields = fields.into_iter().map(|field| field.map(|text| ShortString::try_new(text).unwrap_or_default()));
        let mut next = || fields.next().flatten();
        if let Some(text) = next() { properties = properties.with_content_type(text); }
        if let Some(text) = next() { properties = properties.with_message_id(text); }
        if let Some(text) = next() { properties = properties.with_reply_to(text); }
        if let Some(text) = next() { properties = properties.with_correlation_id(text); }
        if let Some(text) = next() { properties = properties.with_type(text); }
        let routing_key = next().unwrap_or_default();
        let raw = RawDelivery { routing_key, ..raw(properties, b"{}") };
        match decode(&raw, &names()).message {
            Ok(message) => prop_assert!(message.priority <= 9 && message.attempt >= 1 && !message.task.is_empty()),
            Err(refused) => prop_assert!(!refused.detail.is_empty() && refused.detail.len() < 2_000),
        }
        let publication = dead_letter(raw, &names(), "q", DeadLetterReason::Undecodable, "why");
        prop_assert_eq!(publication.routing_key.as_str(), "ork.dead");
    }
}

#[test]
fn body_and_routing_key_are_a_complete_message() {
    let decoded = decode(&raw(BasicProperties::default(), b"{}"), &names());
    let message = decoded.message.unwrap();
    assert!(decoded.anonymous);
    assert_eq!((message.task.as_str(), message.kind, message.attempt), ("add", WorkKind::Job, 1));
    assert_eq!((message.root, message.reply), (message.job, None));
}

#[test]
fn message_published_directly_to_a_queue_names_its_task() {
    let direct = RawDelivery { routing_key: "ork.task.add".into(), ..raw(BasicProperties::default(), b"{}") };
    assert_eq!(decode(&direct, &names()).message.unwrap().task, "add");
}

#[test]
fn foreign_message_id_names_one_job_and_is_its_correlation_id() {
    let properties = BasicProperties::default().with_message_id("order-7".into()).with_reply_to("answers".into());
    let decoded = decode(&raw(properties, b"{}"), &names());
    let message = decoded.message.unwrap();
    assert_eq!(message.job, JobId::from_foreign("order-7"));
    assert_eq!(message.reply, Some(ReplyTo { queue: "answers".to_owned(), correlation: "order-7".to_owned() }));
    assert!(!decoded.anonymous);
}

#[test]
fn correlation_id_defaults_to_the_job_id() {
    let decoded = decode(&raw(BasicProperties::default().with_reply_to("answers".into()), b"{}"), &names());
    let message = decoded.message.unwrap();
    assert_eq!(message.reply.unwrap().correlation, message.job.to_string());
}

#[test]
fn rejected_content_type_keeps_the_reply_address() {
    let properties = BasicProperties::default().with_content_type("text/xml".into()).with_reply_to("answers".into());
    let refused = decode(&raw(properties, b"<a/>"), &names()).message.unwrap_err();
    assert_eq!(refused.reason, DeadLetterReason::Undecodable);
    assert_eq!(refused.detail, "the content type is `text/xml`, expected `application/json` or none");
    assert_eq!(refused.reply.unwrap().queue, "answers");
    for json in ["application/json; charset=utf-8", "Application/JSON", "application/cloudevents+json"] {
        let properties = BasicProperties::default().with_content_type(json.into());
        assert!(decode(&raw(properties, b"{}"), &names()).message.is_ok(), "{json}");
    }
}

#[test]
fn part_without_its_job_is_rejected() {
    let mut headers = FieldTable::default();
    headers.insert(WORK_KIND.into(), text("part"));
    let properties = BasicProperties::default().with_headers(headers);
    let refused = decode(&raw(properties, b"{}"), &names()).message.unwrap_err();
    assert_eq!(refused.detail, "the header `ork-job` is missing; parts require it");
}

#[test]
fn delivery_count_header_takes_precedence_over_redelivered_flag() {
    let mut headers = FieldTable::default();
    headers.insert("x-delivery-count".into(), AMQPValue::LongLongInt(3));
    let counted = raw(BasicProperties::default().with_headers(headers), b"{}");
    assert_eq!(decode(&counted, &names()).redelivered, 3);
    let flagged = RawDelivery { redelivered: true, ..raw(BasicProperties::default(), b"{}") };
    assert_eq!(decode(&flagged, &names()).redelivered, 1);
}

#[test]
fn outcome_cannot_be_sent_as_work() {
    let reply = |queue: &str| {
        Outgoing::Reply(Reply {
            to: ReplyTo { queue: queue.to_owned(), correlation: "c".to_owned() },
            job: JobId::new(),
            state: State::Succeeded,
            output: Some(Bytes::from_static(b"7")),
            error: None,
        })
    };
    for queue in ["ork.task.add", "ork.dead"] {
        let error = encode(reply(queue), &names(), 100).unwrap_err();
        assert_eq!(error.kind, BrokerErrorKind::Undeliverable);
    }
    assert!(encode(reply("answers"), &names(), 100).unwrap().mandatory);
    assert!(!encode(reply("amq.rabbitmq.reply-to.g1"), &names(), 100).unwrap().mandatory);
}

#[test]
fn too_large_bodies_and_too_long_names_are_rejected() {
    let message = |task: String, body: Vec<u8>| {
        Outgoing::Work(Message {
            job: JobId::new(),
            root: JobId::new(),
            parent: None,
            task,
            kind: WorkKind::Job,
            attempt: 1,
            priority: 0,
            losses: 0,
            waited: false,
            body: body.into(),
            reply: None,
            schema: None,
            hooks: None,
        })
    };
    let large = encode(message("add".to_owned(), vec![b' '; 101]), &names(), 100).unwrap_err();
    assert!(large.detail.contains("101 bytes, at most 100"), "{large:?}");
    let long = encode(message("x".repeat(256), Vec::new()), &names(), 100).unwrap_err();
    assert!(long.detail.contains("256 bytes"), "{long:?}");
}

#[test]
fn republished_copy_keeps_everything_but_delivery_count_and_user() {
    let count = (ShortString::from(COUNT), AMQPValue::LongLongInt(70));
    let other = (ShortString::from("x-trace"), text("abc"));
    let headers = FieldTable::from(BTreeMap::from([count, other.clone()]));
    let unchanged = BasicProperties::default()
        .with_content_type("application/json".into())
        .with_correlation_id("c".into())
        .with_reply_to("r".into())
        .with_expiration("1000".into())
        .with_message_id("order-7".into())
        .with_app_id("shop".into())
        .with_cluster_id("one".into())
        .with_delivery_mode(2)
        .with_priority(3)
        .with_timestamp(5);
    let original = raw(unchanged.clone().with_user_id("eve".into()).with_headers(headers), b"{}");
    assert_eq!(redelivered(&original), 70);
    let publication = republish(original.clone(), &names(), &"ork.task.group".into(), None);
    assert_eq!((publication.exchange.as_str(), publication.routing_key.as_str()), ("", "ork.task.group"));
    let headers = BTreeMap::from([other, ("ork-copy".into(), AMQPValue::Boolean(true))]);
    let expected = unchanged.clone().with_type("add".into()).with_headers(FieldTable::from(headers.clone()));
    assert_eq!((publication.properties, &publication.body[..]), (expected, &b"{}"[..]));
    let exact = republish(original, &names(), &"ork.task.group".into(), Some(7)).properties;
    let known =
        headers.into_iter().chain([("ork-losses".into(), AMQPValue::LongLongInt(7))]).collect::<BTreeMap<_, _>>();
    assert_eq!(exact, unchanged.with_type("add".into()).with_headers(FieldTable::from(known)));
}

/// An event without a listener is dropped, and that is no error.
#[test]
fn event_is_published_with_its_type_as_routing_key() {
    let job = Job::new(JobId::new(), "add", Timestamp::from_millis(1));
    let event = Event::of(&job, EventKind::Succeeded, 7, Timestamp::from_millis(2));
    let publication = encode(Outgoing::Event(event.clone().into()), &names(), usize::MAX).unwrap();
    assert_eq!((publication.exchange.as_str(), publication.routing_key.as_str()), ("ork.events", "job.completed"));
    assert!(!publication.mandatory);
    assert_eq!(*publication.properties.delivery_mode(), Some(2));
    assert_eq!(publication.properties.message_id().as_ref().unwrap().as_str(), event.id);
    assert_eq!(Event::from_json(&publication.body).unwrap(), event);
    let pending_event = Outgoing::PendingEvent { job: job.id, row: 7, what: PendingEvent::Job(EventKind::Succeeded) };
    assert_eq!(encode(pending_event, &names(), usize::MAX).unwrap_err().kind, BrokerErrorKind::Config);
}

#[test]
fn malformed_fingerprint_is_rejected_with_a_reason() {
    let mut headers = FieldTable::default();
    headers.insert("ork-schema".into(), text("latest"));
    let properties = BasicProperties::default().with_headers(headers).with_message_id("a".into());
    let refused = decode(&raw(properties, b"{}"), &names()).message.unwrap_err();
    assert_eq!(
        refused.detail,
        "the header `ork-schema`: expected a fingerprint such as `026efc0d-5269-5386-8c1e-8100806a251c`"
    );
}
