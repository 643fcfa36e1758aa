//! The dispatcher over a real log and real sockets: what leaves it, what it survives, what it takes over.

mod control;
mod delivery;
mod group;
mod headers;
mod hostile;
mod libraries;
mod life;
mod rebalance;
mod receiver;
mod redelivery;
mod surroundings;
mod survival;
mod told;
