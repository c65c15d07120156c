//! The second codec: every structure of SPEC annex C again, with explicit keys, under another CBOR library.
//!
//! Nothing here names a type of the protocol crate: that crate takes its keys from the positions of fields, this one
//! from the text of the specification. The only user of `minicbor`.

use minicbor::bytes::{ByteArray, ByteVec};
use minicbor::{Decode, Decoder, Encode};

use crate::vector::What;

type Id = ByteArray<16>;
type Hash = ByteArray<32>;

/// The bytes that this codec writes for what it reads; `None` if it cannot read them.
#[must_use]
pub fn again(what: What, bytes: &[u8]) -> Option<Vec<u8>> {
    match what {
        What::Envelope => {
            let Envelope(protected, payload, signature) = read(bytes)?;
            let payload = ByteVec::from(payload_again(&payload)?);
            write(&Envelope(protected, payload, signature))
        }
        What::Head => {
            let Envelope(protected, payload, signature) = read(bytes)?;
            let payload = ByteVec::from(same::<Head>(&payload)?);
            write(&Envelope(protected, payload, signature))
        }
        What::Receipt => {
            let Envelope(protected, payload, signature) = read(bytes)?;
            let payload = ByteVec::from(same::<Receipt>(&payload)?);
            write(&Envelope(protected, payload, signature))
        }
        What::Parcel => same::<Parcel>(bytes),
        What::Request => request_again(bytes),
        What::Sealed => same::<Sealed>(bytes),
        What::Entry => same::<Entry>(bytes),
        What::Frame => frame_again(bytes),
        What::Cbor | What::Jws | What::Wrap => Some(bytes.to_vec()),
    }
}

/// The payload of the envelope that `bytes` are.
#[must_use]
pub fn payload_of(bytes: &[u8]) -> Option<Vec<u8>> {
    read::<Envelope>(bytes).map(|envelope| envelope.1.to_vec())
}

fn read<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Option<T> {
    let mut decoder = Decoder::new(bytes);
    let value = decoder.decode().ok()?;
    (decoder.position() == bytes.len()).then_some(value)
}

fn write<T: Encode<()>>(value: &T) -> Option<Vec<u8>> {
    minicbor::to_vec(value).ok()
}

fn same<'b, T: Decode<'b, ()> + Encode<()>>(bytes: &'b [u8]) -> Option<Vec<u8>> {
    write(&read::<T>(bytes)?)
}

