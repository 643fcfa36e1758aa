//! The two identities of promise 2: after every step of a process, and at the end.

use hookline_schemas::delivery::LaneCounts;

use super::super::endpoint::Endpoint;
use super::super::lane::Lane;
use super::world::World;

/// Below each watermark every planned delivery is accounted for, and in each lane every record: those that
/// stand in the log, one by one, unless a deposed owner has written what it did not know any better. And every
/// permit that is taken is held by something.
pub(super) fn of_process(world: &World, process: usize) {
    let core = &world.processes[process].core;
    for (endpoint, held) in world.processes[process].permits() {
        assert_eq!(endpoint.in_flight, held, "permits are taken of {} at {:?}", endpoint.id, world.now);
    }
    for (partition, window) in &core.windows {
        let totals = window.totals();
        assert!(totals.add_up(), "{partition:?} of events does not add up at {:?}: {totals:?}", world.now);
    }
    for (endpoint, lane) in core.endpoints.iter().filter_map(owned) {
        let (counts, backlog) = (lane.counts(), lane.backlog());
        assert!(lane.adds_up(), "{} does not add up at {:?}: {counts:?} {backlog}", endpoint.id, world.now);
        let stand = world.log.parked_below(&endpoint.id, lane.tail());
        let is_exact = counts.registered == stand || world.has_losses;
        assert!(is_exact, "{stand} records of {} stand below {:?}: {lane:?}", endpoint.id, lane.tail());
    }
}

/// Every record of every lane is settled, and none was lost.
pub(super) fn at_the_end(world: &World) {
    for (endpoint, lane) in world.up().flat_map(|(_, process)| &process.core.endpoints).filter_map(owned) {
        let counts = lane.counts();
        let LaneCounts { registered, delivered, dead, cancelled, parked_again, expired } = counts;
        assert_eq!((lane.backlog(), expired), (0, 0), "{} {counts:?}", endpoint.id);
        assert_eq!(registered, delivered + dead + cancelled + parked_again, "{} {counts:?}", endpoint.id);
        assert!(cancelled == 0 || world.is_deleted(&endpoint.id), "{} {counts:?}", endpoint.id);
    }
}

fn owned(endpoint: &Endpoint) -> Option<(&Endpoint, &Lane)> {
    endpoint.owned().map(|lane| (endpoint, lane))
}
