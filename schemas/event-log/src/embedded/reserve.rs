//! The reserve: bytes that are really there for cursors, lanes and retention when the disk is full.
//!
//! Space is allocated ahead of the file's end, in steps, so that a commit meets no full disk: LMDB reports a
//! write that was cut short as an I/O error, which can't be told from a broken disk. New data is admitted
//! while the reserve stays whole behind it; once it would not and no more can be allocated, it is refused
//! until retention frees pages or somebody frees the disk.
//!
//! Where a file system can't allocate ahead, the free space that it reports is taken for what is there.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use rustix::io::Errno;

/// Allocated beyond what is needed now, so that allocating is rare.
const STEP: u64 = 64 * 1024 * 1024;
/// How long a full disk is left in peace before it is asked again.
const RETRY: Duration = Duration::from_secs(1);
/// What a commit changes beside its records: the paths to them are copied.
const COMMIT_OVERHEAD: u64 = 1024 * 1024;
const PAGE: u64 = 4096;

/// What a batch of commands may take of the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Need {
    /// In all, with half-filled pages counted as full ones.
    total: u64,
    /// Of it in values larger than a page: they want pages in a row, which freed ones may not be.
    contiguous: u64,
}

impl Need {
    /// Adds a key with its value.
    pub(super) fn add(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        if bytes > PAGE / 2 {
            let pages = (bytes + PAGE).next_multiple_of(PAGE);
            self.contiguous += pages;
            self.total += pages + 2 * 64;
        } else {
            self.total += 2 * (bytes + 64);
        }
    }
}

/// How much of the reserve has to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// All of it.
    Whole,
    /// Half of it.
    Half,
}

/// Where the environment stands before a commit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    /// Bytes of pages in use.
    pub(super) used: u64,
    /// Where the last page ever written ends.
    pub(super) file_end: u64,
}

/// Keeps the reserve of one environment.
#[derive(Debug)]
pub(super) struct Reserve {
    data_file: File,
    map_size: u64,
    reserve: u64,
    /// Up to here the file's space is really there.
    allocated: u64,
    can_allocate: bool,
    refused_at: Option<Duration>,
}

impl Reserve {
    /// Allocates the first reserve, or finds out that it can't.
    pub(super) fn open(
        data_file: &Path,
        map_size: u64,
        reserve: u64,
        usage: Usage,
        now: Duration,
    ) -> std::io::Result<Self> {
        let data_file = File::options().write(true).open(data_file)?;
        let mut opened = Self {
            data_file,
            map_size,
            reserve,
            allocated: usage.file_end,
            can_allocate: true,
            refused_at: None,
        };
        opened.admits(Need::default(), Keep::Whole, usage, now);
        Ok(opened)
    }

    /// May a batch be written, with so much of the reserve left behind it? Allocates ahead where that is needed and possible.
    pub(super) fn admits(&mut self, need: Need, keep: Keep, usage: Usage, now: Duration) -> bool {
        let kept = match keep {
            Keep::Whole => self.reserve,
            Keep::Half => self.reserve / 2,
        };
        // What was written beyond the allocation is there as well.
        self.allocated = self.allocated.max(usage.file_end);
        let in_all = usage.used + need.total + COMMIT_OVERHEAD + kept;
        let in_a_row = usage.file_end + need.contiguous;
        let wanted = in_all.max(in_a_row);
        if wanted > self.map_size {
            return false;
        }
        // The reserve is allocated behind the end even while the file holds free pages: those may be
        // pinned by a snapshot, and then the file grows.
        let ahead = wanted.max(usage.file_end + need.total + COMMIT_OVERHEAD).min(self.map_size);
        if ahead > self.allocated {
            self.allocate(ahead, now);
        }
        wanted <= self.allocated
    }

    fn allocate(&mut self, ahead: u64, now: Duration) {
        if self.refused_at.is_some_and(|refused_at| now.saturating_sub(refused_at) < RETRY) {
            return;
        }
        let target = ahead.saturating_add(STEP).min(self.map_size);
        let reached = [target, ahead].into_iter().find(|end| self.reaches(*end));
        match reached {
            Some(end) => {
                self.allocated = end;
                self.refused_at = None;
            }
            None => self.refused_at = Some(now),
        }
    }

