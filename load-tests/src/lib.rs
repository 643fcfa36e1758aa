//! hookline under load, seen from outside: it talks over sockets and shares nothing but the contract.
//!
//! [`simulator`] is CloudPayments as a caller and writes down what was answered ([`simulator::Ledger`]);
//! [`receiver`] is the integrators and writes down what came; [`checker`] compares the two and says whether
//! hookline's promises were kept. [`zoo`] holds receivers that do their worst; [`acquirer`] is CloudPayments'
//! API, which hookline asks, and [`graphql`] a client of hookline's own. [`scenario`] runs hookline itself as a child
//! process between them.

pub mod acquirer;
pub mod admin;
pub mod checker;
pub mod config;
mod connection;
pub mod fixtures;
pub mod graphql;
pub mod process;
pub mod receiver;
pub mod report;
pub mod scenario;
mod serve;
pub mod simulator;
pub mod zoo;
