//! Alarms: what wants a person. `deploy/OPERATIONS.md` says of each what it means and what to do.

use std::fmt::Display;

use super::Meters;

/// An alarm. Every log line that begins with `ALARM` and every count of one comes from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alarm {
    /// The store is behind the high-water hint. JRN-6.
    StoreOlder,
    /// A member knows more of our chain than this store does. JRN-6.
    OwnChainBehind,
    /// A member says of a chain what we know to be otherwise.
    ChainDisputed,
    /// A node signed two histories of one chain.
    ChainForked,
    /// Entries that a head names do not come. GAP-1.
    Gap,
    /// A node signs under two incarnations. JRN-15.
    LivesTwice,
    /// The disk of the data directory is nearly full.
    DiskLow,
    /// The mailbox has no room for a parcel, or its disk has not. MBX-3.
    MailboxFull,
    /// An authority's log has signed what the entries held here are not. LOG-12.
    LogDisputed,
    /// An authority's log has signed two histories, with proof. LOG-14.
    LogForked,
    /// For a day too few witnesses have seen the head of a log. LOG-16.
    LogSilent,
    /// What was held of a log has given way to how it goes on. REG-31.
    LogSetBack,
    /// What DNS says of a node is not proved. DNS-2.
    DnsUnproved,
    /// DNS says of a node what the registry says otherwise. DNS-3.
    DnsContradicts,
}

impl Alarm {
    /// Every alarm.
    pub const ALL: [Self; 14] = [
        Self::StoreOlder,
        Self::OwnChainBehind,
        Self::ChainDisputed,
        Self::ChainForked,
        Self::Gap,
        Self::LivesTwice,
        Self::DiskLow,
        Self::MailboxFull,
        Self::LogDisputed,
        Self::LogForked,
        Self::LogSilent,
        Self::LogSetBack,
        Self::DnsUnproved,
        Self::DnsContradicts,
    ];

    /// Its name in metrics and logs.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::StoreOlder => "store-older",
            Self::OwnChainBehind => "own-chain-behind",
            Self::ChainDisputed => "chain-disputed",
            Self::ChainForked => "chain-forked",
            Self::Gap => "gap",
            Self::LivesTwice => "lives-twice",
            Self::DiskLow => "disk-low",
            Self::MailboxFull => "mailbox-full",
            Self::LogDisputed => "log-disputed",
            Self::LogForked => "log-forked",
            Self::LogSilent => "log-silent",
            Self::LogSetBack => "log-set-back",
            Self::DnsUnproved => "dns-unproved",
            Self::DnsContradicts => "dns-contradicts",
        }
    }

    /// What it says to a person.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::StoreOlder => "the store is older than it was",
            Self::OwnChainBehind => "a member knows more of our chain than we do",
            Self::ChainDisputed => "a member says of a chain what we know to be otherwise",
            Self::ChainForked => "a node signed two histories of one chain",
            Self::Gap => "entries that another node names do not come",
            Self::LivesTwice => "a node signs under two incarnations",
            Self::DiskLow => "the disk is nearly full",
            Self::MailboxFull => "the mailbox is full",
            Self::LogDisputed => "an authority's log has signed something else than what is held here",
            Self::LogForked => "an authority's log has signed two histories",
            Self::LogSilent => "for a day too few witnesses have seen the head of an authority's log",
            Self::LogSetBack => "what was held of an authority's log gives way to how it goes on",
            Self::DnsUnproved => "what the DNS says of a node is not proved",
            Self::DnsContradicts => "the DNS says of a node what the registry says otherwise",
        }
    }

    /// Logs it and counts it. `about` says where: never content, and of a dossier no more than a log may show.
    pub fn raise(self, meters: &Meters, about: impl Display) {
        tracing::error!(kind = self.kind(), %about, "ALARM: {}", self.text());
        meters.alarmed(self);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::*;

    /// Text and kind of each alarm that a page explains: rows that begin with "| `ALARM: TEXT` (`KIND`) |".
    fn explained(page: &str) -> Vec<(String, String)> {
        let row = |line: &str| {
            let (text, rest) = line.strip_prefix("| `ALARM: ")?.split_once("` (`")?;
            let (kind, _) = rest.split_once("`) |")?;
            Some((text.to_owned(), kind.to_owned()))
        };
        let mut rows: Vec<_> = page.lines().filter_map(row).collect();
        rows.sort();
        rows
    }

    fn sources(dir: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                found.extend(sources(&path));
            } else {
                found.push(path);
            }
        }
        found
    }

    #[test]
    fn the_operations_page_explains_each_alarm_and_no_other() {
        let page = fs::read_to_string("../deploy/OPERATIONS.md").unwrap();
        let mut known: Vec<_> = Alarm::ALL
            .iter()
            .map(|alarm| (alarm.text().to_owned(), alarm.kind().to_owned()))
            .collect();
        known.sort();
        assert_eq!(explained(&page), known);
        // One row less, or one of another alarm, would be seen.
        let (first, second) = page.split_once("| `ALARM: ").unwrap();
        assert_ne!(explained(&format!("{first}| `{second}")), known);
        assert_ne!(
            explained(&format!("{page}\n| `ALARM: the roof leaks` (`roof`) | | |")),
            known
        );
    }

    #[test]
    fn no_other_file_writes_an_alarm_line() {
        let all = sources(Path::new("src"));
        let writes = |path: &&PathBuf| fs::read_to_string(path).unwrap().contains("ALARM");
        let found: Vec<_> = all.iter().filter(writes).collect();
        assert_eq!(found, [Path::new("src/operator/alarm.rs")]);
    }

    #[test]
    fn an_alarm_is_counted_under_its_kind() {
        let meters = Meters::default();
        Alarm::ChainForked.raise(&meters, "a test");
        let counts = Alarm::ALL.map(|alarm| meters.alarms(alarm));
        assert_eq!(counts, [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
