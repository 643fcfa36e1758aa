//! The events that were found: each once, the latest of them, of one organization where one is named.

use std::collections::{BTreeSet, HashMap};

use hookline_schemas::event::Event;
use hookline_schemas::ids::{EventId, OrganizationId};
use hookline_schemas::time::Timestamp;

use super::FoundEvent;

/// So many are kept: whoever sends the same InvoiceId with every payment fills no memory.
const MOST: usize = 1_000;

/// What was found so far.
#[derive(Debug)]
pub(super) struct Found<'a> {
    organization: Option<&'a OrganizationId>,
    by_id: HashMap<EventId, FoundEvent>,
    /// The same, the earliest first.
    by_time: BTreeSet<(Timestamp, EventId)>,
}

impl<'a> Found<'a> {
    /// Nothing yet; what is not of this organization will be passed by.
    pub(super) fn of(organization: Option<&'a OrganizationId>) -> Self {
        Self { organization, by_id: HashMap::new(), by_time: BTreeSet::new() }
    }

    /// Takes events, each as often as it stands in the log.
    pub(super) fn take(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            if self.organization.is_none_or(|organization| event.organization == *organization) {
                self.take_one(event);
            }
        }
    }

    fn take_one(&mut self, event: Event) {
        if let Some(known) = self.by_id.get_mut(&event.id) {
            known.records += 1;
            return;
        }
        self.by_time.insert((event.accepted_at, event.id.clone()));
        self.by_id.insert(event.id.clone(), FoundEvent { event, records: 1 });
        if self.by_id.len() > MOST
            && let Some((_, earliest)) = self.by_time.pop_first()
        {
            self.by_id.remove(&earliest);
        }
    }

    /// In the order in which they were accepted.
    pub(super) fn into_events(mut self) -> Vec<FoundEvent> {
        self.by_time.into_iter().filter_map(|(_, id)| self.by_id.remove(&id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::event;

    #[test]
    fn the_latest_thousand_are_kept_each_once_in_their_order() {
        let mut found = Found::of(None);
        // Those that were accepted later come first, as they do from another partition.
        let numbers = (700..1_500).chain(0..700).chain(1_400..1_500);
        found.take(numbers.map(|number| event(number, Timestamp(number))));
        let found = found.into_events();
        let kept: Vec<_> = found.iter().map(|found| found.event.accepted_at.0).collect();
        assert_eq!(kept, (500..1_500).collect::<Vec<_>>());
        let twice = found.iter().filter(|found| found.records == 2);
        assert_eq!(
            twice.map(|found| found.event.accepted_at.0).collect::<Vec<_>>(),
            (1_400..1_500).collect::<Vec<_>>()
        );
    }

    #[test]
    fn what_is_another_organizations_takes_no_place() {
        let (ours, theirs) = (OrganizationId::new("org"), OrganizationId::new("org_2"));
        let mut found = Found::of(Some(&ours));
        found.take([event(1, Timestamp(1))]);
        let of_theirs = |number| Event { organization: theirs.clone(), ..event(number, Timestamp(number)) };
        found.take((2..1_100).map(of_theirs));
        let kept: Vec<_> = found.into_events().into_iter().map(|found| found.event.id).collect();
        assert_eq!(kept, [EventId::new("evt_1")]);
    }
}
