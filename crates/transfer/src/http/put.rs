//! Stores one file: under a name of its own first where the storage can rename, verified, then
//! renamed.

use std::sync::Arc;

use ailurus_model::{ByteCount, Checksum};

use super::{
    answer::Action,
    get::split,
    look::Found,
    macaroon::Activity,
    place::Place,
    session::{Ask, Body, Restart, Session},
    upload::Upload,
};
use crate::{
    Cause, Patience, Transfer, TransferError, TransferReport, Watch, checksum::ChecksumKind,
    local::source::Source, naming::new_guid,
};

/// Most times that a file is sent within one transfer, if its connection breaks while bytes move.
const SENDINGS_MAX: u32 = 4;

/// Most times that a renaming or removal is asked for.
const ASKINGS_MAX: u32 = 3;

/// Largest file that is sent without asking first, to storages that take bytes themselves.
const UNASKED_MAX_BYTES: u64 = 64 << 10;

/// Stores a file and returns what was stored.
pub(crate) fn put(
    session: &Session<'_>,
    place: &Place,
    transfer: &Transfer,
) -> Result<TransferReport, TransferError> {
    let source = Source::open(transfer.direction, &transfer.path)?;
    if let Some(expected) = transfer.size.filter(|it| *it != source.size()) {
        let found = source.size();
        return Err(source.error(Cause::SizeMismatch { expected, found }));
    }
    let _budget = session.take_buffers(place)?;
    // A signed URL is good for its own path only.
    let is_renamed = !place.is_signed() && session.can_rename(place)? && {
        let decodes = session.tool.hosts.get(place.origin()).decodes;
        decodes != Some(false) || !place.is_encoded()
    };
    let (size, checksums) = if is_renamed {
        match put_and_rename(session, place, &source, transfer)? {
            Some(stored) => stored,
            None => put_directly(session, place, &source, transfer)?,
        }
    } else {
        put_directly(session, place, &source, transfer)?
    };
    let (checksum, also) = split(checksums, transfer);
    Ok(TransferReport {
        size,
        checksum,
        also,
        duration: session.watch.elapsed(),
    })
}

type Stored = (ByteCount, Vec<Checksum>);

/// Stores a file under another name, and renames it once it is verified. None if the storage
/// cannot rename after all.
fn put_and_rename(
    session: &Session<'_>,
    place: &Place,
    source: &Source,
    transfer: &Transfer,
) -> Result<Option<Stored>, TransferError> {
    let mut last = None;
    for nr in 0..SENDINGS_MAX {
        // A new name each time: some storages replace nothing, and a lost sending may still run.
        let temporary = place.sibling(&temporary_name(session, place)?);
        let before = session.watch.moved();
        let stored = send(session, &temporary, place, source, transfer)
            .and_then(|stored| Ok((rename(session, &temporary, place, &stored)?, stored)));
        match stored {
            Ok((true, stored)) => return Ok(Some(stored)),
            Ok((false, _)) => {
                clean_up(session, &temporary);
                return Ok(None);
            }
            Err(error) => {
                clean_up(session, &temporary);
                if !may_send_again(session, &error, (nr, before)) {
                    return Err(error);
                }
                last = Some(error);
            }
        }
    }
    Err(last.expect("something was sent"))
}

/// Stores a file under its own name; what is there after a failure is removed.
fn put_directly(
    session: &Session<'_>,
    place: &Place,
    source: &Source,
    transfer: &Transfer,
) -> Result<Stored, TransferError> {
    let mut last = None;
    for nr in 0..SENDINGS_MAX {
        let before = session.watch.moved();
        match send(session, place, place, source, transfer) {
            Ok(stored) => return Ok(stored),
            Err(error) => {
                // What was refused before it began has left what was there.
                if session.watch.moved() > before || is_wrong_there(&error) {
                    clean_up(session, place);
                }
                if !may_send_again(session, &error, (nr, before)) {
                    return Err(error);
                }
                last = Some(error);
            }
        }
    }
    Err(last.expect("something was sent"))
}

/// A broken connection is no reason to give up as long as bytes move. What arrived wrong is sent
/// once more: a bit may have flipped on the way, and XRootD tells the checksum of a file that was
/// replaced within the same second.
fn may_send_again(
    session: &Session<'_>,
    error: &TransferError,
    (nr, before): (u32, ByteCount),
) -> bool {
    let is_broken = matches!(error.cause, Cause::Broken { .. });
    let has_moved = session.watch.moved() > before;
    !session.watch.is_stopped() && ((is_broken && has_moved) || (is_wrong_there(error) && nr == 0))
}

