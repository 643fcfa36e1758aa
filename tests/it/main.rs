//! hookline as its users see it: a process with arguments, a configuration, sockets, files and signals.
//!
//! Everything stays on the loopback and in directories of its own, and is bounded in time. No child outlives
//! its test.

mod backup;
mod bench;
mod client;
mod command_line;
mod control;
mod dead_letters;
mod delivery;
mod demo;
mod deploy;
mod disk;
mod faulty_disk;
mod full_map;
mod many_webhooks;
mod monitoring;
mod operators;
mod payments;
mod prometheus;
mod reload;
mod restart;
mod roles;
mod rotate_key;
mod secrecy;
mod simulate;
mod stopping;
mod stub;
mod telemetry;
mod token;
mod verify_receiver;
