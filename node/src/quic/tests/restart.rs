//! A peer that is killed and comes back.

use super::*;

/// Kills a node as SIGKILL does: its runtime is gone in the middle, nothing is sent, the port is free again.
fn kill(runtime: tokio::runtime::Runtime, node: Node) -> SocketAddr {
    drop(runtime);
    node.address
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn a_peer_learns_from_a_stateless_reset_that_the_other_was_killed_whoever_dialled() {
    for dialled_by_victim in [false, true] {
        let (a, b) = Seed::ordered();
        let registry = Registry::of(&[&a, &b]);
        let (here, there) = (runtime(), runtime());
        let mut survivor = here.block_on(async { a.start(&registry) });
        let mut victim = there.block_on(async { b.start(&registry) });
        let at_survivor = if dialled_by_victim {
            there.block_on(victim.dial(&survivor, Lane::Control)).unwrap();
            here.block_on(survivor.connected())
        } else {
            here.block_on(connect(&mut survivor, &mut victim, Lane::Control))
                .0
        };
        // An exchange completes the handshake on both sides, with the reset tokens.
        survivor
            .endpoint
            .send_frame(at_survivor, Bytes::from_static(b"before"))
            .unwrap();
        if dialled_by_victim {
            there.block_on(victim.connected());
        }
        assert_eq!(there.block_on(victim.frame()), "before");

        let listen = kill(there, victim);
        let there = runtime();
        let _victim = there.block_on(async { b.node(&registry, Options { listen, ..options() }, 64) });
        let begun = Instant::now();
        survivor
            .endpoint
            .send_frame(at_survivor, Bytes::from_static(b"after"))
            .unwrap();
        let (conn, reason) = here.block_on(survivor.closed());
        assert_eq!(
            (conn, reason),
            (at_survivor, CloseReason::Reset),
            "dialled by victim: {dialled_by_victim}"
        );
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        println!(
            "dialled by victim: {dialled_by_victim}, reset after {:?}",
            begun.elapsed()
        );
    }
}

#[test]
fn a_killed_node_that_dials_back_is_connected_within_two_seconds_whatever_the_order_of_keys() {
    let (a, b) = Seed::ordered();
    for (stays, dies) in [(&a, &b), (&b, &a)] {
        let registry = Registry::of(&[&a, &b]);
        let (here, there) = (runtime(), runtime());
        let mut survivor = here.block_on(async { stays.start(&registry) });
        let mut victim = there.block_on(async { dies.start(&registry) });
        let (old, _) = here.block_on(connect(&mut survivor, &mut victim, Lane::Control));

        let listen = kill(there, victim);
        let begun = Instant::now();
        let there = runtime();
        let victim = there.block_on(async { dies.node(&registry, Options { listen, ..options() }, 64) });
        there.block_on(victim.dial(&survivor, Lane::Control)).unwrap();
        let (mut new, mut closed) = (None, None);
        while new.is_none() || closed.is_none() {
            match here.block_on(survivor.next()) {
                Event::Connected { conn, .. } => new = Some(conn),
                Event::Closed { conn, .. } => closed = Some(conn),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(closed, Some(old));
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        println!("back after {:?}", begun.elapsed());
    }
}
