//! Acting as a person: the wallet, and how its passphrase is given.

use std::path::PathBuf;

use basoche_protocol::envelope::{Typ, Unsigned};
use basoche_protocol::id::{DossierId, MessageId, Salt};
use basoche_protocol::message::{Body, Message};
use basoche_protocol::role::{Assurance, Role};
use basoche_protocol::text::b64url_encode;
use clap::Args;
use secrecy::SecretString;

use super::Fault;
use super::fault::exit;
use crate::config::read_passphrase;
use crate::effects::{now, random};
use crate::wallet::Wallet;

/// Where a wallet's passphrase comes from, besides `BASOCHE_PASSPHRASE`.
#[derive(Args, Clone, Debug)]
pub(super) struct PassphraseArgs {
    /// A file whose first line is the wallet's passphrase; else the variable BASOCHE_PASSPHRASE.
    #[arg(long, value_name = "FILE")]
    pub(super) passphrase_file: Option<PathBuf>,
}

impl PassphraseArgs {
    /// The passphrase.
    pub(super) fn read(&self) -> Result<SecretString, Fault> {
        match (&self.passphrase_file, std::env::var("BASOCHE_PASSPHRASE")) {
            (Some(file), _) => Ok(read_passphrase(file)?),
            (None, Ok(passphrase)) if !passphrase.is_empty() => Ok(SecretString::from(passphrase)),
            _ => Err(Fault::new(
                exit::CONFIGURATION,
                "no-passphrase",
                "no passphrase for the wallet",
                "wallet",
            )
            .action("Give --passphrase-file FILE, or set BASOCHE_PASSPHRASE.")),
        }
    }
}

/// Who acts.
#[derive(Args, Clone, Debug)]
pub(super) struct PersonArgs {
    /// The wallet of the person who acts and signs.
    #[arg(long = "as", value_name = "WALLET")]
    pub(super) wallet: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseArgs,
}

impl PersonArgs {
    /// The wallet's passphrase.
    pub(super) fn passphrase(&self) -> Result<SecretString, Fault> {
        self.passphrase.read()
    }

    /// Opens the wallet.
    pub(super) fn open(&self) -> Result<Wallet, Fault> {
        Ok(Wallet::open(&self.wallet, &self.passphrase.read()?)?)
    }
}

/// Signs what a person says, and gives it as the control socket takes it, with its id.
pub(super) fn sign(
    wallet: &Wallet,
    role: Role,
    dossier: Option<DossierId>,
    body: Body,
) -> Result<(String, MessageId), Fault> {
    let message = Message {
        dossier,
        author: wallet.subject,
        role,
        assurance: Assurance::Software,
        class: body.message_type().readers(),
        refs: Vec::new(),
        salt: Salt::new(random()),
        body,
    };
    let malformed = |error| Fault::new(exit::MALFORMED, "malformed", error, "message");
    message.validate().map_err(malformed)?;
    let unsigned = Unsigned::new(Typ::Message, wallet, now(), message.encode());
    let envelope = unsigned.sign(wallet).map_err(Fault::signer)?;
    Ok((b64url_encode(&envelope.encode()), envelope.id()))
}
