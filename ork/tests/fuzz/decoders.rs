//! All decoders outside of adapters; those of AMQP messages are in `ork-amqp/src/wire/tests.rs`.

use std::io::Write as _;

use ork::__private::Fields;
use ork::{Config, Failure, JobId, JobState, Tolerate};
use ork_core::hook::{Allowed, Hooks, OnComplete, PartHook, StoredHooks};
use ork_core::ledger::Shard;
use ork_core::message::{BodyError, Limits};
use proptest::prelude::*;

use super::hook_fragments::HOOKS;

/// Bodies that are almost JSON.
const BODIES: &[&str] = &[
    "",
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\",
    "{\"a\":",
    "{\"a\":1,}",
    "{\"a\":1}{",
    "nul",
    "\u{feff}{}",
    "{\"a\":1,\"a\":2}",
    "{\"\\ud800\":1}",
    "[[[[[[[[[[[[[[[[[[[[[[",
    "1e999999",
    "-",
    "{\"a\":\"\\\"}",
    "{\"\\u0061\":1}",
    "\0",
    "{\"b\":1}",
];

/// Text with the characters that matter to the decoders.
fn noise() -> impl Strategy<Value = String> {
    let signs = prop::collection::vec(
        prop_oneof![
            Just("{"),
            Just("}"),
            Just("["),
            Just("]"),
            Just("\""),
            Just("\\"),
            Just(":"),
            Just(","),
            Just("\"a\""),
            Just("\"b\""),
            Just("1"),
            Just("null"),
            Just("\u{e4}"),
            Just(" "),
            Just("\\u"),
            Just("-"),
            Just("e9"),
        ],
        0..60,
    );
    prop_oneof![signs.prop_map(|signs| signs.concat()), ".{0,80}", prop::sample::select(BODIES).prop_map(str::to_owned)]
}

/// The depth of a body, computed in the simplest way: by removing its strings first.
fn depth(body: &str) -> usize {
    let (mut plain, mut in_string, mut escaped) = (String::new(), false, false);
    for c in body.chars() {
        match (in_string, escaped, c) {
            (true, true, _) => escaped = false,
            (true, false, '\\') => escaped = true,
            (_, _, '"') => in_string = !in_string,
            (true, ..) => {}
            (false, ..) => plain.push(c),
        }
    }
    let levels = plain.chars().scan(0_usize, |level, c| {
        match c {
            '[' | '{' => *level += 1,
            ']' | '}' => *level = level.saturating_sub(1),
            _ => {}
        }
        Some(*level)
    });
    levels.max().unwrap_or(0)
}

#[track_caller]
fn check_message(error: &impl std::fmt::Display) {
    let message = error.to_string();
    assert!(!message.is_empty() && message.len() < 12_000, "{} bytes", message.len());
}

