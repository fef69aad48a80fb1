//! Which datagrams are one flow, and when does it end?

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use isobar_testkit::serde_json::Value;
use isobar_testkit::{PATIENCE, UdpServer, binary, eventually, noise};

use super::{ask, causes, client, dropped, heard, is_left_alone, open_flows, udp};

#[test]
fn datagrams_go_both_ways_and_the_line_says_what_happened() {
    let server = UdpServer::echo("a:");
    let configuration = udp(&[server.address()]).listener("udp: { idle_timeout: 200ms }");
    let isobar = binary!().run(&configuration);
    let client = client(isobar.address());
    assert_eq!(ask(&client, "hello"), "a:hello");
    assert_eq!(ask(&client, ""), "a:");
    let line = &isobar.access_lines(1)[0];
    let name = server.address().to_string();
    for (key, expected) in [
        ("listener", Value::from("web")),
        ("route", "default".into()),
        ("upstream", "web".into()),
        ("server", name.as_str().into()),
        ("picked", "balance".into()),
        ("protocol", "UDP".into()),
        ("bytes_in", 5.into()),
        ("bytes_out", 9.into()),
        ("attempts", 1.into()),
        ("cause", "idle_timeout".into()),
        ("client", "127.0.0.1".into()),
    ] {
        assert_eq!(line[key], expected, "{key} in {line}");
    }
    assert!(line["duration_ms"].as_f64().is_some_and(|ms| ms >= 200.0), "{line}");
    let metrics = isobar.metrics();
    let value = |name: &str| metrics.sum(name, &[]).unwrap_or(-1.0);
    for (name, expected) in [
        ("isobar_listener_connections_accepted_total", 1.0),
        ("isobar_listener_connections", 0.0),
        ("isobar_listener_datagrams_received_total", 2.0),
        ("isobar_listener_datagrams_sent_total", 2.0),
        ("isobar_listener_datagrams_dropped_total", 0.0),
        ("isobar_route_exchanges_total", 1.0),
        ("isobar_route_request_body_bytes_total", 5.0),
        ("isobar_route_response_body_bytes_total", 9.0),
        ("isobar_upstream_requests_total", 1.0),
        ("isobar_server_requests_total", 1.0),
        ("isobar_server_datagrams_sent_total", 2.0),
        ("isobar_server_datagrams_received_total", 2.0),
        ("isobar_server_request_body_bytes_total", 5.0),
        ("isobar_server_response_body_bytes_total", 9.0),
        ("isobar_server_connection_duration_seconds_count", 1.0),
    ] {
        assert!((value(name) - expected).abs() < 0.5, "{name}: {}", value(name));
    }
}

/// Many clients at once, over both workers: everybody hears what is theirs, and in the end nothing is left of it.
#[test]
fn many_clients_hear_their_own_answers() {
    let servers = ["a:", "b:", "c:"].map(UdpServer::echo);
    let configuration = udp(&servers.each_ref().map(UdpServer::address)).listener("udp: { idle_timeout: 3s }");
    let isobar = binary!().run(&configuration);
    let asked = ask(&client(isobar.address()), "warm");
    assert!(asked.ends_with(":warm"), "{asked}");
    eventually("the flow is over", || open_flows(&isobar) == 0.0);
    let descriptors = isobar.process().descriptors().unwrap();
    let clients: Vec<_> = (0..150).map(|_| client(isobar.address())).collect();
    for round in 0..4 {
        for (number, client) in clients.iter().enumerate() {
            client.send(format!("{number} {round}").as_bytes()).unwrap();
        }
        for (number, client) in clients.iter().enumerate() {
            let answer = heard(client);
            let (server, rest) = answer.split_once(':').unwrap();
            assert_eq!(rest, format!("{number} {round}"), "from {server}");
        }
    }
    assert!(open_flows(&isobar) > 149.0);
    let sources: Vec<_> = servers.iter().map(UdpServer::sources).collect();
    assert!(
        sources.iter().sum::<usize>() == 151 && sources.iter().all(|&count| count >= 49),
        "{sources:?}"
    );
    eventually("all flows are over", || open_flows(&isobar) == 0.0);
    eventually("their sockets are closed", || {
        isobar.process().descriptors().unwrap() <= descriptors
    });
    isobar.comes_to_rest();
}

