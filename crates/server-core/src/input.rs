//! Which of its inputs a job gets, once it is settled which of them exist.

use std::collections::BTreeSet;

use ailurus_model::{FileStatus, task::Split};

use crate::{
    ledger::{FileRecord, InputNeed, Ledger, LedgerError},
    operation::Operation,
};

impl<L: Ledger> Operation<'_, L> {
    /// Reads the files behind inputs that are ready.
    pub(crate) fn files_of(&self, needs: &[&InputNeed]) -> Result<Vec<FileRecord>, LedgerError> {
        needs
            .iter()
            .map(|need| {
                let file = self.ledger.file_of_part(&need.dataset, need.part)?;
                file.ok_or_else(|| {
                    LedgerError::contradiction(format!(
                        "job {} has input part {} of dataset `{}`, but the file is not there",
                        need.panda_id, need.part, need.dataset
                    ))
                })
            })
            .collect()
    }
}

/// Returns the inputs that a job reads, by input, then part; nothing if it cannot run with what
/// exists.
///
/// Jobs made from files get the parts whose files exist in all paired inputs. An input with other
/// parts than the first one is common to all jobs and must be there. A job that reads all files
/// gets those that exist, if any of the first input does.
pub(crate) fn usable(split: Split, needs: &[InputNeed]) -> Vec<&InputNeed> {
    let is_ready = |need: &&InputNeed| need.status == FileStatus::Ready;
    match split {
        Split::Events { .. } => Vec::new(),
        Split::AllFiles => {
            let ready: Vec<&InputNeed> = needs.iter().filter(is_ready).collect();
            if ready.iter().any(|need| need.input == 0) {
                ready
            } else {
                Vec::new()
            }
        }
        Split::Files { .. } => {
            let parts_of = |input: u32| -> BTreeSet<u32> {
                let of_input = needs.iter().filter(|need| need.input == input);
                of_input.map(|need| need.part).collect()
            };
            let mut parts = parts_of(0);
            let (paired, common): (Vec<_>, Vec<_>) = needs
                .iter()
                .partition(|need| need.input == 0 || parts_of(need.input) == parts);
            if !common.iter().all(is_ready) {
                return Vec::new();
            }
            for need in paired.iter().filter(|need| !is_ready(need)) {
                parts.remove(&need.part);
            }
            let mut all: Vec<&InputNeed> = paired
                .into_iter()
                .filter(|need| parts.contains(&need.part))
                .collect();
            if !all.is_empty() {
                all.extend(common);
            }
            all.sort_by_key(|need| (need.input, need.part));
            all
        }
    }
}

/// Returns the inputs that exist if any of the first kind does, and all others are there; a job
/// without inputs of the first kind needs only the others.
pub(crate) fn companions(
    needs: &[InputNeed],
    is_first: impl Fn(&&InputNeed) -> bool,
) -> Vec<&InputNeed> {
    let is_ready = |need: &&InputNeed| need.status == FileStatus::Ready;
    let (first, others): (Vec<_>, Vec<_>) = needs.iter().partition(&is_first);
    let mut usable: Vec<&InputNeed> = first.iter().copied().filter(is_ready).collect();
    let lacks_first = usable.is_empty() && !first.is_empty();
    if lacks_first || !others.iter().all(is_ready) {
        return Vec::new();
    }
    usable.extend(others);
    usable.sort_by_key(|need| (need.input, need.part));
    usable
}

#[cfg(test)]
mod tests {
    use ailurus_model::PandaId;

    use super::*;

    /// Rows of input, part and whether the file exists.
    fn used(split: Split, rows: &[(u32, u32, bool)]) -> Vec<(u32, u32)> {
        let needs: Vec<InputNeed> = rows
            .iter()
            .map(|(input, part, exists)| InputNeed {
                panda_id: PandaId::new(1),
                input: *input,
                dataset: format!("d{input}").as_str().into(),
                part: *part,
                status: if *exists {
                    FileStatus::Ready
                } else {
                    FileStatus::Failed
                },
            })
            .collect();
        usable(split, &needs)
            .iter()
            .map(|need| (need.input, need.part))
            .collect()
    }

    const FILES: Split = Split::Files { per_job: 2 };

    #[test]
    fn the_remaining_files_of_a_job_are_used() {
        assert_eq!(used(FILES, &[(0, 4, true), (0, 5, false)]), [(0, 4)]);
        assert_eq!(used(FILES, &[(0, 4, false), (0, 5, false)]), []);
    }

    #[test]
    fn a_pair_is_used_whole_or_not_at_all() {
        let rows = [(0, 4, true), (0, 5, true), (1, 4, false), (1, 5, true)];
        assert_eq!(used(FILES, &rows), [(0, 5), (1, 5)]);
    }

    #[test]
    fn a_common_input_must_be_there() {
        let rows = |common| [(0, 4, true), (0, 5, true), (1, 0, common)];
        assert_eq!(used(FILES, &rows(true)), [(0, 4), (0, 5), (1, 0)]);
        assert_eq!(used(FILES, &rows(false)), []);
    }

    #[test]
    fn a_job_of_all_files_takes_what_exists() {
        let all = Split::AllFiles;
        assert_eq!(
            used(all, &[(0, 0, true), (0, 1, false), (1, 0, true)]),
            [(0, 0), (1, 0)]
        );
        assert_eq!(used(all, &[(0, 0, false), (1, 0, true)]), []);
    }
}
