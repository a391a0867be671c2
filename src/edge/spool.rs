//! Where a NAR waits between the builder and the client: in memory while small, else in a file without a name.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where spool files go, and from which size on.
#[derive(Debug, Clone)]
pub struct Spool {
    dir: PathBuf,
    in_memory: u64,
}

impl Spool {
    /// NARs of up to `in_memory` bytes stay in memory; larger ones go to files in `dir`, which must exist.
    pub fn new(dir: &Path, in_memory: u64) -> Self {
        Self { dir: dir.to_owned(), in_memory }
    }

    /// Where large ones go.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// An empty place for `bytes` bytes.
    pub fn create(&self, bytes: u64) -> io::Result<File> {
        if bytes <= self.in_memory
            && let Some(file) = memory_file()
        {
            return file;
        }
        tempfile::tempfile_in(&self.dir)
    }
}

/// None where the platform has no such thing.
#[cfg(target_os = "linux")]
fn memory_file() -> Option<io::Result<File>> {
    let flags = rustix::fs::MemfdFlags::CLOEXEC;
    Some(rustix::fs::memfd_create("muster-nar", flags).map(File::from).map_err(io::Error::from))
}

#[cfg(not(target_os = "linux"))]
fn memory_file() -> Option<io::Result<File>> {
    None
}

/// A complete NAR. Clones share the bytes; none of them has a position.
#[derive(Debug, Clone)]
pub struct Nar {
    file: Arc<File>,
}

impl Nar {
    /// Takes what was written into a file of [`Spool::create`].
    pub fn from_file(file: File) -> Self {
        Self { file: Arc::new(file) }
    }

    /// Takes a descriptor that another process sent.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self::from_file(File::from(fd))
    }

    /// Fills `into` with what lies at `offset`; gives how much there was, 0 at the end.
    pub fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(into, offset)
    }
}

impl AsFd for Nar {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn small_and_large_nars_read_back_and_leave_no_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let spool = Spool::new(dir.path(), 4);
        for content in [&b"tiny"[..], b"larger than four"] {
            let mut file = spool.create(content.len() as u64).expect("a place");
            file.write_all(content).expect("written");
            let nar = Nar::from_file(file).clone();
            let mut back = vec![0; content.len()];
            assert_eq!(nar.read_at(&mut back, 0).expect("read"), content.len());
            assert_eq!(back, content);
        }
        assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 0);
    }
}
