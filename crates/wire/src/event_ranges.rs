//! Messages about ranges of events (PanDA's event service).
//!
//! | version | a message is a list of |
//! |---|---|
//! | 0 | `{eventRangeID, eventStatus, objstoreID?, errorCode?, errorDiag?}` |
//! | 1, 2 | `{zipFile: {lfn, objstoreID, fsize?, adler32?, numEvents?, pathConvention?}, eventRanges: […]}` with entries as in version 0, or such an entry itself |
//!
//! Source: PanDA server, `pandaserver/taskbuffer/db_proxy_mods/task_event_module.py`,
//! `updateEventRanges`; Pilot 3, `pilot/eventservice/workexecutor/plugins/genericexecutor.py`.

use ailurus_model::{
    ByteCount, Checksum, EventArchive, EventItem, EventMessage, EventReport, GivenRange, Lfn,
    event::EventOutcome,
};
use serde_json::{Value, json};

use crate::fields::{is_missing, text_of, whole_of};

/// Reads a message.
///
/// # Errors
///
/// What the message must be, if it is no list.
pub fn decode_message(message: &Value, version: i64) -> Result<EventMessage, &'static str> {
    let Value::Array(entries) = message else {
        return Err("must be a list");
    };
    let mut read = EventMessage::default();
    for entry in entries {
        let ranges = entry.get("eventRanges").filter(|_| version != 0);
        let Some(Value::Array(ranges)) = ranges else {
            read.items.push(item(entry, None));
            continue;
        };
        let archive = entry.get("zipFile").filter(|file| !file.is_null());
        let archive = match archive.map(archive_of) {
            None => None,
            Some(Some(archive)) => {
                read.archives.push(archive);
                Some(read.archives.len() - 1)
            }
            Some(None) => {
                let lost = ranges.iter().map(|_| EventItem::Unreadable);
                read.items.extend(lost);
                continue;
            }
        };
        read.items
            .extend(ranges.iter().map(|one| item(one, archive)));
    }
    Ok(read)
}

fn item(entry: &Value, archive: Option<usize>) -> EventItem {
    let text = |name: &str| {
        let value = entry.get(name).filter(|value| !is_missing(value));
        value.map_or_else(String::new, |value| text_of(value).into_owned())
    };
    let number = |name: &str| {
        let number = entry.get(name).and_then(whole_of)?;
        i64::try_from(number).ok()
    };
    let Ok(id) = text("eventRangeID").parse() else {
        return EventItem::Unreadable;
    };
    let outcome = match text("eventStatus").as_str() {
        "running" | "transferring" => return EventItem::Progress,
        "finished" => EventOutcome::Finished,
        "failed" => EventOutcome::Failed,
        "fatal" => EventOutcome::Fatal,
        _ => return EventItem::Unreadable,
    };
    EventItem::Outcome(EventReport {
        id,
        outcome,
        object_store: text("objstoreID"),
        path_convention: number("pathConvention"),
        error_code: number("errorCode"),
        error_diag: text("errorDiag"),
        archive,
    })
}

/// Reads a file with several outputs; none if it has no name or no place.
fn archive_of(file: &Value) -> Option<EventArchive> {
    let text = |name: &str| {
        let value = file.get(name).filter(|value| !is_missing(value))?;
        Some(text_of(value).into_owned())
    };
    let count = |name: &str| {
        let number = file.get(name).and_then(whole_of)?;
        u64::try_from(number).ok()
    };
    let checksum = |name: &str, prefix: &str| {
        let digits = text(name)?;
        format!("{prefix}:{digits}").parse::<Checksum>().ok()
    };
    let store = text("objstoreID")?;
    Some(EventArchive {
        lfn: Lfn::new(text("lfn")?),
        size: ByteCount::from_bytes(count("fsize").unwrap_or(0)),
        checksum: checksum("adler32", "ad").or_else(|| checksum("md5", "md5")),
        object_store: match text("pathConvention") {
            Some(convention) => format!("{store}/{convention}"),
            None => store,
        },
        n_events: count("numEvents"),
    })
}

