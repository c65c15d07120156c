//! Who may talk: TLS 1.3 (RFC 8446) with both sides' keys looked up in the registry.
//!
//! A node's certificate is only the envelope of its key: names, dates and chains are not read. The handshake
//! signature is checked by the provider; the key's SHA-256 must be one that [`PeerDirectory`] knows now. There are
//! no tickets, no resumption and no early data, so no handshake passes by that question, and no key log is ever
//! installed, whatever the environment says.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use aws_lc_rs::digest;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible,
    ServerConfig, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs as provider, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
    server::{
        NoServerSessionStorage, ParsedCertificate,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use zeroize::Zeroizing;

use super::{NodeId, PeerDirectory, TransportError};

/// Application protocol: the wire format of this transport and of the session above it, version 1.
pub const ALPN: &[u8] = b"basoche/1";
/// Server name every dialler sends: it names no organisation to onlookers.
pub(super) const SERVER_NAME: &str = "basoche";

/// A node's transport key and the certificate around it.
#[derive(Clone)]
pub struct Identity {
    /// X.509 certificate, DER.
    pub certificate_der: Vec<u8>,
    /// Its private key, PKCS#8 DER.
    pub private_key_pkcs8: Zeroizing<Vec<u8>>,
}

/// Shows no key.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Identity {
    /// A new ECDSA P-256 key in a self-signed certificate with this common name.
    ///
    /// # Errors
    /// [`TransportError::Identity`] when the system has no randomness or the name cannot be encoded.
    pub fn generate(name: &str) -> Result<Self, TransportError> {
        let made = crate::certificate::generate(name).map_err(identity)?;
        Ok(Self {
            certificate_der: made.certificate_der,
            private_key_pkcs8: made.private_key_pkcs8,
        })
    }

    /// SHA-256 of the SubjectPublicKeyInfo: what the registry lists for the node.
    ///
    /// # Errors
    /// [`TransportError::Identity`] when the certificate is not a version 3 X.509 certificate.
    pub fn spki_sha256(&self) -> Result<[u8; 32], TransportError> {
        spki_sha256(&CertificateDer::from(self.certificate_der.as_slice())).map_err(identity)
    }

    fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![CertificateDer::from(self.certificate_der.clone())]
    }

    fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.private_key_pkcs8.to_vec()).into()
    }
}

fn identity(error: impl fmt::Display) -> TransportError {
    TransportError::Identity(error.to_string())
}

/// SHA-256 of a certificate's SubjectPublicKeyInfo.
pub(super) fn spki_sha256(certificate: &CertificateDer<'_>) -> Result<[u8; 32], Error> {
    let spki = ParsedCertificate::try_from(certificate)?.subject_public_key_info();
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, &spki).as_ref());
    Ok(hash)
}

/// aws-lc, with the hybrid post-quantum group first.
pub(super) fn crypto() -> Arc<CryptoProvider> {
    use provider::kx_group::{SECP256R1, X25519, X25519MLKEM768};
    Arc::new(CryptoProvider {
        kx_groups: vec![X25519MLKEM768, X25519, SECP256R1],
        ..provider::default_provider()
    })
}

/// TLS of the accepting side.
pub(super) fn server(
    identity_here: &Identity,
    directory: Arc<dyn PeerDirectory>,
) -> Result<Arc<QuicServerConfig>, TransportError> {
    let config = server_tls(identity_here, directory).map_err(identity)?;
    Ok(Arc::new(QuicServerConfig::try_from(config).map_err(identity)?))
}

fn server_tls(identity: &Identity, directory: Arc<dyn PeerDirectory>) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(crypto())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(Doorkeeper::new(directory, None)))
        .with_single_cert(identity.chain(), identity.key())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // With resumption rustls skips the certificates: a revoked peer would come back by its ticket.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// TLS of the dialling side, from which each dial takes its own copy.
pub(super) struct Dialler {
    config: ClientConfig,
    directory: Arc<dyn PeerDirectory>,
}

impl Dialler {
    pub(super) fn new(
        identity_here: &Identity,
        directory: Arc<dyn PeerDirectory>,
    ) -> Result<Self, TransportError> {
        let config = client_tls(identity_here, Arc::clone(&directory)).map_err(identity)?;
        Ok(Self { config, directory })
    }