    /// Is the space up to `end` there, or can it be had?
    fn reaches(&mut self, end: u64) -> bool {
        let more = end - self.allocated;
        if self.can_allocate {
            match fallocate(&self.data_file, FallocateFlags::KEEP_SIZE, self.allocated, more) {
                Ok(()) => return true,
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.can_allocate = false,
                Err(Errno::INTR) => return false,
                Err(errno) => {
                    tracing::warn!(%errno, bytes = more, "no space can be allocated ahead of the log");
                    return false;
                }
            }
        }
        self.disk_free().is_some_and(|free| free >= more)
    }

    /// What the disk has left for us, if the system tells.
    pub(super) fn disk_free(&self) -> Option<u64> {
        fstatvfs(&self.data_file).ok().map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn reserve(map_size: u64, reserve: u64) -> (tempfile::NamedTempFile, Reserve) {
        let file = tempfile::NamedTempFile::new().expect("a scratch file");
        let usage = Usage { used: 0, file_end: 0 };
        let reserve = Reserve::open(file.path(), map_size, reserve, usage, Duration::ZERO).expect("a file");
        (file, reserve)
    }

    #[test]
    fn new_data_is_admitted_while_the_reserve_stays_whole_behind_it() {
        let (_file, mut reserve) = reserve(16 * MIB, 4 * MIB);
        let mut large = Need::default();
        large.add(1024 * 1024);
        let small = Need::default();
        let cases = [
            // Room for everything.
            (0, 0, large, true),
            // 4 of reserve, 1 of overhead and the record itself do not fit any more.
            (11 * MIB, 11 * MIB, small, true),
            (11 * MIB, 11 * MIB, large, false),
            // Freed pages count, but not for a value that wants pages in a row.
            (2 * MIB, 16 * MIB, small, true),
            (2 * MIB, 16 * MIB, large, false),
        ];
        for (used, file_end, need, admitted) in cases {
            let usage = Usage { used, file_end };
            assert_eq!(
                reserve.admits(need, Keep::Whole, usage, Duration::ZERO),
                admitted,
                "{usage:?} {need:?}"
            );
        }
    }

    #[test]
    fn deliveries_may_use_half_of_the_reserve() {
        let (_file, mut reserve) = reserve(16 * MIB, 4 * MIB);
        let usage = |used| Usage { used, file_end: used };
        for (used, whole, half) in [(11 * MIB, true, true), (12 * MIB, false, true), (14 * MIB, false, false)]
        {
            assert_eq!(
                reserve.admits(Need::default(), Keep::Whole, usage(used), Duration::ZERO),
                whole,
                "{used}"
            );
            assert_eq!(
                reserve.admits(Need::default(), Keep::Half, usage(used), Duration::ZERO),
                half,
                "{used}"
            );
        }
    }

    #[test]
    fn space_is_really_allocated_and_the_size_stays() {
        use std::os::unix::fs::MetadataExt;

        let (file, mut reserve) = reserve(512 * MIB, 8 * MIB);
        let usage = Usage { used: MIB, file_end: MIB };
        assert!(reserve.admits(Need::default(), Keep::Whole, usage, Duration::ZERO));
        let metadata = file.as_file().metadata().expect("there");
        assert_eq!(metadata.len(), 0);
        assert!(!reserve.can_allocate || metadata.blocks() * 512 >= 10 * MIB, "{}", metadata.blocks());
    }

    #[test]
    fn a_full_disk_is_asked_again_after_a_while() {
        let (_file, mut reserve) = reserve(u64::MAX / 4, 4 * MIB);
        let whole_disk = Usage { used: u64::MAX / 8, file_end: MIB };
        assert!(!reserve.admits(Need::default(), Keep::Whole, whole_disk, Duration::ZERO));
        let freed = Usage { used: 100 * MIB, file_end: MIB };
        assert!(!reserve.admits(Need::default(), Keep::Whole, freed, RETRY / 2));
        assert!(reserve.admits(Need::default(), Keep::Whole, freed, RETRY));
    }
}
