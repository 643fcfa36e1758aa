//! Redelivery: dead letters that somebody wants delivered again, and how far that has come.
//!
//! A wish and its progress are two entries of `lanes`, in the partition of the wish's id: who owns that partition
//! carries it out, and who owns it next goes on from the progress. A redelivery is a new delivery under the same
//! `webhook-id`, with a deadline of its own; the letter stays where it is.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::delivery::{DeadLetter, DeadReason};
use crate::event::EventType;
use crate::ids::{EventId, WebhookId};
use crate::time::Timestamp;

/// Where a dead letter stands: `12-3456` is offset 3456 of partition 12.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LetterId {
    /// The partition of `dead_letters`.
    pub partition: u16,
    /// The offset in it.
    pub offset: u64,
}

/// A text that is no [`LetterId`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a dead letter's id is two numbers, as in 12-3456")]
pub struct NotALetterId;

impl fmt::Display for LetterId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.partition, self.offset)
    }
}

impl FromStr for LetterId {
    type Err = NotALetterId;

    fn from_str(text: &str) -> Result<Self, NotALetterId> {
        let (partition, offset) = text.split_once('-').ok_or(NotALetterId)?;
        let parsed = (partition.parse(), offset.parse());
        let (Ok(partition), Ok(offset)) = parsed else { return Err(NotALetterId) };
        Ok(Self { partition, offset })
    }
}

impl Serialize for LetterId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for LetterId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Which dead letters: those to which every member applies.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LetterFilter {
    /// This one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub letter: Option<LetterId>,
    /// One of these; of whatever letter, where there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub letters: Vec<LetterId>,
    /// Of this webhook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookId>,
    /// Of this event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event: Option<EventId>,
    /// Whose event is of this type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub event_type: Option<EventType>,
    /// Given up for this reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<DeadReason>,
    /// Whose latest attempt failed so: a label of [`FailureReason`](crate::delivery::FailureReason), as `timeout`
    /// or `5xx`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Given up then or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Given up before then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

impl LetterFilter {
    /// Whether it leaves nothing out.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a letter is one of them.
    pub fn takes(&self, id: LetterId, letter: &DeadLetter) -> bool {
        fn is(wanted: Option<&impl PartialEq>, found: bool) -> bool {
            wanted.is_none() || found
        }
        let failure = letter.last_failure.map(|failure| failure.label());
        is(self.letter.as_ref(), self.letter == Some(id))
            && (self.letters.is_empty() || self.letters.contains(&id))
            && is(self.webhook.as_ref(), self.webhook.as_ref() == Some(&letter.webhook))
            && is(self.event.as_ref(), self.event.as_ref() == Some(&letter.event.id))
            && is(self.event_type.as_ref(), self.event_type == Some(letter.event.event_type))
            && is(self.reason.as_ref(), self.reason == Some(letter.reason))
            && is(self.failure.as_ref(), self.failure.as_deref() == failure)
            && self.since.is_none_or(|since| letter.dead_at >= since)
            && self.until.is_none_or(|until| letter.dead_at < until)
    }

    /// The letters that it names, if it names some.
    pub fn named(&self) -> impl Iterator<Item = LetterId> {
        self.letter.iter().chain(&self.letters).copied()
    }

    /// No letter before this offset of the partition is one of them.
    pub fn begins_at(&self, partition: u16) -> u64 {
        let here = self.named().filter(|letter| letter.partition == partition);
        here.map(|letter| letter.offset).min().unwrap_or(0)
    }
}

/// A wish to have dead letters delivered again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redelivery {
    /// Its name: letters and digits.
    pub id: String,
    /// Which letters.
    pub filter: LetterFilter,
    /// How many of them per second.
    pub rate: NonZeroU32,
    /// When it was wished for.
    pub requested_at: Timestamp,
    /// The ends of the partitions of `dead_letters` then: what dies later is not meant.
    pub ends: Vec<u64>,
    /// It is wanted no more.
    #[serde(default)]
    pub is_cancelled: bool,
}

/// How far a redelivery has come: everything before the place is durable in `parked`, or was not meant.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RedeliveryProgress {
    /// The partition of `dead_letters` that is read; behind the last one there is nothing to do.
    pub partition: u16,
    /// Where to go on in it.
    pub offset: u64,
    /// Letters put into their lanes.
    pub redelivered: u64,
    /// Letters whose webhooks are no more.
    pub without_webhook: u64,
    /// Letters that are not of this version.
    pub unreadable: u64,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

impl RedeliveryProgress {
    /// Nothing has been done.
    pub const NONE: Self =
        Self { partition: 0, offset: 0, redelivered: 0, without_webhook: 0, unreadable: 0, ended_at: None };
}

