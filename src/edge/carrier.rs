//! Whether this machine's own network interfaces have a carrier, as Linux's sysfs says (Documentation/ABI,
//! sysfs-class-net). Tunnels and bridges have one whatever the cable does, so where there are devices, they alone count.

use std::fs;
use std::path::{Path, PathBuf};

use super::files;

/// Where Linux lists them.
const INTERFACES: &str = "/sys/class/net";
/// The hardware type of Ethernet, wireless too.
const ETHERNET: &str = "1";

/// Whether anything can leave this machine; none where that cannot be known.
pub fn any() -> Option<bool> {
    any_of(Path::new(INTERFACES))
}

fn any_of(interfaces: &Path) -> Option<bool> {
    let all: Vec<PathBuf> = fs::read_dir(interfaces).ok()?.flatten().map(|entry| entry.path()).collect();
    let devices = || all.iter().filter(|path| path.join("device").exists());
    let ethernet =
        || all.iter().filter(|path| says(path, "type", &[ETHERNET]) && !path.join("bridge").exists());
    let counted: Vec<_> = if devices().next().is_some() { devices().collect() } else { ethernet().collect() };
    (!counted.is_empty()).then(|| counted.into_iter().any(|path| has_carrier(path)))
}

/// A driver that does not tell its state says `unknown`; an interface that is off has no readable carrier.
fn has_carrier(interface: &Path) -> bool {
    says(interface, "carrier", &["1"]) && says(interface, "operstate", &["up", "unknown"])
}

fn says(interface: &Path, file: &str, wanted: &[&str]) -> bool {
    files::read_bounded(&interface.join(file)).is_some_and(|text| wanted.contains(&text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, type, carrier, state, and what else is there.
    type Interface<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str);

    const LOOPBACK: Interface = ("lo", "772", "1", "unknown", "");
    const TUNNEL: Interface = ("tailscale0", "65534", "1", "unknown", "");
    const BRIDGE: Interface = ("docker0", "1", "1", "up", "bridge");

    #[track_caller]
    fn check(interfaces: &[Interface], expected: Option<bool>) {
        let dir = tempfile::tempdir().expect("a directory");
        for (name, hardware, carrier, state, more) in interfaces {
            let interface = dir.path().join(name);
            fs::create_dir_all(interface.join(more)).expect("room");
            for (file, text) in [("type", hardware), ("carrier", carrier), ("operstate", state)] {
                fs::write(interface.join(file), format!("{text}\n")).expect("room");
            }
        }
        assert_eq!(any_of(dir.path()), expected, "{interfaces:?}");
    }

    #[test]
    fn one_device_with_a_carrier_is_enough() {
        check(&[("eth0", "1", "0", "down", "device"), ("wlan0", "1", "1", "up", "device")], Some(true));
        check(&[LOOPBACK, ("usb0", "65534", "1", "unknown", "device")], Some(true));
    }

    #[test]
    fn tunnels_bridges_and_the_ends_in_containers_have_a_carrier_although_the_cable_is_out() {
        let veth = ("veth1", "1", "1", "up", "");
        check(&[LOOPBACK, TUNNEL, BRIDGE, veth, ("eth0", "1", "0", "down", "device")], Some(false));
        check(&[("wlan0", "1", "1", "dormant", "device")], Some(false));
    }

    #[test]
    fn a_machine_without_devices_counts_what_stands_for_them() {
        check(&[LOOPBACK, TUNNEL, BRIDGE, ("eth0", "1", "1", "up", "")], Some(true));
        check(&[LOOPBACK, BRIDGE, ("eth0", "1", "0", "lowerlayerdown", "")], Some(false));
    }

    #[test]
    fn where_there_is_nothing_to_look_at_nothing_is_known() {
        check(&[LOOPBACK, TUNNEL, BRIDGE], None);
        assert_eq!(any_of(Path::new("/nonexistent")), None);
    }
}
