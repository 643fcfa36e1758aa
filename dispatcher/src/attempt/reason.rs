//! Why an attempt failed, found behind the client's error; and whose fault it was.

use std::error::Error;
use std::io::{self, ErrorKind};

use hookline_schemas::delivery::FailureReason;
use rustls::pki_types::InvalidDnsNameError;

use super::resolve::ReachError;

/// What comes down to it that a request has no answer.
pub(crate) fn reason_of(error: &(dyn Error + 'static)) -> FailureReason {
    if causes(error).any(is_about_tls) { FailureReason::Tls } else { FailureReason::Broken }
}

/// What comes down to it that there is no connection.
pub(crate) fn reason_of_connecting(error: &(dyn Error + 'static)) -> FailureReason {
    let reached = causes(error).find_map(|cause| cause.downcast_ref::<ReachError>());
    let io = || causes(error).find_map(|cause| cause.downcast_ref::<io::Error>());
    match reached {
        Some(ReachError::Resolve) => FailureReason::Resolve,
        Some(ReachError::Blocked) => FailureReason::BlockedAddress,
        Some(ReachError::Late) => FailureReason::Timeout,
        Some(ReachError::Local) => FailureReason::Local,
        None if causes(error).any(is_about_tls) => FailureReason::Tls,
        None if io().is_some_and(is_local) => FailureReason::Local,
        None if io().is_some_and(|error| error.kind() == ErrorKind::TimedOut) => FailureReason::Timeout,
        None => FailureReason::Connect,
    }
}

/// A name that no certificate can bear is one of the ways in which TLS is not agreed on.
fn is_about_tls(error: &(dyn Error + 'static)) -> bool {
    error.is::<rustls::Error>() || error.is::<InvalidDnsNameError>()
}

/// Whether this machine is to blame for what it could not do: out of descriptors, ports or memory, without a
/// route or a network, or kept from it by its own firewall. That the host at the other end is unreachable
/// (`EHOSTUNREACH`) is told by its own network as a rule.
pub(crate) fn is_local(error: &io::Error) -> bool {
    use rustix::io::Errno;
    const LOCAL: [Errno; 9] = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::ADDRNOTAVAIL,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::NETUNREACH,
        Errno::NETDOWN,
        Errno::ACCESS,
        Errno::PERM,
    ];
    error.raw_os_error().is_some_and(|code| LOCAL.iter().any(|local| local.raw_os_error() == code))
}

/// An error, and what lies behind it.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        let error: &'a (dyn Error + 'static) = *error;
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        wrapped.map_or_else(|| error.source(), |wrapped| Some(wrapped as &(dyn Error + 'static)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_machine_lacks_is_its_own_fault() {
        for (code, expected) in [
            (1, true),    // EPERM
            (12, true),   // ENOMEM
            (13, true),   // EACCES
            (23, true),   // ENFILE
            (24, true),   // EMFILE
            (99, true),   // EADDRNOTAVAIL
            (100, true),  // ENETDOWN
            (101, true),  // ENETUNREACH
            (105, true),  // ENOBUFS
            (104, false), // ECONNRESET
            (110, false), // ETIMEDOUT
            (111, false), // ECONNREFUSED
            (113, false), // EHOSTUNREACH
        ] {
            assert_eq!(is_local(&io::Error::from_raw_os_error(code)), expected, "{code}");
        }
        assert!(!is_local(&io::Error::from(ErrorKind::PermissionDenied)), "not told by the system");
    }
}
