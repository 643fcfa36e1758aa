//! An endpoint: the receiver behind one webhook, with its permits, its short queue, its breaker and its lane.

use std::collections::VecDeque;
use std::sync::Arc;

use hookline_event_log::{Offset, Partition};
use hookline_schemas::ids::WebhookId;
use hookline_schemas::webhook::Webhook;

use super::DeliveryKey;
use super::breaker::Breaker;
use super::lane::Lane;

/// What is known of one endpoint.
#[derive(Debug)]
pub(crate) struct Endpoint {
    /// Its identity.
    pub(crate) id: WebhookId,
    /// As of now; `None` once the webhook has been deleted.
    pub(crate) webhook: Option<Arc<Webhook>>,
    /// Its partition of `parked`.
    pub(crate) partition: Partition,
    /// Attempts in flight, whatever they are for.
    pub(crate) in_flight: usize,
    /// Deliveries of the window that wait for a permit; those that were settled otherwise are skipped.
    pub(crate) queue: VecDeque<DeliveryKey>,
    /// Its health.
    pub(crate) breaker: Breaker,
    /// Its backlog.
    pub(crate) lane: Lane,
    /// Appends to `parked` that are under way.
    pub(crate) parking: usize,
    /// The highest offset in `parked` that this process appended for it.
    pub(crate) last_parked: Option<Offset>,
}

impl Endpoint {
    /// An endpoint of which nothing is known yet.
    pub(crate) fn new(webhook: Arc<Webhook>, partition: Partition) -> Self {
        Self {
            id: webhook.id.clone(),
            webhook: Some(webhook),
            partition,
            in_flight: 0,
            queue: VecDeque::new(),
            breaker: Breaker::Closed { failures: 0 },
            lane: Lane::empty(Offset::START),
            parking: 0,
            last_parked: None,
        }
    }

    /// Whether a delivery may be sent straight from the window: the endpoint is healthy and nothing that was
    /// parked before it still waits in order.
    pub(crate) fn takes_directly(&self) -> bool {
        let passed = |parked: Offset| self.lane.cursor() > parked;
        self.breaker.is_closed()
            && self.parking == 0
            && self.lane.is_caught_up()
            && self.last_parked.is_none_or(passed)
    }
}