#[test]
fn large_datagrams_pass_whole() {
    let server = UdpServer::echo("");
    let isobar = binary!().run(&udp(&[server.address()]));
    let client = client(isobar.address());
    let mut answer = vec![0; 65_536];
    for bytes in [1, 1472, 9000, 65_507] {
        let sent = noise(bytes, bytes as u64);
        client.send(&sent).unwrap();
        let count = client.recv(&mut answer).unwrap();
        assert!(answer[..count] == sent, "{bytes} bytes");
    }
}

/// The listener is on all addresses. Clients are connected to one of them, and hear nobody else.
#[test]
fn answers_come_from_the_address_that_was_asked() {
    let server = UdpServer::echo("a:");
    for (address, asked) in [("0.0.0.0:0", "127.0.0.2"), ("[::]:0", "127.0.0.3"), ("[::]:0", "::1")] {
        let isobar = binary!().run(&udp(&[server.address()]).address(address));
        let to = SocketAddr::new(asked.parse().unwrap(), isobar.address().port());
        let client = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).unwrap();
        client.connect(to).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(ask(&client, "x"), "a:x", "{address} {asked}");
    }
}

#[test]
fn a_flow_is_of_a_client_or_of_both_ends() {
    for (flow, sources) in [("client", 1), ("client_and_destination", 2)] {
        let server = UdpServer::echo("a:");
        // One worker: the kernel spreads by both ends.
        let configuration = udp(&[server.address()])
            .address("0.0.0.0:0")
            .listener(format!("udp: {{ flow: {flow} }}"));
        let isobar = binary!().workers(1).run(&configuration);
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        for address in ["127.0.0.2", "127.0.0.3", "127.0.0.2"] {
            let to = SocketAddr::new(address.parse().unwrap(), isobar.address().port());
            client.send_to(b"x", to).unwrap();
            let mut answer = [0; 8];
            let (count, from) = client.recv_from(&mut answer).unwrap();
            assert_eq!((&answer[..count], from), (&b"a:x"[..], to), "{flow}");
        }
        assert_eq!(server.sources(), sources, "{flow}");
    }
}

/// Clients that were answered and went on keep their flows; one that only asked makes room.
#[test]
fn a_full_table_keeps_those_who_are_served() {
    let server = UdpServer::echo("a:");
    let configuration = udp(&[server.address()]).listener("udp: { max_flows: 2 }");
    let isobar = binary!().workers(1).run(&configuration);
    let [first, second, third] = [(); 3].map(|()| client(isobar.address()));
    for text in ["1", "2"] {
        assert_eq!(ask(&first, text), format!("a:{text}"));
    }
    assert_eq!(ask(&second, "1"), "a:1");
    assert_eq!(ask(&third, "1"), "a:1", "the second makes room");
    assert_eq!(causes(&isobar, 1), ["displaced"]);
    assert_eq!(ask(&third, "2"), "a:2");
    second.send(b"2").unwrap();
    assert!(is_left_alone(&second), "the others are being served");
    assert_eq!(dropped(&isobar, "full"), 1.0);
    for served in [&first, &third] {
        assert_eq!(ask(served, "3"), "a:3");
    }
    assert_eq!(open_flows(&isobar), 2.0);
}

