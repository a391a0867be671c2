//! How busy this machine is.

use std::path::Path;

use sysinfo::{MemoryRefreshKind, RefreshKind, System};

use super::files;
use crate::domain::Load;
use crate::wire::pressure;

/// Measures; cheap enough to be asked every few seconds.
pub struct Meter(Option<System>);

impl Default for Meter {
    fn default() -> Self {
        Self(System::new_with_specifics(RefreshKind::nothing()).ok())
    }
}

impl Meter {
    /// The load at this moment.
    pub fn load(&mut self) -> Load {
        let available = self.0.as_mut().map(|system| {
            system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
            system.available_memory()
        });
        let pressure = |of: &str| {
            let text = files::read_bounded(&Path::new("/proc/pressure").join(of));
            text.and_then(|text| pressure::some_avg10(&text))
        };
        Load {
            cpu: pressure("cpu"),
            memory: pressure("memory"),
            io: pressure("io"),
            memory_available: available.filter(|bytes| *bytes > 0),
            average: System::load_average().ok().map(|average| average.one),
        }
        .sane()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_memory_to_spare() {
        let load = Meter::default().load();
        assert!(load.memory_available.is_some_and(|bytes| bytes > 1 << 20), "{load:?}");
        assert!(load.average.is_some(), "{load:?}");
    }
}
