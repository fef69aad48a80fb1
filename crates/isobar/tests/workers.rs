//! Do all workers get their part, also when connections are few?

use isobar_testkit::{Client, Configuration, Origin, binary, eventually};

#[test]
fn sixteen_connections_spread_over_four_workers() {
    let origin = Origin::named("a");
    // Which worker has a connection is seen from outside by who watches it; connections are spread before that, alike.
    let isobar = binary!()
        .workers(4)
        .io("epoll")
        .run(&Configuration::to(&[origin.address()]));
    for round in 0..5 {
        let mut clients = (0..16)
            .map(|_| Client::connect(isobar.address()).unwrap())
            .collect::<Vec<_>>();
        for client in &mut clients {
            assert_eq!(client.get("/").unwrap().status, 200);
        }
        let port = isobar.address().port();
        let spread = || isobar.process().connections_by_poller(port).unwrap();
        eventually("every connection waits in a worker", || {
            spread().iter().sum::<usize>() == 16
        });
        let counts = spread();
        assert!(
            counts.iter().all(|&count| count <= 8),
            "round {round}: one worker has more than twice its share: {counts:?}"
        );
        drop(clients);
        eventually("they are gone", || spread().is_empty());
    }
}

#[test]
fn one_worker_is_enough() {
    let origin = Origin::named("a");
    let isobar = binary!().workers(1).run(&Configuration::to(&[origin.address()]));
    let mut clients = (0..50)
        .map(|_| Client::connect(isobar.address()).unwrap())
        .collect::<Vec<_>>();
    for client in &mut clients {
        assert_eq!(client.get("/").unwrap().status, 200);
    }
}
