//! Sockets that systemd listens on in our place (sd_listen_fds(3)), so that they outlive a restart.

use std::collections::HashMap;
use std::io;
use std::os::fd::FromRawFd;
use std::os::unix::net::UnixListener;

/// The sockets that were handed to this process, by `FileDescriptorName=`. Called once, at the start: a second call
/// would own the same descriptors.
pub fn inherited() -> io::Result<HashMap<String, UnixListener>> {
    let mut sockets = HashMap::new();
    for (fd, name) in sd_notify::listen_fds_with_names()? {
        #[allow(
            unsafe_code,
            reason = "the service manager gave us this descriptor, and nothing else here owns it"
        )]
        let listener = unsafe { UnixListener::from_raw_fd(fd) };
        listener.set_nonblocking(true)?;
        sockets.insert(name, listener);
    }
    Ok(sockets)
}
