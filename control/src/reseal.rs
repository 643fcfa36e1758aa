//! Sealing anew: a record as it is, with its secrets sealed by the key that seals now.

use hookline_registry::{GatewayRecord, Registry, WebhookRecord};
use hookline_schemas::seal::{OpenSealError, Sealed, Sealer};

use crate::store::Change;

/// The keys of the records that hold a secret which another key has sealed.
pub(crate) fn outdated(registry: &Registry, sealer: &Sealer) -> Vec<String> {
    let gateways = registry.gateways().filter(|gateway| !is_gateway_current(gateway, sealer));
    let webhooks = registry.webhooks().filter(|webhook| !is_webhook_current(webhook, sealer));
    gateways.map(GatewayRecord::key).chain(webhooks.map(WebhookRecord::key)).collect()
}

/// The record with this key, sealed anew; nothing, if it need not be or is no more.
pub(crate) fn resealed(registry: &Registry, key: &str, sealer: &Sealer) -> Result<Change, OpenSealError> {
    if let Some(gateway) = registry.gateways().find(|gateway| gateway.key() == key) {
        return resealed_gateway(gateway, sealer);
    }
    let webhook = registry.webhooks().find(|webhook| webhook.key() == key);
    webhook.map_or(Ok(Change::Nothing), |webhook| resealed_webhook(webhook, sealer))
}

fn is_gateway_current(gateway: &GatewayRecord, sealer: &Sealer) -> bool {
    gateway.secrets.iter().all(|secret| secret.sealed.is_current(sealer))
}

fn is_webhook_current(webhook: &WebhookRecord, sealer: &Sealer) -> bool {
    let previous = webhook.previous.as_ref().map(|previous| &previous.sealed);
    let headers = webhook.headers.iter().map(|header| &header.value);
    std::iter::once(&webhook.secret).chain(previous).chain(headers).all(|sealed| sealed.is_current(sealer))
}

fn resealed_gateway(gateway: &GatewayRecord, sealer: &Sealer) -> Result<Change, OpenSealError> {
    if is_gateway_current(gateway, sealer) {
        return Ok(Change::Nothing);
    }
    let (mut gateway, place) = (gateway.clone(), GatewayRecord::secret_place(&gateway.id));
    for secret in &mut gateway.secrets {
        seal_anew(&mut secret.sealed, &place, sealer)?;
    }
    Ok(Change::gateway(&gateway))
}

fn resealed_webhook(webhook: &WebhookRecord, sealer: &Sealer) -> Result<Change, OpenSealError> {
    if is_webhook_current(webhook, sealer) {
        return Ok(Change::Nothing);
    }
    let (mut webhook, place) = (webhook.clone(), WebhookRecord::secret_place(&webhook.id));
    seal_anew(&mut webhook.secret, &place, sealer)?;
    if let Some(previous) = &mut webhook.previous {
        seal_anew(&mut previous.sealed, &place, sealer)?;
    }
    for header in &mut webhook.headers {
        seal_anew(&mut header.value, &WebhookRecord::header_place(&webhook.id, &header.name), sealer)?;
    }
    Ok(Change::webhook(&webhook))
}

fn seal_anew(sealed: &mut Sealed, place: &str, sealer: &Sealer) -> Result<(), OpenSealError> {
    let opened = sealed.open(sealer, place)?;
    *sealed = Sealed::new(sealer, place, &opened);
    Ok(())
}
