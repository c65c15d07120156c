//! Every maximum of the wire, in one place. SPEC §4.6 states each with the same name.

/// Nesting of CBOR arrays and maps. ENC-6.
pub const DEPTH: usize = 16;
/// CBOR items (heads) in one value. ENC-7.
pub const ITEMS: usize = 65_536;
/// Bytes of one message payload. ENV-10.
pub const PAYLOAD_BYTES: usize = 256 * 1024;
/// Bytes of a protected header; the fixed serialisation needs fewer than 200. ENV-10.
pub const HEADER_BYTES: usize = 256;
/// Bytes of a signature: RSA of 4096 bits. ENV-10.
pub const SIGNATURE_BYTES: usize = 512;
/// Bytes of an envelope: its three parts and their heads. ENV-10.
pub const ENVELOPE_BYTES: usize = PAYLOAD_BYTES + HEADER_BYTES + SIGNATURE_BYTES + 16;
/// Bytes of a sealed envelope: the tag, the salt and their heads more. ENV-10.
pub const SEALED_BYTES: usize = ENVELOPE_BYTES + 80;
/// Bytes of a journal entry, wraps included. JRN-9.
pub const ENTRY_BYTES: usize = 64 * 1024;
/// Bytes of one frame between nodes. SYN-2.
pub const FRAME_BYTES: usize = 1024 * 1024;
/// Bytes of a frame that is passed on by gossip. GSP-2.
pub const GOSSIP_BYTES: usize = 32 * 1024;
/// Bytes of one registry leaf. REG-4.
pub const LEAF_BYTES: usize = 16 * 1024;
/// Entries about one subject in a log. REG-24.
pub const SUBJECT_ENTRIES: u64 = 2048;
/// Bytes of a checkpoint between nodes: a note of three short lines and at most sixteen signatures. LOG-12.
pub const NOTE_BYTES: usize = 8 * 1024;
/// Bytes of one certificate. REG-4.
pub const CERTIFICATE_BYTES: usize = 8 * 1024;

/// Bytes of a parcel at a mailbox. MBX-2.
pub const PARCEL_BYTES: usize = 4 * 1024 * 1024;
/// Parcels in one listing of a mailbox, and in one request to forget them. MBX-5.
pub const PARCELS_LISTED: usize = 256;

/// Nodes of one dossier. DOS-20.
pub const DOSSIER_NODES: usize = 30;
/// Persons in one dossier's roster. DOS-20.
pub const DOSSIER_PERSONS: usize = 200;
/// Messages that one message may refer to. ENV-11.
pub const REFS: usize = 256;
/// Journal entries in one frame. SYN-3.
pub const ENTRIES_PER_FRAME: usize = 256;
/// Digests of one inventory. SYN-14.
pub const INVENTORY_DIGESTS: usize = 4096;
/// Rows of a frontier: chains of one dossier, old incarnations included. JRN-9.
pub const FRONTIER_ROWS: usize = 512;
/// Registries (authorities' logs) that a head or a hello may name. REG-5.
pub const REGISTRIES: usize = 16;
/// Histories of one chain that are kept: more than the nodes of a dossier can be told of, two each. JRN-13.
pub const BRANCHES: usize = 64;
/// Key wraps in one entry: a new key to every member, or every key to nodes that join. JRN-9.
pub const WRAPS: usize = 96;
/// Characters of one key wrap; the form that it has needs fewer than 500. KEY-4.
pub const WRAP_BYTES: usize = 640;
/// Entries of other chains that one entry may cite. JRN-9.
pub const DEPS: usize = FRONTIER_ROWS;

/// Documents of one request on the bulk lane. SYN-20.
pub const DOCUMENTS_PER_REQUEST: usize = 512;

/// Documents that one barrier may name: with a frontier of the most rows they fit in a payload. BAR-2.
pub const BARRIER_DOCUMENTS: usize = 4096;

/// Entries without their message that one frontier asks for. SYN-13.
pub const LACKING: usize = 256;

/// Bytes of a short text: a title, a reference, a file name. ENV-12.
pub const SHORT_TEXT_BYTES: usize = 256;
/// Bytes of a long text: a reason, a dire, a head of mission. ENV-12.
pub const LONG_TEXT_BYTES: usize = 64 * 1024;
/// Items of a list within a body: heads of mission, exhibits of one list. ENV-12.
pub const LIST_ITEMS: usize = 1000;

/// How far a signer's claimed time (`iat`) may lie after the receipt, in milliseconds. ENV-13.
pub const CLAIM_AHEAD_MS: u64 = 300_000;
/// Entries without a head after which a node must sign one. JRN-5.
pub const UNSEALED_ENTRIES: u64 = 1000;
/// Milliseconds without a head after which a node must sign one. JRN-5.
pub const UNSEALED_MS: u64 = 1000;
