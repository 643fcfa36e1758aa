//! What a unit test may do to a writer right before a commit. Nothing at all in production.

/// Empty, except in tests.
#[derive(Default)]
pub(super) struct Faults {
    #[cfg(test)]
    pub(super) before_commit: Option<Box<dyn FnMut() -> heed::Result<()> + Send>>,
}

impl Faults {
    /// Called when everything of a commit is in place but the commit itself. An error stands for that of
    /// the commit, which is then not made.
    #[cfg(test)]
    pub(super) fn before_commit(&mut self) -> heed::Result<()> {
        self.before_commit.as_mut().map_or(Ok(()), |fault| fault())
    }

    /// Called when everything of a commit is in place but the commit itself.
    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "the same call as in tests")]
    pub(super) const fn before_commit(&mut self) -> heed::Result<()> {
        Ok(())
    }
}