    /// Configuration that accepts `wanted` and nobody else; the doorkeeper tells afterwards whom it refused.
    pub(super) fn towards(
        &self,
        wanted: NodeId,
    ) -> Result<(Arc<QuicClientConfig>, Arc<Doorkeeper>), TransportError> {
        let doorkeeper = Arc::new(Doorkeeper::new(Arc::clone(&self.directory), Some(wanted)));
        let mut config = self.config.clone();
        config
            .dangerous()
            .set_certificate_verifier(Arc::clone(&doorkeeper) as _);
        Ok((
            Arc::new(QuicClientConfig::try_from(config).map_err(identity)?),
            doorkeeper,
        ))
    }
}

pub(super) fn client_tls(
    identity: &Identity,
    directory: Arc<dyn PeerDirectory>,
) -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(crypto())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Doorkeeper::new(directory, None)))
        .with_client_auth_cert(identity.chain(), identity.key())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(config)
}

/// Whom a doorkeeper refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A key the registry does not know.
    Unknown,
    /// A node other than the one dialled.
    Other(NodeId),
}

/// Verifies the peer's certificate, on either side.
pub(super) struct Doorkeeper {
    directory: Arc<dyn PeerDirectory>,
    wanted: Option<NodeId>,
    algorithms: WebPkiSupportedAlgorithms,
    refusal: OnceLock<Refusal>,
}

impl Doorkeeper {
    fn new(directory: Arc<dyn PeerDirectory>, wanted: Option<NodeId>) -> Self {
        let algorithms = provider::default_provider().signature_verification_algorithms;
        Self {
            directory,
            wanted,
            algorithms,
            refusal: OnceLock::new(),
        }
    }

    /// Whom it refused first, if anyone.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.refusal.get().copied()
    }

    fn admit(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let refusal = match self.directory.node_of_key(&spki_sha256(certificate)?) {
            None => Refusal::Unknown,
            Some(node) if self.wanted.is_some_and(|wanted| wanted != node) => Refusal::Other(node),
            Some(_) => return Ok(()),
        };
        self.refusal.get_or_init(|| refusal);
        // TLS alert access_denied (49).
        Err(CertificateError::ApplicationVerificationFailure.into())
    }
}

impl fmt::Debug for Doorkeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorkeeper")
            .field("refusal", &self.refusal)
            .finish_non_exhaustive()
    }
}

const NO_TLS12: Error = Error::PeerIncompatible(PeerIncompatible::Tls13RequiredForQuic);

