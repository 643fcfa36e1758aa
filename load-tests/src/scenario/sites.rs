//! Many tenants in one hookline: each webhook is the only one of an organization with a site of its own, so that
//! each event goes to exactly one endpoint.

use std::sync::Arc;

use hookline_schemas::event::EventType;
use hookline_schemas::ids::{GatewayId, WebhookId};

use super::bench::Subscriber;
use hookline_schemas::secret::Secret;

use crate::config::{Config, Gateway};
use crate::receiver::Profile;
use crate::simulator::Site;

/// The webhook with this number, from 0.
pub(super) fn webhook(number: u16) -> WebhookId {
    WebhookId::new(format!("wh_{number}"))
}

/// So many webhooks, which ask for everything.
pub(super) fn subscribers(count: u16, profile: Profile) -> Vec<Subscriber> {
    let subscriber = |number| Subscriber { id: webhook(number), events: EventType::ALL.to_vec(), profile };
    (0..count).map(subscriber).collect()
}

/// The sites of these webhooks.
pub(super) fn sites(numbers: impl Iterator<Item = u16>) -> Arc<[Site]> {
    let site = |number: u16| Site {
        gateway_id: GatewayId::new(gateway_id(number.into())),
        public_id: format!("pk_{number}"),
        api_secret: Secret::new(api_secret(number.into())),
        webhook: webhook(number),
    };
    numbers.map(site).collect()
}

/// The id of the gateway of the organization with this number.
pub(super) fn gateway_id(number: u32) -> String {
    format!("gw_{number}")
}

/// What its notifications are signed with.
pub(super) fn api_secret(number: u32) -> String {
    format!("api-secret-{number}")
}

/// The gateway of the organization with this number, as this one but for whose it is.
pub(super) fn gateway(number: u32, pattern: &Gateway) -> Gateway {
    Gateway {
        id: gateway_id(number),
        organization: format!("org_{number}"),
        public_id: format!("pk_{number}"),
        api_secrets: vec![api_secret(number)],
        shared_url: false,
        ..pattern.clone()
    }
}

/// Gives each webhook an organization and a site of its own.
pub(super) fn separate(config: &mut Config) {
    let Some(pattern) = config.gateways.first().cloned() else { return };
    config.gateways.clear();
    for (number, webhook) in (0..).zip(&mut config.webhooks) {
        let gateway = gateway(number, &pattern);
        webhook.organization.clone_from(&gateway.organization);
        config.gateways.push(gateway);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Webhook;

    #[test]
    fn each_webhook_has_a_site_whose_events_no_other_gets() {
        let nowhere = ([127, 0, 0, 1], 0).into();
        let webhooks = subscribers(3, Profile::Healthy).into_iter().map(|subscriber| Webhook {
            id: subscriber.id.to_string(),
            organization: "org_demo".to_owned(),
            url: "http://127.0.0.1/".to_owned(),
            events: subscriber.events,
            secret: "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX".to_owned(),
            retry_schedule: None,
        });
        let mut config = Config::demo(Path::new("data"), nowhere, nowhere, webhooks.collect());
        separate(&mut config);
        for site in sites(0..3).iter() {
            let gateway = config.gateways.iter().find(|gateway| gateway.id == site.gateway_id.as_str());
            let gateway = gateway.expect("a gateway for each site");
            assert_eq!(gateway.public_id, site.public_id);
            assert_eq!(gateway.api_secrets, [site.api_secret.expose()]);
            let ours = config.webhooks.iter().filter(|webhook| webhook.organization == gateway.organization);
            let ours: Vec<&str> = ours.map(|webhook| webhook.id.as_str()).collect();
            assert_eq!(ours, [site.webhook.as_str()]);
        }
    }
}
