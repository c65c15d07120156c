//! Bugs for the simulator to find: each is the absence of one rule. Without the feature `test-util` there are none.

/// A rule that is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A restarted node goes on with its chain although nobody has confirmed its end. Breaks JRN-6.
    NoIncarnationRule,
    /// One member's word confirms the end of a chain. Breaks JRN-6.
    OneMemberConfirms,
    /// Replicas compare how long chains are, and not what they end in. Breaks JRN-10.
    HeightsOnly,
    /// A signer's certificate is judged as of the time that the signer claims. Breaks ENV-13.
    TrustClaimedTime,
    /// A run with a message that is not authentic is turned away as a whole. Breaks JRN-12.
    PoisonBlocksQueue,
    /// An erased message is judged by what a replica still has of it. Breaks ERA-4.
    NoResidual,
    /// Runs that come too early are kept without a bound. Breaks SYN-10.
    UnboundedBuffer,
    /// What a frontier asks for goes out although the peer has said meanwhile that it takes no more. Breaks SYN-19.
    NeverHoldsBack,
    /// Nobody compares with a random peer what no cursor asks for. Breaks SYN-16.
    NoAntiEntropy,
    /// Nobody believes what others have of its own heads. Breaks SYN-17.
    ForgetsOwnHeads,
    /// Whatever a member answers that is asked for a proof is taken for one. Breaks SYN-22.
    ProofsUnchecked,
    /// Whatever an authority enters as published is taken for published, whoever has seen it. Breaks REG-22.
    NoQuorum,
    /// What a party's key is worth is asked of all that a replica has. Breaks PTY-3.
    PartiesOfNow,
    /// A summary is believed although the journal has gone on since it was made.
    StaleSummaryBelieved,
}

#[cfg(feature = "test-util")]
std::thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug in everything that this thread runs, or none.
#[cfg(feature = "test-util")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether this bug is planted.
pub fn planted(bug: Bug) -> bool {
    #[cfg(feature = "test-util")]
    return PLANTED.get() == Some(bug);
    #[cfg(not(feature = "test-util"))]
    {
        let _ = bug;
        false
    }
}
