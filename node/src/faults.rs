//! Planted faults, for the harnesses' negative controls. Without the feature `faults` there are none.

/// Whether this build can plant faults at all.
pub const PRESENT: bool = cfg!(feature = "faults");

/// Whether acknowledgements leave before the commit: the kill harness must notice.
pub fn acknowledge_before_commit() -> bool {
    #[cfg(feature = "faults")]
    {
        use std::sync::OnceLock;
        static CHOSEN: OnceLock<bool> = OnceLock::new();
        *CHOSEN.get_or_init(|| {
            std::env::var("BASOCHE_FAULT").is_ok_and(|fault| fault.contains("ack-before-commit"))
        })
    }
    #[cfg(not(feature = "faults"))]
    false
}

/// Ends the process at a step of a repair, as a power cut would: the next command must find nothing half done.
pub fn interrupt(step: &str) {
    #[cfg(feature = "faults")]
    if std::env::var("BASOCHE_FAULT").is_ok_and(|fault| fault.contains(step)) {
        std::process::abort();
    }
    #[cfg(not(feature = "faults"))]
    let _ = step;
}

/// Makes this node a slow source: waits as long as `bytes` take at the rate of `throttle=BYTES-PER-SECOND`.
pub async fn throttle(bytes: usize) {
    #[cfg(feature = "faults")]
    {
        let fault = std::env::var("BASOCHE_FAULT").unwrap_or_default();
        let rate = fault
            .split_once("throttle=")
            .and_then(|(_, rate)| rate.parse::<f64>().ok());
        if let Some(rate) = rate {
            tokio::time::sleep(std::time::Duration::from_secs_f64(bytes as f64 / rate)).await;
        }
    }
    #[cfg(not(feature = "faults"))]
    let _ = bytes;
}
