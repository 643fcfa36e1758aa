//! The contract of hookline, pure: no clock of its own, no I/O, no threads.
//!
//! What CloudPayments posts ([`notification`]), what stands in the log ([`event`], [`delivery`], [`redelivery`]), what
//! integrators receive ([`payload`]), who they are ([`gateway`], [`webhook`]), what Check compares with
//! ([`check`]), what became of a payment ([`payment`]), and how all of it is signed and sealed ([`signature`],
//! [`rotation`], [`seal`]).

pub mod check;
pub mod custom_headers;
pub mod delivery;
pub mod event;
pub mod event_type;
pub mod gateway;
pub mod ids;
pub mod money;
pub mod notification;
pub mod payload;
pub mod payment;
pub mod quarantine;
pub mod reason;
pub mod redelivery;
pub mod rotation;
pub mod seal;
pub mod secret;
pub mod signature;
pub mod time;
pub mod webhook;
