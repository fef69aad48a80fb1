//! Which route takes a request?

use isobar_testkit::{Client, Configuration, Origin, binary};

#[test]
fn the_most_specific_route_wins_whatever_the_order() {
    let names = ["fallback", "host", "deep", "exact", "wild", "path", "long"];
    let origins = names.map(Origin::named);
    let mut configuration = Configuration::to(&[origins[0].address()]).routes(
        "- { upstream: web }\n\
         - { match: { path: /v1/* }, upstream: path }\n\
         - { match: { host: \"*.example.com\" }, upstream: wild }\n\
         - { match: { host: api.example.com }, upstream: host }\n\
         - { match: { host: api.example.com, path: /v1/* }, upstream: deep }\n\
         - { match: { host: api.example.com, path: /v1/users/* }, upstream: long }\n\
         - { match: { host: api.example.com, path: /v1/exact }, upstream: exact }",
    );
    for (name, origin) in names.iter().zip(&origins).skip(1) {
        configuration = configuration.another_upstream(name, origin.address());
    }
    let isobar = binary!().run(&configuration);
    let mut client = Client::connect(isobar.address()).unwrap();
    let mut check = |host: &str, target: &str, expected: &str| {
        let answer = client
            .exchange(format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n\r\n"))
            .unwrap();
        assert_eq!(answer.text(), expected, "{host} {target}");
    };
    check("api.example.com", "/v1/exact", "exact");
    check("api.example.com", "/v1/exact?a=b", "exact");
    check("api.example.com", "/v1/users/7", "long");
    check("api.example.com", "/v1/users", "long");
    check("api.example.com", "/v1/users2", "deep");
    check("api.example.com", "/v1/", "deep");
    check("api.example.com", "/v1", "deep");
    check("api.example.com", "/v10", "host");
    check("API.Example.COM:8080", "/", "host");
    check("api.example.com.", "/", "host");
    check("www.example.com", "/v1/x", "wild");
    check("a.b.example.com", "/", "wild");
    check("example.com", "/", "fallback");
    check("example.com", "/v1/x", "path");
    check("other.test", "/v1/x", "path");
    check("other.test", "/", "fallback");
    check("ignored.test", "http://api.example.com/v1/exact", "exact");
}

#[test]
fn one_canonical_path_is_matched_and_forwarded() {
    let (open, closed) = (Origin::named("open"), Origin::named("closed"));
    let configuration = Configuration::to(&[open.address()])
        .routes("- { upstream: web }\n- { match: { path: /admin/* }, upstream: closed }")
        .another_upstream("closed", closed.address());
    let isobar = binary!().run(&configuration);
    let mut client = Client::connect(isobar.address()).unwrap();
    let mut check = |target: &str, expected: &Origin, forwarded: &str| {
        assert_eq!(client.get(target).unwrap().status, 200, "{target}");
        assert_eq!(expected.last_request().target, forwarded, "{target}");
    };
    check("/admin/x", &closed, "/admin/x");
    check("/%61dmin/x", &closed, "/admin/x");
    check("/x/../admin/x", &closed, "/admin/x");
    check("/x/%2e%2E/admin/x?a=%2e%2e/b", &closed, "/admin/x?a=%2e%2e/b");
    check("/./admin", &closed, "/admin");
    check("/../../admin/x", &closed, "/admin/x");
    check("/admin/../x", &open, "/x");
    check("/a%2fb/%7e", &open, "/a%2Fb/~");
    check("/x?/admin/../%zz", &open, "/x?/admin/../%zz");
}

#[test]
fn what_no_route_takes_is_404_and_the_connection_stays() {
    let origin = Origin::named("a");
    let isobar = binary!()
        .run(&Configuration::to(&[origin.address()]).routes("- { match: { host: a.example }, upstream: web }"));
    let mut client = Client::connect(isobar.address()).unwrap();
    for _ in 0..2 {
        assert_eq!(client.get("/").unwrap().status, 404);
        assert_eq!(
            client
                .exchange("GET / HTTP/1.1\r\nhost: a.example\r\n\r\n")
                .unwrap()
                .status,
            200
        );
    }
    assert_eq!(origin.request_count(), 2);
}
