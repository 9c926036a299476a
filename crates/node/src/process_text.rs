//! Reads the texts of `/proc` that describe one process. Pure: bytes go in, numbers come out.
//!
//! Nothing here panics on any text, and nothing makes garbage: with many processes these are the
//! functions that a sample spends its time in.

use crate::proc_reader::number;

/// The fields of `/proc/<pid>/stat` that a sample needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatLine {
    /// One letter; `Z` and `X` are processes that have ended.
    pub state: char,
    /// The parent's number.
    pub parent: i32,
    /// User CPU time in clock ticks.
    pub user_ticks: u64,
    /// System CPU time in clock ticks.
    pub system_ticks: u64,
    /// User CPU time of ended children that were waited for, in clock ticks.
    pub children_user_ticks: u64,
    /// System CPU time of the same, in clock ticks.
    pub children_system_ticks: u64,
    /// Threads.
    pub n_threads: u32,
    /// Virtual memory in bytes.
    pub vmem_bytes: u64,
    /// Resident memory in pages.
    pub rss_pages: u64,
}

impl StatLine {
    /// Whether the process still runs, or could.
    #[must_use]
    pub const fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x')
    }
}

/// Memory of a process by `/proc/<pid>/smaps_rollup`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryRollup {
    /// Proportional resident memory in KiB.
    pub pss_kib: u64,
    /// Memory in swap in KiB.
    pub swap_kib: u64,
}

/// The counters of `/proc/<pid>/io`, all in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IoCounters {
    /// Read by system calls.
    pub read_chars: u64,
    /// Written by system calls.
    pub write_chars: u64,
    /// Read from storage.
    pub read_bytes: u64,
    /// Written to storage.
    pub write_bytes: u64,
}

/// Reads `/proc/<pid>/stat`.
///
/// The name stands in parentheses and may itself hold parentheses, blanks and line ends, so fields
/// are counted from the last closing one.
#[must_use]
pub fn parse_stat(text: &[u8]) -> Option<StatLine> {
    let name_end = text.iter().rposition(|byte| *byte == b')')?;
    let mut fields = Fields(text.get(name_end + 1..)?);
    let state = char::from(*fields.next()?.first()?);
    let parent = fields.number()?;
    let mut after = |skipped: usize| {
        for _ in 0..skipped {
            fields.next();
        }
        fields.number()
    };
    Some(StatLine {
        state,
        parent: i32::try_from(parent).ok()?,
        user_ticks: after(9)?,
        system_ticks: after(0)?,
        // Signed in the kernel's format.
        children_user_ticks: after(0).unwrap_or(0),
        children_system_ticks: after(0).unwrap_or(0),
        n_threads: after(2).and_then(|it| u32::try_from(it).ok()).unwrap_or(0),
        vmem_bytes: after(2)?,
        rss_pages: after(0).unwrap_or(0),
    })
}

/// Reads `/proc/<pid>/smaps_rollup`; none if it has no proportional size.
#[must_use]
pub fn parse_smaps_rollup(text: &[u8]) -> Option<MemoryRollup> {
    Some(MemoryRollup {
        pss_kib: named_number(text, b"Pss:")?,
        swap_kib: named_number(text, b"SwapPss:")
            .or_else(|| named_number(text, b"Swap:"))
            .unwrap_or(0),
    })
}

/// Reads the swapped memory out of `/proc/<pid>/status`, in KiB; zero if it is not said.
#[must_use]
pub fn parse_status_swap(text: &[u8]) -> u64 {
    named_number(text, b"VmSwap:").unwrap_or(0)
}

/// Reads `/proc/<pid>/io`; what is missing is zero.
#[must_use]
pub fn parse_io(text: &[u8]) -> IoCounters {
    let counter = |name: &[u8]| named_number(text, name).unwrap_or(0);
    IoCounters {
        read_chars: counter(b"rchar:"),
        write_chars: counter(b"wchar:"),
        read_bytes: counter(b"read_bytes:"),
        write_bytes: counter(b"write_bytes:"),
    }
}

/// Returns the number behind a name at the beginning of a line.
pub(crate) fn named_number(text: &[u8], name: &[u8]) -> Option<u64> {
    text.split(|byte| *byte == b'\n')
        .find_map(|line| Fields(line.strip_prefix(name)?).number())
}

/// The words of a text, one after another.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let text = self.0.trim_ascii_start();
        let end = text.iter().position(u8::is_ascii_whitespace);
        let (word, rest) = text.split_at(end.unwrap_or(text.len()));
        self.0 = rest;
        (!word.is_empty()).then_some(word)
    }
}

impl Fields<'_> {
    fn number(&mut self) -> Option<u64> {
        self.next().and_then(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "4711 (sh) S 4700 4711 4700 34816 4711 4194304 1432 98765 0 3 120 45 6789 \
        321 20 0 3 0 123456 10485760 512 18446744073709551615 1 1 0 0 0 0 0 4096 65538 0 0 0 17 1 0 0";

    #[test]
    fn a_recorded_stat_line_is_read() {
        assert_eq!(
            parse_stat(STAT.as_bytes()),
            Some(StatLine {
                state: 'S',
                parent: 4700,
                user_ticks: 120,
                system_ticks: 45,
                children_user_ticks: 6789,
                children_system_ticks: 321,
                n_threads: 3,
                vmem_bytes: 10_485_760,
                rss_pages: 512,
            })
        );
    }

    #[test]
    fn odd_names_do_not_shift_the_fields() {
        for name in ["a b", ") R 1 2 (", "(((", "tab\tline\n) S", "кот", ""] {
            let text = STAT.replacen("(sh)", &format!("({name})"), 1);
            assert_eq!(
                parse_stat(text.as_bytes()),
                parse_stat(STAT.as_bytes()),
                "{name}"
            );
        }
    }

    #[test]
    fn a_cut_stat_line_is_nothing() {
        for length in 0..STAT.find("512").expect("there") {
            let cut = &STAT[..length];
            assert!(
                parse_stat(cut.as_bytes()).is_none_or(|it| it.rss_pages == 0),
                "{cut}"
            );
        }
    }

    #[test]
    fn a_recorded_rollup_is_read() {
        let text = "55a0000-7ffd000 ---p 00000000 00:00 0  [rollup]\n\
            Rss:                3516 kB\nPss:                1234 kB\nPss_Anon:  96 kB\n\
            Swap:                 40 kB\nSwapPss:              20 kB\nLocked: 0 kB\n";
        assert_eq!(
            parse_smaps_rollup(text.as_bytes()),
            Some(MemoryRollup {
                pss_kib: 1234,
                swap_kib: 20
            })
        );
        assert_eq!(parse_smaps_rollup(b""), None);
    }

    #[test]
    fn recorded_io_counters_are_read() {
        let text = "rchar: 323934931\nwchar: 323929600\nsyscr: 632687\nsyscw: 632675\n\
            read_bytes: 4096\nwrite_bytes: 323932160\ncancelled_write_bytes: 0\n";
        let io = parse_io(text.as_bytes());
        assert_eq!((io.read_chars, io.write_chars), (323_934_931, 323_929_600));
        assert_eq!((io.read_bytes, io.write_bytes), (4096, 323_932_160));
        assert_eq!(parse_io(b"rchar: none"), IoCounters::default());
    }
}