/// Says whether the storage has something else than was sent.
fn is_wrong_there(error: &TransferError) -> bool {
    let is_wrong = matches!(
        error.cause,
        Cause::ChecksumMismatch { .. } | Cause::SizeMismatch { .. }
    );
    is_wrong && error.place.starts_with("http")
}

fn temporary_name(session: &Session<'_>, place: &Place) -> Result<String, TransferError> {
    let action = "write";
    let guid = new_guid().map_err(|source| session.error(place, Cause::Io { action, source }))?;
    Ok(format!(".ailurus-{guid}.part"))
}

/// Removes what a failed sending may have left. The transfer has its reason to fail already.
fn clean_up(session: &Session<'_>, place: &Place) {
    // Also after a stop: what is left there would be left for ever.
    let watch = Watch::new(Arc::default(), Patience::default());
    let session = session.for_cleaning(&watch);
    for _ in 0..ASKINGS_MAX {
        match session.delete(place) {
            Ok(()) => return,
            Err(error) if matches!(error.cause, Cause::Broken { .. } | Cause::Busy { .. }) => {}
            Err(error) => {
                let cause = error.cause;
                tracing::warn!(place = place.shown(), %cause, "an unfinished file may be left");
                return;
            }
        }
    }
}

/// Sends a file to a place and has it verified there. `final_place` is for messages and directories.
fn send(
    session: &Session<'_>,
    place: &Place,
    final_place: &Place,
    source: &Source,
    transfer: &Transfer,
) -> Result<Stored, TransferError> {
    let mut upload = Upload::new(session, source, transfer, final_place);
    let result = send_bytes(session, place, &mut upload, final_place);
    if let Some(error) = upload.failed.take() {
        return Err(error);
    }
    let is_all_sent = upload.sent == source.size().as_bytes();
    let checksums = upload.sums.finish();
    match result {
        // The answer is lost, not the bytes: they may be there.
        Err(error) if is_all_sent && matches!(error.cause, Cause::Broken { .. }) => {
            check_unchanged(source)?;
            confirm(session, place, source, &checksums).map_err(|_| error)?;
        }
        Err(error) => return Err(error),
        Ok(()) => {
            check_unchanged(source)?;
            confirm(session, place, source, &checksums)?;
        }
    }
    let size = source.size();
    let path = transfer.path.display().to_string();
    transfer.verify(&path, size, &checksums[0])?;
    Ok((size, checksums))
}

/// Fails if the source has been written to since it was opened.
fn check_unchanged(source: &Source) -> Result<(), TransferError> {
    match source.change() {
        Some(what) => Err(source.error(Cause::Changed { what })),
        None => Ok(()),
    }
}

/// Sends the bytes, and makes missing directories on the way.
fn send_bytes(
    session: &Session<'_>,
    place: &Place,
    upload: &mut Upload<'_>,
    final_place: &Place,
) -> Result<(), TransferError> {
    let mut has_parents = false;
    loop {
        let is_asked = upload.length() > UNASKED_MAX_BYTES
            || !session.tool.hosts.get(place.origin()).takes_bytes;
        let headers: &[(&str, &str)] = if is_asked {
            &[("Expect", "100-continue")]
        } else {
            &[]
        };
        let ask = Ask {
            method: "PUT",
            headers,
            limit: session.head_limit(),
            content: Body::Stream(upload),
            activity: Activity::Upload,
        };
        let origin = place.origin();
        let before = session.tool.hosts.learn(origin, |it| it.takes_bytes = true);
        let answer = session.ask(place, ask)?;
        match answer.status {
            200..=299 => {
                answer.drain();
                return Ok(());
            }
            // What Apache and others say of a missing directory.
            403 | 404 | 409 if !has_parents => {
                let error = session.refused(final_place, answer, Action::Write);
                if let Some(directory) = place.parent() {
                    session.tool.hosts.forget_directory(&directory.url());
                }
                if let Err(other) = session.make_parents(place) {
                    tracing::debug!(cause = %other.cause, "its directory was not made");
                    return Err(error);
                }
                has_parents = true;
            }
            417 if is_asked => {
                session.tool.hosts.learn(origin, |it| *it = before);
                let error = session.refused(final_place, answer, Action::Write);
                return Err(error);
            }
            _ => return Err(session.refused(final_place, answer, Action::Write)),
        }
    }
}

