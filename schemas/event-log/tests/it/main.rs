//! The embedded log as its users see it: the conformance suite, a naive model, and the kill.

mod conformance;
mod crash;
mod model;
mod opening;
mod scratch;