/// Writes ranges as a job gets them.
#[must_use]
pub fn encode_ranges(ranges: &[GivenRange]) -> Value {
    let ranges = ranges.iter().map(|range| {
        json!({
            "eventRangeID": range.id.to_string(),
            "startEvent": range.first_event,
            "lastEvent": range.last_event,
            "LFN": range.lfn.as_str(),
            "GUID": range.guid.as_ref().map(ailurus_model::Guid::as_str),
            "scope": range.scope.as_str(),
        })
    });
    Value::Array(ranges.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(item: &EventItem) -> &EventReport {
        match item {
            EventItem::Outcome(report) => report,
            EventItem::Progress | EventItem::Unreadable => panic!("{item:?}"),
        }
    }

    #[test]
    fn version_0_is_a_list_of_ranges() {
        let message = json!([
            {"eventRangeID": "1-2-3-4-5", "eventStatus": "failed", "errorCode": 1220},
            {"eventRangeID": "1-2-3-4-5", "eventStatus": "running"},
            {"eventRangeID": "1-2-3-4-5", "eventStatus": "finished", "objstoreID": 7},
            {"eventRangeID": "1-2-3-4", "eventStatus": "finished"},
            {"eventRangeID": "1-2-3-4-5", "eventStatus": "cancelled"},
            {"eventStatus": "finished"},
            17,
        ]);
        let read = decode_message(&message, 0).unwrap();
        let failed = outcome(&read.items[0]);
        assert_eq!(
            (failed.outcome, failed.error_code),
            (EventOutcome::Failed, Some(1220))
        );
        assert_eq!(read.items[1], EventItem::Progress);
        assert_eq!(outcome(&read.items[2]).object_store, "7");
        assert!(
            read.items[3..]
                .iter()
                .all(|item| *item == EventItem::Unreadable)
        );
        assert_eq!(read.items.len(), 7);
        assert!(decode_message(&json!({"eventRangeID": 1}), 0).is_err());
    }

    #[test]
    fn version_1_has_ranges_below_the_file_with_their_outputs() {
        let message = json!([
            {"zipFile": {"numEvents": 2, "objstoreID": 5, "lfn": "a.tar", "fsize": 100,
                         "pathConvention": 1000, "adler32": "0cc737eb"},
             "eventRanges": [{"eventRangeID": "1-2-3-4-1", "eventStatus": "finished"},
                             {"eventRangeID": "1-2-3-9-1", "eventStatus": "finished"}]},
            {"esOutput": {"numEvents": 1},
             "eventRanges": [{"eventRangeID": "1-2-3-5-1", "eventStatus": "finished",
                              "pfn": "/a", "fsize": 1, "checksum": "ad:1"}]},
            {"eventRangeID": "1-2-3-6-1", "eventStatus": "fatal"},
            {"zipFile": {"lfn": "no place"},
             "eventRanges": [{"eventRangeID": "1-2-3-7-1", "eventStatus": "finished"}]},
        ]);
        let read = decode_message(&message, 1).unwrap();
        assert_eq!(read.archives.len(), 1);
        assert_eq!(read.archives[0].object_store, "5/1000");
        assert_eq!(
            read.archives[0].checksum,
            Some(Checksum::Adler32(0x0cc7_37eb))
        );
        let archives: Vec<_> = read.items[..4]
            .iter()
            .map(|one| outcome(one).archive)
            .collect();
        assert_eq!(archives, [Some(0), Some(0), None, None]);
        assert_eq!(outcome(&read.items[3]).outcome, EventOutcome::Fatal);
        assert_eq!(read.items[4], EventItem::Unreadable);
        // Version 0 knows no lists below its entries.
        assert_eq!(decode_message(&message, 0).unwrap().items.len(), 4);
    }
}
