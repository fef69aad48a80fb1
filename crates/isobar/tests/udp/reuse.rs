//! Are sockets towards servers used again where that hurts nobody, and only there?

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use isobar_testkit::{Isobar, PATIENCE, UdpServer, binary, eventually, wait_for};

use super::{ask, causes, client, dropped, heard, is_left_alone, open_flows, udp};

/// Two sockets may rest, so that 10 ms are rest enough as soon as one does.
const SOON: &str = "responses: 1, reuse_sockets: true, max_flows: 2";

fn sockets(isobar: &Isobar, how: &str) -> f64 {
    let name = format!("isobar_server_connections_{how}_total");
    isobar.metrics().sum(&name, &[]).unwrap_or(-1.0)
}

/// Asks from another port each time, for so long; how often.
fn ask_for(isobar: &Isobar, time: Duration) -> f64 {
    let (end, mut asked) = (Instant::now() + time, 0.0);
    // Those who may still have a flow keep their ports, or another one could be given it, and go on with the flow.
    let mut last: [Option<UdpSocket>; 8] = Default::default();
    while Instant::now() < end {
        let question = format!("{asked}");
        let client = client(isobar.address());
        assert_eq!(ask(&client, &question), format!("a:{question}"));
        last.rotate_right(1);
        last[0] = Some(client);
        asked += 1.0;
    }
    asked
}

/// A server that answers everything but what it is told by somebody else: that it is to send `late` to whom it answered last.
fn late_server() -> UdpServer {
    let mut last = None;
    UdpServer::speaking(move |socket, from, datagram| {
        if datagram == b"tell" {
            socket.send_to(b"late", last.expect("somebody asked")).unwrap();
            return;
        }
        last = Some(from);
        socket.send_to(&[b"a:", datagram].concat(), from).unwrap();
    })
}

fn tell(server: &UdpServer) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(b"tell", server.address()).unwrap();
}

#[test]
fn a_socket_carries_others_after_a_rest_and_is_closed_when_nobody_comes() {
    let server = UdpServer::echo("a:");
    let isobar = binary!()
        .workers(1)
        .run(&udp(&[server.address()]).listener(format!("udp: {{ {SOON} }}")));
    assert_eq!(sockets(&isobar, "opened"), 0.0);
    let descriptors = isobar.process().descriptors().unwrap();
    let mut asked = 0.0;
    eventually("some are used again", || {
        asked += ask_for(&isobar, Duration::from_millis(50));
        sockets(&isobar, "reused") >= 3.0
    });
    let (opened, reused) = (sockets(&isobar, "opened"), sockets(&isobar, "reused"));
    assert_eq!(opened + reused, asked);
    assert!(server.sources() as f64 <= opened, "a port for each socket at most");
    assert_eq!(dropped(&isobar, "unexpected"), 0.0);
    eventually("what rests is closed", || {
        isobar.process().descriptors().unwrap() <= descriptors
    });
    assert_eq!(open_flows(&isobar), 0.0);
    isobar.comes_to_rest();
}

#[test]
fn nothing_is_used_again_where_that_is_not_wanted() {
    #[track_caller]
    fn check(settings: &str, expected: bool) {
        let server = UdpServer::echo("a:");
        let isobar = binary!()
            .workers(1)
            .run(&udp(&[server.address()]).listener(format!("udp: {{ {settings} }}")));
        let asked = ask_for(&isobar, Duration::from_millis(300));
        let reused = sockets(&isobar, "reused");
        assert_eq!(reused > 0.0, expected, "{reused} with {settings}");
        assert_eq!(sockets(&isobar, "opened") + reused, asked, "{settings}");
    }
    check(SOON, true);
    check("responses: 1, max_flows: 2", false);
    check("max_flows: 2", false);
}

/// With more of them as well: a socket rests when all has come.
#[test]
fn all_answers_are_waited_for() {
    let server = UdpServer::start(|datagram| vec![[b"a:", datagram].concat(), [b"b:", datagram].concat()]);
    let settings = "udp: { responses: 2, requests: 2, max_flows: 2, reuse_sockets: true }";
    let isobar = binary!().workers(1).run(&udp(&[server.address()]).listener(settings));
    let mut number = 0;
    eventually("a socket is used again", || {
        let client = client(isobar.address());
        for part in ["x", "y"] {
            let answers = (ask(&client, &format!("{number}{part}")), heard(&client));
            assert_eq!(answers, (format!("a:{number}{part}"), format!("b:{number}{part}")));
        }
        number += 1;
        sockets(&isobar, "reused") >= 3.0
    });
    assert_eq!(dropped(&isobar, "unexpected"), 0.0);
}