/// A shard that a program has written.
fn written() -> Vec<u8> {
    let mut ledger = ork_core::ledger::Ledger::default();
    let epoch = ledger.open(ork::Policy::default(), true);
    ledger.append(epoch, 0, 1_000);
    for index in 0..500 {
        ledger.start(epoch, index, 1, false);
        if index % 3 == 0 {
            ledger.settle(epoch, index, 1, ork_core::ledger::PartResult::Succeeded);
        } else if index % 3 == 1 {
            ledger.retry_later(epoch, index, 1);
        }
    }
    ledger.take_dirty()[0].1.encode()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn body_limits_are_checked_before_decoding(body in noise(), bytes in 0..60_usize, most in 0..6_usize) {
        let found = Limits { bytes, depth: most }.check(body.as_bytes());
        let expected = if body.len() > bytes {
            Err(BodyError::TooLarge { found: body.len(), most: bytes })
        } else if depth(&body) > most {
            Err(BodyError::TooDeep { most })
        } else {
            Ok(())
        };
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn body_limits_hold_for_arbitrary_bytes(body: Vec<u8>) {
        // serde reads nothing that is deeper than the measured depth.
        let limits = Limits { bytes: 1_000, depth: 0 };
        if limits.check(&body).is_ok() {
            let read = serde_json::from_slice::<serde_json::Value>(&body);
            prop_assert!(!matches!(read, Ok(serde_json::Value::Array(_) | serde_json::Value::Object(_))));
        }
    }

    #[test]
    fn inputs_are_found_or_rejected(body in noise()) {
        let fields = Fields::find(body.as_bytes(), &["a", "b"]);
        let object = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(&body);
        if let Err(error) = &fields {
            let shown = format!("{error:?}");
            prop_assert!(shown.starts_with("Input") && shown.len() < 12_000, "{}", shown);
        }
        // It only accepts objects, and rejects an object only because of its names.
        prop_assert!(fields.is_err() || object.is_ok(), "{}", body);
        if let Ok(object) = object {
            let known = object.keys().all(|key| key == "a" || key == "b");
            prop_assert!(known || fields.is_err(), "{}", body);
        }
    }

    #[test]
    fn hooks_are_read_or_rejected(signs in prop::collection::vec(prop::sample::select(HOOKS), 0..20), text in noise()) {
        for text in [signs.concat(), text] {
            match OnComplete::read_all(text.as_bytes(), &Allowed::default()) {
                // A decoded value can be encoded and decoded again.
                Ok(hooks) => {
                    let again = OnComplete::read_all(OnComplete::write_all(&hooks).as_bytes(), &Allowed::default());
                    prop_assert_eq!(again, Ok(hooks.clone()));
                    let kept = StoredHooks::new(&Hooks { part: None, on_complete: hooks });
                    let again = serde_json::from_str(&serde_json::to_string(&kept).unwrap()).unwrap();
                    prop_assert_eq!(kept, again);
                }
                Err(error) => check_message(&error),
            }
            if let Err(error) = serde_json::from_str::<StoredHooks>(&text) {
                check_message(&error.to_string());
            }
        }
    }

    #[test]
    fn part_hook_is_read_or_rejected(id: Option<u64>, total: Option<u64>, queue in prop::option::of("(part.)?.{0,300}")) {
        match PartHook::read(id, total, queue.as_deref(), &Allowed::default()) {
            Ok(None) => prop_assert!(id.is_none() && total.is_none() && queue.is_none()),
            Ok(Some(part)) => {
                prop_assert!(part.part_queue.starts_with("part.") && part.part_queue.len() <= 255 && part.total_parts > 0);
                prop_assert_eq!(part.check_range().is_ok(), part.part_id < part.total_parts);
            }
            Err(error) => check_message(&error),
        }
    }

    #[test]
    fn stored_failure_is_read_or_rejected(text in noise(), kind in "[a-z-]{0,12}") {
        let _any = serde_json::from_str::<Failure>(&text).map_err(|error| check_message(&error));
        let text = format!(r#"{{"kind":"{kind}","message":"m","causes":["c"],"details":{{"x":1}},"retryable":true}}"#);
        match serde_json::from_str::<Failure>(&text) {
            Ok(failure) => prop_assert_eq!(serde_json::to_string(&failure).unwrap(), text),
            Err(error) => check_message(&error),
        }
    }

    #[test]
    fn stored_shard_is_read_or_rejected(bytes: Vec<u8>) {
        let mut bytes = bytes;
        if let Err(error) = Shard::decode(&bytes) {
            check_message(&error);
        }
        bytes.insert(0, 1);
        if let Err(error) = Shard::decode(&bytes) {
            check_message(&error);
        }
    }

    #[test]
    fn damaged_shard_is_read_or_rejected(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), cut: prop::sample::Index) {
        let mut bytes = written();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let torn = &bytes[..cut.index(bytes.len())];
        for bytes in [&bytes[..], torn] {
            match Shard::decode(bytes) {
                // A decoded shard is valid, and can be encoded and decoded again.
                Ok(shard) => prop_assert_eq!(Shard::decode(&shard.encode()).unwrap(), shard),
                Err(error) => check_message(&error),
            }
        }
    }

    #[test]
    fn stored_words_are_parsed_or_rejected(word in ".{0,20}") {
        prop_assert!(JobState::from_word(&word).is_none_or(|state| state.as_str() == word));
        if let Ok(tolerate) = word.parse::<Tolerate>() {
            prop_assert_eq!(tolerate.to_string().parse(), Ok(tolerate));
        }
        if let Err(error) = word.parse::<JobId>() {
            check_message(&error);
        }
        prop_assert_eq!(JobId::from_foreign(&word), JobId::from_foreign(&word));
    }

    #[test]
    fn configuration_is_parsed_or_rejected(file in "[a-z_=\"0-9\\[\\]{}.\n# ]{0,60}", key in 0..14_usize, value in ".{0,30}") {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ork.toml");
        std::fs::File::create(&path).unwrap().write_all(file.as_bytes()).unwrap();
        if let Err(error) = Config::from(Some(&path), []) {
            check_message(&error);
        }
        let name = format!("ORK_{}", ork::CONFIG_KEYS[key % ork::CONFIG_KEYS.len()].name.to_uppercase());
        std::fs::write(&path, "").unwrap();
        match Config::from(Some(&path), [(name, value)]) {
            Ok(config) => {
                let shown = format!("{config:?}");
                prop_assert!(!shown.is_empty());
            }
            Err(error) => check_message(&error),
        }
    }
}

#[cfg(feature = "amqp")]
proptest! {
    #[test]
    fn url_is_parsed_or_rejected_without_showing_its_password(
        scheme in prop::sample::select(&["amqp://", "amqps://", "http://", ""][..]), user in "[a-z%@:]{0,8}",
        rest in "[a-z0-9:/?%@\\[\\]#=.]{0,30}",
    ) {
        let url = format!("{scheme}{user}:s3cret-word@{rest}");
        match ork_amqp::Config::new(&url) {
            Ok(config) => {
                let shown = format!("{config:?}");
                prop_assert!(!shown.contains("s3cret-word"), "{}", shown);
            }
            Err(error) => {
                check_message(&error);
                let shown = format!("{error} {error:?}");
                prop_assert!(!shown.contains("s3cret-word"));
            }
        }
    }
}

#[test]
fn oversized_shard_is_rejected() {
    let mut bytes = written();
    bytes.extend(vec![0; 2 << 20]);
    check_message(&Shard::decode(&bytes).unwrap_err());
}
