//! The logs as their users see them: the conformance suite on both, a naive model, and the kill.

mod backup;
mod conformance;
mod crash;
mod kafka;
mod model;
mod opening;
mod scratch;