/// What an entry of `lanes` tells of a redelivery, by its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedeliveryKey<'a> {
    /// The wish with this id: a [`Redelivery`].
    Wish(&'a str),
    /// The progress of the one with this id: a [`RedeliveryProgress`].
    Progress(&'a str),
}

impl<'a> RedeliveryKey<'a> {
    const WISH: &'static str = "redelivery/wish/";
    const PROGRESS: &'static str = "redelivery/progress/";

    /// Reads the key of an entry; `None`, if it tells of something else.
    pub fn parse(key: &'a [u8]) -> Option<Self> {
        let key = std::str::from_utf8(key).ok()?;
        let wish = key.strip_prefix(Self::WISH).map(Self::Wish);
        wish.or_else(|| key.strip_prefix(Self::PROGRESS).map(Self::Progress))
    }

    /// The id that decides in which partition it stands.
    pub const fn id(&self) -> &'a str {
        match self {
            Self::Wish(id) | Self::Progress(id) => id,
        }
    }
}

impl fmt::Display for RedeliveryKey<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wish(id) => write!(formatter, "{}{id}", Self::WISH),
            Self::Progress(id) => write!(formatter, "{}{id}", Self::PROGRESS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::FailureReason;
    use crate::event::Event;

    fn event() -> Event {
        let data = serde_json::json!({"webhook": {"webhookId": "wh_other", "reason": "gone"}});
        let event = serde_json::json!({
            "id": "evt_1", "fingerprint": 0, "type": "WEBHOOK_DISABLED", "organization": "org",
            "club_id": "", "accepted_at": 1, "data": data,
        });
        Event::decode(event.to_string().as_bytes()).expect("an event")
    }

    #[test]
    fn a_filter_takes_what_every_member_applies_to() {
        let letter = DeadLetter {
            webhook: WebhookId::new("wh"),
            event: event(),
            reason: DeadReason::Deadline,
            tries: 3,
            last_failure: Some(FailureReason::Timeout),
            dead_at: Timestamp(500),
        };
        let id = LetterId { partition: 3, offset: 7 };
        let all = LetterFilter::default;
        for (filter, takes) in [
            (all(), true),
            (LetterFilter { letter: Some(id), ..all() }, true),
            (LetterFilter { letter: Some(LetterId { offset: 8, ..id }), ..all() }, false),
            (LetterFilter { letters: vec![LetterId { offset: 8, ..id }, id], ..all() }, true),
            (LetterFilter { letters: vec![LetterId { offset: 8, ..id }], ..all() }, false),
            (LetterFilter { event_type: Some(EventType::WebhookDisabled), ..all() }, true),
            (LetterFilter { event_type: Some(EventType::WebhookTest), ..all() }, false),
            (LetterFilter { webhook: Some(WebhookId::new("wh")), ..all() }, true),
            (LetterFilter { webhook: Some(WebhookId::new("wh_2")), ..all() }, false),
            (LetterFilter { event: Some(letter.event.id.clone()), ..all() }, true),
            (LetterFilter { event: Some(EventId::new("evt_2")), ..all() }, false),
            (LetterFilter { reason: Some(DeadReason::Deadline), ..all() }, true),
            (LetterFilter { reason: Some(DeadReason::Rejected), ..all() }, false),
            (LetterFilter { failure: Some("timeout".to_owned()), ..all() }, true),
            (LetterFilter { failure: Some("tls".to_owned()), ..all() }, false),
            (LetterFilter { since: Some(Timestamp(500)), until: Some(Timestamp(501)), ..all() }, true),
            (LetterFilter { since: Some(Timestamp(501)), ..all() }, false),
            (LetterFilter { until: Some(Timestamp(500)), ..all() }, false),
        ] {
            assert_eq!(filter.takes(id, &letter), takes, "{filter:?}");
            assert_eq!(filter.is_everything(), filter == all(), "{filter:?}");
        }
    }

    #[test]
    fn a_filter_begins_at_the_first_letter_that_it_names() {
        let letter = |partition, offset| LetterId { partition, offset };
        let letters = vec![letter(3, 9), letter(3, 7), letter(4, 1)];
        let filter = LetterFilter { letters, ..LetterFilter::default() };
        assert_eq!([3, 4, 5].map(|partition| filter.begins_at(partition)), [7, 1, 0]);
        let one = LetterFilter { letter: Some(letter(3, 9)), ..LetterFilter::default() };
        assert_eq!([3, 4].map(|partition| one.begins_at(partition)), [9, 0]);
    }

    #[test]
    fn ids_and_keys_are_read_as_they_are_written() {
        let id = LetterId { partition: 12, offset: 3456 };
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "12", "12-", "-1", "12-x", "70000-1", "1-2-3"] {
            assert_eq!(text.parse::<LetterId>(), Err(NotALetterId), "{text:?}");
        }
        for key in [RedeliveryKey::Wish("ab12"), RedeliveryKey::Progress("ab12")] {
            assert_eq!(RedeliveryKey::parse(key.to_string().as_bytes()), Some(key));
            assert_eq!(key.id(), "ab12");
        }
        assert_eq!(RedeliveryKey::parse(b"lane/wh"), None);
    }
}
