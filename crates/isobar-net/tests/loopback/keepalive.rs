//! Does the kernel ask whether the other end is still there?

use rustix::net::sockopt;

use isobar_net::keepalive::{self, Keepalive};

use super::*;

const ASKS: Keepalive = Keepalive {
    idle: Duration::from_secs(45),
    interval: Duration::from_secs(7),
    probes: 4,
    user_timeout: Some(Duration::from_millis(2500)),
};

/// What the kernel says about a stream; none: it does not ask.
fn of(stream: &Stream) -> Option<Keepalive> {
    let user_timeout = sockopt::tcp_user_timeout(stream).unwrap();
    sockopt::socket_keepalive(stream).unwrap().then(|| Keepalive {
        idle: sockopt::tcp_keepidle(stream).unwrap(),
        interval: sockopt::tcp_keepintvl(stream).unwrap(),
        probes: sockopt::tcp_keepcnt(stream).unwrap(),
        user_timeout: (user_timeout > 0).then(|| Duration::from_millis(user_timeout.into())),
    })
}

#[test]
fn connections_have_it_from_the_socket_that_accepts_them() {
    in_worker(|| async {
        let options = ListenOptions {
            keepalive: Some(ASKS),
            ..ListenOptions::default()
        };
        let socket = listen(any_port(), options).unwrap();
        let own = socket.try_clone().unwrap();
        let listener = Listener::from_std(socket).unwrap();
        let address = listener.local_addr().unwrap();
        let near = Stream::connect(address).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        assert_eq!((of(&accepted), of(&near)), (Some(ASKS), None));
        // It can be changed for those who come from then on, and taken back.
        keepalive::set(&own, None).unwrap();
        let _near = Stream::connect(address).await.unwrap();
        let (later, _) = listener.accept().await.unwrap();
        assert_eq!((of(&later), of(&accepted)), (None, Some(ASKS)));
        assert_eq!(sockopt::tcp_user_timeout(&later).unwrap(), 0);
    });
}

#[test]
fn connections_that_are_made_have_their_own() {
    in_worker(|| async {
        let listener = listener();
        let stream = Stream::connect(listener.local_addr().unwrap()).await.unwrap();
        keepalive::set(&stream, Some(&ASKS)).unwrap();
        assert_eq!(of(&stream), Some(ASKS));
        let patient = Keepalive {
            user_timeout: None,
            ..ASKS
        };
        keepalive::set(&stream, Some(&patient)).unwrap();
        assert_eq!(of(&stream), Some(patient));
    });
}
