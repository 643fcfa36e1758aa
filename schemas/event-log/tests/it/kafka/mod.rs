//! The Kafka log against a real Kafka.

mod conformance;
mod foreign;
mod opening;
mod rebalance;
mod scratch;
mod security;
