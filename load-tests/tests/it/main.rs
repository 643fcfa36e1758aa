//! The simulator, the acquirer, the receiver, the sink, the zoo and the load over real sockets, without hookline.

mod acquirer;
mod load;
mod receiver;
mod simulator;
mod sink;
mod stub;
mod zoo;