/// Compares what the storage has with what was sent.
fn confirm(
    session: &Session<'_>,
    place: &Place,
    source: &Source,
    checksums: &[Checksum],
) -> Result<(), TransferError> {
    let kind = ChecksumKind::of(&checksums[0]);
    let found = look_patiently(session, place, kind).map_err(|error| {
        if !matches!(error.cause, Cause::Missing) {
            return error;
        }
        let why = "it is not there after it was stored".to_owned();
        session.error(place, Cause::Refused { why })
    })?;
    let expected = source.size();
    if let Some(found) = found.size.filter(|it| *it != expected) {
        return Err(session.error(place, Cause::SizeMismatch { expected, found }));
    }
    match found.checksum(kind) {
        Some(checksum) if *checksum != checksums[0] => {
            let (expected, found) = (checksums[0].clone(), checksum.clone());
            Err(session.error(place, Cause::ChecksumMismatch { expected, found }))
        }
        Some(_) => Ok(()),
        None => {
            note_unverified(session, place, found.size.is_some());
            Ok(())
        }
    }
}

/// Asks about a file, again if the connection breaks.
fn look_patiently(
    session: &Session<'_>,
    place: &Place,
    kind: ChecksumKind,
) -> Result<Found, TransferError> {
    let mut tries = 1;
    loop {
        match session.look(place, kind) {
            Err(error) if tries < ASKINGS_MAX && matches!(error.cause, Cause::Broken { .. }) => {
                tries += 1;
            }
            result => return result,
        }
    }
}

/// Says once a storage what could not be verified there.
fn note_unverified(session: &Session<'_>, place: &Place, has_size: bool) {
    let storage = place.origin();
    if session
        .tool
        .hosts
        .learn(storage, |it| it.is_noted = true)
        .is_noted
    {
        return;
    }
    if has_size {
        tracing::info!(
            storage,
            "files stored here are verified by size only: no checksums"
        );
    } else {
        tracing::warn!(
            storage,
            "files stored here cannot be verified: neither size nor checksums"
        );
    }
}

/// Renames a verified file. A lost answer is no failure if the file is where it should be.
fn rename(
    session: &Session<'_>,
    from: &Place,
    to: &Place,
    stored: &Stored,
) -> Result<bool, TransferError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let error = match session.rename(from, to) {
            Ok(true) => return is_decoded(session, to, stored),
            Ok(false) => return Ok(false),
            Err(error) => error,
        };
        let is_broken = matches!(error.cause, Cause::Broken { .. });
        // It may have been done: by this try, or by an earlier one whose answer was lost.
        let is_unclear = is_broken || tries > 1 || matches!(error.cause, Cause::Busy { .. });
        if is_unclear && is_renamed(session, from, to, stored) {
            return Ok(true);
        }
        if tries >= ASKINGS_MAX || !is_broken {
            return Err(error);
        }
    }
}

/// Says whether a renamed file has the name that was meant. XRootD 5.5 takes the new name as it
/// stands in the header, encoded: then it is removed, and such names are stored directly.
fn is_decoded(
    session: &Session<'_>,
    place: &Place,
    (size, checksums): &Stored,
) -> Result<bool, TransferError> {
    let origin = place.origin();
    if !place.is_encoded() || session.tool.hosts.get(origin).decodes == Some(true) {
        return Ok(true);
    }
    let is_there = match look_patiently(session, place, ChecksumKind::of(&checksums[0])) {
        Ok(found) => found.size.is_none_or(|it| it == *size),
        Err(error) if matches!(error.cause, Cause::Missing) => false,
        Err(error) => return Err(error),
    };
    session
        .tool
        .hosts
        .learn(origin, |it| it.decodes = Some(is_there));
    if !is_there {
        tracing::debug!(
            origin,
            "new names are not decoded here: files are stored directly"
        );
        clean_up(session, &place.taken_literally());
    }
    Ok(is_there)
}

fn is_renamed(session: &Session<'_>, from: &Place, to: &Place, stored: &Stored) -> bool {
    let (size, checksums) = stored;
    let kind = ChecksumKind::of(&checksums[0]);
    let look = |place| look_patiently(session, place, kind);
    let is_gone = matches!(look(from), Err(error) if matches!(error.cause, Cause::Missing));
    let is_there = look(to).is_ok_and(|found| {
        found.size == Some(*size) && found.checksum(kind).is_none_or(|it| *it == checksums[0])
    });
    is_gone && is_there
}
