//! Errors as a person and a program see them. DESIGN §12.

use std::path::Path;

use crate::backup::BackupError;
use crate::config::ConfigError;
use crate::control::ClientError;
use crate::quic::TransportError;
use crate::rows::SnapshotError;
use crate::runtime::NodeError;
use crate::store::StoreError;
use crate::wallet::WalletError;

/// What went wrong, where, and what to do.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The exit code.
    pub exit: u8,
    /// A stable code.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// Where.
    pub place: String,
    /// What to do.
    pub action: String,
    /// `never`, `after-change` or `later`.
    pub retry: String,
}

/// Exit codes, after sysexits.h.
pub(super) mod exit {
    /// Contradicted.
    pub(crate) const CONTRADICTED: u8 = 1;
    /// The arguments are wrong.
    pub(crate) const USAGE: u8 = 2;
    /// Undetermined, or not anchored.
    pub(crate) const UNDETERMINED: u8 = 3;
    /// The input is malformed.
    pub(crate) const MALFORMED: u8 = 65;
    /// The node is unreachable.
    pub(crate) const UNREACHABLE: u8 = 69;
    /// The output cannot be written.
    pub(crate) const CANNOT_WRITE: u8 = 73;
    /// Try again.
    pub(crate) const TRY_AGAIN: u8 = 75;
    /// Refused.
    pub(crate) const REFUSED: u8 = 77;
    /// The configuration is wrong.
    pub(crate) const CONFIGURATION: u8 = 78;
}

impl Fault {
    /// The wallet's key did not sign.
    pub(super) fn signer(error: impl ToString) -> Self {
        Self::new(exit::CONFIGURATION, "signer", error, "wallet")
    }

    /// A fault with an exit code, a stable code and a message that says what to do.
    pub fn new(exit: u8, code: &str, message: impl ToString, place: impl ToString) -> Self {
        Self {
            exit,
            code: code.into(),
            message: message.to_string(),
            place: place.to_string(),
            action: String::new(),
            retry: "never".into(),
        }
    }

    /// The same, with what to do.
    #[must_use]
    pub fn action(mut self, action: impl ToString) -> Self {
        self.action = action.to_string();
        self
    }

    /// A file that cannot be read.
    pub fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        Self::new(
            exit::USAGE,
            "unreadable",
            format!("{}: {error}", path.display()),
            path.display(),
        )
    }

    /// A file that cannot be written.
    pub fn unwritable(path: &Path, error: &std::io::Error) -> Self {
        Self::new(
            exit::CANNOT_WRITE,
            "cannot-write",
            format!("{}: {error}", path.display()),
            path.display(),
        )
    }

    /// Arguments that do not go together.
    pub fn usage(message: impl ToString) -> Self {
        Self::new(exit::USAGE, "usage", message, "arguments")
    }
}

impl From<ConfigError> for Fault {
    fn from(error: ConfigError) -> Self {
        Self::new(exit::CONFIGURATION, "configuration", error, "configuration")
            .action("Correct the file named above, or name another with --config.")
    }
}

impl From<WalletError> for Fault {
    fn from(error: WalletError) -> Self {
        let code = match error {
            WalletError::WrongPassphrase { .. } => "wrong-passphrase",
            WalletError::OtherKey => return Self::new(exit::MALFORMED, "other-key", error, "--certificate"),
            WalletError::File { .. } | WalletError::Damaged { .. } | WalletError::Certificate(_) => "wallet",
        };
        Self::new(exit::CONFIGURATION, code, error, "wallet")
    }
}

impl From<ClientError> for Fault {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Failed(failure) => {
                let exit = match failure.retry.as_str() {
                    "later" => exit::TRY_AGAIN,
                    _ if matches!(failure.code.as_str(), "malformed" | "bad-request") => exit::MALFORMED,
                    _ if failure.code == "cannot-write" => exit::CANNOT_WRITE,
                    _ => exit::REFUSED,
                };
                Self {
                    exit,
                    code: failure.code,
                    message: failure.message,
                    place: failure.place,
                    action: failure.action,
                    retry: failure.retry,
                }
            }
            ClientError::Unreachable { .. } | ClientError::Broken(_) => {
                let mut fault = Self::new(exit::UNREACHABLE, "unreachable", error, "node");
                fault.retry = "later".into();
                fault
            }
            ClientError::Local(source) => Self::new(exit::CANNOT_WRITE, "local-file", source, "local file"),
        }
    }
}

