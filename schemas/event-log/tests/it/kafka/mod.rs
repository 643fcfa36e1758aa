//! The Kafka log against a real Kafka.

mod conformance;
mod opening;
mod rebalance;
mod scratch;
mod security;