/// What comes after the last answer reaches nobody, and ports are not used again where that happens.
#[test]
fn a_late_answer_reaches_nobody() {
    let server = late_server();
    let isobar = binary!()
        .workers(1)
        .run(&udp(&[server.address()]).listener(format!("udp: {{ {SOON} }}")));
    let first = client(isobar.address());
    assert_eq!(ask(&first, "x"), "a:x");
    eventually("its flow is over", || open_flows(&isobar) == 0.0);
    tell(&server);
    eventually("it is seen that it is nobody's", || {
        dropped(&isobar, "unexpected") == 1.0
    });
    let asked = ask_for(&isobar, Duration::from_millis(300));
    assert_eq!(sockets(&isobar, "opened"), asked + 1.0);
    assert_eq!(sockets(&isobar, "reused"), 0.0, "for a minute");
    assert!(is_left_alone(&first));
}

/// Two answers for each question, the second at once or later: every client hears the first to its own question.
#[test]
fn a_server_that_answers_twice_confuses_nobody() {
    for pause in [Duration::ZERO, Duration::from_millis(2)] {
        wait_for("a server that keeps its pace", || {
            keeps_its_pace_and_confuses_nobody(pause).then_some(())
        });
    }
}

/// Whether the server that answers twice did so in less time than a socket rests; if so nobody was confused.
fn keeps_its_pace_and_confuses_nobody(pause: Duration) -> bool {
    // Where each question came from, and how long its second answer took at most.
    let seen = Arc::new(Mutex::new((Vec::new(), Duration::ZERO)));
    let seeing = Arc::clone(&seen);
    let server = UdpServer::speaking(move |socket, from, datagram| {
        seeing.lock().unwrap().0.push(from);
        let first = Instant::now();
        socket.send_to(&[b"a:", datagram].concat(), from).unwrap();
        // The pace of this server is what is tested.
        std::thread::sleep(pause);
        socket.send_to(&[b"again:", datagram].concat(), from).unwrap();
        let mut seen = seeing.lock().unwrap();
        seen.1 = seen.1.max(first.elapsed());
    });
    let isobar = binary!()
        .workers(1)
        .run(&udp(&[server.address()]).listener(format!("udp: {{ {SOON} }}")));
    // Their ports are kept, or another one could be given one whose flow is still there.
    let clients: Vec<_> = (0..30).map(|_| client(isobar.address())).collect();
    let mut heard = Vec::new();
    for (number, client) in clients.iter().enumerate() {
        heard.push(ask(client, &number.to_string()));
        // All together take longer than a socket rests.
        std::thread::sleep(Duration::from_millis(1));
    }
    eventually("it is noticed", || dropped(&isobar, "unexpected") > 0.0);
    let (sources, longest) = std::mem::take(&mut *seen.lock().unwrap());
    if longest >= Duration::from_millis(10) {
        return false;
    }
    assert_eq!(sockets(&isobar, "reused"), 0.0, "{pause:?}");
    assert!(dropped(&isobar, "unexpected") <= heard.len() as f64);
    for (number, heard) in heard.iter().enumerate() {
        // No socket was used again. But the kernel may have given a new one the port of the one before.
        let is_anothers = number > 0 && sources[number] == sources[number - 1];
        assert!(is_anothers || *heard == format!("a:{number}"), "{number} heard {heard}");
    }
    true
}

/// Answers come in another order than questions, and clients' ports change: everybody hears what is theirs.
#[test]
fn answers_that_overtake_each_other_find_their_clients() {
    const ROUND: usize = 20;
    let mut waiting = Vec::new();
    let server = UdpServer::speaking(move |socket, from, datagram| {
        waiting.push((from, [b"a:", datagram].concat()));
        if waiting.len() == ROUND {
            for (from, answer) in waiting.drain(..).rev() {
                socket.send_to(&answer, from).unwrap();
            }
        }
    });
    let isobar = binary!()
        .workers(1)
        .run(&udp(&[server.address()]).listener("udp: { responses: 1, max_flows: 40, reuse_sockets: true }"));
    let mut round = 0;
    eventually("sockets are used again, many times", || {
        let clients: Vec<_> = (0..ROUND).map(|_| client(isobar.address())).collect();
        for (number, client) in clients.iter().enumerate() {
            client.send(format!("{round} {number}").as_bytes()).unwrap();
        }
        for (number, client) in clients.iter().enumerate() {
            assert_eq!(heard(client), format!("a:{round} {number}"));
        }
        round += 1;
        sockets(&isobar, "reused") >= 100.0
    });
    assert_eq!(dropped(&isobar, "unexpected"), 0.0);
}

/// A client asks again before it is answered, and each of both is.
#[test]
fn a_client_that_asks_again_leaves_no_answer_behind() {
    let mut held = None;
    let server = UdpServer::speaking(move |socket, from, datagram| match (datagram, held.take()) {
        (b"both", None) => held = Some(from),
        (_, earlier) => {
            for to in earlier.into_iter().chain([from]) {
                socket.send_to(&[b"a:", datagram].concat(), to).unwrap();
            }
        }
    });
    let settings = format!("udp: {{ {SOON}, idle_timeout: 100ms }}");
    let isobar = binary!().workers(1).run(&udp(&[server.address()]).listener(settings));
    let both = client(isobar.address());
    both.send(b"both").unwrap();
    assert_eq!([ask(&both, "both"), heard(&both)], ["a:both", "a:both"]);
    assert_eq!(causes(&isobar, 1), ["complete"]);
    wait_for("its socket is used again", || {
        assert_eq!(ask(&client(isobar.address()), "x"), "a:x");
        (sockets(&isobar, "reused") > 0.0).then_some(())
    });
}