impl From<NodeError> for Fault {
    fn from(error: NodeError) -> Self {
        let (status, code) = match &error {
            NodeError::Store(StoreError::Busy { .. }) => (exit::TRY_AGAIN, "data-in-use"),
            NodeError::Store(StoreError::Full { .. }) => (exit::CANNOT_WRITE, "disk-full"),
            NodeError::Store(_) | NodeError::Rows(_) | NodeError::Blobs(_) => (exit::CANNOT_WRITE, "store"),
            NodeError::Snapshot(error) => match error {
                SnapshotError::Rows(_) => (exit::CANNOT_WRITE, "store"),
                SnapshotError::Unreadable(_) => (exit::USAGE, "unreadable"),
                SnapshotError::Foreign(_) => (exit::MALFORMED, "malformed"),
                SnapshotError::NotEmpty => (exit::REFUSED, "not-empty"),
                SnapshotError::Refused(_)
                | SnapshotError::Inadmissible { .. }
                | SnapshotError::DoesNotOpen => (exit::CONTRADICTED, "snapshot-refused"),
            },
            NodeError::Files { .. } => (exit::CANNOT_WRITE, "cannot-write"),
            NodeError::Backup(error) => match error {
                BackupError::Vault(_) | BackupError::Keys(_) => (exit::CONFIGURATION, "vault"),
                BackupError::Damaged { .. } => (exit::MALFORMED, "backup"),
                _ => (exit::CANNOT_WRITE, "cannot-write"),
            },
            NodeError::Transport(_) => (exit::CONFIGURATION, "transport"),
            NodeError::Operator(_) => (exit::CONFIGURATION, "operator"),
            NodeError::Clock { .. } => (exit::CONFIGURATION, "clock"),
            NodeError::Vault(_) => (exit::CONFIGURATION, "vault"),
            NodeError::Config(_)
            | NodeError::Dns(_)
            | NodeError::Gossip(_)
            | NodeError::NoData { .. }
            | NodeError::Anchors { .. }
            | NodeError::Keys(_) => (exit::CONFIGURATION, "configuration"),
            NodeError::Internal(_) => (70, "internal"),
        };
        let action = match &error {
            NodeError::Transport(TransportError::Bind { .. }) => {
                "Stop what listens on that UDP port, or set another `listen` in the configuration."
            }
            NodeError::Operator(_) => {
                "Stop what listens on that TCP port, or set another `operator.listen` in the configuration."
            }
            NodeError::Anchors { .. } => {
                "Put the anchor file there (`basoche authority anchors` writes one), or correct `anchors` in the configuration."
            }
            NodeError::Keys(_) => {
                "Restore the data directory's keys from a backup: without them the node is not itself."
            }
            NodeError::Snapshot(SnapshotError::NotEmpty) => {
                "It catches up from its peers; a snapshot is for a node that has just been made."
            }
            NodeError::Snapshot(
                SnapshotError::Refused(_) | SnapshotError::Inadmissible { .. } | SnapshotError::DoesNotOpen,
            ) => {
                "Nothing of it was kept. Take one from another node; if that is refused too, check the anchors."
            }
            NodeError::Snapshot(_) => {
                "Nothing of it was kept. Give a file that `basoche annuaire snapshot` wrote."
            }
            NodeError::Files { .. } => "Check that it exists, and that this account may write to it.",
            NodeError::Config(_) => "Correct the file named above, or name another with --config.",
            NodeError::Dns(_) => {
                "Correct that file, or take the line out of the configuration to believe the Internet's root."
            }
            NodeError::Gossip(_) => {
                "Mend that, or take `[gossip]` out of the configuration: nothing depends on it."
            }
            // Their messages end with what to do.
            NodeError::NoData { .. }
            | NodeError::Vault(_)
            | NodeError::Store(_)
            | NodeError::Rows(_)
            | NodeError::Blobs(_)
            | NodeError::Backup(_)
            | NodeError::Transport(_)
            | NodeError::Clock { .. }
            | NodeError::Internal(_) => "",
        };
        let mut fault = Self::new(status, code, &error, "node").action(action);
        if status == exit::TRY_AGAIN {
            fault.retry = "later".into();
        }
        fault
    }
}
