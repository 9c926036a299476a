//! Whose turn is next among the files that have not begun: [`Order`].

use std::collections::VecDeque;

use ailurus_model::ByteCount;

/// Files from this size on are large: many small ones move in the time of one, in bytes.
const LARGE_BYTES: u64 = 64 << 20;

/// Files that have not begun. Small ones go by rising size, large ones by falling size, each with
/// threads of its own as long as there are both: no small file waits behind a large one, and the
/// largest, which take longest, begin early. Files of the same size keep their order.
#[derive(Debug)]
pub(super) struct Order {
    small: VecDeque<u32>,
    large: VecDeque<u32>,
    /// Most large files at a time while small ones wait.
    large_at_a_time: usize,
}

/// Says whether a file of this size is large. One of unknown size is not.
pub(super) fn is_large(size: Option<ByteCount>) -> bool {
    size.is_some_and(|size| size.as_bytes() >= LARGE_BYTES)
}

impl Order {
    pub(super) fn new(sizes: &[Option<ByteCount>], parallel: usize) -> Self {
        let bytes = |file: &u32| {
            let size = usize::try_from(*file).ok().and_then(|file| sizes[file]);
            size.map_or(0, ByteCount::as_bytes)
        };
        let files = (0..sizes.len()).filter_map(|file| u32::try_from(file).ok());
        let (mut large, mut small): (Vec<u32>, Vec<u32>) =
            files.partition(|file| bytes(file) >= LARGE_BYTES);
        small.sort_by_key(bytes);
        large.sort_by_key(|file| std::cmp::Reverse(bytes(file)));
        Self {
            small: small.into(),
            large: large.into(),
            large_at_a_time: parallel / 2,
        }
    }

    /// Returns the file whose turn it is while `n_large` large ones run.
    pub(super) fn next(&mut self, n_large: usize) -> Option<usize> {
        let file = if n_large < self.large_at_a_time || self.small.is_empty() {
            self.large.pop_front().or_else(|| self.small.pop_front())
        } else {
            self.small.pop_front()
        };
        file.and_then(|file| usize::try_from(file).ok())
    }

    /// Returns how many have not begun.
    pub(super) fn len(&self) -> usize {
        self.small.len() + self.large.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn order(sizes: &[Option<u64>], parallel: usize) -> Order {
        let sizes: Vec<_> = sizes
            .iter()
            .map(|size| size.map(ByteCount::from_bytes))
            .collect();
        Order::new(&sizes, parallel)
    }

    #[test]
    fn one_thread_moves_small_files_before_large_ones() {
        let sizes = [
            Some(900 * MIB),
            Some(5),
            None,
            Some(500 * MIB),
            Some(5),
            Some(1),
        ];
        let mut order = order(&sizes, 1);
        let all: Vec<_> = std::iter::from_fn(|| order.next(0)).collect();
        assert_eq!(all, [2, 5, 1, 4, 0, 3]);
    }

    #[test]
    fn half_of_the_threads_take_the_largest_while_small_ones_wait() {
        let sizes = [
            Some(100 * MIB),
            Some(1),
            Some(300 * MIB),
            Some(200 * MIB),
            Some(2),
        ];
        let mut order = order(&sizes, 4);
        assert_eq!(order.next(0), Some(2));
        assert_eq!(order.next(1), Some(3));
        assert_eq!(order.next(2), Some(1));
        assert_eq!(order.next(2), Some(4));
        assert_eq!(order.next(2), Some(0), "the small ones have begun");
        assert_eq!(order.len(), 0);
    }
}