/// The same, and one of both is not: what may come still is nobody's.
#[test]
fn a_question_without_its_answer_closes_the_socket() {
    let mut last = None::<SocketAddr>;
    // It says nothing to whom it has answered just now, until it is told to.
    let server = UdpServer::speaking(move |socket, from, datagram| {
        if datagram == b"tell" {
            socket.send_to(b"late", last.expect("somebody asked")).unwrap();
        } else if last.replace(from) != Some(from) {
            socket.send_to(&[b"a:", datagram].concat(), from).unwrap();
        }
    });
    let settings = format!("udp: {{ {SOON}, idle_timeout: 100ms }}");
    let isobar = binary!().workers(1).run(&udp(&[server.address()]).listener(settings));
    let first = client(isobar.address());
    first.send(b"x").unwrap();
    first.send(b"x").unwrap();
    assert_eq!(heard(&first), "a:x");
    assert_eq!(causes(&isobar, 1), ["read_timeout"]);
    tell(&server);
    assert_eq!(ask(&client(isobar.address()), "y"), "a:y");
    assert_eq!((sockets(&isobar, "opened"), sockets(&isobar, "reused")), (2.0, 0.0));
    assert!(is_left_alone(&first));
}

/// Those towards a server that a reload removes do not rest on.
#[test]
fn a_reload_closes_what_rests() {
    let (old, new) = (UdpServer::echo("a:"), UdpServer::echo("b:"));
    let configuration =
        |server: &UdpServer| udp(&[server.address()]).listener("udp: { responses: 1, reuse_sockets: true }");
    let isobar = binary!().workers(1).run(&configuration(&old));
    assert_eq!(sockets(&isobar, "opened"), 0.0);
    let descriptors = isobar.process().descriptors().unwrap();
    let clients: Vec<_> = (0..40).map(|_| client(isobar.address())).collect();
    for client in &clients {
        assert_eq!(ask(client, "x"), "a:x");
    }
    let rested = Instant::now();
    let resting = isobar.process().descriptors().unwrap();
    assert!(resting > descriptors + 30, "{resting} for {descriptors}");
    isobar.reload(&configuration(&new).yaml());
    eventually("they are closed", || {
        isobar.process().descriptors().unwrap() < descriptors + 20
    });
    assert!(rested.elapsed() < Duration::from_secs(5), "before their time");
    assert_eq!(ask(&client(isobar.address()), "x"), "b:x");
}

/// Where no descriptor is left, what rests gives up its own: as many flows find one as if nothing rested.
#[test]
fn what_rests_makes_room_when_descriptors_run_out() {
    let refused = [true, false].map(|reuse| {
        let servers = ["a:", "b:"].map(|name| {
            UdpServer::start(move |datagram| match datagram {
                b"hold" => Vec::new(),
                _ => vec![[name.as_bytes(), datagram].concat()],
            })
        });
        let configuration = udp(&servers.each_ref().map(UdpServer::address))
            .listener(format!(
                "udp: {{ responses: 1, idle_timeout: 60s, reuse_sockets: {reuse} }}"
            ))
            .upstream("balance: maglev");
        let isobar = binary!()
            .workers(1)
            .through(&["prlimit", "--nofile=128:128"])
            .run(&configuration);
        let from = |ip: u8| {
            let client = UdpSocket::bind((std::net::Ipv4Addr::new(127, 0, 0, ip), 0)).unwrap();
            client.connect(isobar.address()).unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client
        };
        // Clients go by their address, some to each server.
        let [of_first, of_second] = ["a:", "b:"].map(|name| {
            let finds = |ip: &u8| ask(&from(*ip), "?").starts_with(name);
            (2..100).find(finds).expect("some go there")
        });
        for _ in 0..20 {
            ask(&from(of_first), "?");
        }
        let holding: Vec<_> = (0..150).map(|_| from(of_second)).collect();
        for client in &holding {
            client.send(b"hold").unwrap();
        }
        let refused = || {
            let text = std::fs::read_to_string(isobar.directory().join("access.log")).unwrap_or_default();
            text.matches("\"out_of_resources\"").count()
        };
        eventually("descriptors run out", || refused() > 0);
        eventually("the last has its line", || {
            servers[1]
                .received()
                .iter()
                .filter(|datagram| *datagram == b"hold")
                .count()
                + refused()
                >= 150
        });
        refused()
    });
    let [reusing, plain] = refused;
    assert!(
        reusing.abs_diff(plain) <= 4,
        "{reusing} refused, and {plain} where nothing rests"
    );
}