#[test]
fn flows_end_when_nothing_is_sent() {
    let server = UdpServer::echo("");
    let isobar = binary!().run(&udp(&[server.address()]).listener("udp: { idle_timeout: 600ms }"));
    let (busy, idle) = (client(isobar.address()), client(isobar.address()));
    ask(&idle, "x");
    for _ in 0..12 {
        ask(&busy, "x");
        // The pace of this client is what is tested.
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(server.sources(), 2);
    assert_eq!(causes(&isobar, 1), ["idle_timeout"]);
    ask(&idle, "y");
    assert_eq!(server.sources(), 3);
}

/// As DNS is: one answer each, and no flow waits for more.
#[test]
fn flows_end_with_the_last_answer() {
    let server = UdpServer::start(|_| vec![b"1".to_vec(), b"2".to_vec(), b"3".to_vec()]);
    let isobar = binary!().run(&udp(&[server.address()]).listener("udp: { responses: 2 }"));
    let client = client(isobar.address());
    for number in 1..=3 {
        assert_eq!((ask(&client, "x"), heard(&client)), ("1".to_owned(), "2".to_owned()));
        assert_eq!(isobar.access_lines(number)[number - 1]["cause"], "complete");
    }
    assert_eq!(server.sources(), 3, "each had a flow of its own");
    isobar.comes_to_rest();
}

#[test]
fn a_server_that_does_not_answer_as_expected_is_to_blame() {
    let server = UdpServer::start(|_| Vec::new());
    let configuration = udp(&[server.address()]).listener("udp: { responses: 1, idle_timeout: 100ms }");
    let isobar = binary!().run(&configuration);
    client(isobar.address()).send(b"x").unwrap();
    let line = &isobar.access_lines(1)[0];
    assert_eq!(
        (&line["cause"], &line["fault"]),
        (&"read_timeout".into(), &"server".into())
    );
    let failed = isobar
        .metrics()
        .sum("isobar_server_failures_total", &[("cause", "read_timeout")]);
    assert_eq!(failed, Some(1.0));
}

/// Nobody answers a syslog: each datagram goes where it is its turn, and nothing is kept.
#[test]
fn datagrams_are_balanced_one_by_one() {
    let servers = [(); 2].map(|()| UdpServer::start(|_| Vec::new()));
    let configuration = udp(&servers.each_ref().map(UdpServer::address))
        .listener("udp: { requests: 1, responses: 0 }")
        .upstream("balance: round_robin");
    let isobar = binary!().run(&configuration);
    let client = client(isobar.address());
    for number in 0..40 {
        client.send(format!("{number}").as_bytes()).unwrap();
    }
    eventually("all arrive", || {
        servers.iter().map(|server| server.received().len()).sum::<usize>() == 40
    });
    assert_eq!(servers.each_ref().map(|server| server.received().len()), [20, 20]);
    assert_eq!(causes(&isobar, 40), vec!["complete"; 40]);
    assert_eq!(open_flows(&isobar), 0.0);
    // With answers, each comes back by the flow of its datagram.
    let servers = ["a", "b"].map(UdpServer::echo);
    let configuration = udp(&servers.each_ref().map(UdpServer::address))
        .listener("udp: { requests: 1, responses: 1 }")
        .upstream("balance: round_robin");
    let isobar = binary!().run(&configuration);
    let client = super::client(isobar.address());
    let mut answers: Vec<_> = (0..6).map(|_| ask(&client, "")).collect();
    answers.sort_unstable();
    assert_eq!(answers, ["a", "a", "a", "b", "b", "b"]);
}

/// Nothing that is sent hurts, also where it is taken for QUIC.
#[test]
fn garbage_is_passed_on_and_does_no_harm() {
    let server = UdpServer::echo("");
    for settings in ["{}", "{ quic: { id_bytes: 20 } }", "{ flow: client, max_flows: 3 }"] {
        let isobar = binary!().run(&udp(&[server.address()]).listener(format!("udp: {settings}")));
        // They keep their ports: whoever had one next would be told what was meant for another.
        let clients: Vec<_> = (0..200).map(|_| client(isobar.address())).collect();
        for (seed, client) in clients.iter().enumerate() {
            let mut datagram = noise(seed, seed as u64);
            // As many long headers as short ones.
            if let Some(first) = datagram.first_mut() {
                *first |= 0x80 * u8::try_from(seed % 2).unwrap();
            }
            client.send(&datagram).unwrap();
        }
        let last = client(isobar.address());
        assert_eq!(super::ask_again(&last, "still here"), "still here");
        assert!(!isobar.log().contains("panic"), "{}", isobar.log());
    }
}

/// Each flow takes a descriptor. Where none is left no flow begins, those there are go on, and it is over when they are.
#[test]
fn out_of_descriptors_it_recovers_when_pressure_ends() {
    let server = UdpServer::echo("");
    let configuration = udp(&[server.address()]).listener("udp: { idle_timeout: 3s }");
    let isobar = binary!().through(&["prlimit", "--nofile=96:96"]).run(&configuration);
    // Too many for one worker alone: the other may begin when nothing is left, and then has its turn later.
    let clients: Vec<_> = (0..240).map(|_| client(isobar.address())).collect();
    assert_eq!(ask(&clients[0], "w"), "w");
    for client in &clients {
        client.send(b"x").unwrap();
    }
    eventually("some flows have found no descriptor", || {
        let text = std::fs::read_to_string(isobar.directory().join("access.log")).unwrap_or_default();
        text.contains("\"out_of_resources\"")
    });
    assert_eq!(heard(&clients[0]), "x");
    assert_eq!(ask(&clients[0], "y"), "y", "a flow that is there goes on");
    eventually("flows are over", || open_flows(&isobar) == 0.0);
    for client in &clients[..20] {
        while super::ask_again(client, "z") != "z" {}
    }
}
