//! What is going to happen, in order of time.

use std::collections::BTreeMap;

use ailurus_model::Moment;

/// Events to come. Of those at the same moment, the one that was put in first comes first.
#[derive(Debug)]
pub(crate) struct Agenda<E> {
    events: BTreeMap<(Moment, u64), E>,
    last_nr: u64,
}

impl<E> Agenda<E> {
    pub(crate) const fn new() -> Self {
        Self {
            events: BTreeMap::new(),
            last_nr: 0,
        }
    }

    pub(crate) fn put(&mut self, at: Moment, event: E) {
        self.last_nr += 1;
        self.events.insert((at, self.last_nr), event);
    }

    /// Takes the next event and the moment at which it happens.
    pub(crate) fn take(&mut self) -> Option<(Moment, E)> {
        let ((at, _), event) = self.events.pop_first()?;
        Some((at, event))
    }

    /// Forgets the events that are not to be kept.
    #[cfg(test)]
    pub(crate) fn retain(&mut self, mut is_kept: impl FnMut(&E) -> bool) {
        self.events.retain(|_, event| is_kept(event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_then_in_the_order_in_which_they_were_put() {
        let mut agenda = Agenda::new();
        for (at, event) in [(5, 'c'), (1, 'a'), (5, 'd'), (1, 'b')] {
            agenda.put(Moment::from_millis(at), event);
        }
        let order: String = std::iter::from_fn(|| agenda.take().map(|(_, event)| event)).collect();
        assert_eq!(order, "abcd");
    }
}
