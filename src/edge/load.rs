//! How busy this machine is.

use std::path::Path;

use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

use super::files;
use crate::domain::{Load, Size};
use crate::wire::pressure;

/// Measures; cheap enough to be asked every few seconds.
pub struct Meter(Option<System>);

impl Default for Meter {
    fn default() -> Self {
        let usage = CpuRefreshKind::nothing().with_usage();
        let memory = MemoryRefreshKind::nothing().with_ram();
        let all = RefreshKind::nothing().with_cpu(usage).with_memory(memory);
        Self(System::new_with_specifics(all).ok())
    }
}

impl Meter {
    /// What there is to be loaded; nothing where nobody knows.
    pub fn size(&self) -> Size {
        let Some(system) = &self.0 else { return Size::default() };
        Size { cores: cores(system), memory: system.total_memory() }
    }

    /// The load at this moment.
    pub fn load(&mut self) -> Load {
        let (available, idle) = self.0.as_mut().map_or((None, None), |system| {
            system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
            system.refresh_cpu_usage();
            let used = f64::from(system.global_cpu_usage()) / 100.0;
            (Some(system.available_memory()), Some((1.0 - used) * f64::from(cores(system))))
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
            idle,
        }
        .sane()
    }
}

fn cores(system: &System) -> u32 {
    u32::try_from(system.cpus().len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_memory_to_spare() {
        let mut meter = Meter::default();
        let Size { cores, memory } = meter.size();
        let load = meter.load();
        assert!(
            cores > 0 && load.memory_available.is_some_and(|bytes| bytes < memory),
            "{load:?}, {memory} bytes"
        );
        assert!(load.idle.is_some_and(|idle| idle <= f64::from(cores)), "{load:?}, {cores} cores");
        assert!(load.memory_available.is_some_and(|bytes| bytes > 1 << 20), "{load:?}");
        assert!(load.average.is_some(), "{load:?}");
    }
}
