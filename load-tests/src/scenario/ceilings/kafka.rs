//! The figures of an edge over Kafka: one broker that this scenario starts, and librdkafka's own producers beside the
//! edge, on the same records.
//!
//! The edge alone: nobody delivers, nobody applies payments. Each arm has topics of its own, because hookline's are
//! named by its run.

use std::sync::Arc;

use super::Options;
use super::arm::{Kept, Stand, sender};
use super::rounds::{Arm, Rounds};
use crate::ceiling::Measured;
use crate::config::Kafka;
use crate::load::Requests;
use crate::report::{Bound, Goal, Report};
use crate::scenario::brokers::Brokers;
use crate::scenario::run_name;

/// Pays in flight.
const IN_FLIGHT: usize = 512;

/// Measures them.
pub(super) async fn measure(
    stand: Stand<'_>,
    options: &Options,
    rounds: &mut Rounds,
    report: &mut Report,
) -> anyhow::Result<()> {
    let brokers = Brokers::start(&hookline_local_kafka::script(), 1).await?;
    let servers = brokers.bootstrap_servers();
    eprintln!("signing {} Pays", options.pays);
    let pays = Arc::new(Requests::pays(&sender(), options.pays));
    report.figure("pay_body_bytes", pays.mean_body());
    let ask = options.ask(&pays, IN_FLIGHT);
    let list = servers.join(",");
    let arms = [Arm::Ours, Arm::Ceiling("kafka"), Arm::Ceiling("hyper-hmac")];
    let measure = async |arm: Arm| match arm {
        Arm::Ours => {
            let kafka = Kafka::of_run(servers.clone(), &run_name("ceilings"), 1);
            Ok(stand.ours(&Kept::Kafka(Box::new(kafka)), &ask).await?.measured)
        }
        Arm::Ceiling("kafka") => stand.asked_by_itself(&["kafka", "--bootstrap-servers", &list], &ask).await,
        Arm::Ceiling(name) => stand.ceiling(name, &ask).await,
    };
    rounds.measure("pay_kafka", options.rounds, &arms, measure).await?;
    let rates = rounds.ratios("pay_kafka", "kafka", |measured: &Measured| measured.per_second);
    report.goal(Goal::judge("pay_kafka_throughput", "ratio", &rates, Bound::AtLeast(0.80)));
    let latencies = rounds.ratios("pay_kafka", "kafka", |measured: &Measured| measured.p99_ms);
    report.goal(Goal::judge("pay_kafka_p99", "ratio", &latencies, Bound::AtMost(1.5)));
    report.figure("pay_kafka_arms", rounds.absolute("pay_kafka"));
    Ok(())
}