#[derive(Encode, Decode)]
struct Envelope(#[n(0)] ByteVec, #[n(1)] ByteVec, #[n(2)] ByteVec);

#[derive(Encode, Decode)]
struct Sealed(#[n(0)] u64, #[n(1)] u8, #[n(2)] Hash, #[n(3)] ByteVec);

#[derive(Encode, Decode)]
struct Parcel(#[n(0)] u64, #[n(1)] Hash, #[n(2)] ByteVec);

macro_rules! structures {
    ($($name:ident { $($key:literal $field:ident: $kind:ty,)* })+) => {
        $(#[derive(Encode, Decode)]
        #[cbor(map)]
        struct $name { $(#[n($key)] $field: $kind,)* })+
    };
}

structures! {
    Type { 1 message_type: u64, }
    DocumentRef {
        0 root: Hash, 1 bytes: u64, 2 media_type: String, 3 name: String, 4 key_commitment: Hash,
        5 plaintext_commitment: Hash, 6 plaintext_salt: Id, 7 wrap_salt: Option<Hash>,
        8 wrapped_key: Option<ByteArray<48>>, 9 wraps: Option<Vec<KeyWrap>>,
    }
    KeyWrap { 0 recipient: Id, 1 jwe: String, }
    KeyGrant { 0 ext: Option<ByteVec>, 1 deposit: Hash, 2 root: Hash, 3 wraps: Vec<KeyWrap>, }
    Designation {
        0 ext: Option<ByteVec>, 1 rules: u64, 2 case_number: String, 3 decided_at: u64, 4 heads: Vec<String>,
        5 judge: Id, 6 clerk: Id, 7 expert: Id, 8 court_node: Id, 9 expert_node: Id, 10 report_due: u64,
        11 provision: u64, 12 provision_due: u64, 13 payers: Vec<Id>,
    }
    Acceptance { 0 ext: Option<ByteVec>, 1 independent: bool, }
    Decline { 0 ext: Option<ByteVec>, 1 reason: String, }
    Participant { 0 subject: Id, 1 role: u8, 2 node: Id, 3 represents: Option<Id>, }
    RosterChange { 0 ext: Option<ByteVec>, 1 add: Vec<Participant>, 2 remove: Vec<Id>, }
    ProvisionPaid { 0 ext: Option<ByteVec>, 1 amount: u64, 2 paid_at: u64, 3 payer: Option<Id>, }
    ExhibitDeposit { 0 ext: Option<ByteVec>, 1 number: u64, 2 title: String, 3 document: DocumentRef, }
    Dire {
        0 ext: Option<ByteVec>, 1 number: u64, 2 text: String, 3 recapitulative: bool,
        4 document: Option<DocumentRef>,
    }
    PreReport { 0 ext: Option<ByteVec>, 1 document: DocumentRef, 2 dires_due: u64,
        3 closes: Option<Vec<HeadRow>>,
    }
    Answer { 0 dire: Hash, 1 text: String, }
    Report { 0 ext: Option<ByteVec>, 1 document: DocumentRef, 2 answers: Vec<Answer>,
        3 closes: Option<Vec<HeadRow>>,
    }
    Fees { 0 ext: Option<ByteVec>, 1 amount: u64, 2 document: Option<DocumentRef>, }
    CloseDossier { 0 ext: Option<ByteVec>, 1 closes: Option<Vec<HeadRow>>, }
    ForkSettled { 0 ext: Option<ByteVec>, 1 keep: Citation, 2 reason: String, }
    ErasedDocument { 0 root: Hash, 1 bytes: u64, }
    Residual { 0 act: u64, 1 author: Id, 2 documents: Vec<ErasedDocument>, }
    Erasure { 0 ext: Option<ByteVec>, 1 target: Hash, 2 extent: u8, 3 residual: Residual, 4 reason: String, }
    LegalHold { 0 ext: Option<ByteVec>, 1 target: Option<Hash>, 2 lifts: Option<Hash>, 3 reason: String, }
    Stated { 0 deposit: Hash, 1 root: Hash, }
    Held { 0 ext: Option<ByteVec>, 1 deposit: Hash, 2 root: Hash, 3 more: Option<Vec<Stated>>, }
    MadeAvailable {
        0 ext: Option<ByteVec>, 1 deposit: Hash, 2 root: Hash, 3 addressees: Vec<Id>, 4 more: Option<Vec<Stated>>,
    }
    Opening { 0 ext: Option<ByteVec>, 1 deposit: Hash, 2 root: Hash, 3 reader: Id, }
    Barrier {
        0 ext: Option<ByteVec>, 1 frontier: Vec<HeadRow>, 2 documents: Vec<Hash>, 3 members: Vec<Id>, 4 due: u64,
    }
    BarrierHeld { 0 ext: Option<ByteVec>, 1 barrier: Hash, }
    Gap { 0 ext: Option<ByteVec>, 1 chain: ChainId, 2 held: u64, 3 named: u64, 4 leaf: Hash, 5 named_by: Id, }
    HandOver { 0 ext: Option<ByteVec>, 1 person: Id, 2 from: Id, 3 to: Id, 4 previous: Option<Hash>, }
    PartyEnrolment {
        0 ext: Option<ByteVec>, 1 subject: Id, 2 name: String, 3 node: Id, 4 certificate: ByteVec, 5 algorithm: u8,
        6 assurance: u8, 7 delegation_salt: Id, 8 possession: ByteVec, 9 encryption_spki: Option<ByteVec>,
    }
    KeyRevocation { 0 ext: Option<ByteVec>, 1 enrolment: Hash, 2 invalid_since: Option<u64>, 3 reason: String, }
    Contestation {
        0 ext: Option<ByteVec>, 1 deposit: Hash, 2 root: Hash, 3 finding: u8, 4 segment: Option<u64>,
        5 wrap_key: Option<ByteArray<32>>,
    }
    ChainId { 0 node: Id, 1 incarnation: Id, }
    Citation { 0 chain: ChainId, 1 seq: u64, 2 leaf: Hash, }
    EpochWrap { 0 epoch: u64, 1 recipient: Id, 2 jwe: String, }
    Entry {
        0 dossier: Hash, 1 chain: ChainId, 2 seq: u64, 3 prev: Option<Hash>, 4 deps: Vec<Citation>,
        5 recorded_at: u64, 6 message: Hash, 7 envelope_digest: Hash, 8 sealed_digest: Hash,
        9 wraps: Vec<EpochWrap>, 10 adopts: Option<Citation>,
    }
    HeadRow { 0 chain: ChainId, 1 size: u64, 2 leaf: Hash, 3 root: Hash, }
    RegistryHead { 0 origin: String, 1 size: u64, 2 root: Hash, }
    Head {
        0 v: u64, 1 head_no: u64, 2 dossier: Hash, 3 node: Id, 4 incarnation: Id, 5 rows: Vec<HeadRow>,
        6 registries: Vec<RegistryHead>, 7 time: u64,
    }
    Hello {
        0 versions: Vec<u64>, 1 features: Vec<u64>, 2 node: Id, 3 incarnation: Id, 4 registries: Vec<RegistryHead>,
        5 time: u64, 6 software: String,
    }
    RegistryLeaf { 0 leaf: ByteVec, 1 certificate: ByteVec, }
    RegistryLeaves { 0 origin: String, 1 from: u64, 2 leaves: Vec<RegistryLeaf>, }
    RegistryRequest { 0 origin: String, 1 from: u64, }
    Frontier {
        0 dossier: Hash, 1 rows: Vec<HeadRow>, 2 wraps: Vec<EpochWrap>, 3 head: Option<ByteVec>,
        4 lacking: Option<Vec<Citation>>, 5 yours: Option<ByteVec>,
    }
    Item { 0 entry: ByteVec, 1 sealed: Option<ByteVec>, }
    Run { 0 dossier: Hash, 1 chain: ChainId, 2 items: Vec<Item>, 3 head: ByteVec, }
    Refusal { 0 code: u64, 1 about: Hash, 2 retry_after: Option<u64>, 3 dossier: Option<Hash>, }
    DossierDigest { 0 dossier: Hash, 1 digest: Hash, }
    ProofRequest { 0 dossier: Hash, 1 row: HeadRow, 2 position: Option<u64>, }
    Proof { 0 about: Hash, 1 head: ByteVec, 2 path: Vec<Hash>, 3 leaf: Option<Hash>, }
    Inventory { 0 from: u64, 1 to: u64, 2 acknowledged: u64, 3 digests: Vec<DossierDigest>, }
    Receipt {
        0 v: u64, 1 mailbox: Id, 2 depositor: Id, 3 tag: Hash, 4 parcel: Hash, 5 size: u64, 6 accepted_at: u64,
        7 kept_until: u64,
    }
    Offer { 0 tag: Hash, 1 addressee: Id, 2 kind: u64, 3 parcel: Hash, 4 size: u64, 5 keep: u64, }
    List { 0 after: u64, }
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Payload<B> {
    #[n(0)]
    v: u64,
    #[n(1)]
    message_type: u64,
    #[n(2)]
    dossier: Option<Hash>,
    #[n(3)]
    author: Id,
    #[n(4)]
    role: u8,
    #[n(5)]
    assurance: u8,
    #[n(6)]
    class: u8,
    #[n(7)]
    refs: Vec<Hash>,
    #[n(8)]
    salt: Id,
    #[n(9)]
    body: B,
}

fn payload_again(bytes: &[u8]) -> Option<Vec<u8>> {
    match read::<Type>(bytes)?.message_type {
        1 => same::<Payload<Designation>>(bytes),
        2 => same::<Payload<Acceptance>>(bytes),
        3 => same::<Payload<Decline>>(bytes),
        4 => same::<Payload<RosterChange>>(bytes),
        5 => same::<Payload<ProvisionPaid>>(bytes),
        6 => same::<Payload<ExhibitDeposit>>(bytes),
        7 => same::<Payload<Dire>>(bytes),
        8 => same::<Payload<PreReport>>(bytes),
        9 => same::<Payload<Report>>(bytes),
        10 | 11 => same::<Payload<Fees>>(bytes),
        12 => same::<Payload<CloseDossier>>(bytes),
        13 => same::<Payload<ForkSettled>>(bytes),
        16 => same::<Payload<Barrier>>(bytes),
        17 => same::<Payload<HandOver>>(bytes),
        18 => same::<Payload<PartyEnrolment>>(bytes),
        19 => same::<Payload<KeyRevocation>>(bytes),
        14 => same::<Payload<Erasure>>(bytes),
        15 => same::<Payload<LegalHold>>(bytes),
        32 => same::<Payload<Held>>(bytes),
        33 => same::<Payload<MadeAvailable>>(bytes),
        34 => same::<Payload<Opening>>(bytes),
        36 => same::<Payload<BarrierHeld>>(bytes),
        37 => same::<Payload<Gap>>(bytes),
        38 => same::<Payload<KeyGrant>>(bytes),
        35 => same::<Payload<Contestation>>(bytes),
        _ => None,
    }
}

#[derive(Encode, Decode)]
struct Frame(#[n(0)] u64, #[n(1)] ByteVec);

fn frame_again(bytes: &[u8]) -> Option<Vec<u8>> {
    let Frame(kind, content) = read(bytes)?;
    let content = match kind {
        1 => same::<Hello>(&content),
        2 => same::<RegistryLeaves>(&content),
        3 => same::<Frontier>(&content),
        4 => same::<Run>(&content),
        5 => same::<ByteVec>(&content),
        6 => same::<Refusal>(&content),
        7 => same::<Inventory>(&content),
        8 => same::<ProofRequest>(&content),
        9 => same::<Proof>(&content),
        10 | 11 => same::<ByteVec>(&content),
        12 => same::<RegistryRequest>(&content),
        _ => None,
    };
    write(&Frame(kind, ByteVec::from(content?)))
}

fn request_again(bytes: &[u8]) -> Option<Vec<u8>> {
    let Frame(kind, content) = read(bytes)?;
    let content = match kind {
        1 => same::<Offer>(&content),
        2 => same::<Hash>(&content),
        3 => same::<List>(&content),
        4 => same::<Vec<Hash>>(&content),
        _ => None,
    };
    write(&Frame(kind, ByteVec::from(content?)))
}
