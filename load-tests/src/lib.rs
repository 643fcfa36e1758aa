//! hookline under load, seen from outside: it talks over sockets and shares nothing but the contract.
//!
//! Who is who. CloudPayments is played twice: [`simulator`] is its load, payments as fast as they go and without a
//! memory of them, and writes down what was answered ([`simulator::Ledger`]); [`acquirer`] is its books: sites with
//! transactions, orders and refunds, which payers pay, the merchant changes in his cabinet and hookline asks by the
//! API, each change with the notification that it has. Both write bodies by [`fixtures`] and post them again by
//! [`simulator::RetryRule`]. The integrators are [`receiver`], which writes down what came, and [`zoo`], receivers that
//! do their worst; at full speed it is [`sink`], which counts and does not judge. [`checker`] compares what was posted with
//! what came and says whether hookline's promises were kept.
//! [`graphql`] and [`admin`] are clients of hookline's own; [`scenario`] runs hookline itself as a child process
//! between them.
//!
//! How fast hookline is, is said by comparison: [`load`] asks as much as one core can, without a memory of what was
//! answered, and [`ceiling`] is what could be answered at best, on the same machine in the same minute.

pub mod acquirer;
pub mod admin;
pub mod affinity;
pub mod ceiling;
pub mod checker;
pub mod config;
mod connection;
pub mod fixtures;
pub mod graphql;
pub mod load;
pub mod process;
pub mod receiver;
pub mod report;
pub mod scenario;
mod serve;
pub mod simulator;
pub mod sink;
pub mod zoo;
