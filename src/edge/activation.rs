//! Sockets that systemd listens on in our place (sd_listen_fds(3)), so that they outlive a restart.

use std::collections::HashMap;
use std::io;
use std::os::fd::FromRawFd;
use std::os::unix::net::UnixListener;

/// Why the service manager's sockets cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    /// One has a name that says nothing here, or one that another has too.
    #[error(
        "the service manager handed over sockets named {came}, but each must be one of {known}, once: give its socket \
         unit FileDescriptorName= (a unit without it is handed over by its own name)"
    )]
    Names {
        /// All names that came.
        came: String,
        /// The names that mean something.
        known: String,
    },
    /// It cannot be used.
    #[error("the socket '{name}' of the service manager is no Unix socket that listens: {why}")]
    Socket {
        /// Its name.
        name: String,
        /// Why not.
        why: io::Error,
    },
    /// There is no telling.
    #[error("cannot take the service manager's sockets: {0}")]
    Io(#[from] io::Error),
}

/// The sockets that were handed to this process, by `FileDescriptorName=`, which is one of `known`. Called once, at the
/// start: a second call would own the same descriptors.
pub fn inherited(known: &[&str]) -> Result<HashMap<String, UnixListener>, ActivationError> {
    let handed: Vec<_> = sd_notify::listen_fds_with_names()?.collect();
    let names: Vec<&str> = handed.iter().map(|(_, name)| name.as_str()).collect();
    judge(&names, known)?;
    let mut sockets = HashMap::new();
    for (fd, name) in handed {
        #[allow(
            unsafe_code,
            reason = "the service manager gave us this descriptor, and nothing else here owns it"
        )]
        let listener = unsafe { UnixListener::from_raw_fd(fd) };
        let usable = listener.local_addr().and_then(|_| listener.set_nonblocking(true));
        usable.map_err(|why| ActivationError::Socket { name: name.clone(), why })?;
        sockets.insert(name, listener);
    }
    Ok(sockets)
}

/// A socket that nobody serves would look alive to whoever connects, and one of ours would take its place.
fn judge(came: &[&str], known: &[&str]) -> Result<(), ActivationError> {
    let good = |(at, name): (usize, &&str)| known.contains(name) && !came[..at].contains(name);
    if came.iter().enumerate().all(good) {
        return Ok(());
    }
    let list = |names: &[&str]| names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
    Err(ActivationError::Names { came: list(came), known: list(known) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_names_are_taken_and_each_once() {
        let check = |came: &[&str]| judge(came, &["endpoint", "control"]).map_err(|error| error.to_string());
        assert_eq!(check(&[]), Ok(()));
        assert_eq!(check(&["control", "endpoint"]), Ok(()));
        for came in [&["muster.socket"][..], &["endpoint", "unknown"], &["endpoint", "endpoint"]] {
            let error = check(came).expect_err("refused");
            assert!(error.contains(came[0]) && error.contains("'endpoint', 'control'"), "{error}");
        }
    }
}
