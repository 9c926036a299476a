//! Passes open files and specs from the pilot to its guard.

use std::{
    io::{self, ErrorKind, IoSlice, IoSliceMut, Read},
    mem::MaybeUninit,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::Duration,
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::protocol::SPEC_MAX_BYTES;

/// Files that are passed for each payload: its socket, standard output, standard error.
pub(crate) const N_FILES: usize = 3;

/// How long the guard waits for the rest of a spec: the pilot writes it without a pause.
const SPEC_LIMIT: Duration = Duration::from_secs(5);

/// The byte that files travel with: none travel alone.
const CARRIER: u8 = b'f';

/// What came from the pilot.
pub(crate) enum Received {
    /// The files of one payload.
    Files([OwnedFd; N_FILES]),
    /// A message without the files that it should have.
    Nothing,
    /// The pilot is gone.
    End,
}

/// Passes the files of one payload.
pub(crate) fn send_files(to: &UnixStream, files: [BorrowedFd<'_>; N_FILES]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(N_FILES))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !ancillary.push(SendAncillaryMessage::ScmRights(&files)) {
        return Err(ErrorKind::OutOfMemory.into());
    }
    let carrier = [IoSlice::new(&[CARRIER])];
    loop {
        match sendmsg(to, &carrier, &mut ancillary, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Takes the files of one payload.
pub(crate) fn receive_files(from: &UnixStream) -> io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(N_FILES))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut carrier = [0];
    let message = recvmsg(
        from,
        &mut [IoSliceMut::new(&mut carrier)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    if message.bytes == 0 {
        return Ok(Received::End);
    }
    let mut files = Vec::with_capacity(N_FILES);
    for part in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = part {
            files.extend(passed);
        }
    }
    Ok(<[OwnedFd; N_FILES]>::try_from(files).map_or(Received::Nothing, Received::Files))
}

/// Reads a spec, which stands behind its length.
pub(crate) fn read_spec(mut socket: &UnixStream) -> io::Result<Vec<u8>> {
    socket.set_read_timeout(Some(SPEC_LIMIT))?;
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > SPEC_MAX_BYTES {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length];
    socket.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Write, os::fd::AsFd};

    use super::*;

    #[test]
    fn files_arrive_in_their_order() {
        let (ours, guards) = UnixStream::pair().expect("sockets");
        let null = File::open("/dev/null").expect("there");
        let zero = File::open("/dev/zero").expect("there");
        send_files(&ours, [null.as_fd(), zero.as_fd(), null.as_fd()]).expect("room");
        let Ok(Received::Files([_, second, _])) = receive_files(&guards) else {
            panic!("files were sent");
        };
        let mut bytes = [1];
        File::from(second).read_exact(&mut bytes).expect("endless");
        assert_eq!(bytes, [0]);
    }

    #[test]
    fn a_message_without_files_and_the_end_are_told_apart() {
        let (mut ours, guards) = UnixStream::pair().expect("sockets");
        ours.write_all(b"x").expect("room");
        assert!(matches!(receive_files(&guards), Ok(Received::Nothing)));
        drop(ours);
        assert!(matches!(receive_files(&guards), Ok(Received::End)));
    }

    #[test]
    fn a_spec_that_is_too_long_is_not_waited_for() {
        let (mut ours, guards) = UnixStream::pair().expect("sockets");
        ours.write_all(&u32::MAX.to_le_bytes()).expect("room");
        assert!(read_spec(&guards).is_err());
    }
}
