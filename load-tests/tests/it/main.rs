//! The simulator, the acquirer, the receiver and the zoo over real sockets, without hookline.

mod acquirer;
mod receiver;
mod simulator;
mod stub;
mod zoo;
