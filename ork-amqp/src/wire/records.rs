//! The records in a part queue. Programs in other languages write them too, so a part's record needs only one header.

use lapin::BasicProperties;
use lapin::types::{FieldTable, ShortString};

use super::hooks::{FOREIGN_TOTAL_PARTS, PART_ID, TOTAL_PARTS};
use super::{EPOCH, Headers, JSON, Publication, in_range, number, text};
use crate::error::LinkError;
use crate::topology::short;
use ork_core::barrier::Entry;
use ork_ports::broker::PartRecord;

/// The header with the type of a record that is not about a part.
const RECORD: &str = "ork-record";
const MARK: &str = "ork-mark";

/// The header that states how a part ended.
const STATE: &str = "state";

/// The `type` of a record.
const KIND: &str = "ork.part";

/// Encodes a record as a message.
pub(crate) fn encode(record: &PartRecord) -> Result<Publication, LinkError> {
    let mut headers = FieldTable::default();
    let epoch_of = |headers: &mut FieldTable, epoch: u32| {
        if epoch != 0 {
            headers.insert(EPOCH.into(), number(epoch.into()));
        }
    };
    match &record.entry {
        Entry::Head { epoch } => {
            headers.insert(RECORD.into(), text("head"));
            epoch_of(&mut headers, *epoch);
        }
        Entry::Part { epoch, id, total, ok } => {
            headers.insert(PART_ID.into(), number(*id));
            headers.insert(TOTAL_PARTS.into(), number(*total));
            epoch_of(&mut headers, *epoch);
            if !ok {
                headers.insert(STATE.into(), text("failed"));
            }
        }
        Entry::Mark(mark) => {
            headers.insert(RECORD.into(), text("mark"));
            headers.insert(MARK.into(), text(&format!("{mark:032x}")));
        }
        Entry::Unknown(_) => {}
    }
    let properties = BasicProperties::default()
        .with_content_type(JSON.into())
        .with_delivery_mode(2)
        .with_message_id(short(&record.id)?)
        .with_type(KIND.into())
        .with_headers(headers);
    let routing_key = short(&record.queue)?;
    Ok(Publication {
        exchange: ShortString::default(),
        routing_key,
        mandatory: true,
        properties,
        body: record.body.clone(),
    })
}

/// Decodes a record.
pub(crate) fn decode(properties: &BasicProperties) -> Entry {
    read(Headers(properties.headers().as_ref())).unwrap_or_else(Entry::Unknown)
}

fn read(headers: Headers<'_>) -> Result<Entry, String> {
    let epoch = in_range(EPOCH, headers.number(EPOCH)?.unwrap_or(0))?;
    match headers.text(RECORD)? {
        None => {}
        Some("head") => return Ok(Entry::Head { epoch }),
        Some("mark") => {
            let mark = headers.text(MARK)?.and_then(|mark| u128::from_str_radix(mark, 16).ok());
            return mark.map(Entry::Mark).ok_or_else(|| format!("the header `{MARK}` is not a valid mark"));
        }
        Some(other) => {
            let head: String = other.chars().take(40).collect();
            return Err(format!("the header `{RECORD}` is `{head}`, expected `head`, `mark` or none"));
        }
    }
    let missing = || format!("the header `{PART_ID}` is missing; records in a part queue require it");
    let id = headers.number(PART_ID)?.ok_or_else(missing)?;
    let total = headers.number(TOTAL_PARTS)?.filter(|total| *total != FOREIGN_TOTAL_PARTS).unwrap_or(0);
    let ok = match headers.text(STATE)? {
        None | Some("succeeded") => true,
        Some("failed") => false,
        Some(other) => {
            let head: String = other.chars().take(40).collect();
            return Err(format!("the header `{STATE}` is `{head}`, expected `succeeded`, `failed` or none"));
        }
    };
    Ok(Entry::Part { epoch, id, total, ok })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_the_round_trip() {
        for entry in [
            Entry::Head { epoch: 7 },
            Entry::Part { epoch: 0, id: 3, total: 9, ok: true },
            Entry::Part { epoch: 1, id: 0, total: 1, ok: false },
            Entry::Mark(u128::MAX),
        ] {
            let record =
                PartRecord { queue: "part.a".to_owned(), id: "1".to_owned(), entry: entry.clone(), body: "1".into() };
            assert_eq!(decode(&encode(&record).unwrap().properties), entry);
        }
    }

    #[test]
    fn foreign_record_needs_one_header_and_invalid_records_have_a_reason() {
        let headers = |name: &str, value| {
            let mut headers = FieldTable::default();
            headers.insert(name.into(), value);
            decode(&BasicProperties::default().with_headers(headers))
        };
        assert_eq!(headers(PART_ID, number(4)), Entry::Part { epoch: 0, id: 4, total: 0, ok: true });
        for (entry, message) in [
            (decode(&BasicProperties::default()), "`part_id` is missing"),
            (headers(PART_ID, text("four")), "not a non-negative integer"),
            (headers(RECORD, text("tail")), "expected `head`"),
            (headers(RECORD, text("mark")), "is not a valid mark"),
        ] {
            let Entry::Unknown(why) = entry else { panic!("{entry:?}") };
            assert!(why.contains(message), "{why}");
        }
    }
}
