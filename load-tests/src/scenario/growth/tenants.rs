//! Organizations with a site and some webhooks each, so that an event goes to the webhooks of its own and to no others.

use std::sync::Arc;

use hookline_schemas::event::EventType;
use hookline_schemas::ids::{GatewayId, WebhookId};
use hookline_schemas::secret::Secret;
use hookline_schemas::signature::ContentKey;

use super::super::bench::Subscriber;
use super::super::sites::{api_secret, gateway, gateway_id};
use crate::config::Config;
use crate::receiver::Profile;

/// An organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tenant {
    /// Each gets all of its events.
    pub(super) webhooks: u16,
    /// How their endpoints behave.
    pub(super) profile: Profile,
}

/// Where an organization's notifications are posted, and how they are signed.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) gateway_id: GatewayId,
    pub(super) key: ContentKey,
}

/// So many organizations that get everything at once.
pub(super) fn healthy(count: u32, webhooks: u16) -> Vec<Tenant> {
    (0..count).map(|_| Tenant { webhooks, profile: Profile::Healthy }).collect()
}

/// Their webhooks, in their order.
pub(super) fn subscribers(tenants: &[Tenant]) -> Vec<Subscriber> {
    owners(tenants)
        .zip(0_u32..)
        .map(|((_, tenant), number)| Subscriber {
            id: WebhookId::new(format!("wh_{number}")),
            events: vec![EventType::PaymentReceived],
            profile: tenant.profile,
        })
        .collect()
}

/// Each webhook's organization, with its number.
fn owners(tenants: &[Tenant]) -> impl Iterator<Item = (u32, Tenant)> {
    let numbered = (0_u32..).zip(tenants.iter().copied());
    numbered.flat_map(|(number, tenant)| (0..tenant.webhooks).map(move |_| (number, tenant)))
}

/// Gives each webhook to its organization, and each organization a site of its own.
pub(super) fn separate(config: &mut Config, tenants: &[Tenant]) {
    let Some(pattern) = config.gateways.pop() else { return };
    for ((owner, _), webhook) in owners(tenants).zip(&mut config.webhooks) {
        webhook.organization = format!("org_{owner}");
    }
    config.gateways = (0_u32..).zip(tenants).map(|(number, _)| gateway(number, &pattern)).collect();
}

/// The sites of the organizations with these numbers.
pub(super) fn sites(numbers: impl Iterator<Item = u32>) -> Arc<[Site]> {
    let site = |number| Site {
        gateway_id: GatewayId::new(gateway_id(number)),
        key: ContentKey::new(&Secret::new(api_secret(number))),
    };
    numbers.map(site).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Webhook;

    fn config(tenants: &[Tenant]) -> Config {
        let nowhere = ([127, 0, 0, 1], 0).into();
        let webhooks = subscribers(tenants).into_iter().map(|subscriber| Webhook {
            id: subscriber.id.to_string(),
            organization: "org_demo".to_owned(),
            url: "http://127.0.0.1/".to_owned(),
            events: subscriber.events,
            secret: "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX".to_owned(),
            retry_schedule: None,
        });
        let mut config = Config::demo(Path::new("data"), nowhere, nowhere, webhooks.collect());
        separate(&mut config, tenants);
        config
    }

    #[test]
    fn an_event_goes_to_the_webhooks_of_its_organization_and_to_no_others() {
        let down = Tenant { webhooks: 3, profile: Profile::Down };
        let nobody = Tenant { webhooks: 0, profile: Profile::Healthy };
        let config = config(&[nobody, down, Tenant { webhooks: 2, profile: Profile::Healthy }]);
        let ids_of = |organization: &str| -> Vec<&str> {
            let here = config.webhooks.iter().filter(|webhook| webhook.organization == organization);
            here.map(|webhook| webhook.id.as_str()).collect()
        };
        assert_eq!(ids_of("org_0"), Vec::<&str>::new());
        assert_eq!(ids_of("org_1"), ["wh_0", "wh_1", "wh_2"]);
        assert_eq!(ids_of("org_2"), ["wh_3", "wh_4"]);
        for (number, site) in (0_u32..).zip(sites(0..3).iter()) {
            let gateway = config.gateways.iter().find(|gateway| gateway.id == site.gateway_id.as_str());
            let gateway = gateway.expect("a gateway for each site");
            assert_eq!(gateway.organization, format!("org_{number}"));
            let secret = Secret::new(gateway.api_secrets.first().expect("a secret").clone());
            assert_eq!(site.key.sign(b"body"), ContentKey::new(&secret).sign(b"body"));
        }
        assert_eq!(config.gateways.len(), 3);
    }
}