impl ServerCertVerifier for Doorkeeper {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.admit(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(NO_TLS12)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Doorkeeper {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.admit(end_entity).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(NO_TLS12)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rustls::{
        AlertDescription, HandshakeKind, NamedGroup,
        quic::{ClientConnection, Connection, ServerConnection, Version},
    };

    use super::*;

    struct Everyone;

    impl PeerDirectory for Everyone {
        fn node_of_key(&self, _: &[u8; 32]) -> Option<NodeId> {
            Some([1; 16])
        }
    }

    fn configs() -> (ClientConfig, ServerConfig) {
        let _ = provider::default_provider().install_default();
        let identity = Identity::generate("node").unwrap();
        let directory = Arc::new(Everyone);
        (
            client_tls(&identity, directory.clone()).unwrap(),
            server_tls(&identity, directory).unwrap(),
        )
    }

    /// Runs the TLS part of a QUIC handshake in memory.
    fn handshake(
        client: &ClientConfig,
        server: &Arc<ServerConfig>,
    ) -> Result<(Connection, Connection), Error> {
        let client = Arc::new(client.clone());
        let name = ServerName::try_from(SERVER_NAME).unwrap();
        let mut client: Connection = ClientConnection::new(client, Version::V1, name, vec![])?.into();
        let mut server: Connection = ServerConnection::new(Arc::clone(server), Version::V1, vec![])?.into();
        loop {
            let mut moved = 0;
            for _ in 0..2 {
                loop {
                    // One encryption level at a time.
                    let mut bytes = Vec::new();
                    let change = client.write_hs(&mut bytes);
                    if bytes.is_empty() && change.is_none() {
                        break;
                    }
                    moved += bytes.len();
                    server.read_hs(&bytes)?;
                }
                std::mem::swap(&mut client, &mut server);
            }
            if moved == 0 {
                return Ok((client, server));
            }
        }
    }

    #[test]
    fn the_hybrid_post_quantum_group_is_negotiated() {
        let (client, server) = configs();
        let (client, server) = handshake(&client, &Arc::new(server)).unwrap();
        for side in [&client, &server] {
            assert!(!side.is_handshaking());
            assert_eq!(side.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
            let group = side.negotiated_key_exchange_group().unwrap();
            assert_eq!(group.name(), NamedGroup::X25519MLKEM768);
        }
    }

    #[test]
    fn no_session_is_resumed_even_by_a_client_that_would() {
        let (mut client, server) = configs();
        client.resumption = Resumption::in_memory_sessions(16);
        client.enable_early_data = true;
        let server = Arc::new(server);
        for _ in 0..3 {
            let (client, server) = handshake(&client, &server).unwrap();
            assert_eq!(client.handshake_kind(), Some(HandshakeKind::Full));
            assert_eq!(server.handshake_kind(), Some(HandshakeKind::Full));
        }
    }

    #[test]
    fn a_client_without_a_certificate_is_refused() {
        let (_, server) = configs();
        let mut anonymous = ClientConfig::builder_with_provider(crypto())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Doorkeeper::new(Arc::new(Everyone), None)))
            .with_no_client_auth();
        anonymous.alpn_protocols = vec![ALPN.to_vec()];
        assert_eq!(
            handshake(&anonymous, &Arc::new(server)).unwrap_err(),
            Error::NoCertificatesPresented
        );
    }

    #[test]
    fn tls_1_2_is_impossible() {
        let (_, server) = configs();
        // ClientHello of TLS 1.2 (RFC 5246 §7.4.1.2): no supported_versions extension.
        let mut hello = vec![0x03, 0x03]; // client_version
        hello.extend([0x42; 32]); // random
        hello.push(0); // session_id: none
        hello.extend([0x00, 0x02, 0xc0, 0x2b]); // TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        hello.extend([0x01, 0x00]); // compression: none
        let extensions = [
            [0x00, 0x0a, 0x00, 0x04, 0x00, 0x02, 0x00, 0x17], // supported_groups: secp256r1
            [0x00, 0x0d, 0x00, 0x04, 0x00, 0x02, 0x04, 0x03], // signature_algorithms: ecdsa_secp256r1_sha256
        ];
        hello.extend([0x00, 0x10]);
        hello.extend(extensions.concat());
        let length = hello.len() as u8;
        let mut record = vec![0x16, 0x03, 0x01, 0x00, length + 4, 0x01, 0x00, 0x00, length];
        record.extend(hello);

        let mut connection = rustls::ServerConnection::new(Arc::new(server)).unwrap();
        connection.read_tls(&mut record.as_slice()).unwrap();
        let error = connection.process_new_packets().unwrap_err();
        assert!(matches!(error, Error::PeerIncompatible(_)), "{error}");
        let mut answer = Vec::new();
        connection.write_tls(&mut answer).unwrap();
        assert_eq!(answer.last(), Some(&u8::from(AlertDescription::ProtocolVersion)));
    }

    #[test]
    fn a_key_has_one_hash_whatever_its_certificate_says() {
        let identity = Identity::generate("court").unwrap();
        let key = rcgen::KeyPair::try_from(identity.private_key_pkcs8.as_slice()).unwrap();
        let renamed = rcgen::CertificateParams::default().self_signed(&key).unwrap();
        assert_eq!(
            identity.spki_sha256().unwrap(),
            spki_sha256(renamed.der()).unwrap()
        );
        assert_ne!(
            identity.spki_sha256().unwrap(),
            Identity::generate("court").unwrap().spki_sha256().unwrap()
        );
        let broken = Identity {
            certificate_der: vec![0x30],
            ..identity
        };
        assert!(matches!(broken.spki_sha256(), Err(TransportError::Identity(_))));
    }
}
